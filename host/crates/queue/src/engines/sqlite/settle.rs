//! Ends attempts, behind the fence of the lease, and cancels.

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::{fault::to, tx::Tx};
use crate::{
    AttemptError, Cancellation, CommandId, Lease, QueueError, State, model::SettlementRow,
    policy::settled,
};

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
    let ordering_key: Option<Option<String>> = tx
        .connection
        .prepare_cached(
            "UPDATE delivery SET state = 'completed', output = ?3, finished_ms = ?4,
                 lease_until_ms = NULL, lease_token = NULL
             WHERE seq = ?1 AND lease_token = ?2 AND state = 'running' RETURNING ordering_key",
        )?
        .query_row(
            params![
                lease.row,
                lease.token.into_bytes(),
                row.output,
                tx.now.as_millis()
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(ordering_key) = ordering_key else {
        return Ok(None);
    };
    tx.counts.depth = tx.counts.depth.saturating_sub(1);
    if ordering_key.is_some() {
        unblock(tx, lease.row)?;
    }
    tx.changed(lease.delivery.command.0);
    Ok(Some(State::Completed))
}

fn fail(tx: &mut Tx<'_>, lease: &Lease, row: &SettlementRow) -> rusqlite::Result<Option<State>> {
    let found: Option<(bool, u32)> = tx
        .connection
        .prepare_cached(
            "SELECT cancel_requested, attempt FROM delivery
             WHERE seq = ?1 AND lease_token = ?2 AND state = 'running'",
        )?
        .query_row(params![lease.row, lease.token.into_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((cancelled, attempt)) = found else {
        return Ok(None);
    };
    let state = settled(row.state, cancelled);
    if let Some(error) = &row.error {
        add_failure(tx, lease.row, attempt, error)?;
    }
    let now = tx.now.as_millis();
    tx.connection
        .prepare_cached(
            "UPDATE delivery SET state = ?2, attempt = attempt - ?3,
                 run_at_ms = iif(?2 = 'retryable', ?4, run_at_ms),
                 transient = transient + ?5, trap = trap + ?6, timeout = timeout + ?7,
                 memory = memory + ?8, finished_ms = ?9, lease_until_ms = NULL, lease_token = NULL
             WHERE seq = ?1",
        )?
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
    if state.is_final() {
        ended(tx, lease.row)?;
    } else {
        tx.news.work = true;
    }
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
        .prepare_cached(
            "INSERT INTO failure (delivery, ordinal, attempt, at_ms, status, error)
             VALUES (?1, (SELECT ifnull(max(ordinal), 0) + 1 FROM failure WHERE delivery = ?1),
                 ?2, ?3, ?4, ?5)",
        )?
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

/// Lets the next of the same ordering key go on; nothing where it has none.
pub(super) fn unblock(tx: &mut Tx<'_>, ended: i64) -> rusqlite::Result<()> {
    let freed = tx
        .connection
        .prepare_cached(
            "UPDATE delivery SET blocked = 0 WHERE blocked = 1 AND seq = (
                 SELECT next.seq FROM delivery AS ended JOIN delivery AS next
                     ON next.handler = ended.handler AND next.ordering_key = ended.ordering_key
                 WHERE ended.seq = ?1 AND next.ordering_key IS NOT NULL
                     AND next.state IN ('available', 'running', 'scheduled', 'retryable')
                     AND next.state <> 'scheduled'
                 ORDER BY next.position, next.seq LIMIT 1)",
        )?
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
        .prepare_cached(
            "UPDATE delivery SET cancel_requested = 1 WHERE command_id = ?1 AND state = 'running'",
        )?
        .execute([id])?;
    let cancelled = tx
        .connection
        .prepare_cached(
            "UPDATE delivery SET state = 'cancelled', finished_ms = ?2
             WHERE command_id = ?1 AND state IN ('available', 'scheduled', 'retryable') RETURNING seq",
        )?
        .query_map(params![id, tx.now.as_millis()], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    for seq in &cancelled {
        ended(tx, *seq)?;
    }
    tx.changed(command);
    if interrupting > 0 {
        tx.news.cancelled.push(CommandId(command));
    }
    Ok(Cancellation {
        cancelled: cancelled.len() as u64,
        interrupting: interrupting as u64,
    })
}
