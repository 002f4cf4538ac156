//! Owns [`Plugin`]: one component, checked against the contract, compiled and
//! ready to be called. The only part of the house that knows wasmtime.
//!
//! `loader` makes a plugin from a file that `shape` has bounded and `compiler`
//! compiled in a process of its own, `contract` says where one does not fit,
//! `inspect` reads what a file says of itself, `instance` calls it, `limits`, `logs`
//! and `state` are what a call carries, `ending` is what its end means, `settings`
//! is what the operator says of it and `grants` what that lets it do, `files` are
//! those of a guest, `breaker` leaves it alone for a while, `idle` keeps instances
//! between calls, `parts`, `places` and `shares` are what it takes of the host and
//! `lanes` its threads for what blocks, `turns` share out the cores among calls that
//! compute for long, `simulation` is the world of a call in a
//! test, `bindings` is the contract with `polling` beside it, `engine` what all
//! plugins share and `pool` the places in it.

mod bindings;
mod breaker;
mod compiler;
mod contract;
mod ending;
mod engine;
mod files;
mod grants;
mod idle;
mod inspect;
mod instance;
mod lanes;
mod limits;
mod loader;
mod logs;
mod parts;
mod places;
mod polling;
mod pool;
mod settings;
mod shape;
mod shares;
mod simulation;
mod state;
mod turns;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use compiler::{SUBCOMMAND as COMPILE_SUBCOMMAND, compile_component, forget_unfinished};
pub use contract::Mismatch;
pub use engine::Runtime;
pub use grants::{Grants, HttpPattern, PatternError};
pub use inspect::{Inspection, Need};
pub use instance::Call;
pub use loader::{LoadError, LoadFault, load};
pub use logs::OnLine;
pub use settings::{
    BreakerSettings, Folder, HandlerDefaults, HandlerLimits, HandlerQueueSettings, HandlerSettings,
    HttpGrant, InstanceMode, InstanceSettings, SandboxSettings, SecretSource,
};
pub use simulation::Simulation;

use pointsman_core::name::HandlerName;
use pointsman_machine::budget::Budgets;

/// One loaded component. Immutable; a changed file makes another one.
pub struct Plugin {
    /// The handler that it provides: the stem of its file.
    pub name: HandlerName,
    /// The version that the component carries.
    pub version: Option<Arc<str>>,
    /// The description that the component carries.
    pub description: Option<Arc<str>>,
    /// The SHA-256 of the file in lower-case hex.
    pub digest: Arc<str>,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// What the operator says of it.
    pub settings: Arc<HandlerSettings>,
    /// What the settings granted it when it was loaded.
    pub grants: Arc<Grants>,
    // Where the operator sets the limits: `plugins/<name>.toml`, or a case.
    place: Arc<str>,
    pre: bindings::Pre,
    places: places::Places,
    breaker: breaker::Breaker,
    idle: idle::Idle,
    turns: turns::Turns,
    table_elements_max: usize,
    budgets: Arc<Budgets>,
    shares: Arc<shares::Shares>,
    resolver: grants::Resolver,
}

impl Plugin {
    /// The same component under other settings, with the call stack that it
    /// has; compiles nothing. `place` is where they stand, if not in the handler's file.
    #[must_use]
    pub fn with_settings(
        &self,
        settings: HandlerSettings,
        grants: Grants,
        place: Option<&str>,
    ) -> Self {
        Self {
            place: place.map_or_else(|| Arc::clone(&self.place), Into::into),
            name: self.name.clone(),
            version: self.version.clone(),
            description: self.description.clone(),
            digest: Arc::clone(&self.digest),
            size_bytes: self.size_bytes,
            pre: self.pre.clone(),
            places: self.places.with_calls_max(settings.limits.instances_max),
            breaker: breaker::Breaker::new(settings.breaker.clone()),
            idle: self.idle.with_settings(settings.instances.clone()),
            turns: self.turns.clone(),
            table_elements_max: self.table_elements_max,
            budgets: Arc::clone(&self.budgets),
            shares: Arc::clone(&self.shares),
            resolver: self.resolver.clone(),
            settings: Arc::new(settings),
            grants: Arc::new(grants),
        }
    }

    /// How many of the host's places one call of it takes.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.places.each()
    }

    /// What is left of its quarantine, if it failed too often of late.
    #[must_use]
    pub fn quarantined(&self) -> Option<Duration> {
        self.breaker.quarantined(Instant::now())
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
