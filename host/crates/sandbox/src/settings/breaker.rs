//! Owns when a failing handler is left alone.

use std::time::Duration;

use pointsman_core::settings::{duration, optional};
use serde::{Deserialize, Serialize};

/// When a handler is quarantined, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerSettings {
    /// Traps, timeouts, and ends over CPU and memory limits within the window
    /// that lead to quarantine. Without, nothing does.
    #[serde(with = "optional::none")]
    pub failures: Option<usize>,
    /// How long a failure counts.
    #[serde(with = "duration")]
    pub window: Duration,
    /// How long the handler is left alone before one call may try.
    #[serde(with = "duration")]
    pub cooldown: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures: None,
            window: Duration::from_secs(60),
            cooldown: Duration::from_secs(30),
        }
    }
}
