//! Takes connections and answers their requests, within limits that warp's own loop does not have.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::Gate;
use super::problem::Problem;
use super::reply::{self, Asked};
use super::request::{Numbered, Peer};
use crate::domain::id::RequestId;

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
    let settings = gate.settings.listen.clone();
    let routes = super::routes(&gate);
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
                if let Either::Right(_) = select(gate.clock.sleep(BACK_OFF), shutdown.as_mut()).await {
                    break;
                }
                continue;
            }
        };
        // Small answers are sent at once.
        let _ = stream.set_nodelay(true);
        let service = service(gate.clone(), routes.clone(), peer);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_time)
            .max_buf_size(settings.header_bytes)
            .serve_connection(TokioIo::new(stream), service);
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
    match select(pin!(graceful.shutdown()), gate.clock.sleep(settings.drain)).await {
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
    peer: SocketAddr,
) -> impl Service<
    Request<Incoming>,
    Response = Response,
    Error = Infallible,
    Future = impl Future<Output = Result<Response, Infallible>> + Send,
> {
    let filters = TowerToHyperService::new(warp::service(routes));
    service_fn(move |mut request: Request<Incoming>| {
        let (gate, filters) = (gate.clone(), filters.clone());
        async move {
            let id = RequestId(gate.entropy.draw());
            request.extensions_mut().insert(Peer(peer));
            request.extensions_mut().insert(Numbered(id));
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let asked =
                Asked::new(id, &method, uri.path(), uri.query().unwrap_or_default(), request.headers());
            let answer = AssertUnwindSafe(async { filters.call(request).await }).catch_unwind().await;
            answer.unwrap_or_else(|_| {
                Ok(reply::finish(&gate.settings, &asked, Err(Problem::Internal { request: id }.into())))
            })
        }
    })
}
