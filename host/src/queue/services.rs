//! Owns what handlers use of the queue: its store keeps their entries, and the rules
//! judge the commands that they emit.

use std::{fmt::Display, sync::Arc, time::Duration};

use pointsman_core::{
    delivery::DeliveryId,
    settings::duration,
    state::{Space, StateAnswer, StateError, StateRequest},
};
use pointsman_queue::{
    Clock as _, NewCommand, NewDelivery, QueueSettings, Store, SystemClock, is_key,
};

use crate::{
    command::Command,
    dispatcher::{DispatchError, Dispatcher, Routed},
    outcome::FollowUp,
    rules::Match,
    sandbox::{Answer, FollowUps, Services, StateStore},
};

/// The services of a host with this store, which does not hold the services itself.
pub(super) fn services(
    store: &Arc<dyn Store>,
    dispatcher: &Dispatcher,
    settings: &QueueSettings,
) -> Services {
    Services {
        state: Some(Arc::new(Kept(Arc::clone(store)))),
        follow_ups: Some(Arc::new(Judge {
            store: Arc::clone(store),
            dispatcher: dispatcher.without_services(),
            run_at_max: settings.run_at_max,
        })),
    }
}

struct Kept(Arc<dyn Store>);

impl StateStore for Kept {
    fn ask<'a>(
        &'a self,
        space: &'a Space,
        request: StateRequest,
        _: Option<Duration>,
    ) -> Answer<'a, Result<StateAnswer, StateError>> {
        Box::pin(async move {
            match self.0.state(space.clone(), request).await {
                Ok(answer) => answer,
                Err(error) => Err(StateError::Unavailable(error.to_string())),
            }
        })
    }
}

/// Where follow-up commands go: through the rules, into the store.
struct Judge {
    store: Arc<dyn Store>,
    dispatcher: Dispatcher,
    run_at_max: Duration,
}

impl FollowUps for Judge {
    /// As a command that a client sends is, within the same limits.
    fn admit(&self, text: String, delay: Option<Duration>) -> Answer<'_, Result<Command, String>> {
        Box::pin(async move {
            let (length, most) = (text.len(), self.dispatcher.command_max_bytes());
            if length > most {
                return Err(format!(
                    "the command has {length} bytes, more than {most}; `host.command_max_bytes` in pointsman.toml sets the limit"
                ));
            }
            let latest = self.run_at_max;
            if delay.is_some_and(|delay| delay > latest) {
                let latest = duration::text(latest);
                return Err(format!(
                    "a delay is at most {latest}; `queue.run_at_max` in pointsman.toml sets the limit"
                ));
            }
            let command = self.dispatcher.parse(text).await.map_err(said)?;
            let command = command.map_err(|error| format!("no command: {error}"))?;
            let routed = self.dispatcher.route_follow_up(&command).await;
            routed.and_then(Routed::matched).map_err(said)?;
            Ok(command)
        })
    }

    fn store<'a>(
        &'a self,
        by: DeliveryId,
        traceparent: Option<&'a str>,
        emitted: &'a [FollowUp],
    ) -> Answer<'a, Result<(), String>> {
        Box::pin(async move {
            let commands = routed(&self.dispatcher, &by, traceparent, (0, emitted)).await?;
            self.store.enqueue(commands).await.map(drop).map_err(said)
        })
    }
}

fn said(error: impl Display) -> String {
    error.to_string()
}

/// What the delivery `by`, at this depth, emitted, as the store takes it.
///
/// # Errors
/// Where the rules have changed since, and one of them goes nowhere now.
pub(super) async fn routed(
    dispatcher: &Dispatcher,
    by: &DeliveryId,
    traceparent: Option<&str>,
    (depth, emitted): (u32, &[FollowUp]),
) -> Result<Vec<NewCommand>, String> {
    let mut commands = Vec::with_capacity(emitted.len());
    for follow_up in emitted {
        let command = Command::trusted(follow_up.id, &follow_up.attributes);
        let routed = dispatcher
            .route_follow_up(&command)
            .await
            .and_then(Routed::matched);
        let routed =
            routed.map_err(|error| format!("its follow-up command `{}`: {error}", follow_up.id))?;
        let deliveries = deliveries(dispatcher, &routed, &command).await;
        let deliveries = deliveries.map_err(said)?;
        commands.push(NewCommand {
            id: follow_up.id,
            traceparent: traceparent.map(str::to_owned),
            priority: follow_up.priority,
            run_at: follow_up.delay.map(|delay| SystemClock.now().after(delay)),
            ordering_key: follow_up.ordering_key.clone(),
            rules_generation: routed.snapshot.generation,
            causation: Some(by.clone()),
            depth: depth.saturating_add(1),
            ..NewCommand::new(follow_up.attributes.clone(), deliveries)
        });
    }
    Ok(commands)
}

/// A delivery for each match.
///
/// # Errors
/// [`DispatchError::Draining`] if the async runtime ends.
pub(super) async fn deliveries(
    dispatcher: &Dispatcher,
    routed: &Routed,
    command: &Command,
) -> Result<Vec<NewDelivery>, DispatchError> {
    let mut keys = dispatcher.keys(routed, command, is_key).await?;
    let handlers = &routed.snapshot.handlers;
    let delivery = |matched: &Match| NewDelivery {
        handler: matched.handler.clone(),
        digest: handlers
            .get(&matched.handler)
            .map_or_else(String::new, |handler| handler.digest.to_string()),
        rules: matched.rules.iter().map(ToString::to_string).collect(),
        key: keys.remove(&matched.handler),
    };
    Ok(routed.matches.iter().map(delivery).collect())
}
