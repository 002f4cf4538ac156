//! Owns the limits: of one call of a handler, and of all handlers together.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use pointsman_core::settings::{SettingsError, positive};

/// A memory of WebAssembly grows by whole pages.
const PAGE_BYTES: usize = 64 << 10;

/// With less, no handler gets through its start; each instance has such a
/// stack, so with more a few thousand would take all address space.
const STACK_BYTES: RangeInclusive<usize> = 32 << 10..=16 << 20;

/// What all handlers together may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostLimits {
    /// Places for calls at once. A call takes one, or more where its component is
    /// made of many memories, tables or core modules.
    pub instances_max: u32,
    /// Commands that may wait for free instances; the next one is refused as busy.
    pub waiting_max: u32,
    /// Bytes of one command's JSON text.
    pub command_max_bytes: usize,
    /// Steps that routing one command may take; see [`crate::rules::ROUTING_STEPS_MAX`].
    pub routing_steps_max: u64,
    /// Bytes of one `.wasm` file.
    pub plugin_max_bytes: u64,
    /// Components compiled at once; 0 means one a core.
    pub compile_jobs_max: usize,
    /// Elements of one table of a handler.
    pub table_elements_max: usize,
    /// Bytes of memory for compiling one component; 0 means 2 GiB, or half of the
    /// machine's or cgroup's memory where that is less.
    pub compile_memory_max_bytes: u64,
    /// CPU time for compiling one component, in milliseconds; ten times that
    /// in wall-clock time.
    pub compile_timeout_ms: u64,
    /// The `pointsman` program, which compiles in a process of its own within
    /// these two limits. Without one, as an embedded host is by default, the host
    /// compiles itself, and only the shape of a component is bounded.
    #[serde(skip)]
    pub compile_program: Option<PathBuf>,
    /// Keeps compiled code between runs in the user's cache folder.
    pub compile_cache: bool,
    /// How long a shutdown waits for commands in flight, in milliseconds.
    pub shutdown_grace_ms: u64,
    /// Bytes of all handlers' memories and tables together; 0 means half of the
    /// machine's or cgroup's memory.
    pub memory_max_bytes: u64,
    /// File descriptors that all handlers hold together; 0 means a quarter of
    /// what the process may have.
    pub descriptors_max: u64,
    /// Threads that handlers' file calls and name look-ups block at once.
    pub blocking_max: u64,
    /// Outgoing requests of all handlers at once.
    pub outgoing_max: u64,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            // 1,000 commands with two or three handlers each, asleep at once, and room to spare.
            instances_max: 4_096,
            waiting_max: 1_024,
            // Kafka's and SQS's order of magnitude for one message.
            command_max_bytes: 1 << 20,
            // Some 20 to 50 ms of one core. Everyday commands take less than 1,000 steps,
            // 1 MiB of line items against 20 rules about a million.
            routing_steps_max: 4_000_000,
            // Python's interpreter as a component has 40 MiB.
            plugin_max_bytes: 128 << 20,
            compile_jobs_max: 0,
            // Python's interpreter has some 10,000.
            table_elements_max: 100_000,
            compile_memory_max_bytes: 0,
            // Four times what CPython takes in the dev profile.
            compile_timeout_ms: 60_000,
            compile_program: None,
            compile_cache: true,
            // Kubernetes kills 30 s after SIGTERM.
            shutdown_grace_ms: 25_000,
            memory_max_bytes: 0,
            descriptors_max: 0,
            // A quarter of tokio's 512, so that reloads and the queue always find one.
            blocking_max: 128,
            outgoing_max: 256,
        }
    }
}

impl HostLimits {
    /// How long a shutdown waits for commands in flight.
    #[must_use]
    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }
}

/// What one call of a handler may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlerLimits {
    /// All linear memories and tables of the instance together, in bytes.
    pub memory_max_bytes: usize,
    /// From start to answer, waits included, in milliseconds.
    pub timeout_ms: u64,
    /// While it really runs, in milliseconds. Sleeping is free.
    pub cpu_max_ms: u64,
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
            timeout_ms: 30_000,
            cpu_max_ms: 5_000,
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
    /// The wall-clock limit.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// The CPU limit.
    #[must_use]
    pub fn cpu_max(&self) -> Duration {
        Duration::from_millis(self.cpu_max_ms)
    }

    /// Refuses limits that let nothing run.
    ///
    /// # Errors
    /// [`SettingsError::WrongValue`], which names `origin` and the key.
    pub(crate) fn check(&self, origin: &str) -> Result<(), SettingsError> {
        positive(
            origin,
            &[
                ("limits.timeout_ms", self.timeout_ms),
                ("limits.cpu_max_ms", self.cpu_max_ms),
                ("limits.instances_max", self.instances_max as u64),
            ],
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
