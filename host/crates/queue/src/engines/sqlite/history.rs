//! Keeps the history of attempts: each transaction adds what ended in it.

use rusqlite::{Connection, Row, params};

use super::{
    fault::to,
    row::{handler, parse, sound},
    tx::Tx,
};
use crate::{
    HISTORY_POINTS_MAX, HistoryFilter, HistoryPoint, QueueError, Timestamp,
    history::{Sums, begin, minute},
};
use pointsman_core::name::HandlerName;

/// Stores what ended in this transaction.
pub(super) fn store(tx: &Tx<'_>) -> Result<(), QueueError> {
    tx.news
        .attempts
        .rows()
        .into_iter()
        .try_for_each(|(minute, handler, status, sums)| {
            let Sums {
                count,
                total_ms,
                durations: [a, b, c, d, e, f],
            } = sums;
            let status = status.as_str();
            tx.connection
                .prepare_cached(include_str!("sql/add_history.sql"))?
                .execute(params![
                    minute, handler, status, count, total_ms, a, b, c, d, e, f
                ])
                .map(drop)
        })
        .map_err(to("count attempts"))
}

pub(super) fn read(
    reader: &Connection,
    filter: &HistoryFilter,
) -> Result<Vec<HistoryPoint>, QueueError> {
    let (from, until, step) = filter.minutes()?;
    let handler = filter.handler.as_ref().map(HandlerName::as_str);
    let read = || -> rusqlite::Result<Vec<HistoryPoint>> {
        reader
            .prepare_cached(include_str!("sql/history.sql"))?
            .query_map(
                params![handler, from, until, step, HISTORY_POINTS_MAX + 1],
                |row| Ok(point(row)),
            )?
            .filter_map(|row| row.and_then(sound).transpose())
            .collect()
    };
    let points = read().map_err(to("read the history"))?;
    if points.len() > HISTORY_POINTS_MAX {
        return Err(HistoryFilter::too_many());
    }
    Ok(points)
}

fn point(row: &Row<'_>) -> rusqlite::Result<HistoryPoint> {
    let mut durations = [0; 6];
    for (at, count) in durations.iter_mut().enumerate() {
        *count = row.get(5 + at)?;
    }
    Ok(HistoryPoint {
        at: begin(row.get(0)?),
        handler: handler(row, 1)?,
        status: parse(row, 2, str::parse)?,
        count: row.get(3)?,
        total_ms: row.get(4)?,
        durations,
    })
}

/// Removes what ended before the minute of `before`.
pub(super) fn remove(tx: &Tx<'_>, before: Timestamp) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached("DELETE FROM history WHERE minute < ?1")?
        .execute([minute(before)])
        .map(drop)
}
