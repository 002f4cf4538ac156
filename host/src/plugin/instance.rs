//! Owns one call: a store, an instance in it, the handler's limits around
//! both, and the [`Outcome`] that every possible end becomes.

use std::{
    future::{pending, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};

use super::{
    Plugin, bindings,
    grants::FolderGone,
    idle::Live,
    limits::Refused,
    logs::{LogSink, OnLine},
    simulation::{Simulated, Simulation},
    state::{Shared, State},
};
use crate::{
    command::Command,
    outcome::{Failure, Outcome, Spent, Status},
};

/// What the host says to a handler, besides the command.
pub struct Call<'a> {
    /// Which try this is: 1 on the first.
    pub attempt: u32,
    /// Stable across retries.
    pub delivery_id: &'a str,
    /// When the command began: log lines count from there.
    pub started: Instant,
    /// Sees each log line as it is written.
    pub on_line: Option<OnLine>,
    /// Ends the call as cancelled.
    pub cancel: &'a CancellationToken,
}

/// Ends a call in the epoch callback.
#[derive(Debug, thiserror::Error)]
#[error("the CPU limit is used up")]
struct CpuExceeded;

/// What the guest itself said, with its instance if that may serve another
/// call, or how running it failed.
type Answer = wasmtime::Result<(Result<Option<String>, bindings::Failure>, Option<Live>)>;

impl Plugin {
    /// Handles one command in a fresh instance, or in one that waited for it
    /// where the settings say `reuse`. Dropping the future frees the
    /// instance, at the latest when the guest reaches its next tick.
    pub async fn call(&self, command: &Command, call: Call<'_>) -> Outcome {
        self.call_in(command, call, None).await
    }

    /// Handles one command as [`Plugin::call`] does, always in a fresh
    /// instance, with the clock and the random numbers of `simulation`.
    /// Sleeping takes no time, but counts towards the timeout. All else is
    /// real: CPU time, memory, folders, requests. Timers of WASI are real too
    /// where `[http]` grants something, since a simulated one would always be
    /// faster than the request beside it.
    pub async fn simulate(
        &self,
        command: &Command,
        call: Call<'_>,
        simulation: Simulation,
    ) -> Outcome {
        self.call_in(command, call, Some(simulation)).await
    }

    async fn call_in(
        &self,
        command: &Command,
        call: Call<'_>,
        simulation: Option<Simulation>,
    ) -> Outcome {
        let began = Instant::now();
        let pass = match self.breaker.admit(began) {
            Ok(pass) => pass,
            Err(left) => {
                let reason = "failed too often of late and is left alone for a while";
                let key = Some("breaker.cooldown_ms");
                return Outcome::not_run(Failure {
                    retry_after: Some(left),
                    ..self.failure(Status::Quarantined, reason.into(), key)
                });
            }
        };
        let Ok(_permit) = self.instances.try_acquire() else {
            return Outcome::not_run(self.failure(
                Status::Busy,
                format!(
                    "all {} instances are at work",
                    self.settings.limits.instances_max
                ),
                Some("limits.instances_max"),
            ));
        };
        let limits = &self.settings.limits;
        let logs = LogSink::new(call.started, limits, call.on_line);
        let simulated = simulation.map(|simulation| Simulated::new(simulation, limits.timeout()));
        let shared = Arc::new(Shared::new(began, limits, logs, simulated));
        let id = command.id.text();
        let command = bindings::Command {
            id: &id,
            attributes: command.attributes(),
            attempt: call.attempt,
            delivery_id: call.delivery_id,
            traceparent: command.traceparent.as_deref(),
        };
        let running = pin!(self.run(&shared, command));
        let running = shared.cpu.measure(running);
        let mut live = None;
        let result = match until_ended(&shared, call.cancel, running).await {
            Ended::Answered(Ok((answer, instance))) => {
                live = instance;
                answer.map_or_else(|failure| Err(said(failure)), |answer| self.output(answer))
            }
            Ended::Answered(Err(error)) => Err(self.failed(&error, &shared)),
            Ended::Cancelled => Err(self.failure(Status::Cancelled, "cancelled".into(), None)),
            Ended::TimedOut => Err(self.failure(
                Status::TimedOut,
                format!("no answer after {:?}", limits.timeout()),
                Some("limits.timeout_ms"),
            )),
        };
        let result = result.map_err(|failure| self.caused(failure, &shared));
        let ended = Instant::now();
        let outcome = Outcome {
            result,
            logs: shared.logs.take(),
            spent: Spent {
                wall: ended.saturating_duration_since(began),
                cpu: shared.cpu.spent(),
                memory_peak_bytes: shared.memory.peak_bytes(),
            },
        };
        let status = outcome.status();
        let sound = matches!(
            status,
            Status::Succeeded | Status::Rejected | Status::Unavailable
        );
        if let Some(live) = live.filter(|_| sound) {
            self.idle.keep(live);
        }
        pass.finish(status, ended);
        outcome
    }

    /// Runs one command, and hands back the instance if it may serve another.
    async fn run(&self, shared: &Arc<Shared>, command: bindings::Command<'_>) -> Answer {
        let waiting = match shared.simulated {
            None => self.idle.take(),
            Some(_) => None,
        };
        let mut live = match waiting {
            Some(live) => live,
            None => self.start(shared).await?,
        };
        live.store.data_mut().begin(shared);
        live.store.set_epoch_deadline(1);
        let answer = live.handler.handle(&mut live.store, command).await?;
        live.calls += 1;
        live.store.data().end();
        // Dropped here where it is not kept, so that its end counts as CPU time.
        let may_keep = shared.simulated.is_none() && self.idle.may_keep(&live);
        let live = may_keep.then_some(live);
        Ok((answer, live))
    }

    async fn start(&self, shared: &Arc<Shared>) -> wasmtime::Result<Live> {
        let state = State::new(
            Arc::clone(shared),
            Arc::clone(&self.settings),
            Arc::clone(&self.grants),
            self.table_elements_max,
        )?;
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            if store.data().shared.cpu.exceeded() {
                return Err(CpuExceeded.into());
            }
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(tokio::task::yield_now()),
            ))
        });
        let handler = self.pre.instantiate(&mut store).await?;
        Ok(Live {
            store,
            handler,
            calls: 0,
            born: shared.began,
        })
    }

    fn output(&self, answer: Option<String>) -> Result<Option<Box<RawValue>>, Failure> {
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
        match RawValue::from_string(answer) {
            Ok(output) => Ok(Some(output)),
            Err(error) => Err(self.failure(
                Status::InvalidOutput,
                format!("the answer is no JSON text: {error}"),
                None,
            )),
        }
    }

    /// What it means that running the guest ended without its own word.
    fn failed(&self, error: &wasmtime::Error, shared: &Shared) -> Failure {
        let limits = &self.settings.limits;
        if error.is::<CpuExceeded>() {
            return self.failure(
                Status::CpuExceeded,
                format!("computed for more than {:?}", limits.cpu_max()),
                Some("limits.cpu_max_ms"),
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
            Some(refused) => self.out_of_memory(refused),
            None => self.trapped(error, shared),
        };
        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
            failure.backtrace = frames(backtrace);
        }
        failure
    }

    fn out_of_memory(&self, refused: Refused) -> Failure {
        let (reason, key) = match refused {
            Refused::Bytes => (
                format!(
                    "wanted more than {} bytes of memory",
                    self.settings.limits.memory_max_bytes
                ),
                "limits.memory_max_bytes",
            ),
            Refused::TableElements => (
                format!(
                    "wanted a table of more than {} elements",
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
            None => (format!("{:#}", error.root_cause()), None),
        };
        self.failure(Status::Trapped, reason, key)
    }

    /// A handler that gives up after a denied use does so for that reason: what
    /// it says itself follows. One that was refused memory may have coped with
    /// it: its own word stands, and that follows. Limits and cancellation have
    /// reasons of their own.
    fn caused(&self, failure: Failure, shared: &Shared) -> Failure {
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
                message: format!(
                    "`{}`: {}; then it ended as {}: {}",
                    self.name,
                    denial.message,
                    failure.code.as_str(),
                    failure.message
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
    fn failure(&self, code: Status, reason: String, key: Option<&str>) -> Failure {
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

/// What came first.
enum Ended<T> {
    Answered(T),
    Cancelled,
    TimedOut,
}

/// What `running` gives, unless it is cancelled or takes longer than it may, by
/// this machine's clock or by that of a simulated call.
async fn until_ended<T>(
    shared: &Shared,
    cancel: &CancellationToken,
    mut running: impl Future<Output = T> + Unpin,
) -> Ended<T> {
    if cancel.is_cancelled() {
        return Ended::Cancelled;
    }
    let mut stopped = pin!(async {
        let simulated = async {
            match &shared.simulated {
                Some(simulated) => simulated.clock.expired().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Ended::Cancelled,
            () = tokio::time::sleep(shared.time_left()) => Ended::TimedOut,
            () = simulated => Ended::TimedOut,
        }
    });
    // Most calls wait for nothing and end in their first poll: they need no
    // timer, and no place among those who are told of a cancellation.
    let mut waited = false;
    poll_fn(|context| {
        let again = std::mem::replace(&mut waited, true);
        if again && let Poll::Ready(ended) = stopped.as_mut().poll(context) {
            return Poll::Ready(ended);
        }
        match Pin::new(&mut running).poll(context) {
            Poll::Ready(answer) => Poll::Ready(Ended::Answered(answer)),
            Poll::Pending if again => Poll::Pending,
            Poll::Pending => stopped.as_mut().poll(context),
        }
    })
    .await
}

/// The handler's own word.
fn said(failure: bindings::Failure) -> Failure {
    match failure {
        bindings::Failure::Rejected(message) => Failure::new(Status::Rejected, message),
        bindings::Failure::Unavailable(retry) => Failure {
            retry_after: retry.retry_after_ms.map(Duration::from_millis),
            ..Failure::new(Status::Unavailable, retry.message)
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

/// One line a frame, innermost first, with function names where the component has them.
fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let frame = |frame: &wasmtime::FrameInfo| {
        let module = frame.module().name().unwrap_or("<module>");
        match frame.func_name() {
            Some(name) => format!("{module}!{:#}", rustc_demangle::demangle(name)),
            None => format!("{module}!<function {}>", frame.func_index()),
        }
    };
    backtrace.frames().iter().map(frame).collect()
}
