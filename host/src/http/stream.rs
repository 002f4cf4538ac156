//! Owns how long a client may keep a connection waiting: with the head of a
//! request, and between two requests.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{connections::Connection, frames::Frames, framing::Framing};
use crate::config::HttpConfig;

/// How long a connection waits for its client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) head: Duration,
    idle: Duration,
    pub(super) write: Duration,
}

impl From<&HttpConfig> for Patience {
    fn from(config: &HttpConfig) -> Self {
        Self {
            head: config.header_timeout,
            idle: config.idle_timeout,
            write: config.write_timeout,
        }
    }
}

/// What is spoken on a connection, and what of it was seen so far.
#[derive(Debug)]
pub(super) enum Protocol {
    Http1(Framing),
    Http2 {
        frames: Frames,
        /// When the head began that is not complete.
        head_since: Option<Instant>,
    },
}

impl Protocol {
    pub(super) fn http1() -> Self {
        Self::Http1(Framing::new())
    }

    pub(super) fn http2() -> Self {
        Self::Http2 {
            frames: Frames::new(),
            head_since: None,
        }
    }

    fn head_since(&self) -> Option<Instant> {
        match self {
            Self::Http1(_) => None,
            Self::Http2 { head_since, .. } => *head_since,
        }
    }
}

/// A connection that fails once its client has kept it waiting for too long.
#[derive(Debug)]
pub(super) struct Stream<T> {
    // What is read is what the client wrote, in the clear.
    inner: T,
    connection: Arc<Connection>,
    patience: Patience,
    // Requests before the one that is waited for.
    waits_after: u64,
    // When its head must be complete, or have begun.
    head_until: Instant,
    has_begun: bool,
    protocol: Protocol,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Stream<T> {
    pub(super) fn new(
        inner: T,
        protocol: Protocol,
        connection: Arc<Connection>,
        patience: Patience,
    ) -> Self {
        Self {
            inner,
            patience,
            waits_after: 0,
            // Whoever connects has something to say; a handshake is a part of that time.
            head_until: connection.idle_since() + patience.head,
            connection,
            has_begun: false,
            protocol,
            timer: None,
        }
    }

    /// Fails when the head of a request is late; pending else.
    fn wait_for_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let answered = self.connection.requests_answered();
            if let Some(requests) = answered.filter(|requests| *requests != self.waits_after) {
                self.waits_after = requests;
                self.has_begun = false;
                self.head_until = self.connection.idle_since() + self.patience.idle;
            }
            let begun = self.protocol.head_since();
            let until = match (begun, answered) {
                // Whatever else is being answered.
                (Some(since), _) => since + self.patience.head,
                (None, Some(_)) => self.head_until,
                // A request is being answered, and nobody reads when that is done:
                // the timer looks then.
                (None, None) => Instant::now() + self.patience.idle,
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            // One that fires early is set again: less work than a reset for each request.
            if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            ready!(timer.as_mut().poll(cx));
            if (begun.is_some() || answered.is_some()) && Instant::now() >= until {
                return self.end(begun);
            }
            timer.as_mut().reset(until);
        }
    }

    /// The client is late, with a head that has begun or with any.
    fn end(&self, begun: Option<Instant>) -> Poll<io::Result<()>> {
        if begun.is_none() && matches!(self.protocol, Protocol::Http2 { .. }) {
            // It goes as one that makes room: the client hears of it.
            self.connection.evicted.notify_one();
            return Poll::Pending;
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Bytes came; over HTTP/1.1 they are of a head unless a request is being answered.
    fn came(&mut self, bytes: &[u8]) {
        match &mut self.protocol {
            Protocol::Http1(framing) => {
                if let Some(heads) = framing.look(bytes) {
                    self.connection.is_ambiguous_after(heads);
                }
            }
            Protocol::Http2 { frames, head_since } => {
                frames.look(bytes);
                *head_since = frames
                    .is_in_head()
                    .then(|| head_since.unwrap_or_else(Instant::now));
                return;
            }
        }
        let Some(requests) = self.connection.requests_answered() else {
            return;
        };
        if !self.has_begun || requests != self.waits_after {
            self.waits_after = requests;
            self.has_begun = true;
            self.head_until = Instant::now() + self.patience.head;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buffer) {
            Poll::Pending => this.wait_for_head(cx),
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                this.came(&buffer.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            ready => ready,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
