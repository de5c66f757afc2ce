//! Requests that are not quite requests: too large, malformed, or made so that two readers see two different ones.

use crate::harness::{House, MARISOL, Process, exchange};

use super::seen::Seen;

/// Follows whatever was sent; it must be answered only where that was whole.
const NEXT: &str = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// The statuses of all answers that come back.
async fn statuses(process: &Process, request: &str) -> Vec<u16> {
    let told = exchange(process.address, request.as_bytes()).await;
    let told = String::from_utf8_lossy(&told).into_owned();
    let lines = told.split("HTTP/1.").skip(1);
    lines.map(|line| line.get(2..5).and_then(|status| status.parse().ok()).expect("a status")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_readers_could_read_as_two_requests_is_refused_or_ends_the_connection() {
    let house = House::for_processes().await;
    let process = Process::serve(&house).await;
    let post = |lines: &str| format!("POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    let hidden = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let shapes: &[(String, &[u16])] = &[
        // Both kinds of length: one is followed, and nothing behind it is believed to be a request.
        (post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", &[204]),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n") + "0\r\n\r\n", &[204]),
        (post("Transfer-Encoding: identity\r\n"), &[400]),
        (post("Transfer-Encoding: chunked, gzip\r\n"), &[400]),
        (post("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n", &[400]),
        (post("Transfer-Encoding : chunked\r\n") + "0\r\n\r\n", &[400]),
        (post("Transfer-Encoding:\u{b}chunked\r\n") + "0\r\n\r\n", &[400]),
        (post("Content-Length: 0\r\nContent-Length: 5\r\n") + "abcde", &[400]),
        (post("Content-Length: 0, 5\r\n") + "abcde", &[400]),
        (post("Content-Length: +5\r\n") + "abcde", &[400]),
        (post("Content-Length: -5\r\n"), &[400]),
        (post("Content-Length: 0x5\r\n") + "abcde", &[400]),
        (post("Content-Length: 99999999999999999999999\r\n"), &[400]),
        (post("Content-Length : 5\r\n") + "abcde", &[400]),
        (post("Transfer-Encoding: chunked\r\n") + "-1\r\n", &[400]),
        (post("Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\n", &[400]),
        (post(&format!("Transfer-Encoding: chunked\r\n\r\n1;{}", "a".repeat(20_000))), &[400]),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), &[400]),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n".into(), &[400]),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n".into(), &[400]),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n".into(), &[400]),
        ("GET /healthz HTTP/1.1\r\n\r\n".into(), &[400]),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), &[400]),
        ("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n".into(), &[400]),
        ("GET /healthz\r\n\r\n".into(), &[400]),
        ("GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n".into(), &[400]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[]),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".into(), &[400]),
        // Whole, so what follows is the next request.
        (post("Content-Length: 0\r\nContent-Length: 0\r\n"), &[204, 200, 404]),
        (post("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", &[204, 200, 404]),
        (
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabcde".into(),
            &[200, 200, 404],
        ),
        // Nobody here speaks another protocol.
        (
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n".into(),
            &[200, 200, 404],
        ),
    ];
    for (shape, expected) in shapes {
        let told = statuses(&process, &format!("{shape}{hidden}{NEXT}")).await;
        assert_eq!(told, *expected, "{shape:?}");
    }
    // What was refused is not the operator's trouble, and not a line for each.
    let said = process.said("err");
    assert!(!said.contains("ERROR") && !said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_and_many_of_it_take_no_room() {
    let house = House::for_processes().await;
    let process = Process::serve(&house).await;
    let person = process.signed_in(&house, MARISOL).await;
    let before = Seen::of(&process);
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let long = "a".repeat(20_000);
    let shapes = [
        (format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", many(101)), 431),
        ("POST /discord/webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\n\r\n".into(), 413),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999\r\n\r\n"
                .into(),
            405,
        ),
        ("POST /logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n".into(), 405),
        ("POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n".into(), 413),
    ];
    for (shape, status) in &shapes {
        let told = statuses(&process, shape).await;
        assert_eq!(told, [*status], "{}", &shape[..60]);
    }
    // Again and again, side by side.
    let (flood, _) = &shapes[1];
    for _ in 0..10 {
        let all = (0..100).map(|_| statuses(&process, flood));
        let told = futures_util::future::join_all(all).await;
        assert!(told.iter().all(|told| told == &[431]), "{told:?}");
    }
    assert_eq!(person.clone().fetch("GET", "/api/auth/user").await.status, 200);
    Seen::of(&process).has_grown_by_less_than(32, &before);
}
