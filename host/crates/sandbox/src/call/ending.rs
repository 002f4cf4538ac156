//! Owns what the end of a call means: the [`Failure`] that each way to stop
//! becomes, whose fault it is, and its text, which is cut while it is written.

use std::{io, time::Duration};

use rustix::io::Errno;
use serde_json::value::RawValue;
use wasmtime::{
    OutOfMemory, PoolConcurrencyLimitError, Trap, WasmBacktrace, component::ResourceTableError,
};
use wasmtime_wasi::I32Exit;

use super::{bindings, context::HandlerContext, memory::Refused, shared::Shared};
use crate::grants::folders::FolderGone;
use pointsman_core::{
    json,
    outcome::{Failure, Status},
    text::{self, MESSAGE_MAX_BYTES, bounded},
};

/// One frame of a backtrace: as much as a line of a terminal or two show.
const FRAME_MAX_BYTES: usize = 256;

/// Ends a call in the epoch callback.
#[derive(Debug, thiserror::Error)]
#[error("the CPU limit is used up")]
pub(crate) struct CpuExceeded;

/// How a guest stopped without its own word.
pub(crate) enum Stopped {
    /// While its instance was made, start functions included.
    Starting(wasmtime::Error),
    /// While it handled the command.
    Running(wasmtime::Error),
}

impl HandlerContext {
    /// The answer, as the report has it.
    pub(crate) fn output(&self, answer: Option<String>) -> Result<Option<Box<RawValue>>, Failure> {
        let Some(answer) = answer else {
            return Ok(None);
        };
        let limit = self.settings.limits.output_max_bytes;
        if answer.len() > limit {
            return Err(self.failure(
                Status::OutputTooLarge,
                format!("the answer has {} bytes, more than {limit}", answer.len()),
                Some("limits.output_max_bytes"),
            ));
        }
        // As commands are: one answer that a reader refuses would take the
        // whole report, and the answers of other handlers, with it.
        match json::raw(answer) {
            Ok(output) => Ok(Some(output)),
            Err(error) => Err(self.failure(
                Status::InvalidOutput,
                format!("the answer is not JSON that every reader takes: {error}"),
                None,
            )),
        }
    }

    /// What it means that the guest stopped without its own word.
    pub(crate) fn failed(&self, stopped: &Stopped, shared: &Shared) -> Failure {
        let (Stopped::Starting(error) | Stopped::Running(error)) = stopped;
        let starting = matches!(stopped, Stopped::Starting(_));
        if error.is::<CpuExceeded>() {
            return self.failure(
                Status::CpuExceeded,
                format!("computed for more than {:?}", self.settings.limits.cpu_max),
                Some("limits.cpu_max"),
            );
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return self.failure(
                Status::Busy,
                "the host has no free instance".into(),
                Some("host.instances_max"),
            );
        }
        if let Some(gone) = error.downcast_ref::<FolderGone>() {
            return self.failure(Status::Unavailable, gone.to_string(), None);
        }
        let mut failure = match shared.memory.refused() {
            // It has not begun: another time there may be room.
            Some(Refused::Host) if starting => self.no_room(),
            Some(refused) => self.out_of_memory(refused),
            None if starting && !is_guests(error) || is_machines(error) => self.failure(
                Status::Unavailable,
                format!("the host could not create an instance: {}", cause(error)),
                None,
            ),
            None => self.trapped(error, shared),
        };
        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
            failure.backtrace = frames(backtrace);
        }
        failure
    }

    fn no_room(&self) -> Failure {
        let memory = &self.memory;
        self.failure(
            Status::Busy,
            format!(
                "handlers have taken {} of the {} bytes of memory that they may have together",
                memory.used(),
                memory.limit()
            ),
            Some(memory.setting()),
        )
    }

    fn out_of_memory(&self, refused: Refused) -> Failure {
        let (reason, key) = match refused {
            Refused::Bytes => (
                format!(
                    "needed more than {} bytes of memory",
                    self.settings.limits.memory_max_bytes
                ),
                "limits.memory_max_bytes",
            ),
            Refused::Host => (
                format!(
                    "wanted more memory than is left of the {} bytes that all handlers may have \
                     together",
                    self.memory.limit()
                ),
                self.memory.setting(),
            ),
            Refused::Machine => {
                let reason = "needed memory that the machine did not have".into();
                return self.failure(Status::OutOfMemory, reason, None);
            }
            Refused::TableElements => (
                format!(
                    "needed a table of more than {} elements",
                    self.table_elements_max
                ),
                "host.table_elements_max",
            ),
        };
        self.failure(Status::OutOfMemory, reason, Some(key))
    }

    fn trapped(&self, error: &wasmtime::Error, shared: &Shared) -> Failure {
        let (reason, key) = match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => (
                "the call stack is exhausted".to_owned(),
                Some("limits.stack_max_bytes"),
            ),
            Some(Trap::UnreachableCodeReached) => {
                let panic = shared.logs.panic();
                let reason = panic.unwrap_or_else(|| "reached an `unreachable` instruction".into());
                (reason, None)
            }
            Some(trap @ Trap::MemoryOutOfBounds) if recursive(error) => (
                format!(
                    "{trap} deep in a recursion: probably the stack in its own memory is used up, \
                     whose size its linker sets (`-zstack-size`)"
                ),
                None,
            ),
            Some(trap) => (trap.to_string(), None),
            None => match error.downcast_ref::<I32Exit>() {
                // WASI 0.2 says no more of the code than whether it is 0.
                Some(I32Exit(code)) => (
                    format!(
                        "called `exit` to end with {}: a handler returns from `handle`, also when all is well",
                        if *code == 0 { "success" } else { "failure" }
                    ),
                    None,
                ),
                None if holds_too_much(error) => (
                    format!(
                        "needed more than {} streams, files and requests at once",
                        self.settings.limits.resources_max
                    ),
                    Some("limits.resources_max"),
                ),
                None => (cause(error), None),
            },
        };
        self.failure(Status::Trapped, reason, key)
    }

    /// A handler that gives up after a denied use does so for that reason: what
    /// it says itself follows. One that was refused memory may have coped with
    /// it: its own word stands, and that follows. Limits and cancellation have
    /// reasons of their own.
    pub(crate) fn caused(&self, failure: Failure, shared: &Shared) -> Failure {
        let gave_up = matches!(
            failure.code,
            Status::Rejected | Status::Unavailable | Status::Trapped
        );
        if !gave_up {
            return failure;
        }
        if let Some(denial) = shared.denied() {
            return Failure {
                code: Status::Denied,
                message: bounded(
                    format_args!(
                        "`{}`: {}; then it ended as {}: {}",
                        self.name,
                        denial.message,
                        failure.code.as_str(),
                        failure.message
                    ),
                    MESSAGE_MAX_BYTES,
                ),
                ..failure
            };
        }
        if let Some(refused) = shared.memory.refused() {
            let refused = self.out_of_memory(refused).message;
            return Failure {
                message: format!("{}; before that, {refused}", failure.message),
                ..failure
            };
        }
        failure
    }

    /// A failure that names the handler and, for a limit, the key that sets it.
    pub(crate) fn failure(&self, code: Status, reason: String, key: Option<&str>) -> Failure {
        let name = &self.name;
        let message = match key {
            Some(key) if key.starts_with("host.") => {
                format!("`{name}`: {reason}; `{key}` in pointsman.toml sets the limit")
            }
            Some(key) => format!(
                "`{name}`: {reason}; `{key}` in {} sets the limit",
                self.place
            ),
            None => format!("`{name}`: {reason}"),
        };
        Failure::new(code, message)
    }
}

/// The handler's own word.
pub(crate) fn said(failure: bindings::Failure) -> Failure {
    let cut = |message| text::cut(message, MESSAGE_MAX_BYTES);
    match failure {
        bindings::Failure::Rejected(message) => Failure::new(Status::Rejected, cut(message)),
        bindings::Failure::Unavailable(retry) => Failure {
            retry_after: retry.retry_after_ms.map(Duration::from_millis),
            ..Failure::new(Status::Unavailable, cut(retry.message))
        },
    }
}

/// Whether the trap is deep in a recursion: few functions, many times over.
fn recursive(error: &wasmtime::Error) -> bool {
    // As many as wasmtime keeps.
    const FRAMES_MAX: usize = 20;
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return false;
    };
    let function = |frame: &wasmtime::FrameInfo| {
        let module = frame.module().name().map(str::to_owned);
        (module, frame.func_index())
    };
    let functions: Vec<_> = backtrace.frames().iter().map(function).collect();
    let times = |one| functions.iter().filter(|other| *other == one).count();
    functions.len() >= FRAMES_MAX && functions.iter().any(|one| times(one) * 4 >= FRAMES_MAX)
}

/// One line per frame, innermost first, with function names where the component
/// has them. Names come from the guest, and a mangled one of a hundred bytes can
/// stand for gigabytes: each is cut while it is written.
fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let mut room = MESSAGE_MAX_BYTES;
    let mut frames = Vec::new();
    for frame in backtrace.frames() {
        let module = bounded(frame.module().name().unwrap_or("<module>"), FRAME_MAX_BYTES);
        let text = match frame.func_name() {
            Some(name) => bounded(
                format_args!("{module}!{:#}", rustc_demangle::demangle(name)),
                FRAME_MAX_BYTES,
            ),
            None => format!("{module}!<function {}>", frame.func_index()),
        };
        room = room.saturating_sub(text.len());
        if room == 0 {
            break;
        }
        frames.push(text);
    }
    frames
}

/// The innermost reason of an error, which may quote the guest.
fn cause(error: &wasmtime::Error) -> String {
    bounded(error.root_cause(), MESSAGE_MAX_BYTES)
}

/// Whether an error comes from the guest's code: a trap in it, or a host call
/// that it made.
fn is_guests(error: &wasmtime::Error) -> bool {
    error.is::<Trap>() || error.is::<WasmBacktrace>() || error.is::<I32Exit>()
}

/// Whether the machine refused what a call needs: address space for a stack,
/// memory, a file descriptor. What a host call says to the guest is not among it.
fn is_machines(error: &wasmtime::Error) -> bool {
    let refused = error.is::<io::Error>() || error.is::<Errno>() || error.is::<OutOfMemory>();
    refused && !is_guests(error)
}

/// Whether the table of its resources is full.
fn holds_too_much(error: &wasmtime::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause| matches!(cause, ResourceTableError::Full))
}
