//! Key-value entries that outlive a call. The operator grants them with `[state]`
//! in `plugins/<name>.toml`. A change is durable before the function returns.
//!
//! ```no_run
//! use std::time::Duration;
//! use pointsman_sdk::{Failure, state};
//!
//! fn first_today(customer: &str) -> Result<bool, Failure> {
//!     let day = Duration::from_secs(24 * 60 * 60);
//!     let calls = state::increment_for(&format!("calls/{customer}"), 1, day)?;
//!     Ok(calls == 1)
//! }
//! ```
//!
//! With `?`, an [`Error`] becomes a [`Failure`].

use std::{fmt, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, bindings::pointsman::handler::state, millis};

/// How many entries are fetched per page.
const PAGE: u32 = 1_000;

/// Returns the value of `key`, if there is one.
///
/// # Errors
/// [`Error`], also if the value does not fit `T`.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    let value = state::get(key)?;
    value.map(|value| read(&value)).transpose()
}

/// Sets `key`. The entry does not expire.
///
/// # Errors
/// [`Error`].
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<(), Error> {
    Ok(state::set(key, &written(value)?, None)?)
}

/// Sets `key`. The entry expires after `ttl`.
///
/// # Errors
/// [`Error`].
pub fn set_for<T: Serialize + ?Sized>(key: &str, value: &T, ttl: Duration) -> Result<(), Error> {
    Ok(state::set(key, &written(value)?, Some(millis(ttl)))?)
}

/// Removes `key`. Returns whether it existed.
///
/// # Errors
/// [`Error`].
pub fn delete(key: &str) -> Result<bool, Error> {
    Ok(state::delete(key)?)
}

/// Sets `key` to `value`, or removes it if that is `None`, provided that its current
/// value is `expected`; `None` expects no entry. Returns whether it did; if not, another
/// call was first.
///
/// ```no_run
/// # use pointsman_sdk::{Failure, state};
/// // Only one of several concurrent calls gets the number.
/// let mine = state::compare_and_set("next-invoice", Some(&41), Some(&42))?;
/// # Ok::<(), Failure>(())
/// ```
///
/// # Errors
/// [`Error`].
pub fn compare_and_set<T: Serialize + ?Sized>(
    key: &str,
    expected: Option<&T>,
    value: Option<&T>,
) -> Result<bool, Error> {
    let expected = expected.map(written).transpose()?;
    let value = value.map(written).transpose()?;
    let done = state::compare_and_set(key, expected.as_deref(), value.as_deref(), None)?;
    Ok(done)
}

/// Adds `by` to the integer value of `key`, or to 0 if there is no entry. Returns the
/// sum.
///
/// # Errors
/// [`Error`], also if the value is not an integer.
pub fn increment(key: &str, by: i64) -> Result<i64, Error> {
    Ok(state::increment(key, by, None)?)
}

/// Like [`increment`], but the entry expires `ttl` after the first increment.
///
/// # Errors
/// As [`increment`].
pub fn increment_for(key: &str, by: i64, ttl: Duration) -> Result<i64, Error> {
    Ok(state::increment(key, by, Some(millis(ttl)))?)
}

/// Returns all entries whose keys start with `prefix`, ordered by key.
///
/// # Errors
/// [`Error`], also if a value does not fit `T`.
pub fn list<T: DeserializeOwned>(prefix: &str) -> Result<Vec<(String, T)>, Error> {
    let mut list = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = state::list(prefix, after.as_deref(), PAGE)?;
        let Some(last) = page.last() else {
            return Ok(list);
        };
        after = Some(last.key.clone());
        for entry in page {
            list.push((entry.key, read(&entry.value)?));
        }
    }
}

fn read<T: DeserializeOwned>(value: &str) -> Result<T, Error> {
    serde_json::from_str(value).map_err(|error| Error {
        kind: ErrorKind::Invalid,
        message: format!("the value has another shape: {error}"),
    })
}

fn written<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error {
        kind: ErrorKind::Invalid,
        message: format!("the value has no JSON: {error}"),
    })
}

/// Why a function failed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// The kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operator did not grant state, or its quota is used up.
    Denied,
    /// A permanent failure.
    Invalid,
    /// A temporary failure.
    Unavailable,
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

impl From<state::Error> for Error {
    fn from(error: state::Error) -> Self {
        let (kind, message) = match error {
            state::Error::Denied(message) => (ErrorKind::Denied, message),
            state::Error::Invalid(message) => (ErrorKind::Invalid, message),
            state::Error::Unavailable(message) => (ErrorKind::Unavailable, message),
        };
        Self { kind, message }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind {
            ErrorKind::Unavailable => Self::unavailable(error.message),
            _ => Self::rejected(error.message),
        }
    }
}
