//! Owns how an attempt ends, and what that counts as.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::error::QueueError;
use pointsman_core::outcome::Status;

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Ending {
    /// The handler was called.
    Ran(Status),
    /// The host died, or was stopped for longer than the lease, during the run.
    HostLost,
}

impl Ending {
    /// The name, such as `timed-out`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ran(status) => status.as_str(),
            Self::HostLost => "host-lost",
        }
    }

    /// Every ending.
    fn all() -> impl Iterator<Item = Self> {
        Status::ALL
            .into_iter()
            .map(Self::Ran)
            .chain([Self::HostLost])
    }

    /// Which limit of the [`RetrySettings`](pointsman_core::settings::RetrySettings) a failure counts against; none where
    /// no retry can help.
    #[must_use]
    pub fn class(self) -> Option<FailureClass> {
        match self {
            // The store counts lost hosts, at the next claim.
            Self::HostLost => None,
            Self::Ran(status) => match status {
                Status::Unavailable | Status::Busy | Status::Cancelled | Status::Quarantined => {
                    Some(FailureClass::Transient)
                }
                Status::Trapped => Some(FailureClass::Trap),
                Status::TimedOut | Status::CpuExceeded => Some(FailureClass::Timeout),
                Status::OutOfMemory => Some(FailureClass::Memory),
                Status::Succeeded
                | Status::Rejected
                | Status::OutputTooLarge
                | Status::InvalidOutput
                | Status::Denied => None,
            },
        }
    }
}

impl From<Status> for Ending {
    fn from(status: Status) -> Self {
        Self::Ran(status)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Ending {
    type Err = QueueError;

    fn from_str(text: &str) -> Result<Self, QueueError> {
        let found = Self::all().find(|ending| ending.as_str() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::all().map(Self::as_str).collect();
            QueueError::Invalid {
                field: "status",
                reason: format!("`{text}` is not a status: use one of {}", names.join(", ")),
            }
        })
    }
}

impl From<Ending> for &'static str {
    fn from(ending: Ending) -> Self {
        ending.as_str()
    }
}

impl TryFrom<String> for Ending {
    type Error = QueueError;

    fn try_from(text: String) -> Result<Self, QueueError> {
        text.parse()
    }
}

/// What a retried failure counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// Unavailable, busy, interrupted, quarantined.
    Transient,
    /// A crash of the handler.
    Trap,
    /// Too much time, of the clock or the processor.
    Timeout,
    /// Too much memory.
    Memory,
}
