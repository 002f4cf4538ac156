//! One call: a store, an instance in it, the handler's limits around both, and the
//! [`Outcome`] for every way in which it can end.

use std::{pin::pin, sync::Arc, time::Instant};

use serde_json::value::RawValue;
use tokio::sync::SemaphorePermit;
use tokio_util::sync::CancellationToken;
use wasmtime::{Store, UpdateDeadline};

use super::{
    bindings,
    breaker::Pass,
    ending::{CpuExceeded, Stopped, said},
    handler::Handler,
    idle::Live,
    logs::{LogSink, OnLine},
    shared::Shared,
    simulation::{Simulated, Simulation},
    state::State,
    until::{Ended, until_ended},
};
use crate::services::Services;
use pointsman_core::{
    command::Command,
    delivery::DeliveryId,
    outcome::{Failure, HandlerReport, Outcome, Spent, Status},
};

/// The parameters of a call besides the command.
pub struct Call<'a> {
    /// The attempt number, starting at 1.
    pub attempt: u32,
    /// When the command started: the times of log lines are relative to it.
    pub started: Instant,
    /// Receives each log line as it is written.
    pub on_line: Option<OnLine>,
    /// Cancels the call.
    pub cancel: &'a CancellationToken,
    /// For a test: the clock and the random numbers of the call, which then always
    /// has a fresh instance. Sleeping takes no time, but counts towards the timeout.
    /// All else is real: CPU time, memory, folders; requests, unless the simulation
    /// has servers. Where requests may be real, the timers of WASI are too, since a
    /// simulated one would always be faster than the request beside it.
    pub simulation: Option<Simulation>,
    /// The services of the host that it may use.
    pub services: &'a Services,
    /// How many commands stand before this one in a row of which each emitted the
    /// next: such a row has an end.
    pub depth: u32,
}

/// The answer as the report has it.
type Output = Option<Box<RawValue>>;

/// What the guest itself said, with its instance if that may serve another
/// call, or how it stopped.
type Answer = Result<(Result<Option<String>, bindings::Failure>, Option<Live>), Stopped>;

impl Handler {
    /// Handles one command in a fresh instance, or in one that waited for it
    /// where the settings say `reuse`: the one way to a handler, for commands,
    /// deliveries and cases. The report has no rules: whoever asked them adds
    /// them. Dropping the future frees the instance, at the latest when the guest
    /// reaches its next tick.
    pub async fn call(&self, command: &Command, call: Call<'_>) -> HandlerReport {
        let started = call.started;
        let began = started.elapsed();
        let outcome = self.outcome(command, call).await;
        HandlerReport {
            handler: self.name.clone(),
            version: self.version.clone(),
            digest: Some(Arc::clone(&self.digest)),
            rules: Vec::new(),
            outcome,
            started_after: began,
            duration: started.elapsed().saturating_sub(began),
        }
    }

    async fn outcome(&self, command: &Command, call: Call<'_>) -> Outcome {
        let began = Instant::now();
        let (pass, _permit) = match self.admit(began) {
            Ok(admitted) => admitted,
            Err(failure) => return Outcome::not_run(failure),
        };
        let limits = &self.settings.limits;
        let logs = LogSink::new(call.started, limits, call.on_line);
        let simulated = call
            .simulation
            .map(|simulation| Simulated::new(simulation, limits.timeout));
        let traceparent = command.traceparent.as_deref();
        let delivery = DeliveryId::new(command.id, self.name.clone());
        let (id, delivery_id) = (command.id.text(), delivery.to_string());
        let services = match self.settings.state.is_some() || self.settings.emit.is_some() {
            true => call.services.clone(),
            // Counted references, which all calls share, cost where nobody uses them.
            false => Services::NONE,
        };
        let uses = (traceparent, services, (delivery, call.depth));
        let shared = Arc::new(Shared::new(began, limits, logs, simulated, uses));
        let command = bindings::Command {
            id: &id,
            attributes: command.attributes(),
            attempt: call.attempt,
            delivery_id: &delivery_id,
            traceparent,
        };
        let running = pin!(self.run(&shared, command));
        let running = shared.cpu.measure(&self.handler.turns, running);
        let ended = until_ended(&shared, call.cancel, running).await;
        let (result, live) = self.made_of(ended, &shared);
        let result = result.map_err(|failure| self.handler.caused(failure, &shared));
        let ended = Instant::now();
        let emitted = match result {
            Ok(_) => std::mem::take(&mut shared.emitted().commands),
            Err(_) => Vec::new(),
        };
        let outcome = Outcome {
            result,
            emitted,
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

    /// What a call ends with, and its instance if that may serve another one.
    fn made_of(
        &self,
        ended: Ended<Answer>,
        shared: &Shared,
    ) -> (Result<Output, Failure>, Option<Live>) {
        let handler = &self.handler;
        let failure = match ended {
            Ended::Answered(Ok((Ok(answer), live))) => return (handler.output(answer), live),
            Ended::Answered(Ok((Err(failure), live))) => return (Err(said(failure)), live),
            Ended::Answered(Err(stopped)) => handler.failed(&stopped, shared),
            Ended::Cancelled => handler.failure(Status::Cancelled, "cancelled".into(), None),
            Ended::TimedOut => handler.failure(
                Status::TimedOut,
                format!("no response after {:?}", self.settings.limits.timeout),
                Some("limits.timeout"),
            ),
        };
        (Err(failure), None)
    }

    /// Whether a call may run now: its handler is not in quarantine, and not all
    /// of its instances are busy.
    fn admit(&self, now: Instant) -> Result<(Pass<'_>, SemaphorePermit<'_>), Failure> {
        let pass = self.breaker.admit(now).map_err(|left| {
            let reason = "failed too often recently and is left alone for a while";
            let key = Some("breaker.cooldown");
            Failure {
                retry_after: Some(left),
                ..self
                    .handler
                    .failure(Status::Quarantined, reason.into(), key)
            }
        })?;
        let permit = self.places.enter().ok_or_else(|| {
            let (reason, key) = self.places.full(self.settings.limits.instances_max);
            self.handler.failure(Status::Busy, reason, Some(key))
        })?;
        Ok((pass, permit))
    }

    /// Runs one command, and hands back the instance if it may serve another.
    async fn run(&self, shared: &Arc<Shared>, command: bindings::Command<'_>) -> Answer {
        let waiting = match shared.simulated {
            None => self.idle.take(),
            Some(_) => None,
        };
        let mut live = match waiting {
            Some(live) => live,
            None => self.start(shared).await.map_err(Stopped::Starting)?,
        };
        live.store.data_mut().begin(shared);
        live.store.set_epoch_deadline(1);
        let answer = live.instance.handle(&mut live.store, command).await;
        let answer = answer.map_err(Stopped::Running)?;
        live.calls += 1;
        live.store.data_mut().end();
        // Dropped here where it is not kept, so that its end counts as CPU time.
        let may_keep = shared.simulated.is_none() && self.idle.may_keep(&live);
        let live = may_keep.then_some(live);
        Ok((answer, live))
    }

    async fn start(&self, shared: &Arc<Shared>) -> wasmtime::Result<Live> {
        // Opening a folder can fail, which a call into WASI could not say.
        let folders = self
            .handler
            .grants
            .open_folders(&self.handler.shares)
            .await?;
        let state = State::new(Arc::clone(shared), Arc::clone(&self.handler), folders);
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(lent_max(self.settings.limits.memory_max_bytes));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            if store.data().shared.cpu.exceeded() {
                return Err(CpuExceeded.into());
            }
            store.data().shared.cpu.tick();
            // Its next poll waits for a turn.
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(tokio::task::yield_now()),
            ))
        });
        let instance = self.pre.instantiate(&mut store).await?;
        Ok(Live {
            store,
            instance,
            calls: 0,
            born: shared.began,
        })
    }
}

/// The most that a guest hands to the host in one call, as the host holds it: a
/// list of small things is several times as large there. No more than the guest
/// itself may have, and never more than wasmtime's own limit.
fn lent_max(memory_max_bytes: usize) -> usize {
    memory_max_bytes.clamp(1 << 20, 128 << 20)
}
