//! Owns the standard streams of a WASI guest, whose lines become log lines.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use super::shared::Shared;
use pointsman_core::outcome::Level;

/// A standard stream of a WASI guest, whose lines become log lines of the call
/// that the instance serves.
pub(crate) struct LogStream {
    level: Level,
    inner: Mutex<Line>,
}

struct Line {
    shared: Arc<Shared>,
    // Never longer than the log looks at, so that a guest that writes no line
    // break cannot fill the host.
    bytes: Vec<u8>,
}

impl LogStream {
    pub(crate) fn new(level: Level, shared: Arc<Shared>) -> Self {
        Self {
            level,
            inner: Mutex::new(Line {
                shared,
                bytes: Vec::new(),
            }),
        }
    }

    /// Takes lines for the call `shared` from now on.
    pub(crate) fn begin(&self, shared: &Arc<Shared>) {
        self.line().shared = Arc::clone(shared);
    }

    /// Ends the line that has begun.
    pub(crate) fn end_line(&self) {
        self.line().end(self.level);
    }

    fn write(&self, bytes: &[u8]) {
        let mut line = self.line();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = line.shared.logs.line_max().saturating_sub(line.bytes.len());
            line.bytes.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                line.end(self.level);
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn end(&mut self, level: Level) {
        if !self.bytes.is_empty() {
            let line = String::from_utf8_lossy(&self.bytes);
            self.shared.logs.write_cut(level, &line);
            self.bytes.clear();
        }
    }
}

/// What WASI writes to.
pub(crate) struct Stream(pub(crate) Arc<LogStream>);

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
