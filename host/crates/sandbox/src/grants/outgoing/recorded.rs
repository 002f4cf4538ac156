//! Owns the recording of requests that go out, for a test that is to reply to them
//! from then on.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

use super::{Answer, Way, codes::RequestFailure, simulated::Received};

/// Records the requests that a simulated call sends. Clones are the same recorder.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Vec<RecordedRequest>>>);

/// A request that went out, and what came of it.
#[derive(Debug)]
pub struct RecordedRequest {
    /// As the guest sent it: without what the host adds.
    pub request: http::Request<Vec<u8>>,
    /// What was received; nothing where the call ended before.
    pub received: Option<Received>,
}

impl Recorder {
    /// What was recorded, in the order in which it was sent.
    #[must_use]
    pub fn take(&self) -> Vec<RecordedRequest> {
        mem::take(&mut *self.all())
    }

    fn all(&self) -> MutexGuard<'_, Vec<RecordedRequest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, head: &http::request::Parts) -> Recording {
        let mut request = http::Request::new(Vec::new());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        let mut all = self.all();
        all.push(RecordedRequest {
            request,
            received: None,
        });
        Recording {
            recorder: self.clone(),
            at: all.len() - 1,
        }
    }
}

/// The place of one request in the recorder.
#[derive(Clone)]
struct Recording {
    recorder: Recorder,
    at: usize,
}

impl Recording {
    fn with(&self, note: impl FnOnce(&mut RecordedRequest)) {
        // Those of a call that is over were taken.
        if let Some(recorded) = self.recorder.all().get_mut(self.at) {
            note(recorded);
        }
    }
}

impl Way {
    /// As [`Way::answer`], and records it.
    pub(super) async fn recorded(
        self,
        recorder: Recorder,
        request: http::Request<WasiBody>,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let recording = recorder.begin(&head);
        let sent = recording.clone();
        let body = Watched::new(body, move |part| {
            if let Part::Data(bytes) = part {
                sent.with(|it| it.request.body_mut().extend_from_slice(bytes));
            }
        });
        let request = http::Request::from_parts(head, body.boxed_unsync());
        let (response, done) = self.answer(request).await.inspect_err(|error| {
            let failure = RequestFailure::like(error);
            recording.with(|it| it.received = Some(Received::Failure(failure)));
        })?;
        let mut empty = http::Response::new(Vec::new());
        *empty.status_mut() = response.status();
        *empty.headers_mut() = response.headers().clone();
        recording.with(|it| it.received = Some(Received::Response(empty, None)));
        let body = |body| {
            let watched = Watched::new(body, move |part| {
                recording.with(|it| {
                    let Some(Received::Response(response, failure)) = &mut it.received else {
                        return;
                    };
                    match part {
                        Part::Data(bytes) => response.body_mut().extend_from_slice(bytes),
                        Part::Failed(error) => *failure = Some(RequestFailure::like(error)),
                    }
                });
            });
            watched.boxed_unsync()
        };
        Ok((response.map(body), done))
    }
}

enum Part<'a> {
    Data(&'a [u8]),
    Failed(&'a Error),
}

/// A body, each part of which is noted as it passes.
struct Watched<F> {
    body: WasiBody,
    note: F,
}

impl<F: FnMut(Part<'_>) + Send + Unpin> Watched<F> {
    fn new(body: WasiBody, note: F) -> Self {
        Self { body, note }
    }
}

impl<F: FnMut(Part<'_>) + Send + Unpin> Body for Watched<F> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    (self.note)(Part::Data(data));
                }
            }
            Some(Err(error)) => (self.note)(Part::Failed(error)),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
