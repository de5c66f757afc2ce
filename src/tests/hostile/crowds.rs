//! Many connections that do nothing, little, or too much: whoever asks and waits for an answer gets one all the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use doorbook::clock::{Clock as _, SystemClock};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::seen::Seen;
use super::{number, pause};
use crate::harness::{Browser, House, MARISOL, Process, QUIETFOX, binary, free_port};

/// What a connection of the crowd says before it says nothing more.
const HALVES: [&str; 3] = [
    "",
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX:",
    "POST /discord/webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\nhalf",
];

/// Opens connections that do nothing more, until there are so many.
async fn crowd(address: SocketAddr, size: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for n in 0..size {
        let mut stream = TcpStream::connect(address).await.expect("somebody listens");
        // Whoever is sent away while they speak is gone.
        let _ = stream.write_all(HALVES[n % HALVES.len()].as_bytes()).await;
        crowd.push(stream);
    }
    crowd
}

#[track_caller]
fn is_in(answer: &crate::harness::Exchange) {
    assert_eq!(answer.status, 200, "{answer}");
}

/// A server that may open only so many files, as a shell says it.
async fn limited(house: &House, limit: &str) -> Process {
    let port = free_port();
    let mut env: BTreeMap<String, String> = house.env().into_iter().collect();
    env.insert("PORT".into(), port.to_string());
    let mut shell = std::process::Command::new("/bin/sh");
    shell.arg("-c").arg(format!("ulimit {limit} && exec \"$0\" serve")).arg(binary());
    let mut process = Process::of(shell, house.dir.path(), env, port);
    process.ready().await;
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn more_idle_connections_than_there_are_places_keep_nobody_out() {
    let house = House::for_processes().await;
    // Without a place for all of them, and without a file left over for each.
    let process = limited(&house, "-n 300").await;
    assert!(process.said("err").contains("few connections are taken"), "{}", process.said("err"));
    let mut person = process.signed_in(&house, MARISOL).await;
    let before = Seen::of(&process);
    let mut crowds = Vec::new();
    for _ in 0..4 {
        crowds.push(crowd(process.address, 250).await);
        is_in(&person.fetch("GET", "/api/auth/user").await);
        // Discord and the disk are reached as well.
        process.signed_in(&house, QUIETFOX).await;
    }
    let now = Seen::of(&process);
    assert!(now.descriptors <= 250, "room is left for the rest: {now}");
    now.has_grown_by_less_than(32, &before);
    assert!(!process.said("err").contains("no connection can be taken"), "{}", process.said("err"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_open_files_that_may_be_raised_is_raised() {
    let house = House::for_processes().await;
    let process = limited(&house, "-Sn 256").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let soft: u64 = line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).expect("a number");
    let hard: u64 = line.split_whitespace().nth(4).and_then(|hard| hard.parse().ok()).unwrap_or(u64::MAX);
    assert_eq!(soft, hard.min(4_096 + 256), "{line}");
}

/// Asks again and again, and takes no answer.
async fn asks_and_never_reads(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let stream = socket.connect(address).await.expect("somebody listens");
    let asks = "GET /api/auth/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000);
    let mut written = 0;
    // Until nothing more is taken from us.
    let mut refused = 0;
    while refused < 200 {
        match stream.try_write(&asks.as_bytes()[written % asks.len()..]) {
            Ok(more) => (written, refused) = (written + more, 0),
            Err(_) => {
                refused += 1;
                tokio::task::yield_now().await;
            }
        }
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_on_and_on_and_reads_nothing_is_not_answered_into_memory() {
    let house = House::for_processes().await;
    let process = Process::serve(&house).await;
    let mut person = process.signed_in(&house, MARISOL).await;
    let before = Seen::of(&process);
    let all = (0..64).map(|_| asks_and_never_reads(process.address));
    let deaf = futures_util::future::join_all(all).await;
    is_in(&person.fetch("GET", "/api/auth/user").await);
    let now = Seen::of(&process);
    now.has_grown_by_less_than(32, &before);
    // One or two that were open for a moment before may be closed by now.
    assert!(now.descriptors + 2 >= before.descriptors + deaf.len(), "they are still there: {now}");
}

/// How long until the answer to a check, in milliseconds; that there is one is asserted.
async fn checks(person: &mut Browser, times: usize) -> u128 {
    let mut longest = 0;
    for _ in 0..times {
        let clock = SystemClock::new();
        is_in(&person.fetch("GET", "/api/auth/user").await);
        longest = longest.max(clock.monotonic().as_millis());
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten thousand connections: .ci/run runs it with fewer"]
async fn ten_thousand_idle_connections_keep_nobody_out() {
    let wanted = usize::try_from(number("HOSTILE_CONNECTIONS", 10_000)).expect("small");
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("up to the limit");
    let house = House::for_processes().await;
    let process = Process::serve(&house).await;
    let mut person = process.signed_in(&house, MARISOL).await;
    let before = Seen::of(&process);
    let (mut all, mut longest) = (Vec::new(), 0);
    while all.len() < wanted {
        all.extend(crowd(process.address, 500.min(wanted - all.len())).await);
        longest = longest.max(checks(&mut person, 5).await);
    }
    let full = Seen::of(&process);
    println!(
        "{} idle connections: before {before}; with them {full}; a check took {longest} ms at most",
        all.len()
    );
    assert!(full.descriptors <= 4_096 + 256, "{full}");
    full.has_grown_by_less_than(256, &before);
    // Whoever leaves leaves nothing behind.
    drop(all);
    let quiet = SystemClock::new();
    while Seen::of(&process).descriptors > before.descriptors + 16 {
        assert!(quiet.monotonic() < std::time::Duration::from_secs(60), "{}", Seen::of(&process));
        pause(std::time::Duration::from_millis(100)).await;
    }
    checks(&mut person, 5).await;
}
