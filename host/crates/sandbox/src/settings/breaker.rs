//! Owns when a failing handler is left alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a handler is quarantined, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerSettings {
    /// Traps, timeouts, and ends over CPU and memory limits within the window
    /// that lead to quarantine; 0 means none.
    pub failures: usize,
    /// How long a failure counts, in milliseconds.
    pub window_ms: u64,
    /// How long the handler is left alone before one call may try, in milliseconds.
    pub cooldown_ms: u64,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures: 0,
            window_ms: 60_000,
            cooldown_ms: 30_000,
        }
    }
}

impl BreakerSettings {
    /// How long a failure counts.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }

    /// How long the handler is left alone.
    #[must_use]
    pub fn cooldown(&self) -> Duration {
        Duration::from_millis(self.cooldown_ms)
    }
}
