//! Owns what the embedder sets for all handlers together, and what it sets for
//! each one that has no settings of its own.

mod breaker;
mod limits;

use std::{path::PathBuf, time::Duration};

use pointsman_core::settings::{
    RetrySettings, SettingsError, duration, lasting, optional, positive,
};
use serde::{Deserialize, Serialize};

pub use breaker::BreakerSettings;
pub use limits::HandlerLimits;

/// What one engine has for all handlers: places for calls, and bounds on compiling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSettings {
    /// Places for calls at once. A call takes one, or more where its component is
    /// made of many memories, tables or core modules.
    pub instances_max: u32,
    /// Elements of one table of a handler.
    pub table_elements_max: usize,
    /// Bytes of memory for compiling one component. Without, 2 GiB, or half of the
    /// machine's or cgroup's memory where that is less.
    #[serde(with = "optional::auto")]
    pub compile_memory_max_bytes: Option<u64>,
    /// Bytes of memory for all components that are compiled at once. Without, half
    /// of the machine's or cgroup's memory.
    #[serde(with = "optional::auto")]
    pub compile_memory_total_bytes: Option<u64>,
    /// CPU time for compiling one component; thirty times that
    /// in wall-clock time.
    #[serde(with = "duration")]
    pub compile_timeout: Duration,
    /// The `pointsman` program, which compiles in a process of its own within
    /// these two limits. Without one, as an embedded host is by default, the host
    /// compiles itself, and only the shape of a component is bounded.
    #[serde(skip)]
    pub compile_program: Option<PathBuf>,
    /// Keeps compiled code between runs in the user's cache folder.
    pub compile_cache: bool,
    /// Which proxies the HTTP requests of handlers go through. Where a name leads is
    /// then for the proxy to judge.
    pub outgoing_proxy: ProxySource,
}

/// Where the proxies for outgoing requests are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxySource {
    /// Nowhere: requests go out directly.
    #[default]
    None,
    /// In the variables `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, as
    /// curl reads them.
    Environment,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            // 1,000 commands with two or three handlers each, asleep at once, and room to spare.
            instances_max: 4_096,
            // Python's interpreter has some 10,000.
            table_elements_max: 100_000,
            compile_memory_max_bytes: None,
            compile_memory_total_bytes: None,
            // Four times what CPython takes in the dev profile.
            compile_timeout: Duration::from_secs(60),
            compile_program: None,
            compile_cache: true,
            outgoing_proxy: ProxySource::None,
        }
    }
}

impl SandboxSettings {
    /// Refuses settings that let nothing run.
    ///
    /// # Errors
    /// [`SettingsError::WrongValue`], which names `origin` and the key.
    pub fn check(&self, origin: &str) -> Result<(), SettingsError> {
        positive(
            origin,
            &[("host.instances_max", u64::from(self.instances_max))],
        )?;
        lasting(origin, &[("host.compile_timeout", self.compile_timeout)])
    }
}

/// What a handler gets where its own settings do not say otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HandlerDefaults {
    /// What one call may use.
    pub limits: HandlerLimits,
    /// When a failing handler is left alone.
    pub breaker: BreakerSettings,
    /// How the durable queue retries its failures.
    pub retry: RetrySettings,
}
