//! What happens to every request on its way to its handler, and to every answer on its way back.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt, pin_mut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};
use warp::reply::Response;

use super::front::Gate;
use super::problem::Problem;
use super::query::Query;
use super::reply::{self, Answer};
use super::request::{self, Head, Request};
use super::{Found, Handler, find, unmatched};
use crate::domain::event::{Learned, Origin};

/// Reads the rest of a request and answers it.
pub(super) async fn exchange<B: Buf, E>(
    gate: &Arc<Gate>,
    head: &Arc<Head>,
    body: impl Stream<Item = Result<B, E>>,
) -> Response {
    let answer = answer(gate, head, body).await;
    let response = reply::finish(&gate.settings, head, answer);
    tracing::debug!(request = %head.id, status = response.status().as_u16(), "answered a request");
    response
}

/// Puts everything that every handler relies on before the handler.
async fn answer<B: Buf, E>(
    gate: &Arc<Gate>,
    head: &Arc<Head>,
    body: impl Stream<Item = Result<B, E>>,
) -> Answer {
    let Some(Found { row, handler, params }) = find(head) else {
        return unmatched(gate, head);
    };
    let handler = match handler {
        // A body is not waited for: some proxies announce one and send none.
        Handler::Proxy(handler) => return Ok(after_a_body(&head.headers, handler(gate, head))),
        Handler::Early(handler) => {
            read_body(gate, &head.headers, body, Keep::Nothing).await?;
            return handler(gate);
        }
        Handler::Signed(handler) => {
            let body = read_body(gate, &head.headers, body, Keep::All).await?;
            let request = request(gate, head, params);
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
        return Ok(reply::found(&format!("{}{}", site.own(), head.path_and_query())));
    }
    let request = request(gate, head, params);
    if !request.method.is_safe() && !request.is_from_this_site(site) {
        return Err(Problem::CrossSiteRequest.into());
    }
    let front = gate.front().ok_or(Problem::NotReady)?;
    let answer = handler(front.clone(), request).await;
    answer.map_err(|mut refused| {
        // What a process that ends breaks off, because its log has failed, may have been recorded and is no defect.
        if matches!(refused.problem, Problem::Internal) && !front.app.log_is_available() {
            refused.problem = Problem::LogUnavailable;
        }
        refused
    })
}

/// Ends the connection after an answer to a request whose body was not read: what follows on it may be that body.
fn after_a_body(headers: &HeaderMap, mut response: Response) -> Response {
    let announced = headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0");
    if announced || headers.contains_key(TRANSFER_ENCODING) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn request(gate: &Gate, head: &Arc<Head>, params: Vec<String>) -> Request {
    let trusted = &gate.settings.trusted_proxies;
    let address = head.peer.map(|peer| request::client_address(peer.ip(), &head.headers, trusted));
    let client = Origin {
        ip: address.map(|(ip, _)| ip),
        learned: address.map_or(Learned::Other, |(_, learned)| learned),
        user_agent: request::user_agent(&head.headers),
    };
    Request { head: head.clone(), params, query: Query::parse(head.query()), client }
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
    // On its own in memory: what every request needs is much smaller without it.
    let read = Box::pin(async {
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
    });
    match select(read, gate.clock.sleep(BODY_TIME)).await {
        Either::Left((read, _)) => read,
        Either::Right(_) => Err(Problem::BadRequest),
    }
}
