//! Follow-up commands. The operator grants them with `[emit]` in
//! `plugins/<name>.toml`. They enter the durable queue once the handler has
//! succeeded: all of them, or none if it fails.
//!
//! ```no_run
//! use pointsman_sdk::{Failure, emit, json};
//!
//! fn notify(policy: u64) -> Result<String, Failure> {
//!     Ok(emit::command(&json!({ "requestType": "NotifyCustomer", "policy": policy }))?)
//! }
//! ```
//!
//! With `?`, an [`Error`] becomes [`Failure::Rejected`].

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{Failure, bindings::pointsman::handler::emit, millis};

/// Emits a command and returns its id.
///
/// # Errors
/// As [`FollowUp::send`].
pub fn command<T: Serialize + ?Sized>(command: &T) -> Result<String, Error> {
    FollowUp::new(command)?.send()
}

/// A follow-up command with its options.
///
/// ```no_run
/// # use std::time::Duration;
/// # use pointsman_sdk::{Failure, emit::FollowUp, json};
/// let reminder = FollowUp::new(&json!({ "requestType": "Remind" }))?
///     .delay(Duration::from_secs(3600))
///     .ordering_key("customer-7");
/// let id = reminder.send()?;
/// # Ok::<(), Failure>(())
/// ```
#[derive(Clone, Debug)]
pub struct FollowUp {
    command: String,
    options: emit::Options,
}

impl FollowUp {
    /// A command with these attributes, which runs as soon as possible.
    ///
    /// # Errors
    /// [`Error`] if they cannot be serialized as JSON.
    pub fn new<T: Serialize + ?Sized>(attributes: &T) -> Result<Self, Error> {
        let command = serde_json::to_string(attributes).map_err(|error| Error {
            kind: ErrorKind::Invalid,
            message: format!("the command has no JSON: {error}"),
        })?;
        let options = emit::Options {
            delay_ms: None,
            ordering_key: None,
            priority: None,
        };
        Ok(Self { command, options })
    }

    /// Delays it by at least this long.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.delay_ms = Some(millis(delay));
        self
    }

    /// Each handler runs commands with the same key one after another, in order.
    #[must_use]
    pub fn ordering_key(mut self, key: impl Into<String>) -> Self {
        self.options.ordering_key = Some(key.into());
        self
    }

    /// Commands with a higher priority run first. The default is 0.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// Emits it and returns its id.
    ///
    /// # Errors
    /// [`Error`] if it is not granted, not a valid command, or not matched by a rule.
    pub fn send(&self) -> Result<String, Error> {
        Ok(emit::emit(&self.command, &self.options)?)
    }
}

/// Why a command was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// The kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operator did not grant follow-up commands, or the limit is reached.
    Denied,
    /// The command is not valid, or no rule matches it.
    Invalid,
}

impl Error {
    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<emit::Error> for Error {
    fn from(error: emit::Error) -> Self {
        let (kind, message) = match error {
            emit::Error::Denied(message) => (ErrorKind::Denied, message),
            emit::Error::Invalid(message) => (ErrorKind::Invalid, message),
        };
        Self { kind, message }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::rejected(error.message)
    }
}
