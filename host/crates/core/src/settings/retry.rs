//! Owns [`RetrySettings`], which the queue and each handler's settings share.

use serde::{Deserialize, Serialize};

/// How failures are retried: with a random delay below a ceiling that doubles
/// with each failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrySettings {
    /// The first ceiling, in milliseconds.
    pub delay_base_ms: u64,
    /// The last ceiling, in milliseconds.
    pub delay_max_ms: u64,
    /// The longest `retry-after` of a handler that is obeyed, in milliseconds.
    pub retry_after_max_ms: u64,
    /// Runs that end as unavailable, busy or cancelled before the dead letter takes the delivery.
    pub transient_max: u32,
    /// The same for traps.
    pub trap_max: u32,
    /// The same for timeouts and CPU limits.
    pub timeout_max: u32,
    /// The same for memory limits.
    pub memory_max: u32,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            delay_base_ms: 1_000,
            // Twelve tries at most an hour apart outlast an outage of several hours.
            delay_max_ms: 3_600_000,
            retry_after_max_ms: 24 * 3_600_000,
            transient_max: 12,
            // A trap, a timeout and a lack of memory mostly come from the command
            // itself: a few tries tell, and more only cost.
            trap_max: 3,
            timeout_max: 3,
            memory_max: 2,
        }
    }
}
