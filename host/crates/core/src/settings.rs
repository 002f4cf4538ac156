//! Owns how settings are read: TOML laid over defaults, which also say which
//! keys exist and what type each has, and [`SettingsError`], which names the
//! key and where it stands.

pub mod duration;
pub mod optional;
pub mod ranges;
mod retry;

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use retry::RetrySettings;

use crate::{diagnostic::Diagnostic, name::nearest, source::Source};

/// Why a setting is not usable. Says where it stands.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub enum SettingsError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why. Its text has it, so it is no source of its own.
        cause: std::io::Error,
    },
    /// The file is no TOML.
    Syntax(Box<Diagnostic>),
    /// A key that does not exist.
    UnknownKey {
        /// Where it stands.
        origin: String,
        /// The key, dotted.
        key: String,
        /// The nearest known key, or the known ones.
        hint: String,
    },
    /// A value of another type or out of its range.
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
    /// A value that its type does not take.
    Refused {
        /// Where it stands.
        origin: String,
        /// The key, dotted.
        key: String,
        /// What is wrong with it.
        message: String,
    },
}

impl SettingsError {
    /// The same as each other thing to fix.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unreadable { path, cause } => {
                Diagnostic::error("unreadable", format!("cannot be read: {cause}"))
                    .within(path.display().to_string())
            }
            Self::Syntax(diagnostic) => (**diagnostic).clone(),
            Self::UnknownKey { origin, key, hint } => {
                Diagnostic::error("unknown-key", format!("unknown key `{key}`"))
                    .within(origin.as_str())
                    .hint(hint.as_str())
            }
            Self::WrongValue {
                origin,
                key,
                found,
                expected,
            } => Diagnostic::error(
                "wrong-value",
                format!("`{key}` is {found}, expected {expected}"),
            )
            .within(origin.as_str()),
            Self::Refused {
                origin,
                key,
                message,
            } => Diagnostic::error("wrong-value", format!("`{key}`: {message}"))
                .within(origin.as_str()),
        }
    }

    /// The key that is wrong, dotted, where it is one key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Unreadable { .. } | Self::Syntax(_) => None,
            Self::UnknownKey { key, .. }
            | Self::WrongValue { key, .. }
            | Self::Refused { key, .. } => Some(key),
        }
    }

    /// The same, standing in `origin`.
    #[must_use]
    pub fn from_origin(mut self, from: &str) -> Self {
        match &mut self {
            Self::Unreadable { path, .. } => *path = from.into(),
            // It tells a place in its file.
            Self::Syntax(_) => {}
            Self::UnknownKey { origin, .. }
            | Self::WrongValue { origin, .. }
            | Self::Refused { origin, .. } => *origin = from.into(),
        }
        self
    }
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

/// Refuses a duration of nothing where it would let nothing run.
pub fn lasting(origin: &str, settings: &[(&'static str, Duration)]) -> Result<(), SettingsError> {
    match settings.iter().find(|(_, value)| value.as_millis() == 0) {
        None => Ok(()),
        Some((key, value)) => Err(SettingsError::WrongValue {
            origin: origin.into(),
            key: (*key).into(),
            found: duration::text(*value),
            expected: "at least 1ms".into(),
        }),
    }
}

/// Reads a TOML document.
///
/// # Errors
/// [`SettingsError::Syntax`], with line and column.
pub fn parse(origin: &str, text: &str) -> Result<Table, SettingsError> {
    text.parse().map_err(|error: ::toml::de::Error| {
        let source = Source { path: origin, text };
        SettingsError::Syntax(Box::new(crate::toml::error(&source, &error)))
    })
}

/// Lays `from` over `onto`, which holds every known key; `known` has their defaults.
///
/// # Errors
/// [`SettingsError`], with the key, which stands below `prefix`.
pub fn merge(
    onto: &mut Table,
    known: &Table,
    from: Table,
    origin: &str,
    prefix: &str,
) -> Result<(), SettingsError> {
    for (name, value) in from {
        let key = format!("{prefix}{name}");
        let Some(slot) = onto.get_mut(&name) else {
            return Err(SettingsError::UnknownKey {
                origin: origin.into(),
                hint: renamed(&name, &value, onto)
                    .unwrap_or_else(|| hint(&name, onto.keys().map(String::as_str))),
                key,
            });
        };
        let default = known.get(&name).expect("every key has a default");
        match (slot, default, value) {
            (Value::Table(onto), Value::Table(known), Value::Table(from)) => {
                merge(onto, known, from, origin, &format!("{key}."))?;
            }
            (slot, default, value) => assign(slot, default, value, origin, &key)?,
        }
    }
    Ok(())
}

/// Puts a value in place of another. The default of the key says what type it has: a
/// text that is a duration stands for durations, a word for what has no value.
///
/// # Errors
/// [`SettingsError`], with the key.
pub fn assign(
    slot: &mut Value,
    default: &Value,
    value: Value,
    origin: &str,
    key: &str,
) -> Result<(), SettingsError> {
    let is_number = optional::is_word(default) && value.is_integer();
    if !default.same_type(&value) && !is_number {
        return Err(SettingsError::WrongValue {
            origin: origin.into(),
            key: key.into(),
            found: describe(&value),
            expected: format!("{} such as {default}", default.type_str()),
        });
    }
    let is_duration = |value: &Value| {
        value
            .as_str()
            .is_some_and(|it| duration::parse(it).is_some())
    };
    if is_duration(default) && !is_duration(&value) {
        return Err(SettingsError::Refused {
            origin: origin.into(),
            key: key.into(),
            message: duration::WANTED.into(),
        });
    }
    *slot = value;
    Ok(())
}

/// Reads a merged table, whose numbers are within their [`ranges`], as `T`; `known` has
/// the defaults.
///
/// # Errors
/// [`SettingsError::Refused`], with the key whose type does not take its value.
pub fn typed<T: for<'de> Deserialize<'de>>(
    table: Table,
    known: &Table,
    origin: &str,
) -> Result<T, SettingsError> {
    let error = match deserialize(table.clone()) {
        Ok(settings) => return Ok(settings),
        Err(error) => error,
    };
    let path = error.path().to_string();
    Err(SettingsError::Refused {
        origin: origin.into(),
        key: culprit::<T>(&table, known, &path).unwrap_or(path),
        message: error.inner().message().to_owned(),
    })
}

fn deserialize<T: for<'de> Deserialize<'de>>(
    table: Table,
) -> Result<T, serde_path_to_error::Error<::toml::de::Error>> {
    serde_path_to_error::deserialize(Value::Table(table))
}

/// Of a section that is refused as a whole, as serde does with keys that it flattens:
/// the key without whose value it is not.
fn culprit<T: for<'de> Deserialize<'de>>(
    table: &Table,
    known: &Table,
    section: &str,
) -> Option<String> {
    let defaults = known.get(section)?.as_table()?;
    let is_culprit = |name: &&String| {
        let mut without = table.clone();
        if let Some(found) = without.get_mut(section).and_then(Value::as_table_mut) {
            found.insert((*name).clone(), defaults[*name].clone());
        }
        deserialize::<T>(without).is_ok()
    };
    let name = defaults.keys().find(is_culprit)?;
    Some(format!("{section}.{name}"))
}

/// The TOML table that a value is.
pub fn table_of(value: &impl Serialize) -> Table {
    Table::try_from(value).expect("settings are a table")
}

/// What to write instead of a key that said the unit of its number.
fn renamed(name: &str, value: &Value, known: &Table) -> Option<String> {
    let (short, text) = duration::renamed(name, &value.as_integer()?.to_string())?;
    let is_known = known.contains_key(short);
    is_known.then(|| format!("write `{short} = \"{text}\"`"))
}

/// ``did you mean `x`?``, or the known keys.
pub fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => {
            let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
            format!("known keys: {}", known.join(", "))
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
