//! Takes connections and answers their requests, within limits that warp's own loop does not have.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::{HeaderValue, Request};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::Gate;
use super::problem::Problem;
use super::reply;
use super::request::Head;
use crate::clock::Clock;
use crate::domain::id::RequestId;
use crate::domain::time::Timestamp;

/// How connections are taken.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many at once; the next one waits in the system's queue.
    pub connections: usize,
    /// How long the headers of a request may take.
    pub header_time: Duration,
    /// The most bytes of headers, and of what is read ahead.
    pub header_bytes: usize,
    /// How long requests may go on after the signal to stop.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            connections: 4_096,
            header_time: Duration::from_secs(10),
            header_bytes: 16 * 1_024,
            drain: Duration::from_secs(10),
        }
    }
}

/// How long to hold off after the system could not give us a connection, for example for want of descriptors.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Answers on all listeners until `shutdown`; then closes them, and lets the requests under way finish in time.
///
/// Returns whether all of them did.
pub async fn serve(listeners: Vec<TcpListener>, gate: Arc<Gate>, shutdown: impl Future<Output = ()>) -> bool {
    let (settings, clock) = (gate.settings.listen.clone(), gate.clock.clone());
    let (routes, date) = (super::routes(&gate), Arc::new(Date::default()));
    let service = |peer| service(gate.clone(), routes.clone(), date.clone(), peer);
    accept_all(listeners, &settings, &*clock, service, shutdown).await
}

/// The accept loop: takes connections and has each answered by a service of its own, within these limits.
///
/// Returns whether all requests under way finished after `shutdown`.
pub async fn accept_all<S, B>(
    listeners: Vec<TcpListener>,
    settings: &Settings,
    clock: &dyn Clock,
    service_for: impl Fn(SocketAddr) -> S,
    shutdown: impl Future<Output = ()>,
) -> bool
where
    S: Service<Request<Incoming>, Response = http::Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(settings.connections));
    let mut shutdown = pin!(shutdown);
    loop {
        let next = pin!(async {
            let room = room.clone().acquire_owned().await;
            (room, accept(&listeners).await)
        });
        let (room, accepted) = match select(next, shutdown.as_mut()).await {
            Either::Left((next, _)) => next,
            Either::Right(_) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken at the moment");
                if let Either::Right(_) = select(clock.sleep(BACK_OFF), shutdown.as_mut()).await {
                    break;
                }
                continue;
            }
        };
        // Small answers are sent at once.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // `Date` is ours, from the clock that was passed in.
            .auto_date_header(false)
            .header_read_timeout(settings.header_time)
            .max_buf_size(settings.header_bytes)
            .serve_connection(TokioIo::new(stream), service_for(peer));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Whatever broke, it was the connection: nobody is left to be told.
            let _ = connection.await;
            drop(room);
        });
    }
    drop(listeners);
    let open = graceful.count();
    tracing::info!(connections = open, "stopping: no new connections are taken");
    match select(pin!(graceful.shutdown()), clock.sleep(settings.drain)).await {
        Either::Left(_) => true,
        Either::Right(_) => {
            tracing::warn!("stopping although some requests are not answered yet");
            false
        }
    }
}

/// Waits for a connection on any of the listeners.
async fn accept(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        let ready = listeners.iter().find_map(|listener| match listener.poll_accept(context) {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Returns whether the failure concerns a connection that is gone, and not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Answers the requests of one connection: numbers each, says where it comes from, and survives its handler.
fn service(
    gate: Arc<Gate>,
    routes: BoxedFilter<(Response,)>,
    date: Arc<Date>,
    peer: SocketAddr,
) -> impl Service<
    Request<Incoming>,
    Response = Response,
    Error = Infallible,
    Future = impl Future<Output = Result<Response, Infallible>> + Send,
> {
    let filters = TowerToHyperService::new(warp::service(routes));
    service_fn(move |mut request: Request<Incoming>| {
        let (gate, filters, date) = (gate.clone(), filters.clone(), date.clone());
        async move {
            let head = Head::take(RequestId(gate.entropy.draw()), Some(peer), &mut request);
            let answer = AssertUnwindSafe(async { filters.call(request).await }).catch_unwind().await;
            let mut answer = answer
                .unwrap_or_else(|_| Ok(reply::finish(&gate.settings, &head, Err(Problem::Internal.into()))));
            if let (Ok(response), Some(date)) = (&mut answer, date.at(gate.clock.now())) {
                response.headers_mut().insert(http::header::DATE, date);
            }
            answer
        }
    })
}

/// The time as RFC 9110 writes it, written once a second.
#[derive(Default)]
struct Date {
    last: Mutex<Option<(i64, HeaderValue)>>,
}

impl Date {
    fn at(&self, now: Timestamp) -> Option<HeaderValue> {
        let second = now.0.div_euclid(1_000);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, written)) = last.as_ref().filter(|(at, _)| *at == second) {
            return Some(written.clone());
        }
        let moment = jiff::Timestamp::from_second(second).ok()?;
        let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).ok()?;
        let written = HeaderValue::from_str(&text).ok()?;
        *last = Some((second, written.clone()));
        Some(written)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use url::Url;
    use warp::Filter;

    use super::*;
    use crate::clock::ManualClock;
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
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"code\":\"bad_request\""),
            "{answer}"
        );
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
    async fn the_next_connection_waits_until_there_is_room() {
        let server = start(|settings| settings.listen.connections = 1).await;
        let first = server.connect().await;
        let mut second = server.connect().await;
        second.write_all(&get("/healthz", "")).await.expect("sent");
        let waiting = tokio::spawn(async move { read(&mut second).await });
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.expect("no panic").starts_with("HTTP/1.1 200 "));
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
        let service = service(gate, routes, Arc::default(), "127.0.0.1:9".parse().expect("an address"));
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
}
