//! Owns what handlers use of the host besides the machine: entries that are kept
//! from call to call, and follow-up commands. Whoever runs handlers brings both.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use pointsman_core::{
    command::Command,
    delivery::DeliveryId,
    outcome::FollowUp,
    state::{Space, StateAnswer, StateError, StateRequest},
};

/// What a service answers, on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where handlers keep entries. An answer comes after the change is durable.
pub trait StateStore: Send + Sync {
    /// Does what is asked of a space; `simulated` is the time of a simulated call, since
    /// the Unix epoch.
    fn ask<'a>(
        &'a self,
        space: &'a Space,
        request: StateRequest,
        simulated: Option<Duration>,
    ) -> Answer<'a, Result<StateAnswer, StateError>>;
}

/// Where follow-up commands go.
pub trait FollowUps: Send + Sync {
    /// Reads a command that is to wait for `delay`, which would go to a handler now.
    ///
    /// # Errors
    /// Why it is not taken.
    fn admit(&self, text: String, delay: Option<Duration>) -> Answer<'_, Result<Command, String>>;

    /// Stores what the call of a handler emitted that no queue asked for: all or none.
    ///
    /// # Errors
    /// Why not.
    fn store<'a>(
        &'a self,
        by: DeliveryId,
        traceparent: Option<&'a str>,
        emitted: &'a [FollowUp],
    ) -> Answer<'a, Result<(), String>>;
}

/// The services that calls may use; each that is missing is said to be.
#[derive(Clone, Default)]
pub struct Services {
    /// Where handlers keep entries.
    pub state: Option<Arc<dyn StateStore>>,
    /// Where follow-up commands go.
    pub follow_ups: Option<Arc<dyn FollowUps>>,
}

impl Services {
    /// None of them.
    pub const NONE: Self = Self {
        state: None,
        follow_ups: None,
    };
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("state", &self.state.is_some())
            .field("follow_ups", &self.follow_ups.is_some())
            .finish()
    }
}
