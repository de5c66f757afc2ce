//! One connection that sends a request, reads the answer whole, and checks it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Failure;
use crate::servers::{FIRST_PERSON, ORIGIN};

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

/// A connection that is kept alive.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// Returns a request as a browser's script sends it.
pub(crate) fn request(
    method: Method,
    target: &str,
    cookie: &str,
    from: u32,
) -> Result<Request<Full<Bytes>>, Failure> {
    let [_, a, b, c] = from.to_be_bytes();
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost:3001")
        .header("accept", "application/json")
        // Each person comes from an address of their own: what one address may do is limited.
        .header("x-forwarded-for", format!("10.{a}.{b}.{c}"));
    if !cookie.is_empty() {
        request = request.header("cookie", cookie);
    }
    Ok(request.body(Full::new(Bytes::new()))?)
}

/// Returns the question that a proxy asks about a request of that person.
pub(crate) fn question(cookie: &str, from: u32) -> Result<Request<Full<Bytes>>, Failure> {
    let mut question = request(Method::GET, "/auth/forward", cookie, from)?;
    for (name, value) in [
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "localhost"),
        ("x-forwarded-uri", "/wiki/page?x=1"),
        ("x-forwarded-method", "GET"),
    ] {
        question.headers_mut().insert(name, value.parse()?);
    }
    Ok(question)
}

/// Signs a person in, from the login to the callback, and returns the cookies.
pub(crate) async fn sign_in(
    doorbook: &mut Connection,
    discord: &mut Connection,
    person: usize,
) -> Result<String, Failure> {
    let from = u32::try_from(person)?;
    let begun = doorbook.send(navigation("/api/auth/discord/login", "", from)?).await?;
    expect(&begun, StatusCode::FOUND)?;
    let attempt = cookie(&begun, "doorbook-login-")?;
    let authorize = url::Url::parse(location(&begun)?)?;

    let form = format!("user={}&decision=authorize", FIRST_PERSON + person as u64);
    let consent = Request::builder()
        .method(Method::POST)
        .uri(&authorize[url::Position::BeforePath..])
        .header("host", "discord.local")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form)))?;
    let consented = discord.send(consent).await?;
    expect(&consented, StatusCode::SEE_OTHER)?;

    let callback = location(&consented)?.strip_prefix(ORIGIN).ok_or("discord sends the browser elsewhere")?;
    let landed = doorbook.send(navigation(callback, &attempt, from)?).await?;
    expect(&landed, StatusCode::SEE_OTHER)?;
    Ok(format!("{}; {}", cookie(&landed, "doorbook=")?, cookie(&landed, "doorbook-app=")?))
}

fn navigation(target: &str, cookie: &str, from: u32) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = request(Method::GET, target, cookie, from)?;
    request.headers_mut().insert("accept", "text/html".parse()?);
    request.headers_mut().insert("sec-fetch-mode", "navigate".parse()?);
    Ok(request)
}

/// Fails unless the answer has that status.
pub(crate) fn expect(answer: &Answer, status: StatusCode) -> Result<(), Failure> {
    if answer.status == status {
        return Ok(());
    }
    Err(format!(
        "{status} was expected, and this came: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    )
    .into())
}

fn location(answer: &Answer) -> Result<&str, Failure> {
    Ok(answer.headers.get("location").ok_or("no location")?.to_str()?)
}

fn cookie(answer: &Answer, begins_with: &str) -> Result<String, Failure> {
    answer
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find(|value| value.starts_with(begins_with))
        .and_then(|value| value.split(';').next())
        .map(str::to_owned)
        .ok_or_else(|| format!("no cookie {begins_with}").into())
}
