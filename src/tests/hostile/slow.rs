//! Clients that are slow on purpose, by the tool that is made for it: in what they send, and in what they take.

use std::collections::BTreeMap;
use std::time::Duration;

use super::seen::Seen;
use super::{number, pause, seconds};
use crate::harness::{House, MARISOL, Process};

/// The ways in which it is slow, by the tool's own flags.
const WAYS: [(&str, &[&str]); 4] = [
    ("headers that go on for ever", &["-H", "-i", "3", "-x", "24"]),
    ("bodies that go on for ever", &["-B", "-i", "3", "-s", "60000", "-x", "10", "-t", "POST"]),
    ("ranges without number", &["-R", "-a", "10", "-b", "3000"]),
    ("answers that are hardly taken", &["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "5", "-k", "10"]),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs slowhttptest, and a minute for each way to be slow: .ci/run runs it for less"]
async fn clients_that_are_slow_in_every_direction_keep_nobody_out() {
    let connections = number("HOSTILE_CONNECTIONS", 4_000).to_string();
    let (rate, lasts) = ("400".to_owned(), seconds(60).as_secs().to_string());
    for (what, flags) in WAYS {
        let house = House::for_processes().await;
        let process = Process::serve(&house).await;
        let mut person = process.signed_in(&house, MARISOL).await;
        let before = Seen::of(&process);
        let mut tool = std::process::Command::new("slowhttptest");
        let url = format!("http://{}/api/auth/logout", process.address);
        tool.args(flags).args(["-c", &connections, "-r", &rate, "-l", &lasts, "-p", "3", "-u", &url]);
        let path = std::env::var("PATH").unwrap_or_default();
        let env = BTreeMap::from([("PATH".to_owned(), path)]);
        let mut tool = Process::of(tool, house.dir.path(), env, process.address.port());
        let mut most = before;
        let (mut checks, mut is_over) = (0, false);
        while !is_over {
            is_over = tool.has_ended();
            assert_eq!(person.fetch("GET", "/api/auth/user").await.status, 200, "{what}");
            checks += 1;
            let seen = Seen::of(&process);
            most.memory = most.memory.max(seen.memory);
            most.descriptors = most.descriptors.max(seen.descriptors);
            pause(Duration::from_millis(50)).await;
        }
        let said = tool.said("out");
        println!("{what}: {checks} checks answered; before {before}; at most {most}");
        assert!(said.contains("service available"), "the tool has run: {said} {}", tool.said("err"));
        assert!(most.descriptors <= 4_096 + 256, "{what}: {most}");
        most.has_grown_by_less_than(256, &before);
        // Whoever signs in does so as before.
        process.signed_in(&house, MARISOL).await;
    }
}
