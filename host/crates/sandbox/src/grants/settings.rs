//! Owns what the operator says of one handler in `plugins/<name>.toml`: its
//! limits over the host's defaults, its configuration and what it is granted.
//! Nothing here comes from the plugin itself.

mod queue;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use pointsman_core::settings::{self, SettingsError, duration, lasting, positive};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use queue::{HandlerQueueSettings, RateSettings, RetryAfterPauses};

use super::{
    injected::{HeaderTemplate, Injection},
    pattern::HttpPattern,
    secrets::SecretSource,
    services::{EmitGrant, SqlGrant, StateGrant},
};
use crate::settings::{BreakerSettings, HandlerDefaults, HandlerLimits};

/// The settings of one handler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlerSettings {
    /// What one call may use.
    pub limits: HandlerLimits,
    /// When it is left alone.
    pub breaker: BreakerSettings,
    /// Whether its instances serve more than one call.
    pub instances: InstanceSettings,
    /// How the durable queue runs it.
    pub queue: HandlerQueueSettings,
    /// What the handler reads with the contract's `config.get`.
    pub config: BTreeMap<String, String>,
    /// What it reads in the same way, or uses without seeing it, and what is never
    /// printed: where each value comes from.
    pub secrets: BTreeMap<String, SecretSettings>,
    /// The environment variables of a WASI handler.
    pub env: BTreeMap<String, String>,
    /// The folders of the host that a WASI handler sees.
    pub folders: Vec<Folder>,
    /// Where it may send HTTP requests.
    pub http: HttpGrant,
    /// The databases that it may use, by name.
    #[serde(default)]
    pub sql: BTreeMap<String, SqlGrant>,
    /// What it may remember from call to call, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateGrant>,
    /// Follow-up commands that it may emit, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emit: Option<EmitGrant>,
}

/// Whether an instance serves more than one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceSettings {
    /// Whether one is kept after its call.
    pub mode: InstanceMode,
    /// Calls of one instance.
    pub calls_max: u64,
    /// Seconds from its start to the beginning of its last call.
    pub seconds_max: u64,
}

/// Whether an instance is kept after its call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceMode {
    /// Each call has one of its own: nothing in memory outlives the call.
    #[default]
    Fresh,
    /// A call may get one that served others, with what they left in its
    /// memory. For handlers that are trusted, or slow to start.
    Reuse,
}

impl Default for InstanceSettings {
    fn default() -> Self {
        Self {
            mode: InstanceMode::Fresh,
            // A leak of 1 KiB a call stays below 1 MiB.
            calls_max: 1_000,
            seconds_max: 300,
        }
    }
}

/// A secret: where it comes from, and who sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSecret", into = "RawSecret")]
pub struct SecretSettings {
    /// Where its value comes from.
    pub source: SecretSource,
    /// The requests that the host adds it to. Without, the handler reads it itself.
    pub inject: Option<Injection>,
}

/// [`SecretSettings`] as they are written.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecret {
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<HeaderTemplate>,
}

impl TryFrom<RawSecret> for SecretSettings {
    type Error = String;

    fn try_from(raw: RawSecret) -> Result<Self, String> {
        let source = match (raw.env, raw.file) {
            (Some(name), None) => SecretSource::Env(name),
            (None, Some(path)) => SecretSource::File(path),
            _ => return Err(NO_SOURCE.to_owned()),
        };
        let inject = match (raw.inject, raw.header) {
            (None, None) => None,
            (Some(to), Some(header)) => {
                Some(Injection::new(&to, header).map_err(|error| format!("`inject`: {error}"))?)
            }
            _ => return Err(HALF_INJECTED.to_owned()),
        };
        Ok(Self { source, inject })
    }
}

impl From<SecretSettings> for RawSecret {
    fn from(secret: SecretSettings) -> Self {
        let mut raw = Self::default();
        match secret.source {
            SecretSource::Env(name) => raw.env = Some(name),
            SecretSource::File(path) => raw.file = Some(path),
        }
        if let Some(injection) = secret.inject {
            raw.inject = Some(injection.to.to_string());
            raw.header = Some(injection.header);
        }
        raw
    }
}

const NO_SOURCE: &str =
    "{ env = \"NAME\" } or { file = \"path\" }: the value itself stays out of this file";
const HALF_INJECTED: &str = "both `inject = \"https://api.example.com/*\"` and `header = \"Authorization: Bearer {}\"`, or neither";

/// A folder of the host that a handler sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// The folder. A relative path begins at the folder of the settings file.
    pub host: PathBuf,
    /// Its path for the handler, such as `/data`.
    pub guest: String,
    /// Whether the handler may change what is in it.
    #[serde(default)]
    pub write: bool,
}

/// Where a handler may send HTTP requests, and what they may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// A request goes out if one of these allows it, and its name leads where
    /// the pattern reaches.
    pub allow: Vec<HttpPattern>,
    /// As `allow`; the name may also lead to this machine and to private networks.
    #[serde(default)]
    pub allow_private: Vec<HttpPattern>,
    /// Bytes of the body of one response.
    pub response_max_bytes: u64,
    /// Requests of one call at once: from the start to the end of the response.
    pub requests_per_call_max: usize,
    /// Requests of all calls of the handler at once; the next one waits.
    pub requests_max: usize,
    /// From the start of one request to the end of its response.
    #[serde(with = "duration")]
    pub timeout: Duration,
}

impl Default for HttpGrant {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            allow_private: Vec::new(),
            // A quarter of the memory that a handler has by default.
            response_max_bytes: 16 << 20,
            // With as many streams and timers beside them, below `limits.resources_max`.
            requests_per_call_max: 32,
            // A handler's part of `host.outgoing_max` by default.
            requests_max: 64,
            // The default of `limits.timeout`.
            timeout: Duration::from_secs(30),
        }
    }
}

/// The sections that defaults of the host say nothing of: names of the handler's own,
/// and grants, which are none where nothing is written.
const FREE_SECTIONS: [&str; 6] = ["config", "secrets", "env", "sql", "state", "emit"];

impl HandlerSettings {
    /// The settings of a handler without a file.
    #[must_use]
    pub fn new(defaults: &HandlerDefaults) -> Self {
        Self {
            limits: defaults.limits.clone(),
            breaker: defaults.breaker.clone(),
            queue: HandlerQueueSettings {
                retry: defaults.retry.clone(),
                ..Default::default()
            },
            ..Self::default()
        }
    }

    /// Lays the TOML in `text`, from the file `origin`, over the defaults of the host.
    ///
    /// # Errors
    /// [`SettingsError`], which names the file and the key.
    pub fn parse(
        origin: &Path,
        text: &str,
        defaults: &HandlerDefaults,
    ) -> Result<Self, SettingsError> {
        let origin = origin.display().to_string();
        let given = settings::parse(&origin, text)?;
        Self::read(&origin, given, defaults)
    }

    /// Lays the table `given`, which stands in `origin`, over the defaults of
    /// the host.
    ///
    /// # Errors
    /// [`SettingsError`], which names the origin and the key.
    pub fn read(
        origin: &str,
        mut given: Table,
        defaults: &HandlerDefaults,
    ) -> Result<Self, SettingsError> {
        let mut merged = settings::table_of(&Self::new(defaults));
        let free = FREE_SECTIONS.map(|section| given.remove_entry(section));
        let known = settings::table_of(&Self::default());
        settings::merge(&mut merged, &known, given, origin, "")?;
        settings::ranges::check(&merged, origin)?;
        for (section, value) in free.into_iter().flatten() {
            if !value.is_table() {
                return Err(SettingsError::WrongValue {
                    origin: origin.into(),
                    key: section,
                    // The value may be a secret.
                    found: value.type_str().into(),
                    expected: "a table".into(),
                });
            }
            let value = match section.as_str() {
                "config" | "env" => strings(value),
                "secrets" => {
                    check_secrets(&value, origin)?;
                    value
                }
                _ => value,
            };
            merged.insert(section, value);
        }
        settings::typed::<Self>(merged, &known, origin)?.check(origin)
    }

    /// Refuses what cannot work or has two meanings.
    fn check(self, origin: &str) -> Result<Self, SettingsError> {
        let wrong = |key: String, found: String, expected: &str| {
            Err(SettingsError::WrongValue {
                origin: origin.into(),
                key,
                found,
                expected: expected.into(),
            })
        };
        self.limits.check(origin)?;
        self.queue.check(origin)?;
        let http = &self.http;
        lasting(origin, &[("http.timeout", http.timeout)])?;
        positive(
            origin,
            &[
                ("http.requests_max", http.requests_max as u64),
                (
                    "http.requests_per_call_max",
                    http.requests_per_call_max as u64,
                ),
            ],
        )?;
        if let Some(key) = self
            .secrets
            .keys()
            .find(|key| self.config.contains_key(*key))
        {
            return wrong(
                format!("secrets.{key}"),
                format!("also in `[config]` as `{key}`"),
                "it in one of the two, since a handler reads both with `config.get`",
            );
        }
        let is_name = |name: &String| {
            !name.is_empty() && !name.contains(|c: char| c == '=' || c.is_control())
        };
        if let Some(name) = self.env.keys().find(|name| !is_name(name)) {
            return wrong(
                format!("env.{name}"),
                "no name of an environment variable".into(),
                "one without `=` and control characters",
            );
        }
        for (name, grant) in &self.sql {
            grant.check(origin, &format!("sql.{name}"))?;
        }
        if let Some(state) = &self.state {
            state.check(origin)?;
        }
        for (at, folder) in self.folders.iter().enumerate() {
            let guest = &folder.guest;
            if guest.is_empty() {
                return wrong(
                    format!("folders[{at}].guest"),
                    "empty".into(),
                    "a path such as `/data`",
                );
            }
            if self.folders[..at].iter().any(|other| other.guest == *guest) {
                return wrong(
                    format!("folders[{at}].guest"),
                    format!("`{guest}`, as is another one"),
                    "a path for each folder",
                );
            }
        }
        Ok(self)
    }
}

/// Refuses a secret that is written down, without repeating it.
fn check_secrets(secrets: &Value, origin: &str) -> Result<(), SettingsError> {
    let secrets = secrets.as_table().into_iter().flatten();
    for (key, value) in secrets {
        let wrong = |found: &str, expected: &str| {
            Err(SettingsError::WrongValue {
                origin: origin.into(),
                key: format!("secrets.{key}"),
                found: found.into(),
                expected: expected.into(),
            })
        };
        let keys = ["env", "file", "inject", "header"];
        let known =
            |(key, value): (&String, &Value)| keys.contains(&key.as_str()) && value.is_str();
        let Some(table) = value.as_table().filter(|it| it.iter().all(known)) else {
            return wrong("no source", NO_SOURCE);
        };
        let [env, file, inject, header] = keys.map(|key| table.contains_key(key));
        if env == file {
            return wrong("no source", NO_SOURCE);
        }
        if inject != header {
            return wrong("half an injection", HALF_INJECTED);
        }
    }
    Ok(())
}

/// A number or a boolean is handed over as its text: handlers read strings.
fn strings(value: Value) -> Value {
    let Value::Table(table) = value else {
        return value;
    };
    let text = |value| match value {
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Value::String(value.to_string()),
        other => other,
    };
    Value::Table(
        table
            .into_iter()
            .map(|(key, value)| (key, text(value)))
            .collect(),
    )
}

#[cfg(test)]
mod tests;
