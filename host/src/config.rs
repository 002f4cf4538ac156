//! Owns [`Config`]: every setting and limit of the host with its default.
//! A setting comes, in rising order, from the defaults here, `pointsman.toml`,
//! `POINTSMAN_*` environment variables and flags. The defaults, as a TOML
//! table, also say which keys exist and what type each has.

mod environment;
mod http;
mod limits;
mod sources;
mod tls;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use pointsman_core::integer;
pub(crate) use pointsman_core::settings::FILE_MAX_BYTES;
pub use pointsman_core::settings::{RetrySettings, SettingsError};
use pointsman_core::settings::{
    assign, duration, hint, lasting, merge, optional, parse, positive, ranges, table_of, typed,
};
use pointsman_kit::cases::RunnerSettings;
pub use pointsman_queue::QueueSettings;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub(crate) use environment::{
    CA_VARIABLE, CLIENT_CERTIFICATE_VARIABLE, CLIENT_KEY_VARIABLE, TOKEN_VARIABLE,
};
pub use http::HttpConfig;
pub(crate) use http::parse_listen;
pub use limits::HostLimits;
pub use pointsman_sandbox::{BreakerSettings, HandlerDefaults, HandlerLimits, SandboxSettings};
pub use sources::Setting;
use sources::{Sources, at};
pub use tls::TlsConfig;
pub(crate) use tls::TlsFiles;

use crate::{
    budget::BudgetSettings,
    files::{apart_blocking, read_text},
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
    pub breaker: BreakerSettings,
    /// How changed files are noticed.
    pub reload: ReloadConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// The durable queue.
    pub queue: QueueSettings,
}

/// How changed files are noticed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadConfig {
    /// A change is loaded once nothing has changed for that long.
    #[serde(with = "duration")]
    pub quiet: Duration,
    /// The folders are looked at that often even when the system reports
    /// nothing.
    #[serde(with = "duration")]
    pub poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            plugins: "plugins".into(),
            rules: "rules".into(),
            host: HostLimits::default(),
            limits: HandlerLimits::default(),
            breaker: BreakerSettings::default(),
            reload: ReloadConfig {
                // Longer than the pause between two writes of one `cp`.
                quiet: Duration::from_millis(100),
                poll: Duration::from_secs(2),
            },
            http: HttpConfig::default(),
            queue: QueueSettings::default(),
        }
    }
}

/// The prefix of environment variables that set a key: `POINTSMAN_HTTP_LISTEN` sets `http.listen`.
pub const ENV_PREFIX: &str = "POINTSMAN_";

impl Config {
    /// The settings from a file, if there is one, under the environment and
    /// under `flags` (dotted keys with their values as text).
    ///
    /// # Errors
    /// [`SettingsError`], which names the key and where it stands.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(&str, String)],
    ) -> Result<Self, SettingsError> {
        Self::load_with_sources(file, environment, flags).map(|(config, _)| config)
    }

    /// As [`Config::load`], with every setting, its value and where that comes from.
    ///
    /// # Errors
    /// [`SettingsError`], which names the key and where it stands.
    pub fn load_with_sources(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(&str, String)],
    ) -> Result<(Self, Vec<Setting>), SettingsError> {
        let known = table_of(&Self::default());
        let mut merged = known.clone();
        let mut sources = Sources::default();
        if let Some(path) = file {
            let origin = path.display().to_string();
            let text = apart_blocking(path, |path| read_text(path, FILE_MAX_BYTES));
            let text = text.map_err(|cause| SettingsError::Unreadable {
                path: path.into(),
                cause,
            })?;
            let table = parse(&origin, &text)?;
            for key in leaves(&table) {
                sources.set(key, &origin);
            }
            merge(&mut merged, &known, table, &origin, "")?;
        }
        let leaves = leaves(&known);
        for variable in environment::settings(environment, &leaves)? {
            let origin = format!("environment {}", variable.name);
            set(
                &mut merged,
                &known,
                (&variable.key, &variable.text),
                &origin,
            )?;
            sources.set(variable.key, &origin);
        }
        for (key, text) in flags {
            if !leaves.iter().any(|leaf| leaf == key) {
                return Err(SettingsError::UnknownKey {
                    origin: "command line".into(),
                    key: (*key).into(),
                    hint: renamed(key, text, &leaves)
                        .unwrap_or_else(|| hint(key, leaves.iter().map(String::as_str))),
                });
            }
            set(&mut merged, &known, (key, text), "command line")?;
            sources.set((*key).into(), "command line");
        }
        let settings = sources.settings(&merged, &leaves);
        let checked = ranges::check(&merged, "settings")
            .and_then(|()| typed::<Self>(merged, &known, "settings"))
            .and_then(|config| config.check("settings"));
        let config = checked.map_err(|error| {
            let source = error.key().and_then(|key| sources.of(key));
            match source.map(str::to_owned) {
                Some(source) => error.from_origin(&source),
                None => error,
            }
        })?;
        Ok((config, settings))
    }

    /// What all of the host together may take of the machine.
    #[must_use]
    pub fn budgets(&self) -> BudgetSettings {
        let (host, http) = (&self.host, &self.http);
        BudgetSettings {
            memory_max_bytes: host.memory_max_bytes,
            descriptors_max: host.descriptors_max,
            blocking_max: Some(host.blocking_max),
            outgoing_max: Some(host.outgoing_max),
            connections_max: http.connections_max,
            bodies_max_bytes: http.bodies_max_bytes,
            answers_max_bytes: http.answers_max_bytes,
            listeners_max: http.listeners_max,
        }
    }

    /// What a handler gets where its own settings do not say otherwise.
    #[must_use]
    pub fn handler_defaults(&self) -> HandlerDefaults {
        HandlerDefaults {
            limits: self.limits.clone(),
            breaker: self.breaker.clone(),
            retry: self.queue.retry.clone(),
        }
    }

    /// How the cases of handlers run under these settings.
    #[must_use]
    pub fn runner_settings(&self) -> RunnerSettings {
        RunnerSettings {
            sandbox: self.host.sandbox.clone(),
            defaults: self.handler_defaults(),
            budgets: self.budgets(),
        }
    }

    /// Refuses values that cannot work.
    fn check(self, origin: &str) -> Result<Self, SettingsError> {
        positive(
            origin,
            &[
                ("host.command_max_bytes", self.host.command_max_bytes as u64),
                ("host.routing_steps_max", self.host.routing_steps_max),
                ("host.plugin_max_bytes", self.host.plugin_max_bytes),
                ("host.blocking_max", self.host.blocking_max),
                ("host.outgoing_max", self.host.outgoing_max),
            ],
        )?;
        lasting(origin, &[("reload.poll", self.reload.poll)])?;
        for (key, folder) in [("plugins", &self.plugins), ("rules", &self.rules)] {
            if folder.as_os_str().is_empty() {
                return Err(SettingsError::WrongValue {
                    origin: origin.into(),
                    key: key.into(),
                    found: "empty".into(),
                    expected: format!("a folder such as `{key}`"),
                });
            }
        }
        self.host.sandbox.check(origin)?;
        self.limits.check(origin)?;
        self.http.check(origin)?;
        self.queue.check(origin)?;
        Ok(self)
    }
}

/// Sets one dotted key from text, read as the type that its default has.
fn set(
    table: &mut Table,
    known: &Table,
    (key, text): (&str, &str),
    origin: &str,
) -> Result<(), SettingsError> {
    let mut parts = key.split('.');
    let mut slot = parts.next().and_then(|part| table.get_mut(part));
    for part in parts {
        slot = slot.and_then(|slot| slot.get_mut(part));
    }
    let named = "flags and environment name only known keys";
    let (slot, default) = (slot.expect(named), at(known, key).expect(named));
    let value = match default {
        Value::Integer(_) => integer::parse(text).map(Value::Integer),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        // `a, b`
        Value::Array(_) => {
            let parts = text.split(',').map(str::trim);
            let parts = parts.filter(|part| !part.is_empty());
            Some(parts.map(Value::from).collect::<Vec<_>>().into())
        }
        word if optional::is_word(word) => {
            let number = integer::parse(text).map(Value::Integer);
            number.or_else(|| Some(text.into()))
        }
        _ => Some(Value::String(text.into())),
    };
    let value = value.ok_or_else(|| SettingsError::WrongValue {
        origin: origin.into(),
        key: key.into(),
        found: format!("`{text}`"),
        expected: format!("{} such as {default}", default.type_str()),
    })?;
    assign(slot, default, value, origin, key)
}

/// What to write instead of a key that said the unit of its number.
fn renamed(key: &str, text: &str, known: &[String]) -> Option<String> {
    let (short, text) = duration::renamed(key, text)?;
    let is_known = known.iter().any(|known| known == short);
    is_known.then(|| format!("write `{short}={text}`"))
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

#[cfg(test)]
mod tests;
