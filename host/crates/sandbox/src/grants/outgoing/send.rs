//! Owns the talk with a server that a request was connected to: one request, its
//! answer, and the pauses between its bytes.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::{Either, select};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep, timeout};
use wasmtime_wasi_http::{Error, WasiBody};

use super::{Answer, Timeouts, connect::Stream};

/// Bytes of the head of an answer, which is in memory whole: eight times what
/// servers and proxies send by default.
const HEAD_MAX_BYTES: usize = 64 << 10;

/// Sends `request`. What it `holds` is given back with the connection.
pub(super) async fn send(
    stream: Box<dyn Stream>,
    mut request: http::Request<WasiBody>,
    timeouts: Timeouts,
    holds: impl Send + 'static,
) -> Answer {
    // The scheme and the host are for proxies.
    let path = request.uri().path_and_query().cloned();
    let path = path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    *request.uri_mut() = path.into();

    let mut client = http1::Builder::new();
    client.max_buf_size(HEAD_MAX_BYTES);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await?;
    let mut connection = Some(connection);
    let begins = async {
        let sending = pin!(sender.send_request(request));
        // Nothing is sent or received but by the connection.
        let Some(running) = &mut connection else {
            unreachable!("made above");
        };
        match select(sending, running).await {
            Either::Left((response, _)) => response,
            Either::Right((ended, sending)) => {
                connection = None;
                ended?;
                sending.await
            }
        }
    };
    let response = timeout(timeouts.first_byte, begins).await;
    let response = response.map_err(|_| Error::ConnectionReadTimeout)??;
    let done = async move {
        let _holds = holds;
        match connection {
            Some(connection) => connection.await.map_err(Error::from),
            None => Ok(()),
        }
    };
    let body = |incoming| Pausing::new(incoming, timeouts.between_bytes).boxed_unsync();
    Ok((response.map(body), Box::new(done)))
}

/// A body that fails where nothing comes for too long.
struct Pausing {
    incoming: Incoming,
    longest: Duration,
    over: Pin<Box<Sleep>>,
}

impl Pausing {
    fn new(incoming: Incoming, longest: Duration) -> Self {
        Self {
            incoming,
            longest,
            over: Box::pin(sleep(longest)),
        }
    }
}

impl Body for Pausing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                let next = Instant::now() + self.longest;
                self.over.as_mut().reset(next);
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            Poll::Pending => {
                ready!(self.over.as_mut().poll(context));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
