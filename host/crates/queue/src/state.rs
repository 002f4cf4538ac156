//! The states of a delivery.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum State {
    /// Waiting for a free worker.
    Available,
    /// Claimed by a worker.
    Running,
    /// Failed, and waiting for its next attempt.
    Retryable,
    /// Waiting for its scheduled time.
    Scheduled,
    /// Completed successfully.
    Completed,
    /// Dead-lettered.
    Discarded,
    /// Cancelled.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Available,
        Self::Running,
        Self::Retryable,
        Self::Scheduled,
        Self::Completed,
        Self::Discarded,
        Self::Cancelled,
    ];

    /// Its name, as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Running => "running",
            Self::Retryable => "retryable",
            Self::Scheduled => "scheduled",
            Self::Completed => "completed",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
        }
    }

    /// The precedence when a command's state is derived from its deliveries: the first wins.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Available => 1,
            Self::Retryable => 2,
            Self::Scheduled => 3,
            Self::Discarded => 4,
            Self::Cancelled => 5,
            Self::Completed => 6,
        }
    }

    /// Whether it is final.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Discarded | Self::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState { text: text.into() })
    }
}

impl From<State> for &'static str {
    fn from(state: State) -> Self {
        state.as_str()
    }
}

impl TryFrom<String> for State {
    type Error = UnknownState;

    fn try_from(text: String) -> Result<Self, UnknownState> {
        text.parse()
    }
}

/// A string that is not a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a state: use one of {}", State::ALL.map(State::as_str).join(", "))]
pub struct UnknownState {
    text: String,
}
