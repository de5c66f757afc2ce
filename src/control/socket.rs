//! Where the socket is, and lines over it: bounded in length and in time.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::Trouble;
use super::wire::LINE_LIMIT;
use crate::clock::Clock;

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "doorbook.sock";

/// A way to a name in a directory that is short whatever the directory is called.
///
/// The address of a Unix socket holds 108 bytes; `/proc/self/fd/N/name` always fits.
pub(super) struct ShortPath {
    path: PathBuf,
    _dir: Option<OwnedFd>,
}

impl ShortPath {
    pub(super) fn new(dir: &Path, name: &str) -> io::Result<ShortPath> {
        let path = dir.join(name);
        if path.as_os_str().len() < 104 {
            return Ok(ShortPath { path, _dir: None });
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let dir = rustix::fs::open(dir, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
        Ok(ShortPath { path, _dir: Some(dir) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Lines in both directions.
pub(super) struct Lines {
    stream: BufReader<UnixStream>,
    clock: Arc<dyn Clock>,
}

impl Lines {
    pub(super) fn new(stream: UnixStream, clock: Arc<dyn Clock>) -> Lines {
        Lines { stream: BufReader::new(stream), clock }
    }

    /// Returns the next line without its end; `None` where the other side has hung up.
    pub(super) async fn read(&mut self, within: Duration) -> Result<Option<Vec<u8>>, Trouble> {
        let mut line = Vec::new();
        let most = u64::try_from(LINE_LIMIT).unwrap_or(u64::MAX) + 1;
        let stream = &mut self.stream;
        let reading = async {
            let mut bounded = stream.take(most);
            bounded.read_until(b'\n', &mut line).await
        };
        let count = in_time(&*self.clock, within, reading).await?;
        match line.pop() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) if count > LINE_LIMIT => Err(Trouble::TooLarge { limit: LINE_LIMIT }),
            Some(_) => Err(Trouble::Connection(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    pub(super) async fn write(&mut self, message: &impl Serialize, within: Duration) -> Result<(), Trouble> {
        let mut line = serde_json::to_vec(message).map_err(|error| Trouble::Connection(error.into()))?;
        line.push(b'\n');
        if line.len() > LINE_LIMIT {
            return Err(Trouble::TooLarge { limit: LINE_LIMIT });
        }
        in_time(&*self.clock, within, self.stream.get_mut().write_all(&line)).await
    }

    /// Reads bytes that follow a line.
    pub(super) async fn read_bytes(&mut self, count: usize, within: Duration) -> Result<Vec<u8>, Trouble> {
        let mut bytes = vec![0; count];
        in_time(&*self.clock, within, self.stream.read_exact(&mut bytes)).await?;
        Ok(bytes)
    }

    /// Writes bytes that follow a line; only whoever takes none at all for so long is given up.
    pub(super) async fn write_bytes(&mut self, mut bytes: &[u8], within: Duration) -> Result<(), Trouble> {
        while !bytes.is_empty() {
            let taken = in_time(&*self.clock, within, self.stream.get_mut().write(bytes)).await?;
            if taken == 0 {
                return Err(Trouble::Connection(io::ErrorKind::WriteZero.into()));
            }
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits until the other side hangs up or, against the rules, says something.
    pub(super) async fn hung_up(&mut self) {
        let _ = self.stream.fill_buf().await;
    }
}

async fn in_time<T>(
    clock: &dyn Clock,
    within: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, Trouble> {
    let work = std::pin::pin!(work);
    match select(work, clock.sleep(within)).await {
        Either::Left((done, _)) => done.map_err(Trouble::Connection),
        Either::Right(_) => Err(Trouble::Timeout),
    }
}
