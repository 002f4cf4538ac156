//! Where commands are kept: two engines that pass one suite, and which of them the
//! settings name.

#[cfg(feature = "postgres")]
pub mod postgres;
pub mod sqlite;

use std::sync::Arc;

use pointsman_machine::shutdown::Supervisor;

#[cfg(feature = "postgres")]
use self::postgres::{Postgres, PostgresConfig};
use self::sqlite::{Sqlite, SqliteConfig};
use crate::{
    error::QueueError,
    settings::{Engine, QueueSettings},
    store::Store,
};

/// Opens the store that the settings name; none for `off`.
///
/// # Errors
/// The engine's, and [`QueueError::Config`].
pub async fn open(
    settings: &QueueSettings,
    #[cfg_attr(
        not(feature = "postgres"),
        expect(unused_variables, reason = "SQLite needs no tasks")
    )]
    supervisor: &Supervisor,
) -> Result<Option<Arc<dyn Store>>, QueueError> {
    let depth_max = settings.depth_max;
    match &settings.engine {
        Engine::Off => Ok(None),
        Engine::Sqlite(sqlite) => {
            let sqlite = SqliteConfig {
                depth_max,
                size_max_bytes: sqlite.size_max_bytes,
                ..SqliteConfig::new(&sqlite.folder)
            };
            let opened = tokio::task::spawn_blocking(|| Sqlite::open(sqlite)).await;
            let opened = opened.map_err(|error| QueueError::Storage {
                doing: "open",
                source: error.into(),
            })?;
            Ok(Some(Arc::new(opened?)))
        }
        #[cfg(not(feature = "postgres"))]
        Engine::Postgres(_) => Err(QueueError::config_with_hint(
            "`queue.engine` is `postgres`, and this program was built without it",
            "build it with the feature `postgres`, or use `sqlite`",
        )),
        #[cfg(feature = "postgres")]
        Engine::Postgres(settings) => {
            let postgres = PostgresConfig {
                schema: settings.schema.clone(),
                root_certificates: settings.root_certificates.clone(),
                connections: settings.connections,
                timeout: settings.timeout,
                pooler: settings.pooler,
                supervisor: supervisor.clone(),
                depth_max,
                ..PostgresConfig::new(&settings.url)
            };
            Ok(Some(Arc::new(Postgres::open(postgres).await?)))
        }
    }
}
