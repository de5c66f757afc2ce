//! A guarded app: it answers every request with what it got, as it got it, and remembers it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The app, until it is dropped.
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Value>>>,
    serving: JoinHandle<()>,
}

impl Echo {
    /// Opens the app on a port of its own.
    pub async fn open() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let got = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&got);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let all = Arc::clone(&all);
                tokio::spawn(async move { answer(stream, &all).await });
            }
        });
        Echo { address, got, serving }
    }

    /// Returns what it got since it was asked last.
    pub fn got(&self) -> Vec<Value> {
        std::mem::take(&mut *self.got.lock().expect("no panic"))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers one request; then the connection is closed.
async fn answer(mut stream: TcpStream, all: &Mutex<Vec<Value>>) {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break String::from_utf8_lossy(&bytes[..end]).into_owned();
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let mut lines = head.split("\r\n");
    let request = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let header = |wanted: &str| {
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value)
    };
    let mut body = bytes.split_off(head.len() + 4);
    let is_chunked = header("transfer-encoding").is_some();
    let length: usize = header("content-length").map_or(0, |length| length.parse().expect("a length"));
    let is_whole = |body: &[u8]| if is_chunked { body.ends_with(b"0\r\n\r\n") } else { body.len() >= length };
    while !is_whole(&body) {
        if stream.read_buf(&mut body).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let body = String::from_utf8_lossy(&body);
    let got = json!({ "request": request, "headers": headers, "body": body });
    let text = format!("{got:#}");
    let reply = if header("upgrade") == Some("websocket") {
        format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n{text}")
    } else {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{text}",
            text.len()
        )
    };
    all.lock().expect("no panic").push(got);
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
