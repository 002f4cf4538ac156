//! [`QueueError`]: the errors of the queue, each with a stable code.

use std::{any::Any, error::Error, path::PathBuf, time::Duration};

use super::state::{State, UnknownState};
use pointsman_core::{
    command::CommandId,
    delivery::DeliveryId,
    diagnostic::Diagnostic,
    settings::duration,
    text::{MESSAGE_MAX_BYTES, bounded, escaped},
};

/// Why an operation of the queue failed. If an enqueue returns an error, nothing was
/// written, except for [`QueueError::Unavailable`]: the connection broke and the
/// result is unknown, so repeat the enqueue with the same idempotency key.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Too many unfinished deliveries.
    #[error("the queue is full: at most {max} unfinished deliveries are allowed; try again later")]
    Full {
        /// The limit.
        max: u64,
    },
    /// The idempotency key was used before with a different body.
    #[error(
        "idempotency key `{key}` was used for command `{first}` with another body; use a new key for a new command"
    )]
    Conflict {
        /// The key.
        key: String,
        /// The command that used it.
        first: CommandId,
    },
    /// The idempotency key is new, but only a repetition was allowed.
    #[error("the idempotency key was not used before")]
    NotRepeated,
    /// The command breaks a rule of the queue.
    #[error("{field}: {reason}")]
    Invalid {
        /// The part that is wrong.
        field: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// The time of a command is too far in the future, so most likely a mistake.
    #[error("runAt: is more than {} ahead", duration::text(*most))]
    TooFarAhead {
        /// `queue.run_at_max`.
        most: Duration,
    },
    /// The caller no longer holds the lease: it expired and the delivery moved on.
    #[error(
        "the lease of delivery `{0}` is lost: it ran out, and the delivery was taken or ended by another"
    )]
    LeaseLost(DeliveryId),
    /// No such command.
    #[error("no command `{0}`: it never existed, or its retention period ended")]
    UnknownCommand(CommandId),
    /// No such delivery.
    #[error("no delivery `{0}`: it never existed, or its retention period ended")]
    UnknownDelivery(DeliveryId),
    /// No such schedule.
    #[error("no schedule `{}` in the rule files", escaped(.0))]
    UnknownSchedule(String),
    /// Only dead-lettered deliveries can be retried or discarded.
    #[error("delivery `{id}` is {state}, not dead-lettered")]
    NotDead {
        /// The delivery.
        id: DeliveryId,
        /// Its state.
        state: State,
    },
    /// Another process is using the data folder.
    #[error(
        "`{}` is in use by another process: stop it, or use another data folder", .0.display()
    )]
    Locked(PathBuf),
    /// A newer version of the program wrote the queue.
    #[error(
        "the queue's schema is version {found}, this program knows up to {known}: use the newer program"
    )]
    NewerSchema {
        /// The version in the store.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// The disk, or the size set for the database, has no room.
    #[error("{}", self.diagnostic())]
    NoRoom,
    /// Another process holds the store's lock; nothing was read or written.
    #[error("{}", self.diagnostic())]
    Busy {
        /// What was being done: a verb with its object.
        doing: &'static str,
    },
    /// A file of the store was removed, or another put in its place, while it was open.
    #[error("{}", self.diagnostic())]
    Replaced(PathBuf),
    /// The settings cannot be used.
    #[error("{0}")]
    Config(Diagnostic),
    /// The store failed.
    #[error("the queue's store failed to {doing}")]
    Storage {
        /// What was being done: a verb with its object.
        doing: &'static str,
        /// What the engine said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database server cannot be reached, or the connection to it broke.
    #[error("cannot reach the queue's database to {doing}")]
    Unavailable {
        /// What was being done: a verb with its object.
        doing: &'static str,
        /// What the engine said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store will never take the value, however often it is asked.
    #[error("the queue's database rejected a value; could not {doing}")]
    Unstorable {
        /// What was being done: a verb with its object.
        doing: &'static str,
        /// What the engine said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
}

impl QueueError {
    /// The settings cannot be used, for this reason.
    #[cfg(feature = "postgres")]
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::Config(Diagnostic::error("queue-config", message))
    }

    /// As [`Self::config`], with the way out.
    pub(crate) fn config_with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Config(Diagnostic::error("queue-config", message).hint(hint))
    }

    /// The stable code for clients.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "queue-full",
            Self::Conflict { .. } => "idempotency-conflict",
            Self::NotRepeated => "not-repeated",
            Self::Invalid { .. } | Self::TooFarAhead { .. } | Self::Unstorable { .. } => {
                "invalid-command"
            }
            Self::LeaseLost(_) => "lease-lost",
            Self::UnknownCommand(_) => "unknown-command",
            Self::UnknownDelivery(_) => "unknown-delivery",
            Self::UnknownSchedule(_) => "unknown-schedule",
            Self::NotDead { .. } => "not-dead",
            Self::Locked(_) => "queue-locked",
            Self::NewerSchema { .. } => "queue-schema-newer",
            Self::NoRoom => "queue-no-room",
            Self::Busy { .. } => "queue-busy",
            Self::Replaced(_) => "queue-replaced",
            Self::Config(_) => "queue-config",
            Self::Storage { .. } => "queue-failed",
            Self::Unavailable { .. } => "queue-unavailable",
            Self::Closed => "queue-closed",
        }
    }

    /// The same as each other thing to fix.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let code = self.code();
        match self {
            Self::NoRoom => Diagnostic::error(
                code,
                "the queue is out of space: the disk is full, or unfinished commands have reached `queue.size_max_bytes`",
            )
            .hint("free some space on the disk, raise `queue.size_max_bytes`, or wait until handlers have completed some"),
            Self::Busy { doing } => Diagnostic::error(
                code,
                format!("the queue's database is locked by another process; could not {doing}"),
            )
            .hint("stop what is writing to it, such as a backup tool or a shell with an open transaction"),
            Self::Replaced(path) => Diagnostic::error(
                code,
                format!("`{}` was removed or replaced while the queue had it open", path.display()),
            )
            .hint("restore the file, or restart the server to continue with what is there now"),
            Self::TooFarAhead { .. } => Diagnostic::error(code, self.to_string())
                .hint("check the year and the unit; `queue.run_at_max` sets the limit"),
            Self::Config(diagnostic) => diagnostic.clone(),
            other => Diagnostic::error(code, other.to_string()),
        }
    }

    /// Whether the engine failed, so that the same call may succeed later. The
    /// rest are answers: asking again gives the same.
    #[must_use]
    pub fn is_engine(&self) -> bool {
        matches!(
            self,
            Self::NoRoom
                | Self::Busy { .. }
                | Self::Replaced(_)
                | Self::Storage { .. }
                | Self::Unavailable { .. }
        )
    }
}

/// The error of work that panicked. The panic itself was logged where it was raised.
pub(super) fn panicked(doing: &'static str, panic: &(dyn Any + Send)) -> QueueError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = bounded(text.unwrap_or("no text"), MESSAGE_MAX_BYTES);
    QueueError::Storage {
        doing,
        source: format!("it panicked: {}", escaped(&text)).into(),
    }
}

impl From<UnknownState> for QueueError {
    fn from(unknown: UnknownState) -> Self {
        Self::Invalid {
            field: "state",
            reason: unknown.to_string(),
        }
    }
}
