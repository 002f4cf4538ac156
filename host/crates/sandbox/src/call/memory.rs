//! Owns what one call took of memory, and why it was refused more.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// What is left of one call's memory when its store is gone.
#[derive(Default)]
pub(crate) struct MemoryUse {
    peak: AtomicU64,
    refused: OnceLock<Refused>,
}

/// Why a growth was refused.
#[derive(Clone, Copy)]
pub(crate) enum Refused {
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
    /// Starts from what an earlier call left in the instance.
    pub(crate) fn begin(&self, used: usize) {
        self.peak.store(used as u64, Relaxed);
    }

    /// Notes how much there is now.
    pub(crate) fn grown_to(&self, used: usize) {
        self.peak.fetch_max(used as u64, Relaxed);
    }

    /// All memories and tables together at their largest, in bytes.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// Why the first growth that was refused was.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused.get().copied()
    }

    /// Notes that a growth was refused.
    pub(crate) fn refuse(&self, reason: Refused) -> bool {
        // The first one counts: what follows is the guest's way of dealing with it.
        self.refused.get_or_init(|| reason);
        false
    }
}
