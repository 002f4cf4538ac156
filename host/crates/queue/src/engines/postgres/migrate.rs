//! Brings the schema to the newest version, and says which right is missing
//! where the role may not.

use std::time::Duration;

use super::{
    fault::to,
    pool::Sessions,
    schema::{Schema, quoted},
    session::Scope,
};
use crate::QueueError;

/// One step a version, as for SQLite.
const MIGRATIONS: [&str; 8] = [
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
];
/// The advisory lock under which hosts that start together migrate one after the other.
const MIGRATION_LOCK: i64 = 0x706f_696e_7473_6d61;
/// How long it may take: a step may build an index over all that is stored.
const MIGRATE_MAX: Duration = Duration::from_secs(600);
const DOING: &str = "migrate the database";

/// # Errors
/// [`QueueError::Config`] with the right to grant, [`QueueError::NewerSchema`], the engine's.
pub(super) async fn migrate(sessions: &Sessions) -> Result<(), QueueError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let mut lent = sessions.get_for(MIGRATE_MAX).await?;
    let tx = lent.begin().await?;
    tx.now().await.map_err(to(DOING))?;
    // A step may take longer than a call, and waits for other hosts.
    tx.may_take(MIGRATE_MAX).await.map_err(to(DOING))?;
    tx.batch("SET LOCAL standard_conforming_strings = on")
        .await
        .map_err(to(DOING))?;
    let mut found = version(&tx).await?;
    if found != Some(known) {
        tx.query("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
            .await
            .map_err(to(DOING))?;
        // Another host may have been first.
        found = version(&tx).await?;
    }
    match found {
        Some(found) if found > known => return Err(QueueError::NewerSchema { found, known }),
        Some(found) if found == known => {}
        found => {
            let rights = rights(&tx).await?;
            rights.to_create(tx.schema())?;
            if !rights.exists {
                tx.verbatim(&format!("CREATE SCHEMA {}", tx.schema().quoted()))
                    .await
                    .map_err(to(DOING))?;
            }
            step(&tx, found.unwrap_or(0), known).await?;
        }
    }
    usable(&tx).await?;
    tx.commit().await.map_err(to(DOING))
}

async fn step(tx: &Scope<'_>, found: i64, known: i64) -> Result<(), QueueError> {
    tx.batch("CREATE TABLE IF NOT EXISTS @.schema_version (version int8 NOT NULL)")
        .await
        .map_err(to(DOING))?;
    for step in &MIGRATIONS[usize::try_from(found).unwrap_or(0)..] {
        tx.batch(step).await.map_err(to(DOING))?;
    }
    tx.execute("DELETE FROM @.schema_version", &[])
        .await
        .map_err(to(DOING))?;
    tx.execute("INSERT INTO @.schema_version VALUES ($1)", &[&known])
        .await
        .map_err(to(DOING))?;
    Ok(())
}

/// The version of the tables; none where there are none. Needs no right to create.
async fn version(tx: &Scope<'_>) -> Result<Option<i64>, QueueError> {
    let name = tx.schema().name().to_owned();
    let found = tx
        .query_opt(include_str!("sql/may_read_version.sql"), &[&name])
        .await
        .map_err(to(DOING))?;
    let Some(row) = found else { return Ok(None) };
    if !(row.get::<_, bool>(0) && row.get::<_, bool>(1)) {
        return Err(ungranted(tx).await?);
    }
    let row = tx
        .query_opt("SELECT version FROM @.schema_version", &[])
        .await
        .map_err(to(DOING))?;
    Ok(row.map(|row| row.get(0)))
}

/// What the role may do about the schema.
struct Rights {
    role: String,
    database: String,
    exists: bool,
    may_create_schema: bool,
    may_create_tables: bool,
}

async fn rights(tx: &Scope<'_>) -> Result<Rights, QueueError> {
    let name = tx.schema().name().to_owned();
    let row = tx
        .query_opt(include_str!("sql/rights.sql"), &[&name])
        .await
        .map_err(to(DOING))?
        .ok_or(QueueError::Closed)?;
    Ok(Rights {
        role: quoted(row.get(0)),
        database: quoted(row.get(1)),
        may_create_schema: row.get(2),
        exists: row.get(3),
        may_create_tables: row.get(4),
    })
}

impl Rights {
    /// Whether the role may make what is missing.
    fn to_create(&self, schema: &Schema) -> Result<(), QueueError> {
        let (role, database, schema) = (&self.role, &self.database, schema.quoted());
        if self.exists && !self.may_create_tables {
            return Err(QueueError::config_with_hint(
                format!(
                    "role {role} is not allowed to create the queue's tables in schema {schema}"
                ),
                format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}"),
            ));
        }
        if !self.exists && !self.may_create_schema {
            return Err(QueueError::config_with_hint(
                format!(
                    "role {role} is not allowed to create schema {schema} in database {database}"
                ),
                format!(
                    "CREATE SCHEMA {schema} AUTHORIZATION {role}, or GRANT CREATE ON DATABASE {database} TO {role}"
                ),
            ));
        }
        Ok(())
    }
}

/// Refuses where the role may not use the tables.
async fn usable(tx: &Scope<'_>) -> Result<(), QueueError> {
    let mut missing = 0_usize;
    for table in [
        "command",
        "dedup",
        "delivery",
        "entry",
        "failure",
        "history",
        "idempotency",
        "lane",
        "pause",
        "schedule",
        "space",
    ] {
        let name = tx.schema().table(table);
        let row = tx
            .query_opt(include_str!("sql/may_use_table.sql"), &[&name])
            .await
            .map_err(to(DOING))?;
        missing += usize::from(row.is_none_or(|row| !row.get::<_, bool>(0)));
    }
    let place = tx.schema().table("place");
    let row = tx
        .query_opt("SELECT has_sequence_privilege($1, 'USAGE')", &[&place])
        .await
        .map_err(to(DOING))?;
    missing += usize::from(row.is_none_or(|row| !row.get::<_, bool>(0)));
    if missing > 0 {
        return Err(ungranted(tx).await?);
    }
    Ok(())
}

/// The role may not use the tables that are there.
async fn ungranted(tx: &Scope<'_>) -> Result<QueueError, QueueError> {
    let Rights { role, .. } = rights(tx).await?;
    let schema = tx.schema().quoted();
    Ok(QueueError::config_with_hint(
        format!("role {role} is not allowed to use the queue's tables in schema {schema}"),
        format!(
            "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"
        ),
    ))
}
