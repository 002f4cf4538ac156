//! Owns how a file is opened, and what a statement may do there at all.

use std::{
    cell::Cell,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, OpenFlags,
    config::DbConfig,
    ffi,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
};

use crate::settings::DatabaseLimits;

/// The longest value. A row is in the host's memory while it is looked at, whatever the
/// grant is: with the columns, this bounds it.
const VALUE_MAX_BYTES: u64 = 16 << 20;
const COLUMNS_MAX: i32 = 256;

/// SQLite counts the milliseconds in 32 bits.
const BUSY_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// What connections to a database have in common.
pub(super) struct Opening {
    source: Source,
    pub(super) read_only: bool,
    /// Bytes of one row.
    pub(super) bytes_max: u64,
    busy_max: Duration,
    value_max_bytes: i32,
}

pub(super) enum Source {
    File(PathBuf),
    /// What makes the tables.
    Memory(String),
}

impl Opening {
    pub(super) fn new(source: Source, limits: &DatabaseLimits) -> Self {
        let value_max_bytes = limits.bytes_max.min(VALUE_MAX_BYTES);
        Self {
            source,
            read_only: limits.read_only,
            bytes_max: limits.bytes_max,
            busy_max: limits.statement_timeout.min(BUSY_MAX),
            value_max_bytes: i32::try_from(value_max_bytes).unwrap_or(i32::MAX),
        }
    }

    pub(super) fn in_memory(&self) -> bool {
        matches!(self.source, Source::Memory(_))
    }

    pub(super) fn open(&self) -> rusqlite::Result<Connection> {
        let mut connection = match &self.source {
            Source::Memory(fixture) => {
                let connection = Connection::open_in_memory()?;
                connection.execute_batch(fixture)?;
                connection
            }
            Source::File(path) => {
                regular(path, self.read_only)?;
                let mode = match self.read_only {
                    true => OpenFlags::SQLITE_OPEN_READ_ONLY,
                    false => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
                };
                // Not as a URI: a path is a path.
                let connection =
                    Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
                connection.busy_timeout(self.busy_max)?;
                if !self.read_only {
                    // Readers do not hold up the writer.
                    connection.pragma_update(None, "journal_mode", "WAL")?;
                }
                connection
            }
        };
        // Not in files, which nothing bounds; memory has a bound.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        if !self.read_only {
            connection.execute_batch(FORGOTTEN)?;
        }
        connection.pragma_update(None, "query_only", self.read_only)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // The file may be anyone's: its schema must not call what has effects.
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, self.value_max_bytes)?;
        connection.set_limit(Limit::SQLITE_LIMIT_COLUMN, COLUMNS_MAX)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.authorizer(Some(judge))?;
        Ok(connection)
    }
}

/// A table that nobody but the session itself writes.
const FORGOTTEN: &str = "CREATE TEMP TABLE pointsman_forgotten (id INTEGER PRIMARY KEY)";
/// Leaves 0 in `last_insert_rowid()` and in `changes()`, which the next call would see.
pub(super) const FORGET: &str = "INSERT OR REPLACE INTO temp.pointsman_forgotten VALUES (0);
    DELETE FROM temp.pointsman_forgotten WHERE id <> 0";

/// Makes a file that is missing, for its owner alone, and refuses what is none: a
/// pipe would hold the thread for ever.
fn regular(path: &Path, read_only: bool) -> rusqlite::Result<()> {
    let refused = |reason: String| {
        let code = ffi::Error::new(ffi::SQLITE_CANTOPEN);
        Err(rusqlite::Error::SqliteFailure(code, Some(reason)))
    };
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => refused("it is not a regular file".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !read_only => {
            let mut made = fs::OpenOptions::new();
            made.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut made, 0o600);
            match made.open(path) {
                // Another connection was first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                Err(error) => refused(format!("the file cannot be created: {error}")),
                Ok(_) => Ok(()),
            }
        }
        Err(error) => refused(format!("the file cannot be opened: {error}")),
    }
}

/// What a statement of a handler may do. Transactions are the session's, which
/// says so around its own; what is temporary would be there for the next call.
fn judge(context: AuthContext<'_>) -> Authorization {
    if OWN.get() {
        return Authorization::Allow;
    }
    match context.action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Pragma { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Unknown { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => Authorization::Deny,
        // It counts what other calls changed.
        AuthAction::Function { function_name }
            if function_name.eq_ignore_ascii_case("total_changes") =>
        {
            Authorization::Deny
        }
        AuthAction::Read { .. } | AuthAction::Select => Authorization::Allow,
        _ if context.database_name == Some("temp") => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

thread_local! {
    /// Whether the session itself speaks: each connection has a thread of its own.
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Runs a statement of the session's own.
pub(super) fn own(connection: &Connection, text: &str) -> rusqlite::Result<()> {
    OWN.set(true);
    let done = connection.execute_batch(text);
    OWN.set(false);
    done
}
