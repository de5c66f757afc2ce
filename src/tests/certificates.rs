//! Discord behind TLS: a certificate that the machine does not trust ends a call before anything is said.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::harness::{House, MARISOL, Process, QUIETFOX};

/// Signed by itself, for 127.0.0.1 and for no name; what is trusted is said to the program by `SSL_CERT_FILE`.
const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tls/loopback-cert.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tls/loopback-key.pem");
/// Another one.
const OTHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tls/cert.pem");

/// What speaks TLS before the stand-in, and passes on what it hears.
struct Front {
    port: u16,
    /// How each handshake ended.
    handshakes: mpsc::UnboundedReceiver<Result<(), String>>,
}

impl Front {
    async fn before(discord: SocketAddr) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (told, handshakes) = mpsc::unbounded_channel();
        let certificate = CertificateDer::from_pem_file(OURS).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(KEY).expect("its key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("they belong together")));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, told) = (acceptor.clone(), told.clone());
                tokio::spawn(async move {
                    let shaken = acceptor.accept(stream).await;
                    let _ = told.send(shaken.as_ref().map(drop).map_err(ToString::to_string));
                    let Ok(mut stream) = shaken else { return };
                    let mut onward = TcpStream::connect(discord).await.expect("the stand-in is there");
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
                });
            }
        });
        Front { port, handshakes }
    }

    /// Forgets how handshakes have ended so far.
    fn forget(&mut self) {
        while self.handshakes.try_recv().is_ok() {}
    }

    /// Returns how the next handshakes have ended.
    async fn next(&mut self, count: usize) -> Vec<Result<(), String>> {
        let mut ended = Vec::new();
        while ended.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(30), self.handshakes.recv()).await;
            ended.push(next.expect("somebody calls").expect("it listens"));
        }
        ended
    }
}

/// Starts doorbook on a machine that trusts one certificate, with Discord at that host.
async fn serve(house: &House, trusted: &str, host: &str, port: u16) -> Process {
    let api = format!("https://{host}:{port}/api/v10");
    let env = [("SSL_CERT_FILE", trusted), ("DISCORD_API_URL", &api)];
    let mut process = Process::spawn(house, &["serve"], &env);
    process.ready().await;
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_ends_every_call_to_discord_before_a_secret_is_sent() {
    let house = House::for_processes().await;
    let mut front = Front::before(house.discord_address()).await;
    // Where it is trusted, everything goes through.
    let mut process = serve(&house, OURS, "127.0.0.1", front.port).await;
    let marisol = process.signed_in(&house, MARISOL).await;
    let quietfox = process.signed_in(&house, QUIETFOX).await;
    for shaken in front.next(2).await {
        shaken.expect("the first two go on");
    }
    process.terminate().await;
    house.discord().forget_requests();

    let cases = [
        ("signed by nobody who is trusted", OTHER, "127.0.0.1", "UnknownCA", marisol),
        ("of somebody else", OURS, "localhost", "BadCertificate", quietfox),
    ];
    for (why, trusted, host, alert, someone) in cases {
        let mut process = serve(&house, trusted, host, front.port).await;
        front.forget();
        // Neither the code with our secret,
        let mut browser = process.browser();
        let begun = browser.begin("/api/auth/discord/login").await;
        let callback = browser.authorize(house.discord(), &begun, MARISOL).await;
        let landed = browser.send("GET", &callback, &[("Accept", "application/json")], "").await;
        assert_eq!((landed.status, landed.code().as_str()), (502, "discord_unavailable"), "{why}: {landed}");
        assert!(browser.cookies.is_empty(), "{why}: {landed}");
        // nor an access token, however often it is tried,
        let mut someone = process.visited_by(someone.cookies);
        let fresh = someone.fetch("GET", "/api/auth/user?fresh=1").await;
        assert_eq!((fresh.status, &fresh.json()["stale"]), (200, &true.into()), "{why}: {fresh}");
        // nor a refresh token leaves.
        let refreshed = someone.fetch("POST", "/api/auth/refresh").await;
        assert_eq!(
            (refreshed.status, refreshed.code().as_str()),
            (502, "discord_unavailable"),
            "{refreshed}"
        );
        for shaken in front.next(1 + 3 + 1).await {
            let error = shaken.expect_err("nobody goes on");
            assert!(error.contains(alert), "{why}: {error}");
        }
        assert_eq!(house.discord().requests().total, 0, "{why}: nothing has come through");
        let said = process.said("err");
        assert!(said.contains("invalid peer certificate"), "{why}: whoever looks is told so: {said}");
        // And who was signed in still is.
        assert_eq!(someone.fetch("GET", "/api/auth/user").await.status, 200, "{why}");
        process.terminate().await;
    }
}
