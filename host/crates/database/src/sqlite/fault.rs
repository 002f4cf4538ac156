//! Owns what is said of a statement that failed.

use rusqlite::{ErrorCode, ffi};

use super::memory;
use crate::error::{SqlError, SqlFault};

const TOO_BIG: &str = "a value is over 16 MiB, or over the limit";

/// What SQLite says of a statement.
pub(super) fn said(error: &rusqlite::Error) -> SqlError {
    let rusqlite::Error::SqliteFailure(failure, message) = error else {
        let text = match error {
            rusqlite::Error::SqlInputError { error, msg, .. } => {
                let code = name(error.extended_code);
                return SqlError::new(SqlFault::Refused, Some(code), msg.clone());
            }
            rusqlite::Error::MultipleStatement => "more than one statement at once".to_owned(),
            other => other.to_string(),
        };
        return SqlError::refused(text);
    };
    if failure.code == ErrorCode::OperationInterrupted && memory::was_used_up() {
        let text = format!(
            "the statement was stopped: SQLite may hold {} MiB for all handlers together, to sort and join in; sort and join fewer rows at once, or add an index in whose order they are",
            memory::limit() >> 20
        );
        return SqlError::new(SqlFault::Unavailable, Some("SQLITE_NOMEM"), text);
    }
    let fault = match failure.code {
        ErrorCode::ReadOnly | ErrorCode::TooBig => SqlFault::Denied,
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::DiskFull
        | ErrorCode::SystemIoFailure
        | ErrorCode::OutOfMemory
        | ErrorCode::CannotOpen
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::OperationInterrupted => SqlFault::Unavailable,
        _ => SqlFault::Refused,
    };
    let text = match failure.code {
        ErrorCode::TooBig => TOO_BIG.to_owned(),
        _ => message.clone().unwrap_or_else(|| failure.to_string()),
    };
    SqlError::new(fault, Some(name(failure.extended_code)), text)
}

/// The name of a code; that of its class where it has no name here.
fn name(code: i32) -> &'static str {
    match code {
        ffi::SQLITE_CONSTRAINT_UNIQUE => "SQLITE_CONSTRAINT_UNIQUE",
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => "SQLITE_CONSTRAINT_PRIMARYKEY",
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "SQLITE_CONSTRAINT_FOREIGNKEY",
        ffi::SQLITE_CONSTRAINT_NOTNULL => "SQLITE_CONSTRAINT_NOTNULL",
        ffi::SQLITE_CONSTRAINT_CHECK => "SQLITE_CONSTRAINT_CHECK",
        ffi::SQLITE_CONSTRAINT_TRIGGER => "SQLITE_CONSTRAINT_TRIGGER",
        ffi::SQLITE_CONSTRAINT_ROWID => "SQLITE_CONSTRAINT_ROWID",
        ffi::SQLITE_CONSTRAINT_DATATYPE => "SQLITE_CONSTRAINT_DATATYPE",
        _ => match code & 0xff {
            ffi::SQLITE_BUSY => "SQLITE_BUSY",
            ffi::SQLITE_LOCKED => "SQLITE_LOCKED",
            ffi::SQLITE_NOMEM => "SQLITE_NOMEM",
            ffi::SQLITE_READONLY => "SQLITE_READONLY",
            ffi::SQLITE_INTERRUPT => "SQLITE_INTERRUPT",
            ffi::SQLITE_IOERR => "SQLITE_IOERR",
            ffi::SQLITE_CORRUPT => "SQLITE_CORRUPT",
            ffi::SQLITE_FULL => "SQLITE_FULL",
            ffi::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
            ffi::SQLITE_SCHEMA => "SQLITE_SCHEMA",
            ffi::SQLITE_TOOBIG => "SQLITE_TOOBIG",
            ffi::SQLITE_CONSTRAINT => "SQLITE_CONSTRAINT",
            ffi::SQLITE_MISMATCH => "SQLITE_MISMATCH",
            ffi::SQLITE_AUTH => "SQLITE_AUTH",
            ffi::SQLITE_RANGE => "SQLITE_RANGE",
            ffi::SQLITE_NOTADB => "SQLITE_NOTADB",
            _ => "SQLITE_ERROR",
        },
    }
}
