//! Owns the measures of one call while it runs: CPU time and memory, each
//! against the handler's limit.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustix::io::Errno;
use wasmtime::ResourceLimiter;

use super::{state::Shared, turns::Turn};
use pointsman_machine::budget::{Budget, Share};

/// Bytes that one table element takes on the host.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// The CPU time of one call: the time that its future spends being polled,
/// since guest code runs nowhere else. Waiting costs nothing, however short
/// and frequent the waits are.
pub(super) struct CpuMeter {
    base: Instant,
    limit: Duration,
    // Nanoseconds; one thread at a time polls the call, so relaxed is enough.
    spent: AtomicU64,
    poll_began: AtomicU64,
    /// Ends with the poll that it was taken in.
    pub(super) turn: Turn,
}

impl CpuMeter {
    pub(super) fn new(base: Instant, limit: Duration) -> Self {
        Self {
            base,
            limit,
            spent: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            turn: Turn::default(),
        }
    }

    /// The CPU time of all polls that ended.
    pub(super) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Relaxed))
    }

    /// Whether the call, which is being polled now, is past its limit.
    pub(super) fn exceeded(&self) -> bool {
        let running = self.now() - self.poll_began.load(Relaxed);
        self.spent() + Duration::from_nanos(running) > self.limit
    }

    /// Counts the time of each poll of `future`.
    pub(super) fn measure<F: Future + Unpin>(&self, future: F) -> Measured<'_, F> {
        Measured {
            meter: self,
            future,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A future whose polls are counted.
pub(super) struct Measured<'a, F> {
    meter: &'a CpuMeter,
    future: F,
}

impl<F: Future + Unpin> Future for Measured<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let began = self.meter.now();
        self.meter.poll_began.store(began, Relaxed);
        let result = Pin::new(&mut self.future).poll(context);
        self.meter.turn.end();
        self.meter
            .spent
            .fetch_add(self.meter.now() - began, Relaxed);
        result
    }
}

/// What is left of one call's memory when its store is gone.
#[derive(Default)]
pub(super) struct MemoryUse {
    peak: AtomicU64,
    refused: OnceLock<Refused>,
}

/// Why a growth was refused.
#[derive(Clone, Copy)]
pub(super) enum Refused {
    /// It would have been more than all memories and tables together may have.
    Bytes,
    /// It would have been more than the handlers of the host may have together.
    Host,
    /// The machine had no more.
    Machine,
    /// It would have been more elements than one table may have.
    TableElements,
}

impl MemoryUse {
    /// All memories and tables together at their largest, in bytes.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// Why the first growth that was refused was.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused.get().copied()
    }

    fn refuse(&self, reason: Refused) -> bool {
        // The first one counts: what follows is the guest's way of dealing with it.
        self.refused.get_or_init(|| reason);
        false
    }
}

/// What is taken of the host's budget at least, so that the small growths of
/// most calls ask once or twice: a page of WebAssembly.
const BUDGET_STEP_BYTES: u64 = 64 << 10;

/// Adds up all linear memories and tables of one instance, the heap of its
/// collected objects included, and takes them of the host's budget until its
/// store is dropped.
pub(super) struct MemoryLimiter {
    used: usize,
    bytes_max: usize,
    table_elements_max: usize,
    of_host: Share,
    shared: Arc<Shared>,
}

impl MemoryLimiter {
    pub(super) fn new(
        bytes_max: usize,
        table_elements_max: usize,
        host: &Arc<Budget>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            used: 0,
            bytes_max,
            table_elements_max,
            of_host: host.nothing(),
            shared,
        }
    }

    /// Counts for another call from now on; the memory is what it was.
    pub(super) fn begin(&mut self, shared: Arc<Shared>) {
        shared.memory.peak.store(self.used as u64, Relaxed);
        self.shared = shared;
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let memory = &self.shared.memory;
        let used = self.used.saturating_add(bytes);
        if used > self.bytes_max {
            return memory.refuse(Refused::Bytes);
        }
        if self
            .of_host
            .grow_to(used as u64, BUDGET_STEP_BYTES)
            .is_err()
        {
            return memory.refuse(Refused::Host);
        }
        self.used = used;
        memory.peak.fetch_max(used as u64, Relaxed);
        true
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Past a maximum of its own a memory does not grow for anybody.
        if error.is::<io::Error>() || error.is::<Errno>() {
            self.shared.memory.refuse(Refused::Machine);
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.table_elements_max {
            return Ok(self.shared.memory.refuse(Refused::TableElements));
        }
        let elements = desired.saturating_sub(current);
        Ok(self.grow(elements.saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    // How many of each there may be is checked at load: see `parts`.
    fn instances(&self) -> usize {
        usize::MAX
    }

    fn tables(&self) -> usize {
        usize::MAX
    }

    fn memories(&self) -> usize {
        usize::MAX
    }
}
