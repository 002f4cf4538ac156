//! Ends attempts, behind the fence of the lease, and cancels.

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::{
    fault::to,
    lanes,
    row::{handler, parse},
    tx::Tx,
};
use crate::{
    AttemptError, Cancellation, CommandId, Lease, QueueError, State,
    model::SettlementRow,
    policy::{leaves_work, settled},
};
use pointsman_core::outcome::Status;

pub(super) fn settle(
    tx: &mut Tx<'_>,
    lease: &Lease,
    row: &SettlementRow,
) -> Result<State, QueueError> {
    let state = if row.state == State::Completed {
        complete(tx, lease, row)
    } else {
        fail(tx, lease, row)
    };
    let state = state.map_err(to("settle a delivery"))?;
    state.ok_or_else(|| QueueError::LeaseLost(lease.delivery.clone()))
}

/// The common path: one statement.
fn complete(
    tx: &mut Tx<'_>,
    lease: &Lease,
    row: &SettlementRow,
) -> rusqlite::Result<Option<State>> {
    let completed: Option<(Option<String>, Option<i64>)> = tx
        .connection
        .prepare_cached(include_str!("sql/complete.sql"))?
        .query_row(
            params![
                lease.row,
                lease.token.into_bytes(),
                row.output,
                tx.now.as_millis()
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((ordering_key, started)) = completed else {
        return Ok(None);
    };
    let handler = &lease.delivery.handler;
    tx.moves.change(handler, State::Running, State::Completed);
    tx.attempted(handler, Status::Succeeded.into(), started);
    tx.counts.depth = tx.counts.depth.saturating_sub(1);
    if ordering_key.is_some() {
        unblock(tx, lease.row)?;
    }
    tx.changed(lease.delivery.command.0);
    Ok(Some(State::Completed))
}

fn fail(tx: &mut Tx<'_>, lease: &Lease, row: &SettlementRow) -> rusqlite::Result<Option<State>> {
    let found: Option<(bool, u32, Option<i64>)> = tx
        .connection
        .prepare_cached(include_str!("sql/leased.sql"))?
        .query_row(params![lease.row, lease.token.into_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((cancelled, attempt, started)) = found else {
        return Ok(None);
    };
    let state = settled(row.state, cancelled);
    if let Some(error) = &row.error {
        add_failure(tx, lease.row, attempt, error)?;
        tx.attempted(&lease.delivery.handler, error.status, started);
    }
    let now = tx.now.as_millis();
    tx.connection
        .prepare_cached(include_str!("sql/settle.sql"))?
        .execute(params![
            lease.row,
            state.as_str(),
            u32::from(!row.charged),
            tx.now.after(row.delay).as_millis(),
            row.failures.transient,
            row.failures.trap,
            row.failures.timeout,
            row.failures.memory,
            state.is_final().then_some(now),
        ])?;
    tx.moves
        .change(&lease.delivery.handler, State::Running, state);
    if state == State::Retryable {
        lanes::hold(tx, &lease.delivery.handler, lease.row, row)?;
    }
    if state.is_final() {
        ended(tx, lease.row)?;
    }
    tx.news.work |= leaves_work(state, false);
    tx.changed(lease.delivery.command.0);
    Ok(Some(state))
}

pub(super) fn add_failure(
    tx: &Tx<'_>,
    seq: i64,
    attempt: u32,
    error: &AttemptError,
) -> rusqlite::Result<()> {
    let text = serde_json::to_string(error)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    tx.connection
        .prepare_cached(include_str!("sql/add_failure.sql"))?
        .execute(params![
            seq,
            attempt,
            tx.now.as_millis(),
            error.status.as_str(),
            text
        ])
        .map(drop)
}

/// Does what the end of a delivery brings, after its row says so.
pub(super) fn ended(tx: &mut Tx<'_>, seq: i64) -> rusqlite::Result<()> {
    tx.counts.depth = tx.counts.depth.saturating_sub(1);
    unblock(tx, seq)
}

/// Lets the first in the line of a delivery go on; nothing where it has no ordering key.
pub(super) fn unblock(tx: &mut Tx<'_>, ended: i64) -> rusqlite::Result<()> {
    let freed = tx
        .connection
        .prepare_cached(include_str!("sql/unblock.sql"))?
        .execute([ended])?;
    tx.news.work |= freed > 0;
    Ok(())
}

pub(super) fn cancel(tx: &mut Tx<'_>, command: CommandId) -> Result<Cancellation, QueueError> {
    let id = command.0.into_bytes();
    let known: bool = tx
        .connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM command WHERE id = ?1)")
        .and_then(|mut statement| statement.query_row([id], |row| row.get(0)))
        .map_err(to("find a command"))?;
    if !known {
        return Err(QueueError::UnknownCommand(command));
    }
    cancel_known(tx, command.0).map_err(to("cancel a command"))
}

fn cancel_known(tx: &mut Tx<'_>, command: Uuid) -> rusqlite::Result<Cancellation> {
    let id = command.into_bytes();
    let interrupting = tx
        .connection
        .prepare_cached(include_str!("sql/request_cancel.sql"))?
        .execute([id])?;
    let waiting = tx
        .connection
        .prepare_cached(include_str!("sql/waiting.sql"))?
        .query_map([id], |row| {
            Ok((
                row.get(0)?,
                handler(row, 1).ok(),
                parse(row, 2, str::parse)?,
            ))
        })?
        .collect::<rusqlite::Result<Vec<(i64, _, _)>>>()?;
    for (seq, handler, state) in &waiting {
        tx.connection
            .prepare_cached(include_str!("sql/cancel.sql"))?
            .execute([*seq, tx.now.as_millis()])?;
        if let Some(handler) = handler {
            tx.moves.change(handler, *state, State::Cancelled);
        }
        ended(tx, *seq)?;
    }
    tx.changed(command);
    if interrupting > 0 {
        tx.news.cancelled.push(CommandId(command));
    }
    Ok(Cancellation {
        cancelled: waiting.len() as u64,
        interrupting: interrupting as u64,
    })
}
