//! What an error of SQLite means for the queue.

use rusqlite::ErrorCode;

use crate::error::QueueError;

/// Makes a [`QueueError`] of SQLite's, for `map_err`.
pub(super) fn to(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> QueueError {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => QueueError::NoRoom,
        // Nothing was read or written: no fault of the connection.
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed,
        ) => QueueError::Busy { doing },
        _ => QueueError::Storage {
            doing,
            source: error.into(),
        },
    }
}
