//! Makes the queue's types of SQLite's columns.

use rusqlite::{Error, ErrorCode, Row, types::Type};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    CommandId, DeliveryId, DeliveryView, FailedAttempt, LastFailure, State, Timestamp,
    query::left_out,
};
use pointsman_core::{
    name::HandlerName,
    text::{MESSAGE_MAX_BYTES, bounded, escaped},
};

/// What [`delivery`] reads, of the deliveries that the conditions name.
macro_rules! deliveries {
    ($conditions:literal) => {
        concat!(include_str!("sql/deliveries.sql"), $conditions)
    };
}
pub(super) use deliveries;

/// The column of [`deliveries`] with the row.
pub(super) const ROW: usize = 17;

/// Whether a row holds what this program never writes. The engine itself is well.
pub(super) fn is_damage(error: &Error) -> bool {
    // A count that runs over does not fit its column.
    let is_refused = error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation);
    is_refused
        || matches!(
            error,
            Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::Utf8Error(..)
                | Error::InvalidColumnType(..)
                | Error::QueryReturnedNoRows
        )
}

/// What a damaged row leaves out of a list.
pub(super) fn sound<T>(row: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match row {
        Ok(row) => Ok(Some(row)),
        Err(error) if is_damage(&error) => {
            let error = bounded(error, MESSAGE_MAX_BYTES);
            tracing::warn!("skipped a corrupt row: {}", escaped(&error));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn command_id(row: &Row<'_>, column: usize) -> rusqlite::Result<CommandId> {
    Ok(CommandId(Uuid::from_bytes(row.get(column)?)))
}

pub(super) fn handler(row: &Row<'_>, column: usize) -> rusqlite::Result<HandlerName> {
    parse(row, column, HandlerName::parse)
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    parse(row, column, |text| serde_json::from_str(text))
}

pub(super) fn parse<T, E: std::error::Error + Send + Sync + 'static>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    parse(text).map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}

/// Reads what [`deliveries`] selects, from a row.
pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryView> {
    let output: Option<String> = row.get(10)?;
    Ok(DeliveryView {
        id: DeliveryId::new(command_id(row, 0)?, handler(row, 1)?),
        digest: row.get(2)?,
        // Only shown: what is damaged must not hide the rest.
        rules: json(row, 3).unwrap_or_default(),
        state: parse(row, 4, str::parse::<State>)?,
        attempt: u32::try_from(row.get::<_, i64>(5)?).unwrap_or(u32::MAX),
        priority: row.get(6)?,
        run_at: Timestamp::from_millis(row.get(7)?),
        ordering_key: row.get(8)?,
        cancel_requested: row.get(9)?,
        started: row.get::<_, Option<i64>>(18)?.map(Timestamp::from_millis),
        finished: row.get::<_, Option<i64>>(11)?.map(Timestamp::from_millis),
        last_failure: match row.get::<_, Option<u32>>(12)? {
            Some(attempt) => Some(last_failure(row, attempt)?),
            None => None,
        },
        output_bytes: left_out(output.as_ref(), row.get(16)?),
        output,
    })
}

fn last_failure(row: &Row<'_>, attempt: u32) -> rusqlite::Result<LastFailure> {
    let at = Timestamp::from_millis(row.get(13)?);
    let (error, status) = (
        row.get_ref(14)?.as_str_or_null()?,
        row.get_ref(15)?.as_str()?,
    );
    LastFailure::read(attempt, at, status, error)
        .map_err(|error| Error::FromSqlConversionFailure(14, Type::Text, error.into()))
}

/// Reads `attempt, at_ms, error` from `first` on.
pub(super) fn failure(row: &Row<'_>, first: usize) -> rusqlite::Result<FailedAttempt> {
    Ok(FailedAttempt {
        attempt: row.get(first)?,
        at: Timestamp::from_millis(row.get(first + 1)?),
        error: json(row, first + 2)?,
    })
}
