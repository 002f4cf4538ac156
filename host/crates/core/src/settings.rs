//! Owns how settings are read: TOML laid over defaults, which also say which
//! keys exist and what type each has, and [`SettingsError`], which names the
//! key and where it stands.

pub mod ranges;
mod retry;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use retry::RetrySettings;

use crate::name::nearest;

/// Why a setting is not usable. Says where it stands.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why. Its text has it, so it is no source of its own.
        cause: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// The file, with line and column.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key `{key}`\n  hint: {hint}")]
    UnknownKey {
        /// Where it stands.
        origin: String,
        /// The key, dotted.
        key: String,
        /// The nearest known key, or the known ones.
        hint: String,
    },
    /// A value of another type or out of its range.
    #[error("{origin}: `{key}` is {found}, expected {expected}")]
    WrongValue {
        /// Where it stands.
        origin: String,
        /// The key, dotted.
        key: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
}

/// The longest settings file: a thousand times the usual.
pub const FILE_MAX_BYTES: u64 = 1 << 20;

/// Refuses a zero where it would let nothing run.
pub fn positive(origin: &str, settings: &[(&'static str, u64)]) -> Result<(), SettingsError> {
    match settings.iter().find(|(_, value)| *value == 0) {
        None => Ok(()),
        Some((key, _)) => Err(SettingsError::WrongValue {
            origin: origin.into(),
            key: (*key).into(),
            found: "0".into(),
            expected: "at least 1".into(),
        }),
    }
}

/// Reads a TOML document.
///
/// # Errors
/// [`SettingsError::Syntax`], with line and column.
pub fn parse(origin: &str, text: &str) -> Result<Table, SettingsError> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let before = before.unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        SettingsError::Syntax {
            origin: format!("{origin}:{line}:{column}"),
            message: error.message().to_owned(),
        }
    })
}

/// Lays `from` over `onto`, which holds every known key.
///
/// # Errors
/// [`SettingsError`], with the key, which stands below `prefix`.
pub fn merge(
    onto: &mut Table,
    from: Table,
    origin: &str,
    prefix: &str,
) -> Result<(), SettingsError> {
    for (name, value) in from {
        let key = format!("{prefix}{name}");
        let Some(slot) = onto.get_mut(&name) else {
            return Err(SettingsError::UnknownKey {
                origin: origin.into(),
                hint: hint(&name, onto.keys().map(String::as_str)),
                key,
            });
        };
        match (slot, value) {
            (Value::Table(onto), Value::Table(from)) => {
                merge(onto, from, origin, &format!("{key}."))?;
            }
            (slot, value) if slot.same_type(&value) => *slot = value,
            (slot, value) => {
                return Err(SettingsError::WrongValue {
                    origin: origin.into(),
                    key,
                    found: describe(&value),
                    expected: format!("{} such as {slot}", slot.type_str()),
                });
            }
        }
    }
    Ok(())
}

/// Reads a merged table as `T`.
///
/// # Errors
/// [`SettingsError::WrongValue`] where a value is out of its range.
pub fn typed<T: for<'de> Deserialize<'de>>(table: Table, origin: &str) -> Result<T, SettingsError> {
    // One key at a time, so that the error can name the key.
    T::deserialize(Value::Table(table)).map_err(|error| {
        let mut message = error.to_string().trim_end().replace('\n', " ");
        for (integer, range) in [
            ("u16", "0 to 65535"),
            ("u32", "0 to 4294967295"),
            ("u64", "0 or more"),
            ("usize", "0 or more"),
        ] {
            message = message.replace(&format!("expected {integer}"), &format!("expected {range}"));
        }
        SettingsError::Syntax {
            origin: origin.into(),
            message,
        }
    })
}

/// The TOML table that a value is.
pub fn table_of(value: &impl Serialize) -> Table {
    Table::try_from(value).expect("settings are a table")
}

/// ``did you mean `x`?``, or the known keys.
pub fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => {
            let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
            format!("known here: {}", known.join(", "))
        }
    }
}

/// The type of a value, and the value itself where it cannot be a secret.
#[must_use]
pub fn describe(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".into(),
        Value::Array(_) => "an array".into(),
        // It may be a password or a token, also where none belongs.
        Value::String(_) => "a string".into(),
        value => format!("{} {value}", value.type_str()),
    }
}
