//! Which commands are taken, and which are repetitions.

use std::collections::HashMap;

use pointsman_core::command::CommandId;
use sha2::{Digest as _, Sha256};

use crate::{
    error::QueueError,
    model::{Enqueued, NewCommand},
};

/// Refuses where `added` more would be too many unfinished deliveries.
pub(crate) fn admit(depth: u64, added: u64, max: u64) -> Result<(), QueueError> {
    if added > 0 && depth.saturating_add(added) > max {
        return Err(QueueError::Full { max });
    }
    Ok(())
}

/// The digest of a command's attributes, by which a repetition is told from a conflict.
pub(crate) type BodyDigest = [u8; 32];

/// The digest of these attributes.
pub(crate) fn body_digest(attributes: &str) -> BodyDigest {
    Sha256::digest(attributes).into()
}

/// What each command is: new, or one that its idempotency key names. `stored`
/// are the keys that the store remembers; a key may also come twice in a batch.
pub(crate) fn recognise(
    commands: &[NewCommand],
    stored: &HashMap<String, (CommandId, BodyDigest)>,
) -> Result<Vec<Enqueued>, QueueError> {
    let mut batch: HashMap<&str, (CommandId, BodyDigest)> = HashMap::new();
    let mut answers = Vec::with_capacity(commands.len());
    for command in commands {
        let key = command.idempotency_key.as_deref();
        let first = key.and_then(|key| batch.get(key).or_else(|| stored.get(key)));
        answers.push(match (first, key) {
            (Some((id, body)), _)
                if command.same_by_key || *body == body_digest(&command.attributes) =>
            {
                Enqueued {
                    id: *id,
                    repeated: true,
                    replaced: false,
                }
            }
            (Some((first, _)), key) => {
                return Err(QueueError::Conflict {
                    key: key.unwrap_or_default().to_owned(),
                    first: *first,
                });
            }
            (None, _) if !command.may_be_new => return Err(QueueError::NotRepeated),
            (None, key) => {
                if let Some(key) = key {
                    batch.insert(key, (command.id, body_digest(&command.attributes)));
                }
                Enqueued {
                    id: command.id,
                    repeated: false,
                    replaced: false,
                }
            }
        });
    }
    Ok(answers)
}
