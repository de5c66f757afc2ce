//! What Discord sends by itself: that somebody removed an application, signed, until somebody takes it.
//!
//! The key signs nothing of worth: everybody has it, because it stands here.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::people::id;
use super::{Shared, lock};
use crate::domain::id::DiscordId;

/// The secret half of the key.
const SEED: &[u8; 32] = b"the stand-in signs; nobody cares";

/// How often an event is sent that nobody takes, with a wait in between that doubles from a second on.
const TRIES: u32 = 6;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many are remembered.
const KEPT: usize = 1_000;

/// An event that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// About whom.
    #[serde(with = "id")]
    pub user: DiscordId,
    /// What was answered; none where nobody answered.
    pub status: Option<u16>,
    /// How often it was sent.
    pub tries: u32,
}

/// Where events go, and which have gone.
#[derive(Debug)]
pub(super) struct Post {
    url: std::sync::Mutex<Option<String>>,
    sent: watch::Sender<Vec<Sent>>,
}

impl Post {
    pub(super) fn new() -> Post {
        Post { url: std::sync::Mutex::default(), sent: watch::Sender::new(Vec::new()) }
    }

    pub(super) fn set_url(&self, url: Option<String>) {
        *lock(&self.url) = url;
    }

    pub(super) fn sent(&self) -> watch::Receiver<Vec<Sent>> {
        self.sent.subscribe()
    }
}

/// Returns the public half of the key, in hexadecimal digits.
pub fn public_key() -> String {
    hex::encode(SigningKey::from_bytes(SEED).verifying_key().as_bytes())
}

/// Signs a body as of a moment in seconds; returns the signature in hexadecimal digits.
pub fn sign(timestamp: &str, body: &str) -> String {
    let message = [timestamp.as_bytes(), body.as_bytes()].concat();
    hex::encode(SigningKey::from_bytes(SEED).sign(&message).to_bytes())
}

/// Tells an application that somebody removed it, if it wants to be told.
pub(super) fn tell_deauthorized(shared: &Arc<Shared>, application: DiscordId, user: DiscordId) {
    let Some(url) = lock(&shared.post.url).clone() else { return };
    let person = shared.world().person(user).map(|person| person.partial_user());
    let now = jiff::Timestamp::from_millisecond(shared.clock.now().0).unwrap_or(jiff::Timestamp::MAX);
    let body = json!({
        "version": 1,
        "application_id": application.to_string(),
        "type": 1,
        "event": {
            "type": "APPLICATION_DEAUTHORIZED",
            "timestamp": now.strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string(),
            "data": { "user": person.unwrap_or_else(|| json!({ "id": user.to_string() })) },
        },
    });
    let shared = Arc::clone(shared);
    tokio::spawn(async move { deliver(&shared, &url, user, &body).await });
}

/// Sends until it is taken, or often enough; each try is signed anew.
async fn deliver(shared: &Shared, url: &str, user: DiscordId, body: &Value) {
    let body = body.to_string();
    let (mut status, mut tries) = (None, 0);
    while tries < TRIES {
        if tries > 0 {
            shared.clock.sleep(Duration::from_secs(1 << (tries - 1))).await;
        }
        tries += 1;
        status = send(shared, url, &body).await;
        if status.is_some_and(|status| (200..300).contains(&status)) {
            break;
        }
    }
    shared.post.sent.send_modify(|sent| {
        sent.push(Sent { user, status, tries });
        let excess = sent.len().saturating_sub(KEPT);
        sent.drain(..excess);
    });
}

async fn send(shared: &Shared, url: &str, body: &str) -> Option<u16> {
    let timestamp = (shared.clock.now().0 / 1_000).to_string();
    // It speaks to this machine, where there is nothing to verify.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build().ok()?;
    let request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header("X-Signature-Ed25519", sign(&timestamp, body))
        .header("X-Signature-Timestamp", timestamp)
        .body(body.to_owned());
    match request.send().await {
        Ok(answer) => Some(answer.status().as_u16()),
        Err(error) => {
            tracing::debug!(%error, "an event of the Discord stand-in was not taken");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::testing::{MARISOL, QUIETFOX, Stage};
    use super::*;
    use crate::discord::webhook::{Notice, PublicKey, read};
    use crate::domain::time::Timestamp;

    /// Takes so many events, answering each with the next status; returns them as they came.
    async fn listen(statuses: &'static [u16]) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/discord/webhook", listener.local_addr().expect("an address"));
        let heard = tokio::spawn(async move {
            let mut heard = Vec::new();
            for status in statuses {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let (mut text, mut bytes) = (String::new(), [0; 4096]);
                while !text.ends_with("\"version\":1}") {
                    let read = stream.read(&mut bytes).await.expect("a request");
                    text.push_str(&String::from_utf8_lossy(&bytes[..read]));
                }
                let answer = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("it listens");
                heard.push(text);
            }
            heard
        });
        (url, heard)
    }

    #[tokio::test]
    async fn who_removes_the_application_is_told_of_until_somebody_takes_it() {
        let stage = Stage::new().await;
        let control = stage.stand_in.control();
        let (url, heard) = listen(&[503, 204]).await;
        control.tell(Some(url));
        stage.sign_in(MARISOL, "identify").await;
        assert!(!control.deauthorize(QUIETFOX).await.expect("stores"), "who granted nothing removes nothing");
        assert!(control.deauthorize(MARISOL).await.expect("stores"));
        let told = tokio::spawn({
            let control = control.clone();
            async move { control.told(1).await }
        });
        while !told.is_finished() {
            stage.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        let told = told.await.expect("told");
        assert_eq!(told, [Sent { user: MARISOL, status: Some(204), tries: 2 }]);

        let key: [u8; 32] = hex::decode(public_key()).expect("hex").try_into().expect("32 bytes");
        let key = PublicKey::new(&key).expect("a key");
        for request in heard.await.expect("heard") {
            let (head, body) = request.split_once("\r\n\r\n").expect("a body");
            let header = |name: &str| {
                let line = head.lines().find_map(|line| line.strip_prefix(name)).expect("a header");
                line.trim_start_matches(": ").to_owned()
            };
            let timestamp = header("x-signature-timestamp");
            assert!(key.has_signed(&header("x-signature-ed25519"), &timestamp, body.as_bytes()));
            let at = Some(Timestamp(1_770_091_506_789));
            let application = super::super::testing::CLIENT.parse().expect("an id");
            let expected = Notice::Deauthorized { application, user: MARISOL, at };
            assert_eq!(read(body.as_bytes()), Some(expected));
        }
    }
}
