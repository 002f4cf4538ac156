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
    let shortened = connection.execute(include_str!("sql/shorten_leases.sql"), [soon.as_millis()]);
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
