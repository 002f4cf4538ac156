//! Accepts commands into the queue: the options of an enqueue, and its result.

use std::ops::Not;

use pointsman_core::{command::CommandId, delivery::DeliveryId};
use serde::{Deserialize, Serialize};

use super::{Dedup, Enqueued, NewCommand, QueueError, Store, Timestamp, signals::Part};

/// The options of a command to enqueue.
#[derive(Clone, Debug, Default)]
pub struct EnqueueOptions {
    /// The same key with the same attributes returns the first id.
    pub idempotency_key: Option<String>,
    /// The same key answers it whatever the attributes.
    pub same_by_key: bool,
    /// What it is not to be stored beside.
    pub dedup: Option<Dedup>,
    /// Among waiting deliveries, those with a higher priority run first.
    pub priority: i32,
    /// Not before this time.
    pub run_at: Option<Timestamp>,
    /// Deliveries to one handler with the same key run one after another.
    pub ordering_key: Option<String>,
    /// The command of which this one is a rerun; for information only.
    pub rerun_of: Option<CommandId>,
}

/// A command that is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// Its id: that of an earlier command if the idempotency key was known.
    #[serde(rename = "commandId")]
    pub id: CommandId,
    /// Whether it was stored before.
    pub repeated: bool,
    /// Whether it was stored before, had not begun, and is now what was asked.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub replaced: bool,
    /// By handler name.
    #[serde(with = "with_handlers")]
    pub deliveries: Vec<DeliveryId>,
    /// Whether it was stored before, has ended, and is no longer kept: idempotency
    /// keys are remembered longer. It then has no deliveries here.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub removed: bool,
}

/// Ids of deliveries as JSON, each with its handler.
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
        replaced: stored.replaced,
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

/// The deliveries of a command that was stored before, or `None` if only its
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
