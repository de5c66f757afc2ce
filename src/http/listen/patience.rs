//! A connection whose client has so long to take what it was sent, and is not listened to until it has.
//!
//! Otherwise whoever asks and asks and never reads would keep a connection, and all that waits in it, for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::places::Seat;
use crate::clock::Clock;

/// A connection whose client has to take what it is sent.
pub(super) struct Patient<S> {
    stream: S,
    seat: Arc<Seat>,
    clock: Arc<dyn Clock>,
    within: Duration,
    /// Runs while the client has not taken everything.
    owed: Option<BoxFuture<'static, ()>>,
    reader: Option<Waker>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, seat: Arc<Seat>, clock: Arc<dyn Clock>, within: Duration) -> Patient<S> {
        Patient { stream, seat, clock, within, owed: None, reader: None }
    }

    /// Looks at what a write of so many bytes came to.
    fn settle(
        &mut self,
        context: &mut Context<'_>,
        offered: usize,
        wrote: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &wrote {
            Poll::Ready(Err(_)) => return wrote,
            Poll::Ready(Ok(taken)) if *taken >= offered => {
                self.owed = None;
                if let Some(reader) = self.reader.take() {
                    reader.wake();
                }
                return wrote;
            }
            Poll::Ready(Ok(_)) | Poll::Pending => {}
        }
        self.seat.is_blocked();
        let (clock, within) = (&self.clock, self.within);
        let owed = self.owed.get_or_insert_with(|| clock.sleep(within));
        if wrote.is_pending() && owed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        wrote
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.owed.is_some() {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.settle(context, bytes.len(), wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.settle(context, parts.iter().map(|part| part.len()).sum(), wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() && self.owed.is_none() {
            self.seat.sent();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
