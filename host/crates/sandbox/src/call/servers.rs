//! Owns the requests of a simulated call: a test replies to them in place of
//! servers, at the time of the simulated clock.

use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

use super::clock::{Clock, Event, Progress};
use crate::grants::outgoing::{NoReply, Received, Reply, RequestFailure, StandIn};

/// Replies to the requests of a simulated call.
pub trait SimulatedServers: Send + Sync {
    /// What comes of a request that has gone out whole.
    fn reply(&self, request: &http::Request<Vec<u8>>) -> SimulatedReply;
}

/// What comes of a simulated request.
#[derive(Debug)]
pub struct SimulatedReply {
    /// When, by the simulated clock, from the end of the request on.
    pub after: Duration,
    /// What.
    pub received: Received,
}

/// Bytes of a request that the test looks at: as many as a case may have.
const REQUEST_MAX_BYTES: usize = 16 << 20;

/// The servers of one call.
pub(crate) struct Servers {
    servers: Arc<dyn SimulatedServers>,
    clock: Clock,
}

impl Servers {
    pub(crate) fn new(servers: Arc<dyn SimulatedServers>, clock: Clock) -> Self {
        Self { servers, clock }
    }
}

impl StandIn for Servers {
    fn send(&self, request: http::Request<WasiBody>, patience: Duration) -> Reply {
        let (head, body) = request.into_parts();
        let exchange = Arc::new(Exchange {
            servers: Arc::clone(&self.servers),
            clock: self.clock.clone(),
            patience,
            at: Mutex::new(At::Sending(Sending {
                request: http::Request::from_parts(head, Vec::new()),
                body,
                waker: None,
            })),
        });
        let event: Arc<dyn Event> = Arc::clone(&exchange) as _;
        self.clock.add(Arc::clone(&event));
        let open = Open(event, self.clock.clone());
        Box::pin(async move {
            let _open = open;
            poll_fn(|context| exchange.poll(context)).await
        })
    }
}

/// An exchange that the clock knows of, until this is dropped.
struct Open(Arc<dyn Event>, Clock);

impl Drop for Open {
    fn drop(&mut self) {
        self.1.remove(&self.0);
    }
}

/// One request and what comes of it.
struct Exchange {
    servers: Arc<dyn SimulatedServers>,
    clock: Clock,
    // How long the guest waits for the response.
    patience: Duration,
    at: Mutex<At>,
}

enum At {
    Sending(Sending),
    /// What comes at a time since the start of the call, and who waits for it.
    Replied(Duration, Ended, Option<Waker>),
    Happens(Ended),
    Over,
}

type Ended = Result<http::Response<WasiBody>, NoReply>;

struct Sending {
    request: http::Request<Vec<u8>>,
    body: WasiBody,
    waker: Option<Waker>,
}

impl Exchange {
    fn at(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task of the request.
    fn poll(&self, context: &mut Context<'_>) -> Poll<Ended> {
        let mut at = self.at();
        if let At::Sending(sending) = &mut *at {
            sending.waker = Some(context.waker().clone());
        }
        if self.sent(&mut at, context) {
            self.clock.progressed();
        }
        match mem::replace(&mut *at, At::Over) {
            At::Happens(ended) => Poll::Ready(ended),
            At::Replied(due, ended, _) => {
                *at = At::Replied(due, ended, Some(context.waker().clone()));
                Poll::Pending
            }
            other => {
                *at = other;
                Poll::Pending
            }
        }
    }

    /// Takes in what the guest has sent by now. Says whether that was the end of it.
    fn sent(&self, at: &mut At, context: &mut Context<'_>) -> bool {
        let At::Sending(sending) = at else {
            return false;
        };
        let failure = loop {
            match Pin::new(&mut sending.body).poll_frame(context) {
                Poll::Pending => return false,
                Poll::Ready(None) => break None,
                Poll::Ready(Some(Err(error))) => break Some(error),
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = sending.request.body_mut();
                    bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                    if bytes.len() > REQUEST_MAX_BYTES {
                        let max = Some(REQUEST_MAX_BYTES as u64);
                        break Some(Error::HttpRequestBodySize(max));
                    }
                }
            }
        };
        let waker = sending.waker.take();
        let (after, ended) = match failure {
            Some(error) => (Duration::ZERO, Err(NoReply::Failed(error))),
            None => self.reply(mem::take(&mut sending.request)),
        };
        let due = self.clock.elapsed().saturating_add(after);
        *at = At::Replied(due, ended, waker);
        true
    }

    fn reply(&self, request: http::Request<Vec<u8>>) -> (Duration, Ended) {
        let SimulatedReply { after, received } = self.servers.reply(&request);
        let ended = match received {
            Received::Unexpected(message) => Err(NoReply::Unexpected(message)),
            _ if after > self.patience => return (self.patience, Err(NoReply::Late)),
            Received::Failure(failure) => Err(NoReply::Failed(failure.error())),
            Received::Response(response, failure) => Ok(response.map(|bytes| {
                let bytes = Some(Bytes::from(bytes)).filter(|bytes| !bytes.is_empty());
                let error = failure.map(RequestFailure::error);
                SimulatedBody { bytes, error }.boxed_unsync()
            })),
        };
        (after, ended)
    }
}

impl Event for Exchange {
    fn progress(&self) -> Progress {
        let mut at = self.at();
        // What the guest has sent is seen before it waits, whenever the task of the request runs.
        self.sent(&mut at, &mut Context::from_waker(Waker::noop()));
        match &*at {
            At::Sending(sending) => {
                // The body wakes this poll from now on: the task asks again.
                sending.waker.as_ref().inspect(|waker| waker.wake_by_ref());
                Progress::Open
            }
            At::Replied(due, ..) => Progress::Due(*due),
            At::Happens(_) => Progress::Happens,
            At::Over => Progress::Open,
        }
    }

    fn happen(&self) {
        let mut at = self.at();
        if let At::Replied(_, ended, waker) = mem::replace(&mut *at, At::Over) {
            *at = At::Happens(ended);
            // Without, the task has not begun, and finds it.
            waker.inspect(Waker::wake_by_ref);
        }
    }
}

/// The body of a response, whole, and how it ends.
struct SimulatedBody {
    bytes: Option<Bytes>,
    error: Option<Error>,
}

impl Body for SimulatedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let bytes = self.bytes.take().map(|bytes| Ok(Frame::data(bytes)));
        Poll::Ready(bytes.or_else(|| self.error.take().map(Err)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
    }
}
