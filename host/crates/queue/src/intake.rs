//! Owns how a command enters the queue: what a caller asks of it besides its
//! attributes, and what it is told of where it went.

use std::ops::Not;

use pointsman_core::{command::CommandId, delivery::DeliveryId};
use serde::{Deserialize, Serialize};

use super::{Enqueued, NewCommand, QueueError, Store, Timestamp, signals::Part};

/// What a caller asks of one command, besides its attributes.
#[derive(Clone, Debug, Default)]
pub struct EnqueueOptions {
    /// The same key with the same attributes answers the first id.
    pub idempotency_key: Option<String>,
    /// The same key answers it whatever the attributes.
    pub same_by_key: bool,
    /// Higher runs first, among the deliveries that wait.
    pub priority: i32,
    /// Not before this time.
    pub run_at: Option<Timestamp>,
    /// Deliveries of one handler with the same key run one after the other.
    pub ordering_key: Option<String>,
    /// The command that this one repeats, for those who look at it.
    pub rerun_of: Option<CommandId>,
}

/// A command that is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// Its id: that of an earlier command where the idempotency key was known.
    #[serde(rename = "commandId")]
    pub id: CommandId,
    /// Whether it was stored before.
    pub repeated: bool,
    /// By handler name.
    #[serde(with = "with_handlers")]
    pub deliveries: Vec<DeliveryId>,
    /// Whether it was stored before, ended, and is no longer kept: its
    /// idempotency key is remembered longer. Then it has no deliveries here.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub removed: bool,
}

/// Ids of deliveries as JSON, each with its handler beside it.
mod with_handlers {
    use pointsman_core::name::HandlerName;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::DeliveryId;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct One {
        delivery_id: DeliveryId,
        handler: HandlerName,
    }

    pub(super) fn serialize<S: Serializer>(
        ids: &[DeliveryId],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ids.iter().map(|id| One {
            delivery_id: id.clone(),
            handler: id.handler.clone(),
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<DeliveryId>, D::Error> {
        let all = Vec::<One>::deserialize(deserializer)?;
        Ok(all.into_iter().map(|one| one.delivery_id).collect())
    }
}

/// Stores the command with its deliveries. Returns after the commit.
///
/// # Errors
/// The store's.
pub async fn accept(store: &dyn Store, command: NewCommand) -> Result<Accepted, QueueError> {
    let handlers = command.deliveries.iter().map(|one| one.handler.clone());
    let handlers: Vec<_> = handlers.collect();
    let enqueued = accept_all(store, vec![command]).await?;
    let stored = enqueued.first().ok_or(QueueError::Closed)?;
    let first = if stored.repeated {
        // The rules may have changed since the first one was routed.
        first_deliveries(store, stored.id).await?
    } else {
        let of = |handler| DeliveryId::new(stored.id, handler);
        Some(handlers.into_iter().map(of).collect())
    };
    Ok(Accepted {
        id: stored.id,
        repeated: stored.repeated,
        removed: first.is_none(),
        deliveries: first.unwrap_or_default(),
    })
}

/// Stores the commands with their deliveries, all or none. Returns after the commit.
///
/// # Errors
/// The store's.
pub async fn accept_all(
    store: &dyn Store,
    commands: Vec<NewCommand>,
) -> Result<Vec<Enqueued>, QueueError> {
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let stored = store.enqueue(commands).await;
    let signals = store.signals();
    match &stored {
        Ok(_) => signals.accepted(),
        Err(error) if error.is_engine() => signals.failed(Part::Intake, error),
        Err(_) => {}
    }
    stored
}

/// The deliveries of a command that was stored before; none where only its
/// idempotency key is still kept.
async fn first_deliveries(
    store: &dyn Store,
    id: CommandId,
) -> Result<Option<Vec<DeliveryId>>, QueueError> {
    match store.glance(id).await {
        Ok(first) => Ok(Some(first.deliveries.into_iter().map(|d| d.id).collect())),
        Err(QueueError::UnknownCommand(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
