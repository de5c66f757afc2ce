//! A person somewhere on the internet: a browser with a jar of cookies, and TLS as far as the proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use crate::harness::Exchange;

/// The headers of somebody who opens a page.
pub const NAVIGATION: [(&str, &str); 2] = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")];
/// The headers of a script.
pub const FETCH: [(&str, &str); 2] = [("Accept", "application/json"), ("Sec-Fetch-Mode", "cors")];
/// The headers of a socket that is to be opened.
pub const WEBSOCKET: [(&str, &str); 5] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "ZG9vcmJvb2sgZG9vcmJvb2s="),
    ("Sec-Fetch-Mode", "websocket"),
];

/// A browser; every host is behind one proxy.
#[derive(Clone)]
pub struct Visitor {
    proxy: SocketAddr,
    jar: Vec<Cookie>,
    tls: TlsConnector,
}

/// A cookie, as a browser keeps it.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    domain: String,
    host_only: bool,
}

impl Visitor {
    /// Somebody who has never been here.
    pub fn of(proxy: SocketAddr) -> Visitor {
        let config = ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        Visitor { proxy, jar: vec![], tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Opens a page.
    pub async fn open(&mut self, url: &str) -> Exchange {
        self.send("GET", url, &NAVIGATION, "").await
    }

    /// Asks as a script does.
    pub async fn fetch(&mut self, url: &str) -> Exchange {
        self.send("GET", url, &FETCH, "").await
    }

    /// Sends a request with this browser's cookies, and keeps those that come back.
    pub async fn send(&mut self, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Exchange {
        let parsed = Url::parse(url).expect("a URL");
        assert_eq!((parsed.scheme(), parsed.port()), ("https", None), "{url}");
        let host = parsed.host_str().expect("a host").to_owned();
        // As it stands, since the parser tidies paths up.
        let target = url["https://".len()..].strip_prefix(&host).expect("nothing before the host");
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        if !headers.iter().any(|(name, _)| *name == "Connection") {
            request.push_str("Connection: close\r\n");
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let cookies = self.cookies(&host);
        if !cookies.is_empty() {
            request.push_str(&format!("Cookie: {cookies}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str(&format!("\r\n{body}"));
        let answer = self.raw(&host, &request).await;
        self.keep(&host, &answer);
        answer
    }

    /// Sends bytes to the site of that name, and reads one answer.
    pub async fn raw(&self, site: &str, request: &str) -> Exchange {
        let mut stream = self.connect(site).await;
        stream.write_all(request.as_bytes()).await.expect("it takes the request");
        read_answer(&mut stream).await
    }

    /// Opens a connection to the site of that name.
    pub async fn connect(&self, site: &str) -> TlsStream<TcpStream> {
        self.try_connect(site).await.expect("the proxy listens, and shows a certificate")
    }

    /// Opens a connection to the site of that name, if the proxy can already.
    pub async fn try_connect(&self, site: &str) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.proxy).await?;
        let name = ServerName::try_from(site.to_owned()).expect("a name");
        self.tls.connect(name, tcp).await
    }

    /// Returns the cookies for a host, as they are sent.
    pub fn cookies(&self, host: &str) -> String {
        let sent = self.jar.iter().filter(|cookie| cookie.is_for(host));
        let pairs: Vec<String> = sent.map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        pairs.join("; ")
    }

    /// Returns the cookie of that name for that host.
    pub fn cookie(&self, host: &str, name: &str) -> Option<&Cookie> {
        self.jar.iter().find(|cookie| cookie.name == name && cookie.is_for(host))
    }

    /// Puts a cookie there by hand.
    pub fn put(&mut self, host: &str, name: &str, value: &str) {
        let (name, value, domain) = (name.to_owned(), value.to_owned(), host.to_owned());
        self.jar.push(Cookie { name, value, domain, host_only: true });
    }

    fn keep(&mut self, host: &str, answer: &Exchange) {
        for (_, text) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let mut parts = text.split("; ");
            let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a name");
            let attributes: Vec<&str> = parts.collect();
            let domain = attributes.iter().find_map(|attribute| attribute.strip_prefix("Domain="));
            assert!(attributes.contains(&"Secure") && attributes.contains(&"HttpOnly"), "{text}");
            if name.starts_with("__Host-") {
                assert!(domain.is_none() && attributes.contains(&"Path=/"), "no browser takes {text}");
            }
            let cookie = Cookie {
                name: name.to_owned(),
                value: value.to_owned(),
                domain: domain.unwrap_or(host).to_owned(),
                host_only: domain.is_none(),
            };
            assert!(cookie.is_for(host), "no browser takes {text} from {host}");
            self.jar.retain(|old| (&old.name, &old.domain) != (&cookie.name, &cookie.domain));
            if !attributes.contains(&"Max-Age=0") {
                self.jar.push(cookie);
            }
        }
    }
}

impl Cookie {
    fn is_for(&self, host: &str) -> bool {
        host == self.domain
            || (!self.host_only && host.strip_suffix(&self.domain).is_some_and(|below| below.ends_with('.')))
    }
}

/// Reads one answer: as long as it says, or until the proxy closes; 30 s at most.
pub async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Exchange {
    let reading = async {
        let mut bytes = Vec::new();
        loop {
            if let Some(exchange) = whole(&bytes) {
                return exchange;
            }
            // Some close without saying so.
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return Exchange::read(&bytes);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading).await.expect("an answer in time")
}

/// Returns the answer if it says how long it is, and is that long.
fn whole(bytes: &[u8]) -> Option<Exchange> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let exchange = Exchange::read(&bytes[..head]);
    let length: usize = exchange.header("content-length")?.parse().expect("a length");
    (bytes.len() >= head + length).then(|| Exchange::read(&bytes[..head + length]))
}

/// Takes any certificate: whose it is is not what these stories are about.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
