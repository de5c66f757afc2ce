//! A connection that is kept, for those who ask as fast as they can.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A connection that is kept.
pub struct Wire {
    stream: BufReader<TcpStream>,
}

/// What there is to know of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// For example 200.
    pub status: u16,
    /// The seconds that it wants one to wait.
    pub retry_after: Option<u64>,
}

impl Wire {
    /// Connects.
    pub async fn to(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        Wire { stream: BufReader::new(stream) }
    }

    /// Sends a `GET` with these lines of headers, and reads the answer whole.
    pub async fn get(&mut self, target: &str, headers: &str) -> Told {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost:3001\r\n{headers}\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).await.expect("it takes the request");
        self.told().await
    }

    /// Reads an answer whole.
    pub async fn told(&mut self) -> Told {
        let (mut status, mut retry_after, mut length) = (None, None, 0);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.expect("a line");
            assert!(line.ends_with("\r\n"), "the connection ended inside an answer: {line:?}");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().expect("a length"),
                Some(("retry-after", value)) => retry_after = value.parse().ok(),
                Some(_) => {}
                None => status = line.split(' ').nth(1).and_then(|status| status.parse().ok()),
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.expect("a body");
        Told { status: status.expect("a status"), retry_after }
    }
}
