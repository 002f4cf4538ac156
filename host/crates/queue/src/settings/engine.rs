//! Owns which engine keeps commands, with the settings that it alone has. They are
//! written beside the other keys of `[queue]`, those of the other engine too.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use pointsman_core::settings::{SettingsError, duration, lasting, optional, positive};

/// Where the queue keeps commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "EngineKeys", into = "EngineKeys")]
pub enum Engine {
    /// Nowhere: the host takes no commands to keep.
    Off,
    /// In a folder of this machine.
    Sqlite(SqliteSettings),
    /// On a server that several hosts share.
    Postgres(PostgresSettings),
}

/// A database in a folder of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteSettings {
    /// The data folder; made where it is missing.
    pub folder: PathBuf,
    /// The largest database file, in bytes. Without, as large as the disk.
    pub size_max_bytes: Option<u64>,
}

/// A database on a PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database?sslmode=require`.
    pub url: String,
    /// The schema that holds the tables; made where it is missing.
    pub schema: String,
    /// A PEM file with the authorities to trust. Without, the machine's own.
    pub root_certificates: Option<PathBuf>,
    /// Connections at most, besides the one that listens.
    pub connections: usize,
    /// How long one call may take, waiting for a connection included.
    pub timeout: Duration,
    /// Whether a connection keeps its session on the server.
    pub pooler: Pooler,
}

/// Whether a connection keeps its session on the server, or a connection pooler
/// hands that to others between transactions. Without a session there are no
/// prepared statements and no news from other hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooler {
    /// Found out for each connection; a pooler is taken to keep no sessions.
    Auto,
    /// There is no pooler, or it keeps sessions.
    Session,
    /// There is one that keeps none.
    Transaction,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self {
            folder: "data".into(),
            size_max_bytes: None,
        }
    }
}

impl PostgresSettings {
    /// Those of the database at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "pointsman".into(),
            root_certificates: None,
            // Enough to keep one host's commits in flight; a server takes 100 by default.
            connections: 16,
            // Three fit into a lease; a busy server takes one for a lock that is held.
            timeout: Duration::from_secs(10),
            pooler: Pooler::Auto,
        }
    }
}

/// The smallest limit of an SQLite database: a quarter of it is kept for work
/// under way, and the empty tables take some as well.
const SIZE_MIN_BYTES: u64 = 1 << 20;

impl Engine {
    /// Refuses what is out of range.
    pub(super) fn check(&self, origin: &str) -> Result<(), SettingsError> {
        match self {
            Self::Off => Ok(()),
            Self::Sqlite(sqlite) => match sqlite.size_max_bytes {
                Some(size) if size < SIZE_MIN_BYTES => Err(SettingsError::WrongValue {
                    origin: origin.into(),
                    key: "queue.size_max_bytes".into(),
                    found: size.to_string(),
                    expected: format!("at least {SIZE_MIN_BYTES}"),
                }),
                _ => Ok(()),
            },
            Self::Postgres(postgres) => {
                lasting(origin, &[("queue.timeout", postgres.timeout)])?;
                let connections = postgres.connections as u64;
                positive(origin, &[("queue.connections", connections)])
            }
        }
    }
}

/// [`Engine`] as it is written: the keys of all engines, of which one is chosen.
#[derive(Clone, Serialize, Deserialize)]
struct EngineKeys {
    engine: EngineName,
    folder: PathBuf,
    #[serde(with = "optional::none")]
    size_max_bytes: Option<u64>,
    #[serde(with = "optional::text")]
    url: Option<String>,
    schema: String,
    #[serde(with = "optional::text")]
    root_certificates: Option<PathBuf>,
    connections: usize,
    #[serde(with = "duration")]
    timeout: Duration,
    pooler: Pooler,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EngineName {
    Off,
    Sqlite,
    Postgres,
}

impl TryFrom<EngineKeys> for Engine {
    type Error = &'static str;

    fn try_from(keys: EngineKeys) -> Result<Self, Self::Error> {
        Ok(match keys.engine {
            EngineName::Off => Self::Off,
            EngineName::Sqlite => Self::Sqlite(SqliteSettings {
                folder: keys.folder,
                size_max_bytes: keys.size_max_bytes,
            }),
            EngineName::Postgres => Self::Postgres(PostgresSettings {
                url: keys.url.ok_or(NO_URL)?,
                schema: keys.schema,
                root_certificates: keys.root_certificates,
                connections: keys.connections,
                timeout: keys.timeout,
                pooler: keys.pooler,
            }),
        })
    }
}

const NO_URL: &str = "`postgres` needs to know where the database is: set `queue.url` to postgres://user:password@host:port/database";

impl From<Engine> for EngineKeys {
    fn from(engine: Engine) -> Self {
        let (name, sqlite, postgres) = match engine {
            Engine::Off => (EngineName::Off, None, None),
            Engine::Sqlite(sqlite) => (EngineName::Sqlite, Some(sqlite), None),
            Engine::Postgres(postgres) => (EngineName::Postgres, None, Some(postgres)),
        };
        let url = postgres.as_ref().map(|postgres| postgres.url.clone());
        let sqlite = sqlite.unwrap_or_default();
        let postgres = postgres.unwrap_or_else(|| PostgresSettings::new(""));
        Self {
            engine: name,
            folder: sqlite.folder,
            size_max_bytes: sqlite.size_max_bytes,
            url,
            schema: postgres.schema,
            root_certificates: postgres.root_certificates,
            connections: postgres.connections,
            timeout: postgres.timeout,
            pooler: postgres.pooler,
        }
    }
}
