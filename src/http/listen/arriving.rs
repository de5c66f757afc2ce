//! A body that tells when all of it is there: until then it is the client who is waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};

use super::places::Seat;

/// A body that is arriving.
pub(super) struct Arriving<B> {
    body: B,
    seat: Arc<Seat>,
}

impl<B: Body> Arriving<B> {
    /// Watches a body; one that is empty is there.
    pub(super) fn new(body: B, seat: Arc<Seat>) -> Arriving<B> {
        if body.is_end_stream() {
            seat.works();
        }
        Arriving { body, seat }
    }
}

impl<B: Body + Unpin> Body for Arriving<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.seat.works();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
