//! Keeps up to which of its times each schedule was dealt with.

use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use super::{enqueue::enqueue, fault::to, row::is_damage, tx::Tx};
use crate::{
    CommandId, Firing, FiringResult, QueueError, ScheduleChange, ScheduleRow, Schedules, Timestamp,
};
use pointsman_core::name::RuleName;

/// These schedules; those that are new begin now.
pub(super) fn schedules(tx: &mut Tx<'_>, names: &[RuleName]) -> Result<Schedules, QueueError> {
    let rows = names.iter().map(|name| {
        if let Some(row) = find(tx, name)? {
            return Ok(row);
        }
        let row = ScheduleRow::new(name.clone(), tx.now);
        put(tx, &row)?;
        Ok(row)
    });
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>();
    let mut rows = rows.map_err(to("read schedules"))?;
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Schedules { rows, now: tx.now })
}

/// Enqueues what came up, unless another was first. Every refusal comes before the first
/// write: it is the inner error.
pub(super) fn fire(
    tx: &mut Tx<'_>,
    firing: &Firing,
) -> Result<Result<FiringResult, QueueError>, QueueError> {
    const FIRE: &str = "fire a schedule";
    let now = tx.now;
    let found = find(tx, &firing.name).map_err(to(FIRE))?;
    let mut row = found.unwrap_or_else(|| ScheduleRow::new(firing.name.clone(), now));
    let fired = row.admits(firing, now);
    if fired {
        if let Err(refused) = enqueue(tx, &firing.commands)? {
            return Ok(Err(refused));
        }
        row.fire(firing, now);
        put(tx, &row).map_err(to(FIRE))?;
    }
    Ok(Ok(FiringResult { fired, row, now }))
}

pub(super) fn change(
    tx: &mut Tx<'_>,
    name: &RuleName,
    change: ScheduleChange,
) -> Result<ScheduleRow, QueueError> {
    const CHANGE: &str = "change a schedule";
    let found = find(tx, name).map_err(to(CHANGE))?;
    let mut row = found.unwrap_or_else(|| ScheduleRow::new(name.clone(), tx.now));
    row.change(change, tx.now);
    put(tx, &row).map_err(to(CHANGE))?;
    Ok(row)
}

/// One that is damaged begins anew.
fn find(tx: &Tx<'_>, name: &RuleName) -> rusqlite::Result<Option<ScheduleRow>> {
    let read = |row: &Row<'_>| {
        Ok(ScheduleRow {
            name: name.clone(),
            last: Timestamp::from_millis(row.get(0)?),
            paused: row.get::<_, Option<i64>>(1)?.map(Timestamp::from_millis),
            fired: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis),
            command: row
                .get::<_, Option<_>>(3)?
                .map(|id| CommandId(Uuid::from_bytes(id))),
        })
    };
    let sql = "SELECT last_ms, paused_ms, fired_ms, command_id FROM schedule WHERE name = ?1";
    let found = tx
        .connection
        .prepare_cached(sql)?
        .query_row([name.as_str()], read)
        .optional();
    match found {
        Err(error) if is_damage(&error) => Ok(None),
        found => found,
    }
}

fn put(tx: &Tx<'_>, row: &ScheduleRow) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(include_str!("sql/put_schedule.sql"))?
        .execute(params![
            row.name.as_str(),
            row.last.as_millis(),
            row.paused.map(Timestamp::as_millis),
            row.fired.map(Timestamp::as_millis),
            row.command.map(|id| id.0.into_bytes())
        ])
        .map(drop)
}
