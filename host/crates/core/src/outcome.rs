//! Owns what comes back: the [`Outcome`] of one handler and the [`Report`] of
//! one command. Their JSON (camelCase) is the wire format of `run --json` and
//! of `POST /commands/execute`, described in the README.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    command::CommandId,
    name::{HandlerName, RuleName},
};

/// How one handler's call ended. Every end is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It answered.
    Succeeded,
    /// It said that it never will do this command.
    Rejected,
    /// It said that it cannot now, or it is not loaded.
    Unavailable,
    /// It ran past its wall-clock limit.
    TimedOut,
    /// It ran past its CPU limit.
    CpuExceeded,
    /// It wanted more memory than its limit.
    OutOfMemory,
    /// It crashed: a trap, a panic, or a stack overflow.
    Trapped,
    /// Its answer was over the limit.
    OutputTooLarge,
    /// Its answer was not JSON that every reader takes.
    InvalidOutput,
    /// It used something that it was not granted, and failed for it.
    Denied,
    /// As many calls as allowed were running.
    Busy,
    /// The caller, `--fail-fast` or a shutdown ended it.
    Cancelled,
    /// It failed too often recently and is left alone for a while.
    Quarantined,
}

impl Status {
    /// Every status; those in which a call can end by itself come first.
    pub const ALL: [Self; 13] = [
        Self::Succeeded,
        Self::Rejected,
        Self::Unavailable,
        Self::TimedOut,
        Self::CpuExceeded,
        Self::OutOfMemory,
        Self::Trapped,
        Self::OutputTooLarge,
        Self::InvalidOutput,
        Self::Denied,
        Self::Busy,
        Self::Cancelled,
        Self::Quarantined,
    ];

    /// Its place in [`Status::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Every way in which a call can end by itself.
    pub const ENDS: [Self; 10] = *Self::ALL.first_chunk().expect("as many");

    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed-out",
            Self::CpuExceeded => "cpu-exceeded",
            Self::OutOfMemory => "out-of-memory",
            Self::Trapped => "trapped",
            Self::OutputTooLarge => "output-too-large",
            Self::InvalidOutput => "invalid-output",
            Self::Denied => "denied",
            Self::Busy => "busy",
            Self::Cancelled => "cancelled",
            Self::Quarantined => "quarantined",
        }
    }
}

const _: () = {
    let mut index = 0;
    while index < Status::ALL.len() {
        assert!(Status::ALL[index].index() == index);
        index += 1;
    }
};

/// Why a handler did not succeed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The status again, as the stable code of the error.
    pub code: Status,
    /// One sentence: the reason and, for a limit, the key that sets it.
    pub message: String,
    /// The least time before another try makes sense, where the handler said so.
    #[serde(
        rename = "retryAfterMs",
        serialize_with = "optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub retry_after: Option<Duration>,
    /// The WebAssembly stack of a trap, innermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
}

impl Failure {
    /// A failure without a retry time or a backtrace.
    pub fn new(code: Status, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            backtrace: Vec::new(),
        }
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Fine detail, for the handler's author.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happened; standard output of a WASI handler.
    Info,
    /// Something is off, and the work went on; standard error of a WASI handler.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// Every level, the least first.
    pub const ALL: [Self; 5] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
    ];

    /// The name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One line that a handler wrote.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// From the start of the command.
    #[serde(rename = "afterMs", serialize_with = "ms")]
    pub after: Duration,
    /// How much it matters.
    pub level: Level,
    /// The text, without a line break.
    pub message: String,
}

/// The lines of one call.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// The lines kept, in order.
    pub lines: Vec<LogLine>,
    /// How many lines were over the handler's log limits and are lost.
    pub dropped: u64,
}

/// What one call used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spent {
    /// From the first instruction of the instance's start to the answer; waits included.
    #[serde(rename = "wallMs", serialize_with = "ms")]
    pub wall: Duration,
    /// While the guest, or the host on its behalf, really ran.
    #[serde(rename = "cpuMs", serialize_with = "ms")]
    pub cpu: Duration,
    /// All linear memories and tables of the instance together, at their largest.
    pub memory_peak_bytes: u64,
}

/// How one handler's call went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer, JSON text, or why there is none.
    pub result: Result<Option<Box<RawValue>>, Failure>,
    /// What it wrote.
    pub logs: Logs,
    /// What it used.
    pub spent: Spent,
    /// The follow-up commands that it emitted, where it succeeded.
    pub emitted: Vec<FollowUp>,
}

/// A command that a handler emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// Its id, the same however often the delivery that emits it is tried.
    pub id: CommandId,
    /// The text of its attributes, which was checked.
    pub attributes: String,
    /// How long it waits before it runs.
    pub delay: Option<Duration>,
    /// Commands of one key run one after the other.
    pub ordering_key: Option<String>,
    /// Higher runs first.
    pub priority: i32,
}

impl Outcome {
    /// An outcome without a call: nothing was written and nothing spent.
    #[must_use]
    pub fn not_run(failure: Failure) -> Self {
        Self {
            result: Err(failure),
            logs: Logs::default(),
            spent: Spent::default(),
            emitted: Vec::new(),
        }
    }

    /// How it ended.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.result {
            Ok(_) => Status::Succeeded,
            Err(failure) => failure.code,
        }
    }
}

/// One handler's part of a report.
#[derive(Clone, Debug)]
pub struct HandlerReport {
    /// The handler.
    pub handler: HandlerName,
    /// The version its component carries.
    pub version: Option<Arc<str>>,
    /// The SHA-256 of its file in lower-case hex; none where it is not loaded.
    pub digest: Option<Arc<str>>,
    /// The names of all rules that chose it.
    pub rules: Vec<RuleName>,
    /// How its call went.
    pub outcome: Outcome,
    /// When its task began, from the start of the command.
    pub started_after: Duration,
    /// From the beginning of its task to its outcome.
    pub duration: Duration,
}

impl HandlerReport {
    /// Of a handler that is not loaded, so that no call took place.
    #[must_use]
    pub fn not_run(handler: HandlerName, started_after: Duration, failure: Failure) -> Self {
        Self {
            handler,
            version: None,
            digest: None,
            rules: Vec::new(),
            outcome: Outcome::not_run(failure),
            started_after,
            duration: Duration::ZERO,
        }
    }
}

impl Serialize for HandlerReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The wire shape: flat, with either `output` or `error`.
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            handler: &'a HandlerName,
            version: Option<&'a str>,
            digest: Option<&'a str>,
            rules: &'a [RuleName],
            status: Status,
            #[serde(skip_serializing_if = "Option::is_none")]
            output: Option<&'a Option<Box<RawValue>>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<&'a Failure>,
            logs: &'a [LogLine],
            #[serde(skip_serializing_if = "is_zero")]
            logs_dropped: u64,
            #[serde(serialize_with = "ms")]
            started_after_ms: Duration,
            #[serde(serialize_with = "ms")]
            duration_ms: Duration,
            spent: Spent,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            emitted: Vec<CommandId>,
        }
        let outcome = &self.outcome;
        Wire {
            handler: &self.handler,
            version: self.version.as_deref(),
            digest: self.digest.as_deref(),
            rules: &self.rules,
            status: outcome.status(),
            output: outcome.result.as_ref().ok(),
            error: outcome.result.as_ref().err(),
            logs: &outcome.logs.lines,
            logs_dropped: outcome.logs.dropped,
            started_after_ms: self.started_after,
            duration_ms: self.duration,
            spent: outcome.spent,
            emitted: outcome.emitted.iter().map(|emitted| emitted.id).collect(),
        }
        .serialize(serializer)
    }
}

/// How a command went as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Hash)]
#[serde(rename_all = "kebab-case")]
pub enum ReportStatus {
    /// All handlers succeeded.
    Succeeded,
    /// Some did and some did not.
    Partial,
    /// None did.
    Failed,
}

impl ReportStatus {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// What became of one command.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The command.
    pub command_id: CommandId,
    /// All handlers taken together.
    pub status: ReportStatus,
    /// The generation of plugins and rules it ran on, from first to last.
    pub generation: u64,
    /// When its execution began: RFC 3339, UTC.
    pub started_at: Timestamp,
    /// From there to the last outcome.
    #[serde(rename = "durationMs", serialize_with = "ms")]
    pub duration: Duration,
    /// One entry a handler, by name.
    pub handlers: Vec<HandlerReport>,
}

impl Report {
    /// The status that these handlers make together.
    #[must_use]
    pub fn status_of(handlers: &[HandlerReport]) -> ReportStatus {
        let succeeded = handlers
            .iter()
            .filter(|handler| handler.outcome.status() == Status::Succeeded)
            .count();
        ReportStatus::of(succeeded, handlers.len())
    }
}

impl ReportStatus {
    /// The status of a command with so many handlers, so many of which succeeded.
    pub fn of(succeeded: usize, handlers: usize) -> Self {
        match succeeded {
            0 => Self::Failed,
            all if all == handlers => Self::Succeeded,
            _ => Self::Partial,
        }
    }
}

/// Milliseconds with three decimals: a pure Rust handler answers in a few microseconds.
pub fn millis(duration: Duration) -> f64 {
    let micros =
        u32::try_from(duration.as_micros()).map_or(duration.as_secs_f64() * 1e6, f64::from);
    micros.trunc() / 1e3
}

fn ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(millis(*duration))
}

fn optional_ms<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => ms(duration, serializer),
        None => serializer.serialize_none(),
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
