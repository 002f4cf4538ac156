//! Owns what a call shares with the store of its instance.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    cpu::CpuMeter, emitted::Emitted, logs::LogSink, memory::MemoryUse, simulation::Simulated,
};
use crate::{
    grants::{
        granted::Denial,
        outgoing::{Caller, Recorder, StandIn},
    },
    services::Services,
    settings::HandlerLimits,
};
use pointsman_core::{delivery::DeliveryId, outcome::Level};

/// Different denials of one call that are logged in its report.
const DENIALS_MAX: usize = 32;

/// The part of a call that outlives its store, which a timeout drops.
pub(crate) struct Shared {
    pub(crate) logs: LogSink,
    pub(crate) cpu: CpuMeter,
    pub(crate) memory: MemoryUse,
    /// The clock and the numbers of the call, where they are not this machine's.
    pub(crate) simulated: Option<Simulated>,
    pub(crate) began: Instant,
    timeout: Duration,
    traceparent: Option<Arc<str>>,
    denials: Mutex<Vec<Denial>>,
    /// What the call may use of the host.
    pub(crate) services: Services,
    /// Which delivery it serves.
    pub(crate) delivery: DeliveryId,
    /// How many commands stand before its own in a row of follow-ups.
    pub(crate) depth: u32,
    emitted: Mutex<Emitted>,
}

impl Shared {
    /// A call that began at `began`.
    pub(crate) fn new(
        began: Instant,
        limits: &HandlerLimits,
        logs: LogSink,
        simulated: Option<Simulated>,
        (traceparent, services, (delivery, depth)): (Option<&str>, Services, (DeliveryId, u32)),
    ) -> Self {
        Self {
            logs,
            simulated,
            cpu: CpuMeter::new(began, limits.cpu_max),
            memory: MemoryUse::default(),
            began,
            timeout: limits.timeout,
            traceparent: traceparent.map(Into::into),
            denials: Mutex::default(),
            services,
            delivery,
            depth,
            emitted: Mutex::default(),
        }
    }

    /// The follow-up commands so far.
    pub(crate) fn emitted(&self) -> MutexGuard<'_, Emitted> {
        self.emitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first use that was not granted.
    pub(crate) fn denied(&self) -> Option<Denial> {
        let denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        denials.first().cloned()
    }
}

impl Caller for Shared {
    fn time_left(&self) -> Duration {
        self.timeout.saturating_sub(self.began.elapsed())
    }

    fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    fn stand_in(&self) -> Option<Arc<dyn StandIn>> {
        let servers = self.simulated.as_ref()?.servers.clone()?;
        Some(servers)
    }

    fn recorder(&self) -> Option<Recorder> {
        self.simulated.as_ref()?.recorder.clone()
    }

    fn warn(&self, message: &str) {
        self.logs.write(Level::Warn, message);
    }

    fn deny(&self, denial: Denial) {
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        if denials.len() < DENIALS_MAX && !denials.contains(&denial) {
            self.logs.write(Level::Warn, &denial.message);
            denials.push(denial);
        }
    }
}
