//! Owns what an operator grants of the host's services: databases, state, and
//! follow-up commands.

use std::{path::Path, sync::Arc, time::Duration};

use pointsman_core::settings::{SettingsError, duration, positive};
use pointsman_database::{Database, DatabaseLimits};
use serde::{Deserialize, Serialize};

use super::secrets::{self, SecretSource};

/// A database that a handler may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlGrant {
    /// Where it is.
    pub url: DatabaseUrl,
    /// Whether nothing can be changed through it.
    #[serde(default)]
    pub read_only: bool,
    /// Rows that one call reads.
    #[serde(default = "rows_max")]
    pub rows_max: u64,
    /// Bytes that one call reads, and those of one value.
    #[serde(default = "bytes_max")]
    pub bytes_max: u64,
    /// How long a statement may take, waiting for a connection included.
    #[serde(default = "statement_timeout", with = "duration")]
    pub statement_timeout: Duration,
    /// Connections of the handler at once.
    #[serde(default = "connections_max")]
    pub connections_max: usize,
}

fn rows_max() -> u64 {
    DatabaseLimits::default().rows_max
}

fn bytes_max() -> u64 {
    DatabaseLimits::default().bytes_max
}

fn statement_timeout() -> Duration {
    DatabaseLimits::default().statement_timeout
}

fn connections_max() -> usize {
    DatabaseLimits::default().connections_max
}

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DatabaseUrl {
    /// The file of a SQLite database, `sqlite:policies.db`: it holds no password.
    File(String),
    /// Where the URL stands, which may hold a password.
    Source(UrlSource),
}

/// Where a URL stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UrlSource {
    /// In this environment variable of the host.
    Env(String),
    /// In this file.
    File(std::path::PathBuf),
}

/// What the handler remembers from call to call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateGrant {
    /// The space that several handlers share; without, it is the handler's alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<String>,
    /// Entries at most.
    pub keys_max: u64,
    /// Bytes of keys and values at most.
    pub bytes_max: u64,
}

impl Default for StateGrant {
    fn default() -> Self {
        Self {
            shared: None,
            keys_max: 10_000,
            bytes_max: 16 << 20,
        }
    }
}

/// Follow-up commands that the handler may emit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmitGrant {
    /// Commands of one call.
    pub commands_max: usize,
}

impl Default for EmitGrant {
    fn default() -> Self {
        Self { commands_max: 100 }
    }
}

const URL_EXPECTED: &str = "{ env = \"NAME\" } or { file = \"path\" }, or `sqlite:` and a path: a URL with a password stays out of this file";

impl SqlGrant {
    /// Refuses what cannot work; `key` is that of the section.
    pub(super) fn check(&self, origin: &str, key: &str) -> Result<(), SettingsError> {
        if let DatabaseUrl::File(url) = &self.url
            && !url.starts_with("sqlite:")
        {
            return Err(SettingsError::WrongValue {
                origin: origin.into(),
                key: format!("{key}.url"),
                // It may hold a password.
                found: "no file of SQLite".into(),
                expected: URL_EXPECTED.into(),
            });
        }
        let zero = [
            ("statement_timeout", self.statement_timeout.is_zero()),
            ("rows_max", self.rows_max == 0),
            ("bytes_max", self.bytes_max == 0),
            ("connections_max", self.connections_max == 0),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(SettingsError::WrongValue {
                origin: origin.into(),
                key: format!("{key}.{name}"),
                found: "0".into(),
                expected: "more than 0".into(),
            }),
            None => Ok(()),
        }
    }

    /// The database, which nothing has connected to.
    ///
    /// # Errors
    /// What is wrong, and what to do about it.
    pub(super) fn open(&self, name: &str, base: &Path) -> Result<Arc<Database>, (String, String)> {
        let limits = DatabaseLimits {
            read_only: self.read_only,
            rows_max: self.rows_max,
            bytes_max: self.bytes_max,
            statement_timeout: self.statement_timeout,
            connections_max: self.connections_max,
        };
        let source = match &self.url {
            DatabaseUrl::File(url) => {
                return opened(Database::new(name, url, base, limits));
            }
            DatabaseUrl::Source(UrlSource::Env(name)) => SecretSource::Env(name.clone()),
            DatabaseUrl::Source(UrlSource::File(path)) => SecretSource::File(path.clone()),
        };
        let url = secrets::read(&source, base)?;
        opened(Database::new(name, url.reveal(), base, limits))
    }
}

fn opened(
    database: Result<Database, pointsman_database::OpenError>,
) -> Result<Arc<Database>, (String, String)> {
    match database {
        Ok(database) => Ok(Arc::new(database)),
        Err(error) => Err((error.reason, error.hint)),
    }
}

impl StateGrant {
    pub(super) fn check(&self, origin: &str) -> Result<(), SettingsError> {
        let is_name = |name: &String| {
            !name.is_empty()
                && name.len() <= 100
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if let Some(name) = self.shared.as_ref().filter(|name| !is_name(name)) {
            return Err(SettingsError::WrongValue {
                origin: origin.into(),
                key: "state.shared".into(),
                found: format!("{name:?}"),
                expected: "1 to 100 letters, digits, `-`, `_` and `.`".into(),
            });
        }
        positive(
            origin,
            &[
                ("state.keys_max", self.keys_max),
                ("state.bytes_max", self.bytes_max),
            ],
        )
    }
}
