//! Owns pauses: whose deliveries wait although they could run, since when, why and
//! by whom.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{clock::Timestamp, error::QueueError};
use pointsman_core::name::HandlerName;

/// The longest reason of a pause, in bytes: a few sentences.
pub const PAUSE_REASON_MAX_BYTES: usize = 1000;
/// The longest name of who paused, in bytes.
pub const PAUSE_BY_MAX_BYTES: usize = 255;
/// Who pauses a handler that asked for time itself, and why.
pub(crate) const RETRY_AFTER: (&str, &str) = (
    "retry-after",
    "the handler asked for a delay, and `queue.retry_after_pauses` is `handler`",
);
/// How many pauses there may be at once: every claim reads them.
pub(crate) const PAUSES_MAX: u64 = 1000;
/// What stands for all handlers where a handler is stored: no handler has that name.
pub(crate) const ALL: &str = "*";

/// A pause to begin. Deliveries are still accepted, and those that run go on; none
/// is claimed.
#[derive(Clone, Debug, Default)]
pub struct NewPause {
    /// Whose deliveries wait; none for all.
    pub handler: Option<HandlerName>,
    /// Why, for people.
    pub reason: Option<String>,
    /// Who paused.
    pub by: Option<String>,
    /// How long it lasts; none for until it is ended.
    pub lasts: Option<Duration>,
}

/// A pause in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Whose deliveries wait; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<HandlerName>,
    /// When it began.
    pub since: Timestamp,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl NewPause {
    /// Checks what both engines rely on.
    ///
    /// # Errors
    /// [`QueueError::Invalid`] with the field.
    pub fn validate(&self) -> Result<(), QueueError> {
        for (field, text, max) in [
            ("reason", &self.reason, PAUSE_REASON_MAX_BYTES),
            ("by", &self.by, PAUSE_BY_MAX_BYTES),
        ] {
            let Some(text) = text else { continue };
            if text.is_empty() || text.len() > max || text.contains(char::is_control) {
                let reason = format!("use 1 to {max} bytes without control characters");
                return Err(QueueError::Invalid { field, reason });
            }
        }
        Ok(())
    }

    /// The handler as it is stored.
    pub(crate) fn key(&self) -> &str {
        key(self.handler.as_ref())
    }

    /// What it is once it has begun.
    pub(crate) fn begun(&self, since: Timestamp, now: Timestamp) -> Pause {
        Pause {
            handler: self.handler.clone(),
            since,
            until: self.lasts.map(|lasts| now.after(lasts)),
            by: self.by.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// A handler as it is stored; [`ALL`] for none.
pub(crate) fn key(handler: Option<&HandlerName>) -> &str {
    handler.map_or(ALL, HandlerName::as_str)
}

/// The error of a pause too many.
pub(crate) fn too_many() -> QueueError {
    QueueError::Invalid {
        field: "handler",
        reason: format!("at most {PAUSES_MAX} pauses may be in force: pause all handlers"),
    }
}
