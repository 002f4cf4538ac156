//! Owns the instances that wait for their next call, where the settings of the
//! handler say `mode = "reuse"`. They go with the plugin.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;

use super::{bindings::Instance, state::State};
use crate::grants::settings::{InstanceMode, InstanceSettings};
use pointsman_machine::budget::Budget;

/// An instance that lives, with its store.
pub(crate) struct Live {
    pub(crate) store: Store<State>,
    pub(crate) instance: Instance,
    /// Calls that it served.
    pub(crate) calls: u64,
    /// When its first call began.
    pub(crate) born: Instant,
}

/// The waiting instances of one plugin. Each holds some of the host's places.
pub(crate) struct Idle {
    settings: InstanceSettings,
    places: Arc<Semaphore>,
    // What one instance holds.
    each: u32,
    memory: Arc<Budget>,
    // The one that served last at the end: it is the warmest.
    waiting: Mutex<Vec<(Live, OwnedSemaphorePermit)>>,
}

impl Idle {
    /// For instances that hold `each` of the `places`, and of `memory` what they use.
    pub(crate) fn new(
        settings: InstanceSettings,
        places: Arc<Semaphore>,
        each: u32,
        memory: Arc<Budget>,
    ) -> Self {
        Self {
            settings,
            places,
            each,
            memory,
            waiting: Mutex::default(),
        }
    }

    /// None waiting, among the same places.
    pub(crate) fn with_settings(&self, settings: InstanceSettings) -> Self {
        let (places, memory) = (Arc::clone(&self.places), Arc::clone(&self.memory));
        Self::new(settings, places, self.each, memory)
    }

    /// An instance that may serve another call. Ends those that are too old.
    pub(crate) fn take(&self) -> Option<Live> {
        if self.settings.mode == InstanceMode::Fresh {
            return None;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let too_old: Vec<_> = waiting
            .extract_if(.., |(live, _)| !self.may_keep(live))
            .collect();
        let taken = waiting.pop();
        // Outside the lock: unmapping their memory takes a while.
        drop(waiting);
        drop(too_old);
        taken.map(|(live, _)| live)
    }

    /// Whether the instance may serve another call.
    pub(crate) fn may_keep(&self, live: &Live) -> bool {
        self.settings.mode == InstanceMode::Reuse
            && live.calls < self.settings.calls_max
            && live.born.elapsed() < Duration::from_secs(self.settings.seconds_max)
    }

    /// Lets the instance wait for its next call, or ends it if the host has no
    /// place for it, or calls at work need its memory.
    pub(crate) fn keep(&self, live: Live) {
        // What waits may wait for long: half of the memory stays for what works.
        if !self.memory.has(self.memory.limit() / 2) {
            return;
        }
        if let Ok(place) = Arc::clone(&self.places).try_acquire_many_owned(self.each) {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push((live, place));
        }
    }
}
