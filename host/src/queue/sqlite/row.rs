//! Makes the queue's types of SQLite's columns.

use rusqlite::{Error, Row, types::Type};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    name::HandlerName,
    queue::{
        CommandId, DeliveryId, DeliveryView, Failure, LastFailure, State, Timestamp, view::Payloads,
    },
};

/// What [`delivery`] reads, up to the conditions: deliveries `d` with their last
/// failure. `more` are columns after its own, from [`DELIVERY_COLUMNS`](crate::queue::view::DELIVERY_COLUMNS) on.
pub(super) fn deliveries(payloads: Payloads, more: &str) -> String {
    format!(
        "SELECT {} {more}
         FROM delivery d LEFT JOIN failure f ON f.delivery = d.seq
             AND f.ordinal = (SELECT max(ordinal) FROM failure WHERE delivery = d.seq)",
        payloads.delivery()
    )
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

fn parse<T, E: std::error::Error + Send + Sync + 'static>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    parse(text).map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}

/// Reads what [`deliveries`] selects, at the front of a row.
pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryView> {
    Ok(DeliveryView {
        id: DeliveryId {
            command: command_id(row, 0)?,
            handler: handler(row, 1)?,
        },
        digest: row.get(2)?,
        rules: json(row, 3)?,
        state: parse(row, 4, str::parse::<State>)?,
        attempt: row.get(5)?,
        priority: row.get(6)?,
        run_at: Timestamp::from_millis(row.get(7)?),
        ordering_key: row.get(8)?,
        cancel_requested: row.get(9)?,
        output: row.get(10)?,
        finished: row.get::<_, Option<i64>>(11)?.map(Timestamp::from_millis),
        last_failure: match row.get::<_, Option<u32>>(12)? {
            Some(attempt) => Some(last_failure(row, attempt)?),
            None => None,
        },
        output_bytes: row.get::<_, Option<u64>>(16)?.unwrap_or(0),
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
pub(super) fn failure(row: &Row<'_>, first: usize) -> rusqlite::Result<Failure> {
    Ok(Failure {
        attempt: row.get(first)?,
        at: Timestamp::from_millis(row.get(first + 1)?),
        error: json(row, first + 2)?,
    })
}
