//! Owns the limits of all handlers and commands together.

use std::time::Duration;

use pointsman_core::settings::{duration, optional};
use pointsman_sandbox::SandboxSettings;
use serde::{Deserialize, Serialize};

/// What all handlers together may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostLimits {
    /// Places for calls, and bounds on compiling; its keys stand beside the others.
    #[serde(flatten)]
    pub sandbox: SandboxSettings,
    /// Commands that may wait for free instances; the next one is refused as busy.
    pub waiting_max: u32,
    /// Bytes of one command's JSON text.
    pub command_max_bytes: usize,
    /// Steps that routing one command may take; see [`crate::rules::ROUTING_STEPS_MAX`].
    pub routing_steps_max: u64,
    /// Bytes of one `.wasm` file.
    pub plugin_max_bytes: u64,
    /// Components compiled at once. Without, one per core.
    #[serde(with = "optional::auto")]
    pub compile_jobs_max: Option<usize>,
    /// How long a shutdown waits for commands in flight.
    #[serde(with = "duration")]
    pub shutdown_grace: Duration,
    /// Bytes of all handlers' memories and tables together. Without, half of the
    /// machine's or cgroup's memory.
    #[serde(with = "optional::auto")]
    pub memory_max_bytes: Option<u64>,
    /// File descriptors that all handlers hold together. Without, a quarter of
    /// what the process may have.
    #[serde(with = "optional::auto")]
    pub descriptors_max: Option<u64>,
    /// Threads that handlers' file calls and name look-ups block at once.
    pub blocking_max: u64,
    /// Outgoing requests of all handlers at once.
    pub outgoing_max: u64,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            sandbox: SandboxSettings::default(),
            waiting_max: 1_024,
            // Kafka's and SQS's order of magnitude for one message.
            command_max_bytes: 1 << 20,
            // Some 20 to 50 ms of one core. Everyday commands take less than 1,000 steps,
            // 1 MiB of line items against 20 rules about a million.
            routing_steps_max: 4_000_000,
            // Python's interpreter as a component has 40 MiB.
            plugin_max_bytes: 128 << 20,
            compile_jobs_max: None,
            // Kubernetes kills 30 s after SIGTERM.
            shutdown_grace: Duration::from_secs(25),
            memory_max_bytes: None,
            descriptors_max: None,
            // A quarter of tokio's 512, so that reloads and the queue always find one.
            blocking_max: 128,
            outgoing_max: 256,
        }
    }
}
