//! Owns [`Handler`]: one component, ready to be called.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pointsman_core::name::HandlerName;

use super::{
    bindings::Pre, breaker::Breaker, context::HandlerContext, engine::Runtime, idle::Idle,
    places::Places,
};
use crate::{
    component::parts::Parts,
    grants::{granted::Grants, outgoing::Clients, settings::HandlerSettings},
};

/// One loaded component. Immutable; a changed file makes another one.
pub struct Handler {
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
    pub(crate) handler: Arc<HandlerContext>,
    pub(crate) pre: Pre,
    pub(crate) places: Places,
    pub(crate) breaker: Breaker,
    pub(crate) idle: Idle,
}

/// What is known of the file that a handler comes from.
pub(crate) struct Origin {
    pub(crate) name: HandlerName,
    pub(crate) version: Option<Arc<str>>,
    pub(crate) description: Option<Arc<str>>,
    pub(crate) digest: Arc<str>,
    pub(crate) size_bytes: u64,
}

impl Handler {
    /// The handler of a component that was linked as `pre` and is made of `parts`.
    pub(crate) fn new(
        runtime: &Runtime,
        origin: Origin,
        (pre, parts): (Pre, Parts),
        settings: Arc<HandlerSettings>,
        grants: Arc<Grants>,
    ) -> Self {
        let name = origin.name;
        let shares = runtime.shares.of(&name);
        let handler = HandlerContext {
            place: format!("plugins/{name}.toml").into(),
            clients: Clients::new(Arc::clone(&shares), runtime.network.clone(), grants.http()),
            shares,
            turns: runtime.turns.clone(),
            memory: Arc::clone(&runtime.memory),
            table_elements_max: runtime.table_elements_max,
            name: name.clone(),
            settings: Arc::clone(&settings),
            grants: Arc::clone(&grants),
        };
        Self {
            name,
            version: origin.version,
            description: origin.description,
            digest: origin.digest,
            size_bytes: origin.size_bytes,
            places: Places::new(parts, settings.limits.instances_max, runtime.places_max),
            breaker: Breaker::new(settings.breaker.clone()),
            idle: Idle::new(
                settings.instances.clone(),
                Arc::clone(&runtime.idle),
                parts.places(),
                Arc::clone(&runtime.memory),
            ),
            handler: Arc::new(handler),
            settings,
            grants,
            pre,
        }
    }

    /// The same component under other settings, with the call stack that it
    /// has; compiles nothing. `place` is where they stand, if not in the handler's file.
    #[must_use]
    pub fn with_settings(
        &self,
        settings: HandlerSettings,
        grants: Grants,
        place: Option<&str>,
    ) -> Self {
        let (settings, grants) = (Arc::new(settings), Arc::new(grants));
        let was = &self.handler;
        let handler = HandlerContext {
            name: was.name.clone(),
            place: place.map_or_else(|| Arc::clone(&was.place), Into::into),
            settings: Arc::clone(&settings),
            grants: Arc::clone(&grants),
            shares: Arc::clone(&was.shares),
            clients: was.clients.with_settings(grants.http()),
            turns: was.turns.clone(),
            memory: Arc::clone(&was.memory),
            table_elements_max: was.table_elements_max,
        };
        Self {
            name: self.name.clone(),
            version: self.version.clone(),
            description: self.description.clone(),
            digest: Arc::clone(&self.digest),
            size_bytes: self.size_bytes,
            handler: Arc::new(handler),
            pre: self.pre.clone(),
            places: self.places.with_calls_max(settings.limits.instances_max),
            breaker: Breaker::new(settings.breaker.clone()),
            idle: self.idle.with_settings(settings.instances.clone()),
            settings,
            grants,
        }
    }

    /// How many of the host's places one call of it takes.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.places.each()
    }

    /// What is left of its quarantine, if it failed too often recently.
    #[must_use]
    pub fn quarantined(&self) -> Option<Duration> {
        self.breaker.quarantined(Instant::now())
    }
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handler")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
