//! Bounds the memory that SQLite takes for the statements of all handlers together.
//!
//! Sorting, joining and `DISTINCT` hold what they work on, and SQLite limits neither.
//! It counts for the whole process, so the bound is one for the process as well.

use std::{cell::Cell, sync::OnceLock};

use pointsman_machine::budget::Machine;
use rusqlite::ffi;

/// Room for the caches of the queue and of idle connections, whatever the machine has.
const LEAST_BYTES: u64 = 192 << 20;
/// More than anybody sorts while a client waits.
const MOST_BYTES: u64 = 1 << 30;
/// The share of the machine's memory between these two: one in so many.
const SHARE: u64 = 16;
/// A statement during which less was added is not the one to stop.
const LITTLE_BYTES: u64 = 32 << 20;

thread_local! {
    /// What was held as the statement of this thread began: each connection has a thread
    /// of its own.
    static BEGAN_AT: Cell<u64> = const { Cell::new(0) };
    static STOPPED: Cell<bool> = const { Cell::new(false) };
}

/// Bytes that SQLite may hold in this process.
pub(super) fn limit() -> u64 {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    *LIMIT.get_or_init(|| (Machine::here().memory_bytes / SHARE).clamp(LEAST_BYTES, MOST_BYTES))
}

/// A statement begins in this thread.
pub(super) fn begin() {
    BEGAN_AT.set(used());
    STOPPED.set(false);
}

/// Whether the statement that runs in this thread has to stop.
pub(super) fn is_used_up() -> bool {
    let used = used();
    let stops = used > limit() && used.saturating_sub(BEGAN_AT.get()) > LITTLE_BYTES;
    if stops {
        STOPPED.set(true);
    }
    stops
}

/// Whether the statement of this thread was stopped by this bound.
pub(super) fn was_used_up() -> bool {
    STOPPED.get()
}

fn used() -> u64 {
    #[expect(unsafe_code, reason = "rusqlite has no name for it")]
    // SAFETY: it takes nothing, and reads a counter under a lock of its own.
    let used = unsafe { ffi::sqlite3_memory_used() };
    u64::try_from(used).unwrap_or(0)
}
