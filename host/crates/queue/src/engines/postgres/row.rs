//! Makes the queue's types of PostgreSQL's columns. What is stored was checked
//! when it went in: a text that no longer parses means that someone else wrote.

use std::error::Error as StdError;

use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};

use super::fault::{Fault, to};
use crate::{
    CommandId, DeliveryId, DeliveryView, FailedAttempt, LastFailure, QueueError, State, Timestamp,
    query::left_out,
};
use pointsman_core::name::HandlerName;

/// What failed where a row is not as this program writes it.
pub(super) const FOREIGN: &str = "read a row that another program changed";

/// What [`delivery`] reads, of the deliveries that the conditions name.
macro_rules! deliveries {
    ($conditions:literal) => {
        concat!(include_str!("sql/deliveries.sql"), $conditions)
    };
}
pub(super) use deliveries;

/// The column of [`deliveries`] with the row.
pub(super) const ROW: usize = 17;

/// The state in a column.
pub(super) fn state(row: &Row, column: usize) -> Result<State, Fault> {
    Ok(row.try_get(column)?)
}

impl<'a> FromSql<'a> for State {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(<&str>::from_sql(ty, raw)?.parse::<Self>()?)
    }

    fn accepts(ty: &Type) -> bool {
        <&str as FromSql>::accepts(ty)
    }
}

pub(super) fn count(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

pub(super) fn handler(text: &str) -> Result<HandlerName, QueueError> {
    HandlerName::parse(text).map_err(foreign)
}

pub(super) fn rules(text: &str) -> Result<Vec<String>, QueueError> {
    serde_json::from_str(text).map_err(foreign)
}

pub(super) fn foreign(error: impl std::error::Error + Send + Sync + 'static) -> QueueError {
    QueueError::Storage {
        doing: FOREIGN,
        source: error.into(),
    }
}

/// Reads what [`deliveries`] selects, from a row.
pub(super) fn delivery(row: &Row) -> Result<DeliveryView, QueueError> {
    let output: Option<String> = row.get(10);
    Ok(DeliveryView {
        id: DeliveryId::new(CommandId(row.get(0)), handler(row.get(1))?),
        digest: row.get(2),
        rules: rules(row.get(3))?,
        state: state(row, 4).map_err(to(FOREIGN))?,
        attempt: count(row.get(5)),
        priority: row.get(6),
        run_at: Timestamp::from_millis(row.get(7)),
        ordering_key: row.get(8),
        cancel_requested: row.get(9),
        started: row.get::<_, Option<i64>>(18).map(Timestamp::from_millis),
        finished: row.get::<_, Option<i64>>(11).map(Timestamp::from_millis),
        last_failure: match row.get::<_, Option<i64>>(12) {
            Some(attempt) => {
                let at = Timestamp::from_millis(row.get(13));
                let read = LastFailure::read(count(attempt), at, row.get(15), row.get(14));
                Some(read.map_err(foreign)?)
            }
            None => None,
        },
        output_bytes: left_out(output.as_ref(), bytes(row, 16)),
        output,
    })
}

/// The length of a text.
pub(super) fn bytes(row: &Row, column: usize) -> Option<u64> {
    let length: Option<i32> = row.get(column);
    length.map(|length| length.unsigned_abs().into())
}

/// Reads `attempt, at_ms, error` from `first` on.
pub(super) fn failure(row: &Row, first: usize) -> Result<FailedAttempt, QueueError> {
    Ok(FailedAttempt {
        attempt: count(row.get(first)),
        at: Timestamp::from_millis(row.get(first + 1)),
        error: serde_json::from_str(row.get(first + 2)).map_err(foreign)?,
    })
}
