//! Owns what the end of a child means for its component, and what of it is
//! remembered.

use super::{
    Answer, Failure, Limits,
    process::{End, WALL_PER_CPU},
};

const REPORT: &str = "raise `host.compile_memory_max_bytes` if it lacked memory; else build it again, and \
                      if it stays so, report it with the file";
const MORE_MEMORY: &str =
    "raise `host.compile_memory_max_bytes`, or build it smaller: optimized for size, in parts";
const MORE_TIME: &str =
    "raise `host.compile_timeout`, or build it smaller: optimized for size, in parts";

/// Whether the same file is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remember {
    Not,
    ThisRun,
    Always,
}

/// A failure, and how long it is known.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) what: Failure,
    pub(super) remember: Remember,
}

/// What it means that a child with these `limits` ended so.
pub(super) fn of(end: End, limits: Limits) -> Remembered {
    match end {
        End::Answered(answer) => answered(answer, limits),
        End::Stopped => passing(Failure::Stopped),
        // It ended by itself, before it could answer.
        End::Died(status) if status.code().is_some() => {
            failed(format!("the compiler exited early ({status})"), REPORT)
        }
        End::Died(status) => lasting(
            format!(
                "the compiler died ({status}), as it does when it needs more memory than {} bytes (`host.compile_memory_max_bytes`)",
                limits.memory_max_bytes
            ),
            MORE_MEMORY,
        ),
        End::CpuTime => lasting(
            format!(
                "compiling took longer than {} ms of CPU time (`host.compile_timeout`)",
                limits.timeout_ms
            ),
            MORE_TIME,
        ),
        // The machine may have been busy with something else.
        End::WallTime => Remembered {
            remember: Remember::ThisRun,
            ..failed(
                format!(
                    "compiling took longer than {} ms, {WALL_PER_CPU} times `host.compile_timeout`",
                    limits.timeout_ms.saturating_mul(WALL_PER_CPU.into())
                ),
                MORE_TIME,
            )
        },
    }
}

fn answered(answer: Answer, limits: Limits) -> Remembered {
    match answer {
        Answer::Invalid(cause) => passing(Failure::Invalid(cause)),
        Answer::Panicked(message) => failed(format!("the compiler failed: {message}"), REPORT),
        Answer::Compiled => failed("the compiler ended halfway".into(), REPORT),
        Answer::OutOfMemory => lasting(
            format!(
                "compiling needs more memory than {} bytes (`host.compile_memory_max_bytes`)",
                limits.memory_max_bytes
            ),
            MORE_MEMORY,
        ),
    }
}

fn passing(what: Failure) -> Remembered {
    Remembered {
        what,
        remember: Remember::Not,
    }
}

/// Something that may be otherwise next time.
pub(super) fn failed(reason: String, hint: &str) -> Remembered {
    passing(Failure::Failed {
        reason,
        hint: hint.into(),
    })
}

/// Something that the same file meets under the same limits each time.
fn lasting(reason: String, hint: &str) -> Remembered {
    Remembered {
        remember: Remember::Always,
        ..failed(reason, hint)
    }
}
