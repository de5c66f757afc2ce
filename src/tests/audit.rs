//! The log asked while a server runs on it and while none does: the same answers, and nobody waits.

use std::time::Duration;

use doorbook::clock::{Clock as _, SystemClock};
use serde_json::Value;

use crate::harness::{House, MARISOL, Process, QUIETFOX};

async fn asked(house: &House, args: &[&str]) -> Vec<Value> {
    let ended = Process::spawn(house, args, &[]).ends().await;
    assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn kinds(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["kind"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_and_a_stopped_log_give_the_same_answers() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    let mut quiet = process.signed_in(&house, QUIETFOX).await;
    assert_eq!(quiet.fetch("POST", "/api/auth/logout").await.status, 204);
    let rule = "[[rule]]\nhost = \"app.example.org\"\npublic = true\n";
    std::fs::write(house.dir.path().join("new.toml"), rule).expect("a file");
    let lines: [&[&str]; 6] = [
        &["audit", "log", "--format", "jsonl"],
        &["audit", "log", "--user", "quietfox", "--format", "jsonl"],
        &["audit", "state", "--at", "3", "--format", "jsonl"],
        &["audit", "diff", "1", "4", "--format", "jsonl"],
        &["explain", "https://app.example.org/", "--user", "quietfox", "--at", "3", "--format", "jsonl"],
        &["rules", "replay", "--rules", "new.toml", "--format", "jsonl"],
    ];
    let mut running = Vec::new();
    for line in lines {
        running.push(asked(&house, line).await);
    }
    process.terminate().await;
    let mut stopped = Vec::new();
    for line in lines {
        stopped.push(asked(&house, line).await);
    }
    assert_eq!(kinds(&stopped[0][running[0].len()..]), ["server.stopped", "checkpoint.signed"]);
    stopped[0].truncate(running[0].len());
    assert_eq!(running, stopped);
    assert_eq!(running[2].len(), 2, "two were signed in then");
    assert!(kinds(&running[1]).contains(&"session.revoked"));
    let verdict = running[4].last().expect("a verdict");
    assert_eq!(verdict["what"], "no_rule: no rule is for the host");
    assert_eq!((&running[4][0]["about"], &running[4][0]["position"]), (&"session".into(), &3.into()));
    assert_eq!(running[5].len(), 3, "both of them and whoever is not signed in");

    let verified = Process::spawn(&house, &["audit", "verify", "--json"], &[]).ends().await;
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    let verdict: Value = serde_json::from_str(&verified.stdout).expect("JSON");
    assert_eq!((&verdict["verdict"], &verdict["states"]), (&"intact".into(), &1.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_misses_nothing_even_while_the_server_restarts() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    let following = Process::spawn(&house, &["audit", "log", "--follow", "--format", "jsonl"], &[]);
    let opened = |said: &str| said.matches(r#""kind":"session.opened""#).count();
    until(&following, |said| opened(said) == 1).await;
    process.signed_in(&house, QUIETFOX).await;
    until(&following, |said| opened(said) == 2).await;
    process.terminate().await;
    let process = Process::serve(&house).await;
    process.signed_in(&house, QUIETFOX).await;
    until(&following, |said| opened(said) == 3).await;
    let rows: Vec<Value> = following
        .said("out")
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    let places: Vec<(u64, u64)> =
        rows.iter().map(|row| (row["position"].as_u64().unwrap(), row["index"].as_u64().unwrap())).collect();
    assert!(places.windows(2).all(|two| two[1].0 - two[0].0 <= 1 && two[0] < two[1]), "{places:?}");
    assert_eq!(places[0], (0, 0));
    assert!(kinds(&rows).contains(&"server.stopped"));
}

/// Waits until what it has printed is as it should be; the process is a real one, and so is its time.
async fn until(process: &Process, so: impl Fn(&str) -> bool) {
    let clock = SystemClock::new();
    while !so(&process.said("out")) {
        let said = || format!("it printed {}\nand said {}", process.said("out"), process.said("err"));
        assert!(clock.monotonic() < Duration::from_secs(30), "{}", said());
        clock.sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_question_and_a_checkpoint_that_was_kept_fits_later() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    process.terminate().await;
    let kept = Process::spawn(&house, &["audit", "checkpoint"], &[]).ends().await;
    assert_eq!(kept.code, Some(0), "{}", kept.stderr);
    let file = house.dir.path().join("kept.txt");
    std::fs::write(&file, &kept.stdout).unwrap();
    let process = Process::serve(&house).await;
    let kept = file.display().to_string();
    let asking: Vec<Process> =
        (0..4).map(|_| Process::spawn(&house, &["audit", "verify", "--checkpoint", &kept], &[])).collect();
    for user in [MARISOL, QUIETFOX, MARISOL, QUIETFOX] {
        process.signed_in(&house, user).await;
    }
    for mut one in asking {
        let ended = one.ends().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("kept         the checkpoint for "), "{}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_any_time_are_printed_as_the_file_that_gives_them() {
    let house = House::for_processes().await;
    let serve = async |allow: &str| {
        let mut process = Process::spawn(&house, &["serve"], &[("DOORBOOK_ALLOW", allow)]);
        process.ready().await;
        process.terminate().await;
    };
    serve("user:80351110224678912").await;
    serve("user:80351110224678912").await;
    serve("email:example.org,user:80351110224678912").await;
    let changed = asked(&house, &["audit", "log", "--kind", "rules.changed", "--format", "jsonl"]).await;
    assert_eq!(changed.len(), 2, "the second start had the same: {changed:?}");
    assert_eq!((&changed[0]["position"], &changed[0]["data"]["old"]), (&1.into(), &Value::Null));
    assert_eq!(changed[1]["data"]["old"], changed[0]["data"]["new"]);
    let position = changed[1]["position"].to_string();
    let shown = Process::spawn(&house, &["audit", "show", &position], &[]).ends().await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let line = "\n              allow = \"email:example.org,user:80351110224678912\"\n";
    assert!(shown.stdout.contains("text =\n") && shown.stdout.contains(line), "{}", shown.stdout);
    // Without keys there are the hashes, and no rule.
    std::fs::rename(house.data_dir().join("keys"), house.dir.path().join("elsewhere")).unwrap();
    let blind = Process::spawn(&house, &["audit", "show", &position], &[]).ends().await;
    assert!(
        !blind.stdout.contains("example.org") && blind.code == Some(0),
        "{}{}",
        blind.stdout,
        blind.stderr
    );
}
