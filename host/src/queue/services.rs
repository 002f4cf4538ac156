//! Owns what handlers use of the queue: its store keeps their entries, and the rules
//! judge the commands that they emit.

use std::sync::Arc;

use pointsman_core::state::{Space, StateAnswer, StateError, StateRequest};
use pointsman_queue::Store;

use crate::{
    command::Command,
    dispatcher::{Dispatcher, Routed},
    sandbox::{Answer, FollowUps, Services, StateStore},
};

/// The services of a host with this store, which does not hold the services itself.
pub(super) fn services(store: &Arc<dyn Store>, dispatcher: &Dispatcher) -> Services {
    Services {
        state: Some(Arc::new(Kept(Arc::clone(store)))),
        follow_ups: Some(Arc::new(Judge(dispatcher.without_services()))),
    }
}

struct Kept(Arc<dyn Store>);

impl StateStore for Kept {
    fn ask<'a>(
        &'a self,
        space: &'a Space,
        request: StateRequest,
    ) -> Answer<'a, Result<StateAnswer, StateError>> {
        Box::pin(async move {
            match self.0.state(space.clone(), request).await {
                Ok(answer) => answer,
                Err(error) => Err(StateError::Unavailable(error.to_string())),
            }
        })
    }
}

struct Judge(Dispatcher);

impl FollowUps for Judge {
    fn admit<'a>(&'a self, command: &'a Command) -> Answer<'a, Result<(), String>> {
        Box::pin(async move {
            let routed = self.0.route(command).await.and_then(Routed::matched);
            routed.map(drop).map_err(|error| error.to_string())
        })
    }
}
