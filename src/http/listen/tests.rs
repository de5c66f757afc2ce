//! What a connection meets: limits of time, of size and of number, and an orderly end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use url::Url;
use warp::Filter;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::domain::time::Timestamp;
use crate::entropy::SeededEntropy;

struct Server {
    addresses: Vec<SocketAddr>,
    clock: ManualClock,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<bool>,
}

/// A server whose log is still being replayed, on two sockets.
async fn start(change: impl FnOnce(&mut super::super::Settings)) -> Server {
    let url = |text: &str| Url::parse(text).expect("a URL");
    let mut settings = super::super::Settings::new(
        url("http://localhost:3001"),
        vec![url("http://localhost:5173")],
        url("https://cdn.discordapp.com"),
        vec!["identify".into()],
    );
    change(&mut settings);
    let clock = ManualClock::new(Timestamp(1_767_323_045_000));
    let gate = Gate::new(settings, Arc::new(clock.clone()), Arc::new(SeededEntropy::new("listen")));
    let mut listeners = Vec::new();
    for _ in 0..2 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("a port"));
    }
    let addresses = listeners.iter().map(|l| l.local_addr().expect("an address")).collect();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(serve(listeners, gate, async move {
        let _ = stopped.await;
    }));
    Server { addresses, clock, stop, ended }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addresses[0]).await.expect("connected")
    }

    /// Sends bytes and returns everything that comes back until the connection ends.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // What is refused early is not read to its end.
        let _ = stream.write_all(bytes).await;
        read(&mut stream).await
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").into_bytes()
}

#[tokio::test]
async fn every_listener_answers_and_readiness_waits_for_the_log() {
    let server = start(|_| {}).await;
    for address in &server.addresses {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(&get("/healthz", "")).await.expect("sent");
        assert!(read(&mut stream).await.starts_with("HTTP/1.1 200 "));
    }
    let ready = server.send(&get("/readyz", "")).await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("\"code\":\"not_ready\""), "{ready}");
    let user = server.send(&get("/api/auth/user", "")).await;
    assert!(user.starts_with("HTTP/1.1 503 ") && user.contains("vary: Origin"), "{user}");
}

#[tokio::test]
async fn a_proxy_is_told_to_let_nobody_pass_until_the_log_is_known() {
    let server = start(|_| {}).await;
    for (path, status) in [("/auth/nginx", 403), ("/auth/forward", 503), ("/.doorbook/finish", 503)] {
        for headers in ["", "X-Original-URL: https://a.example/\r\nX-Original-Method: GET\r\n"] {
            let told = server.send(&get(path, headers)).await;
            assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {told}");
            assert!(
                told.contains("\"code\":\"not_ready\"") && told.contains(&format!("\"status\":{status}")),
                "{told}"
            );
        }
    }
    let stranger = start(|settings| settings.trusted_proxies.clear()).await;
    for path in ["/auth/nginx", "/auth/forward", "/.doorbook/finish"] {
        let told = stranger.send(&get(path, "")).await;
        assert!(told.starts_with("HTTP/1.1 403 ") && told.contains("untrusted_proxy"), "{path}: {told}");
    }
}

#[tokio::test]
async fn two_requests_share_a_connection() {
    let server = start(|_| {}).await;
    let mut both = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    both.extend(get("/nowhere", ""));
    let answers = server.send(&both).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
    assert!(answers.contains("\"code\":\"not_found\""), "{answers}");
}

#[tokio::test]
async fn a_body_is_refused_while_it_is_read_however_it_is_framed() {
    let server = start(|_| {}).await;
    let head = "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let told = server.send(format!("{head}Content-Length: 65537\r\n\r\n").as_bytes()).await;
    assert!(told.starts_with("HTTP/1.1 413 ") && told.contains("\"code\":\"body_too_large\""), "{told}");

    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..17 {
        chunked.extend(b"1000\r\n");
        chunked.extend([b'x'; 4096]);
        chunked.extend(b"\r\n");
    }
    let mut stream = server.connect().await;
    stream.write_all(&chunked).await.expect("sent");
    let refused = read(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");

    // One chunk less is within the limit, and the answer is the handler's.
    let within = [&chunked[..chunked.len() - 4096 - 8], b"0\r\n\r\n"].concat();
    let answered = server.send(&within).await;
    assert!(answered.contains("\"code\":\"not_ready\""), "{answered}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let server = start(|_| {}).await;
    let mut stream = server.connect().await;
    let head = "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let reading = tokio::spawn(async move { read(&mut stream).await });
    while !reading.is_finished() {
        // The clock stands still until it is moved; the request may not have begun to wait yet.
        server.clock.advance(Duration::from_secs(11));
        tokio::task::yield_now().await;
    }
    let answer = reading.await.expect("no panic");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"code\":\"bad_request\""), "{answer}");
}

#[tokio::test]
async fn headers_that_are_too_long_are_refused() {
    let server = start(|_| {}).await;
    let answer = server.send(&get("/healthz", &format!("x: {}\r\n", "a".repeat(20_000)))).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = server.send(&get("/healthz", &format!("x: {}\r\n", "a".repeat(14_000)))).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn headers_that_do_not_arrive_end_the_connection() {
    let server = start(|settings| settings.listen.header_time = Duration::from_millis(50)).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.expect("sent");
    assert_eq!(read(&mut stream).await, "");
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_ends() {
    let server = start(|settings| settings.listen.header_time = Duration::from_millis(50)).await;
    assert_eq!(read(&mut server.connect().await).await, "");
    let mut stream = server.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    assert!(read(&mut stream).await.starts_with("HTTP/1.1 200 "), "it is answered, and then it ends");
}

#[tokio::test]
async fn whoever_keeps_us_waiting_makes_room_for_whoever_asks() {
    let server = start(|settings| settings.listen.connections = 3).await;
    let half = [
        "",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX:",
        "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf",
    ];
    let mut waiting = Vec::new();
    for _ in 0..10 {
        for begun in half {
            let mut stream = server.connect().await;
            stream.write_all(begun.as_bytes()).await.expect("sent");
            waiting.push(stream);
        }
        assert!(server.send(&get("/healthz", "")).await.starts_with("HTTP/1.1 200 "));
    }
    for stream in waiting.drain(..20).collect::<Vec<_>>().iter_mut() {
        assert_eq!(read(stream).await, "", "it has been sent away");
    }
}

#[tokio::test]
async fn one_address_that_is_no_proxy_of_ours_has_so_many_connections_and_no_more() {
    let server = start(|settings| {
        settings.trusted_proxies.clear();
        settings.listen.connections_of_one = 2;
    })
    .await;
    let [first, _second] = [server.connect().await, server.connect().await];
    let refused = server.send(b"").await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");
    drop(first);
    // When it has been noticed that one is gone is not for us to say.
    while !server.send(&get("/healthz", "")).await.starts_with("HTTP/1.1 200 ") {}
}

#[tokio::test]
async fn a_listener_is_not_drowned_by_another() {
    let mut listeners = Vec::new();
    for _ in 0..2 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("a port"));
    }
    let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().expect("an address")).collect();
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(TcpStream::connect(addresses[0]).await.expect("connected"));
    }
    let mut turn = 0;
    accept(&listeners, &mut turn).await.expect("one of the crowd");
    let lonely = TcpStream::connect(addresses[1]).await.expect("connected");
    let mut taken = Vec::new();
    for _ in 0..10 {
        taken.push(accept(&listeners, &mut turn).await.expect("a connection").1);
    }
    assert!(taken.contains(&lonely.local_addr().expect("an address")), "{taken:?}");
}

#[tokio::test]
async fn a_request_that_does_not_say_for_whom_it_is_is_refused_and_is_the_last() {
    let server = start(|_| {}).await;
    for head in [
        "GET /healthz HTTP/1.1\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        "GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n",
        "GET /healthz HTTP/1.1\r\nHost: \u{e9}\r\n",
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n",
    ] {
        let both = format!("{head}\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let refused = server.send(both.as_bytes()).await;
        assert!(
            refused.contains(" 400 ") && refused.contains("\"code\":\"bad_request\""),
            "{head}: {refused}"
        );
        assert_eq!(refused.matches("HTTP/1.").count(), 1, "{refused}");
    }
    assert!(server.send(b"GET /healthz HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200 "));
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_not_listened_to_and_then_let_go() {
    const ROOM: usize = 64;
    let clock = ManualClock::new(Timestamp(0));
    let place = Places::new(1, 1).take(None).await.expect("a place");
    let (mut client, server) = tokio::io::duplex(ROOM);
    let within = Duration::from_secs(30);
    let mut server = Patient::new(server, place.seat().clone(), Arc::new(clock.clone()), within);
    // What fits is taken, however long it takes.
    server.write_all(&[b'x'; ROOM]).await.expect("taken");
    clock.advance(2 * within);
    client.write_all(b"asks").await.expect("sent");
    let mut asked = [0; 4];
    server.read_exact(&mut asked).await.expect("heard");

    client.write_all(b"asks on").await.expect("sent");
    let mut rest = Box::pin(server.write_all(&[b'y'; ROOM]));
    assert!(futures_util::poll!(&mut rest).is_pending());
    let mut some = [0; ROOM / 2];
    client.read_exact(&mut some).await.expect("half of it");
    clock.advance(within - Duration::from_secs(1));
    assert!(futures_util::poll!(&mut rest).is_pending(), "half is not all");
    drop(rest);
    assert!(futures_util::poll!(Box::pin(server.read_exact(&mut asked))).is_pending());
    clock.advance(Duration::from_secs(1));
    let late = server.write_all(&[b'y'; ROOM]).await.expect_err("it was too slow");
    assert_eq!(late.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn stopping_lets_idle_connections_go_and_does_not_wait_for_ever() {
    let server = start(|_| {}).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let mut some = [0; 15];
    idle.read_exact(&mut some).await.expect("an answer");
    server.stop.send(()).expect("running");
    assert!(server.ended.await.expect("no panic"), "an idle connection holds nothing up");
    assert!(TcpStream::connect(server.addresses[0]).await.is_err(), "nobody listens any more");

    let server = start(|_| {}).await;
    let mut busy = server.connect().await;
    busy.write_all(b"POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        .await
        .expect("sent");
    // Answered only when it has been taken: this one comes after it.
    assert!(server.send(&get("/healthz", "")).await.starts_with("HTTP/1.1 200 "));
    server.stop.send(()).expect("running");
    let ended = server.ended;
    while !ended.is_finished() {
        server.clock.advance(Duration::from_secs(3));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_handler_that_panics_answers_500_and_the_connection_lives() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(0)));
    let url = Url::parse("http://localhost:3001").expect("a URL");
    let settings = super::super::Settings::new(url.clone(), vec![], url, vec![]);
    let gate = Gate::new(settings, clock, Arc::new(SeededEntropy::new("panic")));
    let routes = warp::path!("boom")
        .map(|| -> Response { panic!("the handler is broken") })
        .or(warp::any().map(|| Response::new("fine".into())))
        .unify()
        .boxed();
    let (mut browser, server) = tokio::io::duplex(64 * 1024);
    let place = Places::new(1, 1).take(None).await.expect("a place");
    let service = service(
        gate,
        routes,
        Arc::default(),
        "127.0.0.1:9".parse().expect("an address"),
        place.seat().clone(),
    );
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(server), service));
    let asks = [
        "GET /boom HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /boom HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ];
    browser.write_all(asks.concat().as_bytes()).await.expect("sent");
    let mut answers = String::new();
    browser.read_to_string(&mut answers).await.expect("answers");
    assert_eq!(answers.matches("HTTP/1.1 500 ").count(), 2, "{answers}");
    assert!(
        answers.contains("\"code\":\"internal\"") && answers.contains("urn:doorbook:request:"),
        "{answers}"
    );
    assert!(answers.contains("<!DOCTYPE html>") && answers.ends_with("fine"), "{answers}");
    assert!(!answers.contains("broken"), "what happened inside stays inside");
}
