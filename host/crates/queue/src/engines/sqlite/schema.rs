//! Owns the SQLite file: how a connection is opened, the tables, and the steps
//! from each version of them to the next.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{fault::to, files::Files, room::Room};
use crate::{QueueError, Timestamp};

/// How long to wait for a lock that another process holds.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Page cache of the writer, in KiB: the hot ends of all indexes fit.
const CACHE_KIB: i64 = 65_536;

/// One step a version: step 0 makes version 1 of an empty file.
const MIGRATIONS: [&str; 1] = ["
CREATE TABLE command (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    attributes TEXT NOT NULL,
    idempotency_key TEXT,
    rules_generation INTEGER NOT NULL,
    traceparent TEXT,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE idempotency (
    key TEXT PRIMARY KEY,
    command_id BLOB NOT NULL,
    body BLOB NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expires ON idempotency(expires_ms);
CREATE TABLE delivery (
    seq INTEGER PRIMARY KEY,
    command_id BLOB NOT NULL,
    handler TEXT NOT NULL,
    digest TEXT NOT NULL,
    rules TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    position INTEGER NOT NULL,
    run_at_ms INTEGER NOT NULL,
    ordering_key TEXT,
    blocked INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    hosts_lost INTEGER NOT NULL DEFAULT 0,
    transient INTEGER NOT NULL DEFAULT 0,
    trap INTEGER NOT NULL DEFAULT 0,
    timeout INTEGER NOT NULL DEFAULT 0,
    memory INTEGER NOT NULL DEFAULT 0,
    lease_until_ms INTEGER,
    lease_token BLOB,
    output TEXT,
    finished_ms INTEGER,
    UNIQUE (command_id, handler)
) STRICT;
CREATE TABLE failure (
    delivery INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    status TEXT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (delivery, ordinal)
) STRICT, WITHOUT ROWID;
-- Partial, so that a row is in the few that its state needs: a claim finds its
-- rows at the front of an index however long the backlog or the history is.
CREATE INDEX delivery_ready ON delivery(handler, priority DESC, position)
    WHERE state = 'available' AND blocked = 0;
CREATE INDEX delivery_due ON delivery(run_at_ms, state, handler)
    WHERE state IN ('scheduled', 'retryable');
CREATE INDEX delivery_leased ON delivery(lease_until_ms, handler) WHERE state = 'running';
CREATE INDEX delivery_ordered ON delivery(handler, ordering_key, position, blocked, state)
    WHERE ordering_key IS NOT NULL AND state IN ('available', 'running', 'scheduled', 'retryable');
CREATE INDEX delivery_ended_badly ON delivery(state, command_id, handler)
    WHERE state IN ('discarded', 'cancelled');
"];

/// The connection that writes, with the tables at the newest version.
pub(super) fn open_writer(files: &Files, room: &Room) -> Result<Connection, QueueError> {
    let mut connection = Connection::open(files.database()).map_err(to("open the database"))?;
    (|| {
        connection.busy_timeout(BUSY_MAX)?;
        // The file may be anyone's: its schema must not call what has effects.
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // NORMAL would lose acknowledged commands when the power goes.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.set_prepared_statement_cache_capacity(128);
        let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        connection.pragma_update(None, "wal_autocheckpoint", room.checkpoint_pages(page))?;
        // Without it a log that a reader held up keeps its size for good.
        connection.pragma_update(None, "journal_size_limit", room.log_max_bytes())?;
        if let Some(pages) = room.pages_max(&connection)? {
            let sql = format!("PRAGMA max_page_count = {}", pages.max(1));
            connection.query_row(&sql, [], |_| Ok(()))?;
        }
        Ok(())
    })()
    .map_err(to("set up the database"))?;
    migrate(&mut connection)?;
    files.remember()?;
    Ok(connection)
}

/// Lets all leases run out at `soon`. Whoever holds the lock on the folder is
/// its only host: those that held a lease are gone.
pub(super) fn shorten_leases(connection: &Connection, soon: Timestamp) -> Result<(), QueueError> {
    let sql =
        "UPDATE delivery SET lease_until_ms = min(lease_until_ms, ?1) WHERE state = 'running'";
    let shortened = connection.execute(sql, [soon.as_millis()]);
    shortened
        .map(drop)
        .map_err(to("shorten the leases of a lost host"))
}

/// A connection that reads beside the writer.
pub(super) fn open_reader(files: &Files) -> Result<Connection, QueueError> {
    files.check()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(files.database(), flags)
        .map_err(to("open the database for reading"))?;
    connection
        .busy_timeout(BUSY_MAX)
        .and_then(|()| connection.pragma_update(None, "trusted_schema", false))
        .map_err(to("set up a reader"))?;
    // Again: what was opened is what was there before.
    files.check()?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), QueueError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let transaction = connection
        .transaction()
        .map_err(to("migrate the database"))?;
    let found: i64 = transaction
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(to("read the schema's version"))?;
    if found > known {
        return Err(QueueError::NewerSchema { found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for step in &MIGRATIONS[done..] {
        transaction
            .execute_batch(step)
            .map_err(to("migrate the database"))?;
    }
    if found < known {
        transaction
            .pragma_update(None, "user_version", known)
            .map_err(to("migrate the database"))?;
    }
    transaction.commit().map_err(to("migrate the database"))
}
