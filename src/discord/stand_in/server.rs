//! The socket: takes connections, reads requests whole, and sends answers as fast, slow or broken as asked.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::header::{CONTENT_LENGTH, USER_AGENT};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::call::{Call, Place};
use super::limits::cloudflare_limit;
use super::play::{Broken, Delivery, play};
use super::reply::Reply;
use super::{Shared, authorize, avatar, control_endpoint, lock, page, resource, revoke, token};

/// The largest body that is read.
const BODY_LIMIT: usize = 64 * 1024;

/// How many connections are held at once; more wait to be accepted.
const CONNECTIONS: usize = 4_096;

/// The size of the answer that never seems to end.
const HUGE: usize = 50 * 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Serves until it is dropped; the connections end with it.
pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                connections.spawn(converse(Arc::clone(&shared), stream, peer.ip()));
            }
            Err(error) => {
                tracing::warn!(%error, "Discord stand-in could not accept a connection");
                shared.clock.sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(shared: Arc<Shared>, stream: TcpStream, peer: IpAddr) {
    let reset = Reset::default();
    let wire = Wire { stream, reset: reset.clone() };
    let service = service_fn(move |request| answer(Arc::clone(&shared), peer, reset.clone(), request));
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(wire), service);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "connection to the Discord stand-in ended early");
    }
}

/// Answers one request, or breaks the connection.
async fn answer(
    shared: Arc<Shared>,
    peer: IpAddr,
    reset: Reset,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, Broken> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Ok(whole(Reply::api_status(StatusCode::PAYLOAD_TOO_LARGE)));
        }
        Err(_) => return Err(Broken::Closed),
    };
    let call = Call::new(parts.method, &parts.uri, parts.headers, body);
    if let Place::Control(what) = &call.place {
        return Ok(whole(control_endpoint::answer(&shared, &call, what).await));
    }
    let noted = shared.notebook.begin(call.masked(&shared));
    if let Some(left) = lock(&shared.traffic).banned(peer, shared.clock.monotonic()) {
        let tells = shared.world().switches.ban_tells_how_long.then(|| left.as_secs());
        let reply = cloudflare_limit(tells);
        shared.notebook.finish(noted, Some(reply.status.as_u16()), "banned".into());
        return Ok(whole(reply));
    }
    let fault = lock(&shared.faults).take(call.route());
    let played = match fault {
        Some(fault) => play(&shared, &call, &fault).await,
        None => Ok((handle(&shared, &call).await, Delivery::Whole)),
    };
    let (reply, delivery) = match played {
        Ok(played) => played,
        Err(broken) => {
            shared.notebook.finish(noted, None, broken.to_string());
            if broken == Broken::Reset {
                reset.ask();
            }
            return Err(broken);
        }
    };
    if matches!(reply.status.as_u16(), 401 | 403 | 429) && reply.outcome != "rate_limited_shared" {
        let switches = shared.world().switches.clone();
        lock(&shared.traffic).count_refusal(peer, &switches, shared.clock.monotonic());
    }
    shared.notebook.finish(noted, Some(reply.status.as_u16()), reply.outcome.clone());
    Ok(deliver(&shared, reply, delivery, reset))
}

/// Returns the right answer, with all its effects stored.
pub(super) async fn handle(shared: &Arc<Shared>, call: &Call) -> Reply {
    let reply = match call.place {
        Place::Authorize => authorize::answer(shared, call),
        Place::Avatar => avatar::answer(shared, call),
        Place::Front => page::front(shared),
        Place::Style => page::style(),
        _ => api(shared, call),
    };
    match shared.save().await {
        Ok(()) => reply,
        Err(error) => {
            tracing::error!(
                error = &error as &(dyn std::error::Error + 'static),
                "Discord stand-in could not store its grants"
            );
            Reply::api_status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn api(shared: &Arc<Shared>, call: &Call) -> Reply {
    let switches = shared.world().switches.clone();
    let known = call.header(&USER_AGENT).is_some_and(|agent| agent.starts_with("DiscordBot ("));
    if switches.require_user_agent && !known && call.path.starts_with("/api/") {
        return Reply::api_error(StatusCode::FORBIDDEN, "internal network error", 40333).named("user_agent");
    }
    let route = call.route();
    let standing = switches
        .limits
        .get(&route)
        .map(|limit| lock(&shared.traffic).take(route, call.caller(), *limit, shared.clock.monotonic()));
    if let Some(standing) = &standing
        && let Some(wait) = standing.wait
    {
        return standing.refusal(wait, call.milliseconds, shared.clock.now());
    }
    let reply = match call.place {
        Place::Token => token::answer(shared, call),
        Place::Revoke => revoke::answer(shared, call),
        Place::Me | Place::Member(_) | Place::Authorization => resource::answer(shared, call),
        Place::GoneVersion => Reply::api_error(StatusCode::BAD_REQUEST, "Invalid API version", 50041),
        _ => Reply::api_status(StatusCode::NOT_FOUND),
    };
    match standing {
        Some(standing) => standing.on(reply, shared.clock.now()),
        None => reply,
    }
}

fn whole(reply: Reply) -> Response<Body> {
    response(reply.status, reply.headers, Full::new(reply.body).map_err(infallible).boxed_unsync())
}

fn deliver(shared: &Shared, mut reply: Reply, delivery: Delivery, reset: Reset) -> Response<Body> {
    let body = reply.body.clone();
    let clock = Arc::clone(&shared.clock);
    let length = body.len();
    let streamed = match delivery {
        Delivery::Whole => return whole(reply),
        Delivery::BodyAfter(wait) => streamed(stream::once(async move {
            clock.sleep(wait).await;
            Ok(body)
        })),
        Delivery::OneByteASecond => streamed(stream::iter(0..length).then(move |at| {
            let (byte, second) = (body.slice(at..=at), clock.sleep(Duration::from_secs(1)));
            async move {
                second.await;
                Ok(byte)
            }
        })),
        Delivery::ResetMidBody => {
            let half = stream::once(async move { Ok(body.slice(..length / 2)) });
            streamed(half.chain(stream::once(async move {
                // Lets the half that is written go out before the end.
                tokio::task::yield_now().await;
                reset.ask();
                Err(io::ErrorKind::ConnectionReset.into())
            })))
        }
        Delivery::Huge => {
            let filling = Bytes::from(vec![b'a'; BODY_LIMIT]);
            let start = Bytes::from_static(b"{\"id\": \"1\", \"access_token\": \"");
            let end = Bytes::from_static(b"\"}");
            let middle = stream::iter((0..HUGE / BODY_LIMIT).map(move |_| filling.clone()));
            let all = stream::iter([start]).chain(middle).chain(stream::iter([end]));
            return response(reply.status, reply.headers, streamed(all.map(Ok)));
        }
    };
    reply.headers.insert(CONTENT_LENGTH, length.into());
    response(reply.status, reply.headers, streamed)
}

fn streamed(chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync()
}

fn response(status: StatusCode, headers: http::HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn infallible(never: Infallible) -> io::Error {
    match never {}
}

/// Asks for a connection to end with a reset instead of a farewell.
#[derive(Clone, Debug, Default)]
struct Reset(Arc<AtomicBool>);

impl Reset {
    fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A connection that can end with a reset.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    reset: Reset,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.0.load(Ordering::Acquire) {
            // Without it the connection merely closes, which is a fault too.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.0.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
