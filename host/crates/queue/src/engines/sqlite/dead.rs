//! Empties the dead letter, by retry or by giving up, and removes what the
//! retention no longer keeps. Works in steps, so that the writer serves others
//! in between.

use rusqlite::{OptionalExtension, params};

use super::{
    fault::to,
    history, lanes, pauses, read, room,
    row::{command_id, handler, parse},
    settle::unblock,
    tx::Tx,
};
use crate::{
    DeadFilter, HISTORY_KEPT, QueueError, RetentionSettings, State, Swept,
    policy::{Cutoffs, DEAD_STEP, Fate, SWEEP_STEP, Sweep, next_step, refuse_one},
};

/// One step of a bulk change, for rows below `below`: how many, and where the
/// next step begins, where there is one.
pub(super) fn step(
    tx: &mut Tx<'_>,
    filter: &DeadFilter,
    fate: Fate,
    below: i64,
) -> Result<(u64, Option<i64>), QueueError> {
    const CHANGE: &str = "change the dead letter";
    let rows = read::dead_rows(tx.connection, filter, below, DEAD_STEP).map_err(to(CHANGE))?;
    if rows.is_empty() && below == i64::MAX {
        explain(tx, filter)?;
    }
    // Oldest first, so that they keep their order at the end of the queue.
    for seq in rows.iter().rev() {
        change(tx, *seq, fate).map_err(to(CHANGE))?;
    }
    Ok((rows.len() as u64, next_step(&rows)))
}

/// Where a filter names one delivery, says why it is not there.
fn explain(tx: &Tx<'_>, filter: &DeadFilter) -> Result<(), QueueError> {
    let Some(id) = &filter.delivery else {
        return Ok(());
    };
    let state: Option<String> = tx
        .connection
        .prepare_cached("SELECT state FROM delivery WHERE command_id = ?1 AND handler = ?2")
        .and_then(|mut statement| {
            statement
                .query_row(
                    params![id.command.0.into_bytes(), id.handler.as_str()],
                    |row| row.get(0),
                )
                .optional()
        })
        .map_err(to("find a delivery"))?;
    let state = state.as_deref().map(str::parse::<State>).transpose()?;
    refuse_one(id, state)
}

fn change(tx: &mut Tx<'_>, seq: i64, fate: Fate) -> rusqlite::Result<()> {
    let (command, handler) = match fate {
        Fate::GiveUp => tx
            .connection
            .prepare_cached(include_str!("sql/give_up.sql"))?
            .query_row([seq], |row| {
                Ok((command_id(row, 0).ok(), handler(row, 1).ok()))
            })?,
        Fate::Retry => {
            let position = tx.next_position()?;
            tx.counts.depth += 1;
            tx.news.work = true;
            tx.connection
                .prepare_cached(include_str!("sql/retry_dead.sql"))?
                .query_row(params![seq, position, tx.now.as_millis()], |row| {
                    Ok((command_id(row, 0).ok(), handler(row, 1).ok()))
                })?
        }
    };
    let state = match fate {
        Fate::GiveUp => State::Cancelled,
        Fate::Retry => State::Available,
    };
    if let Some(handler) = &handler {
        tx.moves.change(handler, State::Discarded, state);
    }
    if fate == Fate::Retry {
        // Free again at once where nothing of its ordering key is before it.
        unblock(tx, seq)?;
    }
    // Nobody waits for a damaged one.
    tx.news.changed.extend(command);
    Ok(())
}

/// Removes finished commands among the next few; answers where to go on.
pub(super) fn sweep(
    tx: &mut Tx<'_>,
    policy: &RetentionSettings,
    sweep: Sweep<i64>,
) -> Result<(Swept, Option<Sweep<i64>>), QueueError> {
    sweep_rows(tx, policy, sweep).map_err(to("remove what is past its retention"))
}

fn sweep_rows(
    tx: &mut Tx<'_>,
    policy: &RetentionSettings,
    sweep: Sweep<i64>,
) -> rusqlite::Result<(Swept, Option<Sweep<i64>>)> {
    let mut swept = Swept::default();
    let now = tx.now.as_millis();
    if sweep.is_first() {
        let removed = tx
            .connection
            .prepare_cached("DELETE FROM idempotency WHERE expires_ms <= ?1")?
            .execute([now])?;
        swept.keys = removed as u64;
        pauses::remove_over(tx)?;
        lanes::remove_over(tx)?;
        history::remove(tx, tx.now.before(HISTORY_KEPT))?;
    }
    if sweep.pass.is_for_size() && room::used_bytes(tx.connection)? <= tx.history_max(policy) {
        return Ok((swept, None));
    }
    let cutoffs = sweep.pass.cutoffs(policy, tx.now);
    // Commands lie in the order stored: the first that is too young ends the pass.
    let old = tx
        .connection
        .prepare_cached(include_str!("sql/old_commands.sql"))?
        .query_map(
            params![
                sweep.after.unwrap_or(0),
                cutoffs.latest().as_millis(),
                SWEEP_STEP
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?
        .collect::<rusqlite::Result<Vec<(i64, [u8; 16])>>>()?;
    for (seq, id) in &old {
        swept.commands += u64::from(remove(tx, *seq, *id, cutoffs)?);
    }
    if sweep.pass.is_for_size() {
        tx.news.gave_way += swept.commands;
    }
    Ok((swept, sweep.next(old.last().map(|(seq, _)| *seq))))
}

/// Removes the command where all its deliveries ended early enough.
pub(super) fn remove(
    tx: &mut Tx<'_>,
    seq: i64,
    id: [u8; 16],
    cutoffs: Cutoffs,
) -> rusqlite::Result<bool> {
    let kept: bool = tx
        .connection
        .prepare_cached(include_str!("sql/is_kept.sql"))?
        .query_row(
            params![id, cutoffs.ended.as_millis(), cutoffs.dead.as_millis()],
            |row| row.get(0),
        )?;
    if kept {
        return Ok(false);
    }
    tx.connection
        .prepare_cached(include_str!("sql/remove_failures.sql"))?
        .execute([id])?;
    let removed = tx
        .connection
        .prepare_cached("DELETE FROM delivery WHERE command_id = ?1 RETURNING handler, state")?
        .query_map([id], |row| Ok((handler(row, 0), parse(row, 1, str::parse))))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for removed in removed {
        // What cannot be read is not counted.
        if let (Ok(handler), Ok(state)) = removed {
            tx.moves.remove(&handler, state);
        }
    }
    tx.connection
        .prepare_cached("DELETE FROM command WHERE seq = ?1")?
        .execute([seq])?;
    Ok(true)
}
