//! What happens to every request on its way to its handler, and to every answer on its way back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt, pin_mut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method};
use ipnet::IpNet;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::reply::Response;

use super::front::Gate;
use super::problem::Problem;
use super::query::Query;
use super::reply::{self, Answer, Asked};
use super::request::{self, Peer, Request};
use super::{Found, Handler, unmatched};
use crate::domain::event::{Learned, Origin};
use crate::domain::id::RequestId;

/// Reads the rest of a request and answers it.
pub(super) fn exchange(gate: &Arc<Gate>, found: BoxedFilter<(Option<Found>,)>) -> BoxedFilter<(Response,)> {
    let gate = gate.clone();
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    found
        .and(warp::method())
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::ext::optional::<Arc<Asked>>())
        .and(warp::body::stream())
        .then(move |found, method, path: FullPath, query: String, headers, peer, asked: Option<Arc<Asked>>, body| {
            let gate = gate.clone();
            async move {
                let path = path.as_str();
                let asked = asked.unwrap_or_else(|| {
                    Arc::new(Asked::new(RequestId(gate.entropy.draw()), &method, path, &query, &headers))
                });
                let head = Head { id: asked.id, method, path: path.to_owned(), query, headers, peer };
                let answer = answer(&gate, &asked, found, head, body).await;
                let response = reply::finish(&gate.settings, &asked, answer);
                tracing::debug!(request = %asked.id, status = response.status().as_u16(), "answered a request");
                response
            }
        })
        .boxed()
}

/// A request but for its body.
pub(super) struct Head {
    pub(super) id: RequestId,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) peer: Option<Peer>,
}

/// Puts everything that every handler relies on before the handler.
async fn answer<B: Buf, E>(
    gate: &Arc<Gate>,
    asked: &Asked,
    found: Option<Found>,
    head: Head,
    body: impl Stream<Item = Result<B, E>>,
) -> Answer {
    let Some(Found { row, handler, params }) = found else {
        return unmatched(gate, asked, &head.method, &head.headers);
    };
    let handler = match handler {
        // A body is not waited for: some proxies announce one and send none.
        Handler::Proxy(handler) => return Ok(after_a_body(&head.headers, handler(gate, &head))),
        Handler::Early(handler) => {
            read_body(gate, &head.headers, body, Keep::Nothing).await?;
            return handler(gate);
        }
        Handler::Signed(handler) => {
            let body = read_body(gate, &head.headers, body, Keep::All).await?;
            let request = head.into_request(gate, params);
            let front = gate.front().ok_or(Problem::NotReady)?;
            return handler(front.clone(), request, body).await;
        }
        Handler::Ready(handler) => handler,
    };
    read_body(gate, &head.headers, body, Keep::Nothing).await?;
    let site = gate.settings.site();
    if row.at_home
        && let Some(host) = head.headers.get(HOST).and_then(|host| host.to_str().ok())
        && site.is_other_loopback(host)
    {
        return Ok(reply::found(&format!("{}{}", site.own(), asked.path_and_query)));
    }
    let request = head.into_request(gate, params);
    if !request.method.is_safe() && !request.is_from_this_site(site) {
        return Err(Problem::CrossSiteRequest.into());
    }
    let front = gate.front().ok_or(Problem::NotReady)?;
    handler(front.clone(), request).await
}

/// Ends the connection after an answer to a request whose body was not read: what follows on it may be that body.
fn after_a_body(headers: &HeaderMap, mut response: Response) -> Response {
    let announced = headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0");
    if announced || headers.contains_key(TRANSFER_ENCODING) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Head {
    fn into_request(self, gate: &Gate, params: Vec<String>) -> Request {
        let client = self.client(&gate.settings.trusted_proxies);
        Request {
            id: self.id,
            method: self.method,
            path: self.path,
            params,
            query: Query::parse(&self.query),
            headers: self.headers,
            client,
        }
    }

    fn client(&self, trusted: &[IpNet]) -> Origin {
        let address = self
            .peer
            .map(|Peer(peer): Peer| request::client_address(SocketAddr::ip(&peer), &self.headers, trusted));
        Origin {
            ip: address.map(|(ip, _)| ip),
            learned: address.map_or(Learned::Other, |(_, learned)| learned),
            user_agent: request::user_agent(&self.headers),
        }
    }
}

/// The most of a body that is read.
const BODY_MAX: usize = 64 * 1024;

/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What is kept of a body. Only the webhook wants one; forms say what they have to say in their address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    All,
    Nothing,
}

/// Reads a body within its limits, however it is framed.
async fn read_body<B: Buf, E>(
    gate: &Gate,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, E>>,
    keep: Keep,
) -> Result<Bytes, Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_MAX as u64) {
        return Err(Problem::BodyTooLarge);
    }
    if length.unwrap_or(0) == 0 && !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(Bytes::new());
    }
    let read = async {
        pin_mut!(body);
        let (mut whole, mut length) = (bytes::BytesMut::new(), 0);
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|_| Problem::BadRequest)?;
            length += chunk.remaining();
            if length > BODY_MAX {
                return Err(Problem::BodyTooLarge);
            }
            if keep == Keep::All {
                whole.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
            }
        }
        Ok(whole.freeze())
    };
    pin_mut!(read);
    match select(read, gate.clock.sleep(BODY_TIME)).await {
        Either::Left((read, _)) => read,
        Either::Right(_) => Err(Problem::BadRequest),
    }
}
