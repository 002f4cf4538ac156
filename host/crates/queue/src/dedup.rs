//! Owns what deduplication keys are asked for: which commands are not to wait beside each other.

use std::time::Duration;

use pointsman_core::settings::duration;

use super::error::QueueError;

/// The longest time for which a command holds others back.
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a command is not to be stored beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// Its name, apart from idempotency keys and from the same key of another mode.
    pub key: String,
    /// What the key means.
    pub mode: DedupMode,
}

/// What a deduplication key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupMode {
    /// While a delivery of the command has not ended, the key answers its id.
    UntilDone,
    /// While no delivery of the command has begun, the key changes it.
    Replace,
    /// For this long after the command was stored, the key answers its id.
    Throttle(Duration),
}

impl Dedup {
    /// What is asked with these words; none where no key is given.
    ///
    /// # Errors
    /// [`QueueError::Invalid`].
    pub fn of(
        key: Option<String>,
        mode: Option<&str>,
        ttl: Option<Duration>,
    ) -> Result<Option<Self>, QueueError> {
        let invalid = |field, reason: String| Err(QueueError::Invalid { field, reason });
        let Some(key) = key else {
            return match mode.is_some() || ttl.is_some() {
                true => invalid("dedup", "give the key that `mode` and `ttl` are for".into()),
                false => Ok(None),
            };
        };
        let mode = match (mode, ttl) {
            (Some("until-done"), None) => DedupMode::UntilDone,
            (Some("replace"), None) => DedupMode::Replace,
            (Some("throttle"), Some(ttl)) if !ttl.is_zero() && ttl <= TTL_MAX => {
                DedupMode::Throttle(ttl)
            }
            (Some("throttle"), _) => {
                let most = duration::text(TTL_MAX);
                return invalid("ttl", format!("`throttle` needs a time of up to {most}"));
            }
            (Some("until-done" | "replace"), Some(_)) => {
                return invalid("ttl", "is for the mode `throttle` alone".into());
            }
            _ => {
                let reason = "use `until-done`, `replace` or `throttle`".into();
                return invalid("mode", reason);
            }
        };
        Ok(Some(Self { key, mode }))
    }

    /// The name of the mode.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self.mode {
            DedupMode::UntilDone => "until-done",
            DedupMode::Replace => "replace",
            DedupMode::Throttle(_) => "throttle",
        }
    }
}
