//! Owns the body of a response on its way to a guest: how much of it comes, how
//! long all of it and each pause may take, and what it holds until its end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::Error;

use super::{Caller, clients, limits::Limit, limits::Request};

/// A body that fails where too much comes, or nothing for too long.
pub(super) struct Limited<Holds> {
    incoming: Incoming,
    request: Request,
    caller: Arc<dyn Caller>,
    bytes_left: u64,
    pause_max: Duration,
    over: Pin<Box<Sleep>>,
    // Given back at the end, or when the guest drops the body.
    holds: Option<Holds>,
}

impl<Holds> Limited<Holds> {
    pub(super) fn new(
        incoming: Incoming,
        (request, caller): (Request, Arc<dyn Caller>),
        holds: Holds,
    ) -> Self {
        let pause_max = request.timeouts.between_bytes;
        let over = (Instant::now() + pause_max).min(request.timeouts.ends);
        Self {
            incoming,
            bytes_left: request.limits.response_max_bytes,
            pause_max,
            over: Box::pin(sleep_until(over)),
            request,
            caller,
            holds: Some(holds),
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.holds = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl<Holds: Unpin> Body for Limited<Holds> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let ends = self.request.timeouts.ends;
        if Instant::now() >= ends {
            let error = self.request.late(&*self.caller);
            return self.fail(error);
        }
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) else {
            ready!(self.over.as_mut().poll(context));
            let error = match Instant::now() >= ends {
                true => self.request.late(&*self.caller),
                false => Error::ConnectionReadTimeout,
            };
            return self.fail(error);
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return self.fail(clients::of_hyper(&error)),
            None => {
                self.holds = None;
                return Poll::Ready(None);
            }
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        let Some(left) = self.bytes_left.checked_sub(bytes) else {
            let error = self.request.refuse(&*self.caller, Limit::ResponseBytes);
            return self.fail(error);
        };
        self.bytes_left = left;
        let next = (Instant::now() + self.pause_max).min(ends);
        self.over.as_mut().reset(next);
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
