//! Owns what one call of a handler may use.

use std::{ops::RangeInclusive, time::Duration};

use pointsman_core::settings::{SettingsError, duration, lasting, positive};
use serde::{Deserialize, Serialize};

/// A memory of WebAssembly grows by whole pages.
const PAGE_BYTES: usize = 64 << 10;

/// With less, no handler gets through its start; each instance has such a
/// stack, so with more a few thousand would take all address space.
const STACK_BYTES: RangeInclusive<usize> = 32 << 10..=16 << 20;

/// What one call of a handler may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlerLimits {
    /// All linear memories and tables of the instance together, in bytes.
    pub memory_max_bytes: usize,
    /// From start to answer, waits included.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// While it really runs. Sleeping is free.
    #[serde(with = "duration")]
    pub cpu_max: Duration,
    /// Bytes of the answer.
    pub output_max_bytes: usize,
    /// Log lines kept; the rest is counted and dropped.
    pub log_lines_max: usize,
    /// Bytes of the log lines kept; the rest is counted and dropped.
    pub log_max_bytes: usize,
    /// Calls of this handler at once; the next one ends as busy.
    pub instances_max: usize,
    /// Host resources held at once: streams, files, requests.
    pub resources_max: usize,
    /// Bytes of call stack for its code. Belongs to the pool of instances: a
    /// handler with a value of its own gets its instances on demand, which is
    /// slower.
    pub stack_max_bytes: usize,
}

impl Default for HandlerLimits {
    fn default() -> Self {
        Self {
            memory_max_bytes: 64 << 20,
            timeout: Duration::from_secs(30),
            cpu_max: Duration::from_secs(5),
            output_max_bytes: 1 << 20,
            log_lines_max: 1_000,
            log_max_bytes: 256 << 10,
            instances_max: 2_048,
            // Each of them may be a descriptor: eight such handlers fit into the usual 1,024.
            resources_max: 128,
            // wasmtime's own.
            stack_max_bytes: 512 << 10,
        }
    }
}

impl HandlerLimits {
    /// Refuses limits that let nothing run.
    ///
    /// # Errors
    /// [`SettingsError::WrongValue`], which names `origin` and the key.
    pub fn check(&self, origin: &str) -> Result<(), SettingsError> {
        lasting(
            origin,
            &[
                ("limits.timeout", self.timeout),
                ("limits.cpu_max", self.cpu_max),
            ],
        )?;
        positive(
            origin,
            &[("limits.instances_max", self.instances_max as u64)],
        )?;
        let wrong = |key: &str, found: usize, expected: String| {
            Err(SettingsError::WrongValue {
                origin: origin.into(),
                key: key.into(),
                found: found.to_string(),
                expected,
            })
        };
        if self.memory_max_bytes < PAGE_BYTES {
            let expected = format!("at least {PAGE_BYTES}, one page of memory");
            return wrong("limits.memory_max_bytes", self.memory_max_bytes, expected);
        }
        if !STACK_BYTES.contains(&self.stack_max_bytes) {
            let expected = format!("{} to {}", STACK_BYTES.start(), STACK_BYTES.end());
            return wrong("limits.stack_max_bytes", self.stack_max_bytes, expected);
        }
        Ok(())
    }
}
