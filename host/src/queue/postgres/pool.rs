//! Owns the connections: TLS, the schema and its migrations, and what
//! PostgreSQL's errors mean to the queue.

use std::{error::Error as _, path::Path, sync::Arc, time::Duration};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::{Client, Config, NoTls, config::SslMode, error::SqlState, types::WrongType};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresConfig;
use crate::queue::QueueError;

/// How long a caller waits for a connection before it is told that there is none.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// One step a version, as for SQLite. `{schema}` is set as the search path.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];
/// The advisory lock under which hosts that start together migrate one after the other.
const MIGRATION_LOCK: i64 = 0x706f_696e_7473_6d61;

/// The settings that `url` holds, checked.
pub(super) fn parse(config: &PostgresConfig) -> Result<Config, QueueError> {
    let name = &config.schema;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
        return Err(QueueError::Config(format!(
            "schema `{name}`: use 1 to 40 of a-z, 0-9 and _"
        )));
    }
    // The text is not repeated: it may hold a password.
    let mut parsed: Config = config
        .url
        .parse()
        .map_err(|error| QueueError::Config(format!("the queue's PostgreSQL URL: {error}")))?;
    if parsed.get_connect_timeout().is_none() {
        parsed.connect_timeout(WAIT_MAX);
    }
    if parsed.get_application_name().is_none() {
        parsed.application_name("pointsman");
    }
    Ok(parsed)
}

/// TLS as the URL's `sslmode` wants it: none where that is `disable`.
pub(super) fn tls(
    parsed: &Config,
    roots: Option<&Path>,
) -> Result<Option<MakeRustlsConnect>, QueueError> {
    if parsed.get_ssl_mode() == SslMode::Disable {
        return Ok(None);
    }
    let mut store = RootCertStore::empty();
    match roots {
        Some(path) => {
            let failed = |reason: String| {
                QueueError::Config(format!(
                    "`{}`: no certificates in PEM form: {reason}",
                    path.display()
                ))
            };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|e| failed(e.to_string()))?;
                store.add(certificate).map_err(|e| failed(e.to_string()))?;
            }
            if store.is_empty() {
                return Err(failed("the file holds none".to_owned()));
            }
        }
        // Certificates of the machine that cannot be read authenticate no server; that is all.
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| QueueError::Config(format!("TLS: {error}")))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Some(MakeRustlsConnect::new(config)))
}

/// What each connection is told first.
pub(super) fn session(schema: &str) -> String {
    // A server that is set to answer before the commit is durable would make 202 a lie.
    // With a long backlog the planner takes a claim for costly, though it reads
    // the front of an index, and would compile it first: 35 ms for work of 4.
    // And where statistics are missing, as after a bulk load, it would read the
    // whole index of what waits into a bitmap to take its first few rows.
    format!(
        "SET search_path TO {schema};
         SET jit = off;
         SET enable_bitmapscan = off;
         SELECT set_config('synchronous_commit', 'on', false)
         WHERE current_setting('synchronous_commit') = 'off'"
    )
}

pub(super) fn pool(
    config: &PostgresConfig,
    parsed: Config,
    tls: Option<MakeRustlsConnect>,
) -> Result<Pool, QueueError> {
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = match tls {
        Some(tls) => Manager::from_config(parsed, tls, recycling),
        None => Manager::from_config(parsed, NoTls, recycling),
    };
    let first: Arc<str> = session(&config.schema).into();
    Pool::builder(manager)
        .max_size(config.connections.max(1))
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(WAIT_MAX))
        .create_timeout(Some(WAIT_MAX * 2))
        .post_create(Hook::async_fn(move |client, _| {
            let first = Arc::clone(&first);
            Box::pin(async move {
                client
                    .batch_execute(&first)
                    .await
                    .map_err(HookError::Backend)
            })
        }))
        .build()
        .map_err(|error| QueueError::Config(error.to_string()))
}

/// Brings the schema to the newest version.
pub(super) async fn migrate(client: &mut Client, schema: &str) -> Result<(), QueueError> {
    const DOING: &str = "migrate the database";
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let tx = client.transaction().await.map_err(to(DOING))?;
    tx.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
        .await
        .map_err(to(DOING))?;
    tx.batch_execute(&format!(
        "CREATE SCHEMA IF NOT EXISTS {schema};
         CREATE TABLE IF NOT EXISTS {schema}.schema_version (version int8 NOT NULL);"
    ))
    .await
    .map_err(to(DOING))?;
    let found = tx
        .query_opt("SELECT version FROM schema_version", &[])
        .await
        .map_err(to(DOING))?
        .map_or(0, |row| row.get::<_, i64>(0));
    if found > known {
        return Err(QueueError::NewerSchema { found, known });
    }
    for step in &MIGRATIONS[usize::try_from(found).unwrap_or(0)..] {
        tx.batch_execute(step).await.map_err(to(DOING))?;
    }
    if found < known {
        tx.execute("DELETE FROM schema_version", &[])
            .await
            .map_err(to(DOING))?;
        tx.execute("INSERT INTO schema_version VALUES ($1)", &[&known])
            .await
            .map_err(to(DOING))?;
    }
    tx.commit().await.map_err(to(DOING))
}

/// Makes a [`QueueError`] of PostgreSQL's, for `map_err`.
pub(super) fn to(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> QueueError {
    move |error| {
        let away = match error.code() {
            Some(&SqlState::DISK_FULL) => return QueueError::NoRoom,
            // Class 57P: the server goes down or comes up; class 08: the connection.
            Some(code) => {
                code.code().starts_with("57P")
                    || code.code().starts_with("08")
                    || *code == SqlState::TOO_MANY_CONNECTIONS
                    || *code == SqlState::READ_ONLY_SQL_TRANSACTION
            }
            // No answer of the server: the connection, unless a value did not fit its column.
            None => !error
                .source()
                .is_some_and(|source| source.is::<WrongType>()),
        };
        let source = error.into();
        if away {
            QueueError::Unavailable { doing, source }
        } else {
            QueueError::Storage { doing, source }
        }
    }
}

pub(super) fn no_connection(error: PoolError) -> QueueError {
    const DOING: &str = "get a connection";
    match error {
        PoolError::Backend(error) => to(DOING)(error),
        PoolError::Closed => QueueError::Closed,
        error => QueueError::Unavailable {
            doing: DOING,
            source: error.into(),
        },
    }
}
