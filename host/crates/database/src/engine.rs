//! Owns what an engine does for a session, and what both say alike.

use std::future::Future;

use crate::{
    error::{SqlError, SqlFault, UNKNOWN_OUTCOME},
    value::{SqlPage, SqlValue},
};

/// What an engine does for a session.
pub(crate) trait Engaged {
    fn query(
        &mut self,
        text: &str,
        parameters: Vec<SqlValue>,
    ) -> impl Future<Output = Result<SqlPage, SqlError>> + Send;
    fn next(&mut self) -> impl Future<Output = Result<SqlPage, SqlError>> + Send;
    fn execute(
        &mut self,
        text: &str,
        parameters: Vec<SqlValue>,
    ) -> impl Future<Output = Result<u64, SqlError>> + Send;
    fn begin(&mut self) -> impl Future<Output = Result<(), SqlError>> + Send;
    fn commit(&mut self) -> impl Future<Output = Result<(), SqlError>> + Send;
    fn rollback(&mut self) -> impl Future<Output = Result<(), SqlError>> + Send;
}

/// There is no query with more rows.
pub(crate) fn no_more() -> SqlError {
    SqlError::refused(
        "no more rows: the last query returned all of them, or another statement ended it",
    )
}

/// A transaction in which a statement failed.
pub(crate) fn failed_transaction() -> SqlError {
    SqlError::new(
        SqlFault::Refused,
        Some("25P02"),
        "a statement of the transaction failed, and it was rolled back",
    )
}

/// The connection ended while a transaction was to be kept.
pub(crate) fn unknown_outcome(reason: Option<SqlError>) -> SqlError {
    let reason = reason.map_or_else(String::new, |error| format!(": {}", error.message));
    SqlError::new(
        SqlFault::Unavailable,
        Some(UNKNOWN_OUTCOME),
        format!("whether the transaction was committed is unknown{reason}"),
    )
}
