//! Takes connections and answers their requests, within limits that warp's own loop does not have.

mod arriving;
mod patience;
mod places;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::{HeaderValue, Method, Request, Version};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::net::{TcpListener, TcpStream};
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::Gate;
use super::problem::Problem;
use super::reply;
use super::request::{Head, Single, single};
use crate::app::network;
use crate::domain::id::RequestId;
use crate::domain::time::Timestamp;
use arriving::Arriving;
use patience::Patient;
pub use places::Seat;
use places::{Places, TooMany};

/// How connections are taken.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many at once; for the next one, the one goes that has waited longest for its client.
    pub connections: usize,
    /// How many of them one address may have that is no trusted proxy (IPv4, or IPv6 /64).
    pub connections_of_one: usize,
    /// How long the headers of a request may take.
    pub header_time: Duration,
    /// The most bytes of headers, and of what is read ahead.
    pub header_bytes: usize,
    /// How long a client may take to take what it was sent.
    pub write_time: Duration,
    /// How long requests may go on after the signal to stop.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            connections: 4_096,
            connections_of_one: 256,
            header_time: Duration::from_secs(10),
            header_bytes: 16 * 1_024,
            write_time: Duration::from_secs(30),
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
    let (routes, date) = (super::routes(&gate), Arc::new(Date::default()));
    let service = |peer, seat| service(gate.clone(), routes.clone(), date.clone(), peer, seat);
    accept_all(listeners, &gate, service, shutdown).await
}

/// The accept loop: takes connections and has each answered by a service of its own, within the limits of the gate.
///
/// Returns whether all requests under way finished after `shutdown`.
pub async fn accept_all<S, B>(
    listeners: Vec<TcpListener>,
    gate: &Gate,
    service_for: impl Fn(SocketAddr, Arc<Seat>) -> S,
    shutdown: impl Future<Output = ()>,
) -> bool
where
    S: Service<Request<Incoming>, Response = http::Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let settings = &gate.settings.listen;
    let graceful = GracefulShutdown::new();
    let places = Places::new(settings.connections, settings.connections_of_one);
    let mut turn = 0;
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = match select(pin!(accept(&listeners, &mut turn)), shutdown.as_mut()).await {
            Either::Left((accepted, _)) => accepted,
            Either::Right(_) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                if gate.said.is_due("accept") {
                    tracing::warn!(%error, "no connection can be taken at the moment");
                }
                if let Either::Right(_) = select(gate.clock.sleep(BACK_OFF), shutdown.as_mut()).await {
                    break;
                }
                continue;
            }
        };
        let place = match select(pin!(places.take(stranger(gate, peer))), shutdown.as_mut()).await {
            Either::Left((Ok(place), _)) => place,
            Either::Left((Err(TooMany), _)) => {
                turn_away(gate, stream);
                continue;
            }
            Either::Right(_) => break,
        };
        // Small answers are sent at once.
        let _ = stream.set_nodelay(true);
        let service = service_for(peer, place.seat().clone());
        let stream = Patient::new(stream, place.seat().clone(), gate.clock.clone(), settings.write_time);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // `Date` is ours, from the clock that was passed in.
            .auto_date_header(false)
            .header_read_timeout(settings.header_time)
            .max_buf_size(settings.header_bytes)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            {
                let (connection, leaves) = (pin!(connection), pin!(place.seat().has_to_leave()));
                // Whatever broke, it was the connection: nobody is left to be told.
                let _ = select(connection, leaves).await;
            }
            // Not before the connection is gone.
            drop(place);
        });
    }
    drop(listeners);
    let open = graceful.count();
    tracing::info!(connections = open, "stopping: no new connections are taken");
    match select(pin!(graceful.shutdown()), gate.clock.sleep(settings.drain)).await {
        Either::Left(_) => true,
        Either::Right(_) => {
            tracing::warn!("stopping although some requests are not answered yet");
            false
        }
    }
}

/// Waits for a connection on any of the listeners; they take turns, so that none is drowned by another.
async fn accept(listeners: &[TcpListener], turn: &mut usize) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        for _ in listeners {
            *turn = (*turn + 1) % listeners.len();
            let accepted = listeners.get(*turn).map(|listener| listener.poll_accept(context));
            if let Some(Poll::Ready(accepted)) = accepted {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// Returns what a client counts as that is no trusted proxy: those bring many people.
fn stranger(gate: &Gate, peer: SocketAddr) -> Option<IpAddr> {
    let address = peer.ip().to_canonical();
    let is_trusted = gate.settings.trusted_proxies.iter().any(|net| net.contains(&address));
    (!is_trusted).then(|| network(address))
}

/// Refuses a connection of an address that has too many.
fn turn_away(gate: &Gate, stream: TcpStream) {
    const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\n\
        Content-Length: 0\r\n\r\n";
    if gate.said.is_due("turned away") {
        tracing::warn!("an address that is no trusted proxy has as many connections as one may have");
    }
    // It fits into a socket that nothing was sent on, and whoever does not want it need not have it.
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(TOO_MANY);
    }
}

/// Returns whether the failure concerns a connection that is gone, and not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Answers the requests of one connection: numbers each, from a random number on, says where it comes from, and survives its handler.
fn service(
    gate: Arc<Gate>,
    routes: BoxedFilter<(Response,)>,
    date: Arc<Date>,
    peer: SocketAddr,
    seat: Arc<Seat>,
) -> impl Service<
    Request<Incoming>,
    Response = Response,
    Error = Infallible,
    Future = impl Future<Output = Result<Response, Infallible>> + Send,
> {
    let filters = TowerToHyperService::new(warp::service(routes));
    let next_id = Cell::new(u128::from_be_bytes(gate.entropy.draw()));
    service_fn(move |mut request: Request<Incoming>| {
        let id = RequestId(next_id.replace(next_id.get().wrapping_add(1)).to_be_bytes());
        let (gate, filters, date, seat) = (gate.clone(), filters.clone(), date.clone(), seat.clone());
        async move {
            let is_addressed = is_addressed(&request);
            let head = Head::take(id, Some(peer), &mut request);
            let answer = if is_addressed {
                let request = request.map(|body| Arriving::new(body, seat.clone()));
                let answer = AssertUnwindSafe(async { filters.call(request).await }).catch_unwind().await;
                seat.answered();
                answer.unwrap_or_else(|_| {
                    Ok(reply::finish(&gate.settings, &head, Err(Problem::Internal.into())))
                })
            } else {
                let mut refused = reply::finish(&gate.settings, &head, Err(Problem::BadRequest.into()));
                refused.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
                Ok(refused)
            };
            answer.map(|mut response| {
                if let Some(date) = date.at(gate.clock.now()) {
                    response.headers_mut().insert(http::header::DATE, date);
                }
                response
            })
        }
    })
}

/// Returns whether a request says once for whom it is, and is for somebody: a tunnel is for nobody here.
fn is_addressed<B>(request: &Request<B>) -> bool {
    let is_named = match single(request.headers(), "host") {
        Single::Once(_) => true,
        Single::Missing => request.version() < Version::HTTP_11,
        Single::Malformed => false,
    };
    is_named && request.method() != Method::CONNECT
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
mod tests;
