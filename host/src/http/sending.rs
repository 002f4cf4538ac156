//! Owns an answer on its way to the client. Its connection is busy as long as there is
//! one; over HTTP/2, where a client can leave one answer unread beside others, it is handed
//! over in pieces, and dropped once the client takes nothing of it for too long.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::{
    body::{Frame, SizeHint},
    rt::Executor,
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::connections::Busy;

/// What of an answer may wait in the buffers of an HTTP/2 stream, where it counts for
/// nothing any more: one frame.
pub(super) const PIECE_BYTES: usize = 16 << 10;

tokio::task_local! {
    /// Of the HTTP/2 stream that this task answers.
    static HANDED: Arc<Handed>;
}

/// When a piece was handed over that the client has not begun to take.
#[derive(Debug, Default)]
struct Handed(Mutex<Option<Instant>>);

impl Handed {
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once a piece has waited for that long.
    async fn overdue(&self, patience: Duration) {
        loop {
            let since = *self.since();
            match since.map(|since| since + patience) {
                Some(until) if until <= Instant::now() => return,
                Some(until) => sleep_until(until).await,
                None => sleep(patience).await,
            }
        }
    }
}

/// Runs the streams of HTTP/2 connections, each as a task of its own, as long as their
/// clients take what they are answered.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) tasks: TaskTracker,
    pub(super) patience: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let patience = self.patience;
        self.tasks.spawn(async move {
            let handed = Arc::new(Handed::default());
            let stream = HANDED.scope(Arc::clone(&handed), stream);
            // Dropping it tells the client that the rest does not come.
            tokio::select! {
                () = stream => {}
                () = handed.overdue(patience) => {
                    tracing::debug!("a stream ended early: its client reads nothing of the answer");
                }
            }
        });
    }
}

/// The body of an answer.
pub(super) struct Answer {
    body: Body,
    // What the body gave, and was not handed over yet.
    rest: Bytes,
    // Over HTTP/2.
    handed: Option<Arc<Handed>>,
    _busy: Busy,
}

impl Answer {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            handed: HANDED.try_with(Arc::clone).ok(),
            _busy: busy,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(handed) = &this.handed else {
            return Pin::new(&mut this.body).poll_frame(cx);
        };
        // Asked for more, the client has taken something of what came before.
        *handed.since() = None;
        if this.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => this.rest = data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        *handed.since() = Some(Instant::now());
        let length = this.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut all = SizeHint::new();
        all.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}
