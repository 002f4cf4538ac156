//! Owns the streams of a guest's files: wasmtime's, on a lane of the handler as
//! long as one is at work, and no longer.

use std::sync::Arc;

use hyper::body::Bytes;
use wasmtime_wasi::{
    async_trait,
    p2::{
        DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError,
        StreamResult,
    },
};

use crate::shares::{Held, Lane, Shares};

/// A stream whose work runs on a lane.
pub(super) struct OnLane<S> {
    inner: S,
    shares: Arc<Shares>,
    // Of the work that was begun and that nobody has waited for yet.
    lane: Option<Lane>,
    // Whether reading begins no work.
    has_read: bool,
    // What is to be written once there is a lane.
    to_write: Option<Bytes>,
    _file: Option<Arc<Held>>,
}

impl<S> OnLane<S> {
    pub(super) fn new(inner: S, shares: Arc<Shares>, file: Option<Arc<Held>>) -> Self {
        Self {
            inner,
            shares,
            lane: None,
            has_read: false,
            to_write: None,
            _file: file,
        }
    }

    /// The lane of the work that was begun, or one for other work, which then
    /// may be at work on it until [`Lane::end`].
    async fn lane(&mut self) -> Lane {
        let mut lane = match self.lane.take() {
            Some(lane) => lane,
            None => self.shares.lane().await,
        };
        lane.begin();
        lane
    }
}

#[async_trait]
impl Pollable for OnLane<DynInputStream> {
    async fn ready(&mut self) {
        if !self.has_read {
            let mut lane = self.lane().await;
            lane.poll(self.inner.ready()).await;
            lane.end();
            self.has_read = true;
        }
    }
}

#[async_trait]
impl InputStream for OnLane<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if std::mem::take(&mut self.has_read) {
            return self.inner.read(size);
        }
        if self.lane.is_none() {
            self.lane = self.shares.free_lane();
        }
        // Without one, nothing is there yet: `ready` waits for it.
        let Some(lane) = &mut self.lane else {
            return Ok(Bytes::new());
        };
        let read = lane.enter(|| self.inner.read(size));
        if !matches!(&read, Ok(bytes) if bytes.is_empty()) {
            lane.end();
            self.lane = None;
        }
        read
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut lane = self.lane().await;
        self.has_read = false;
        let read = lane.poll(self.inner.blocking_read(size)).await;
        lane.end();
        read
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[async_trait]
impl Pollable for OnLane<DynOutputStream> {
    async fn ready(&mut self) {
        if self.lane.is_none() && self.to_write.is_none() {
            // Nothing is at work.
            return self.inner.ready().await;
        }
        let mut lane = self.lane().await;
        if let Some(bytes) = self.to_write.take() {
            // Its error is that of the next operation.
            let _ = lane.enter(|| self.inner.write(bytes));
        }
        lane.poll(self.inner.ready()).await;
        lane.end();
    }
}

#[async_trait]
impl OutputStream for OnLane<DynOutputStream> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.to_write.is_some() {
            return Err(StreamError::trap("written to before it was ready"));
        }
        if self.lane.is_none() {
            self.lane = self.shares.free_lane();
        }
        match &mut self.lane {
            Some(lane) => lane.enter(|| self.inner.write(bytes)),
            None => {
                self.to_write = Some(bytes);
                Ok(())
            }
        }
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.ready().await;
        let mut lane = self.lane().await;
        let written = lane.poll(self.inner.blocking_write_and_flush(bytes)).await;
        lane.end();
        written
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match &self.to_write {
            Some(_) => Ok(0),
            None => self.inner.check_write(),
        }
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
