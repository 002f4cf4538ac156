//! Owns [`Config`]: every setting and limit of the host with its default.
//! A setting comes, in rising order, from the defaults here, `pointsman.toml`,
//! `POINTSMAN_*` environment variables and flags. The defaults, as a TOML
//! table, also say which keys exist and what type each has.

mod breaker;
mod environment;
mod http;
mod limits;
mod queue;
pub(crate) mod ranges;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

pub(crate) use queue::hours;
pub use queue::{QueueConfig, QueueEngine, QueuePooler, QueueRetentionConfig, QueueRetryConfig};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use breaker::BreakerConfig;
pub use http::HttpConfig;
pub(crate) use http::parse_listen;
pub use limits::{HandlerLimits, HostLimits};

use crate::{
    files::{apart_blocking, read_text},
    name::nearest,
};

/// The settings of a host. `Config::default()` is a good start for embedding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder with `*.wasm` components and their `*.toml` settings.
    pub plugins: PathBuf,
    /// The folder with `*.json` and `*.toml` rule files.
    pub rules: PathBuf,
    /// What all handlers together may use.
    pub host: HostLimits,
    /// What one handler may use, unless `plugins/<name>.toml` says otherwise.
    pub limits: HandlerLimits,
    /// When a failing handler is left alone, unless `plugins/<name>.toml` says otherwise.
    pub breaker: BreakerConfig,
    /// How changed files are noticed.
    pub reload: ReloadConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// The durable queue.
    pub queue: QueueConfig,
}

/// How changed files are noticed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadConfig {
    /// A change is taken up once nothing changed for that long, in milliseconds.
    pub quiet_ms: u64,
    /// The folders are looked at that often even when the system reports
    /// nothing, in milliseconds.
    pub poll_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            plugins: "plugins".into(),
            rules: "rules".into(),
            host: HostLimits::default(),
            limits: HandlerLimits::default(),
            breaker: BreakerConfig::default(),
            reload: ReloadConfig {
                // Longer than the pause between two writes of one `cp`.
                quiet_ms: 100,
                poll_ms: 2_000,
            },
            http: HttpConfig::default(),
            queue: QueueConfig::default(),
        }
    }
}

/// Why a setting is not usable. Says where it stands.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
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
pub(crate) const FILE_MAX_BYTES: u64 = 1 << 20;

/// The prefix of environment variables that set a key: `POINTSMAN_HTTP_LISTEN` sets `http.listen`.
pub const ENV_PREFIX: &str = "POINTSMAN_";

impl Config {
    /// The settings from a file, if there is one, under the environment and
    /// under `flags` (dotted keys with their values as text).
    ///
    /// # Errors
    /// [`ConfigError`], which names the key and where it stands.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        let known = table_of(&Self::default());
        let mut merged = known.clone();
        // What all settings were after each source.
        let mut sources = Vec::new();
        if let Some(path) = file {
            let origin = path.display().to_string();
            let text = apart_blocking(path, |path| read_text(path, FILE_MAX_BYTES));
            let text = text.map_err(|cause| ConfigError::Unreadable {
                path: path.into(),
                cause,
            })?;
            merge(&mut merged, parse(&origin, &text)?, &origin, "")?;
            sources.push((origin, merged.clone()));
        }
        let leaves = leaves(&known);
        for variable in environment::settings(environment, &leaves)? {
            let origin = format!("environment {}", variable.name);
            set(&mut merged, &variable.key, &variable.text, &origin)?;
            sources.push((origin, merged.clone()));
        }
        for (key, text) in flags {
            if !leaves.iter().any(|leaf| leaf == key) {
                return Err(ConfigError::UnknownKey {
                    origin: "command line".into(),
                    key: (*key).into(),
                    hint: hint(key, leaves.iter().map(String::as_str)),
                });
            }
            set(&mut merged, key, text, "command line")?;
            sources.push(("command line".into(), merged.clone()));
        }
        let checked = ranges::check(&merged, "settings")
            .and_then(|()| typed::<Self>(merged, "settings"))
            .and_then(|config| config.check("settings"));
        checked.map_err(|error| match error {
            ConfigError::WrongValue {
                key,
                found,
                expected,
                ..
            } => {
                let (mut origin, mut value) = ("settings", at(&known, &key));
                for (source, merged) in &sources {
                    if at(merged, &key) != value {
                        (origin, value) = (source, at(merged, &key));
                    }
                }
                ConfigError::WrongValue {
                    origin: origin.into(),
                    key,
                    found,
                    expected,
                }
            }
            other => other,
        })
    }

    /// Refuses values that cannot work.
    fn check(self, origin: &str) -> Result<Self, ConfigError> {
        positive(
            origin,
            &[
                ("host.instances_max", u64::from(self.host.instances_max)),
                ("host.command_max_bytes", self.host.command_max_bytes as u64),
                ("host.routing_steps_max", self.host.routing_steps_max),
                ("host.plugin_max_bytes", self.host.plugin_max_bytes),
                ("host.compile_timeout_ms", self.host.compile_timeout_ms),
                ("reload.poll_ms", self.reload.poll_ms),
            ],
        )?;
        for (key, folder) in [("plugins", &self.plugins), ("rules", &self.rules)] {
            if folder.as_os_str().is_empty() {
                return Err(ConfigError::WrongValue {
                    origin: origin.into(),
                    key: key.into(),
                    found: "empty".into(),
                    expected: format!("a folder such as `{key}`"),
                });
            }
        }
        self.limits.check(origin)?;
        self.http.check(origin)?;
        positive(origin, &self.queue.positive())?;
        self.queue.check(origin)?;
        Ok(self)
    }
}

/// Refuses a zero where it would let nothing run.
fn positive(origin: &str, settings: &[(&'static str, u64)]) -> Result<(), ConfigError> {
    match settings.iter().find(|(_, value)| *value == 0) {
        None => Ok(()),
        Some((key, _)) => Err(ConfigError::WrongValue {
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
/// [`ConfigError::Syntax`], with line and column.
pub(crate) fn parse(origin: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let before = before.unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        ConfigError::Syntax {
            origin: format!("{origin}:{line}:{column}"),
            message: error.message().to_owned(),
        }
    })
}

/// Lays `from` over `onto`, which holds every known key.
///
/// # Errors
/// [`ConfigError`], with the key, which stands below `prefix`.
pub(crate) fn merge(
    onto: &mut Table,
    from: Table,
    origin: &str,
    prefix: &str,
) -> Result<(), ConfigError> {
    for (name, value) in from {
        let key = format!("{prefix}{name}");
        let Some(slot) = onto.get_mut(&name) else {
            return Err(ConfigError::UnknownKey {
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
                return Err(ConfigError::WrongValue {
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

/// Sets one dotted key from text, read as the type that the key has.
fn set(table: &mut Table, key: &str, text: &str, origin: &str) -> Result<(), ConfigError> {
    let mut parts = key.split('.');
    let mut slot = parts.next().and_then(|part| table.get_mut(part));
    for part in parts {
        slot = slot.and_then(|slot| slot.get_mut(part));
    }
    let slot = slot.expect("flags and environment name only known keys");
    let value = match slot {
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        // `a, b`
        Value::Array(_) => {
            let parts = text.split(',').map(str::trim);
            let parts = parts.filter(|part| !part.is_empty());
            Some(parts.map(Value::from).collect::<Vec<_>>().into())
        }
        _ => Some(Value::String(text.into())),
    };
    *slot = value.ok_or_else(|| ConfigError::WrongValue {
        origin: origin.into(),
        key: key.into(),
        found: format!("`{text}`"),
        expected: format!("{} such as {slot}", slot.type_str()),
    })?;
    Ok(())
}

/// Reads a merged table as `T`.
///
/// # Errors
/// [`ConfigError::WrongValue`] where a value is out of its range.
pub(crate) fn typed<T: for<'de> Deserialize<'de>>(
    table: Table,
    origin: &str,
) -> Result<T, ConfigError> {
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
        ConfigError::Syntax {
            origin: origin.into(),
            message,
        }
    })
}

/// The TOML table that a value is.
pub(crate) fn table_of(value: &impl Serialize) -> Table {
    Table::try_from(value).expect("settings are a table")
}

/// The value of a key with dots.
fn at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((section, rest)) => at(table.get(section)?.as_table()?, rest),
        None => table.get(key),
    }
}

fn leaves(table: &Table) -> Vec<String> {
    let mut leaves = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = self::leaves(inner).into_iter();
                leaves.extend(inner.map(|leaf| format!("{name}.{leaf}")));
            }
            _ => leaves.push(name.clone()),
        }
    }
    leaves
}

fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => {
            let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
            format!("known here: {}", known.join(", "))
        }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".into(),
        Value::Array(_) => "an array".into(),
        // It may be a password or a token, also where none belongs.
        Value::String(_) => "a string".into(),
        value => format!("{} {value}", value.type_str()),
    }
}

#[cfg(test)]
mod tests;
