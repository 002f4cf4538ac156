//! Stores commands and ends attempts.

use std::collections::HashMap;

use uuid::Uuid;

use super::{
    dedup,
    fault::{Fault, to},
    lanes,
    lines::{self, InLine},
    session::Scope,
    tx::Tx,
};
use crate::{
    AttemptError, Cancellation, CommandId, Enqueued, Lease, NewCommand, QueueError, State,
    Timestamp,
    model::SettlementRow,
    policy::{self, BodyDigest, Entry, leaves_work, place},
};
use pointsman_core::outcome::Status;

const STORE: &str = "store a command";

/// What each command is: new, or one that its idempotency key names. Holds the
/// locks of all their keys until the transaction ends.
pub(super) async fn recognise(
    tx: &Tx<'_>,
    commands: &[NewCommand],
) -> Result<Vec<Enqueued>, QueueError> {
    let locks = commands
        .iter()
        .flat_map(|command| {
            let key = command.idempotency_key.iter().map(|key| format!("i/{key}"));
            let ordered = command.ordering_key.iter().flat_map(|key| {
                command
                    .deliveries
                    .iter()
                    .map(move |delivery| lines::name(delivery.handler.as_str(), key))
            });
            let dedup = command.dedup.iter().map(dedup::lock);
            key.chain(ordered).chain(dedup).collect::<Vec<_>>()
        })
        .collect();
    lines::lock_all(tx, locks).await.map_err(to(STORE))?;
    let stored = stored_keys(tx, commands).await.map_err(to(STORE))?;
    policy::recognise(commands, &stored)
}

/// The keys of these commands that the store remembers.
async fn stored_keys(
    tx: &Tx<'_>,
    commands: &[NewCommand],
) -> Result<HashMap<String, (CommandId, BodyDigest)>, Fault> {
    let keys = commands
        .iter()
        .filter_map(|one| one.idempotency_key.as_deref());
    let keys: Vec<&str> = keys.collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let found = tx
        .query(
            include_str!("sql/stored_keys.sql"),
            &[&keys, &tx.now.as_millis()],
        )
        .await?;
    let stored = found.iter().map(|row| {
        let body: &[u8] = row.get(2);
        // Of another length only where another program wrote: a body that no command has.
        let body = BodyDigest::try_from(body).unwrap_or_default();
        (row.get(0), (CommandId(row.get(1)), body))
    });
    Ok(stored.collect())
}

/// Stores what a delivery emitted, in the transaction that ends it.
pub(super) async fn follow_up(tx: &mut Tx<'_>, commands: &[NewCommand]) -> Result<(), Fault> {
    if commands.is_empty() {
        return Ok(());
    }
    let lines = commands.iter().flat_map(|command| {
        let key = command.ordering_key.as_deref();
        let deliveries = command.deliveries.iter();
        deliveries.filter_map(move |one| Some(lines::name(one.handler.as_str(), key?)))
    });
    lines::lock_all(tx, lines.collect()).await?;
    insert(tx, &commands.iter().collect::<Vec<_>>()).await?;
    tx.news.work = true;
    Ok(())
}

/// Stores commands that are new.
pub(super) async fn insert(tx: &Tx<'_>, commands: &[&NewCommand]) -> Result<(), Fault> {
    insert_commands(tx, commands).await?;
    insert_deliveries(tx, commands).await
}

async fn insert_commands(tx: &Tx<'_>, commands: &[&NewCommand]) -> Result<(), Fault> {
    let now_ms = tx.now.as_millis();
    let ids: Vec<Uuid> = commands.iter().map(|command| command.id.0).collect();
    let attributes: Vec<&str> = commands
        .iter()
        .map(|command| command.attributes.as_str())
        .collect();
    let keys: Vec<Option<&str>> = commands
        .iter()
        .map(|command| command.idempotency_key.as_deref())
        .collect();
    let generations: Vec<i64> = commands
        .iter()
        .map(|command| command.rules_generation.cast_signed())
        .collect();
    let traces: Vec<Option<&str>> = commands
        .iter()
        .map(|command| command.traceparent.as_deref())
        .collect();
    let causations: Vec<Option<String>> = commands
        .iter()
        .map(|command| command.causation.as_ref().map(ToString::to_string))
        .collect();
    let depths: Vec<i32> = commands
        .iter()
        .map(|command| i32::try_from(command.depth).unwrap_or(i32::MAX))
        .collect();
    let repeats: Vec<Option<Uuid>> = commands
        .iter()
        .map(|command| command.rerun_of.map(|of| of.0))
        .collect();
    tx.execute(
        include_str!("sql/insert_commands.sql"),
        &[
            &ids,
            &attributes,
            &keys,
            &generations,
            &traces,
            &now_ms,
            &causations,
            &depths,
            &repeats,
        ],
    )
    .await?;
    for command in commands {
        dedup::remember(tx, command, command.id).await?;
        let Some(key) = &command.idempotency_key else {
            continue;
        };
        let body = policy::body_digest(&command.attributes).to_vec();
        let expires = tx.now.after(command.idempotency_kept).as_millis();
        tx.execute(
            include_str!("sql/remember_key.sql"),
            &[key, &command.id.0, &body, &expires],
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn insert_deliveries(tx: &Tx<'_>, commands: &[&NewCommand]) -> Result<(), Fault> {
    let placed = place(commands.iter().copied(), tx.now);
    lanes::enter(tx, &placed).await?;
    let owners: Vec<Uuid> = placed.iter().map(|one| one.command.id.0).collect();
    let handlers: Vec<&str> = placed
        .iter()
        .map(|one| one.delivery.handler.as_str())
        .collect();
    let digests: Vec<&str> = placed
        .iter()
        .map(|one| one.delivery.digest.as_str())
        .collect();
    let rules: Vec<String> = placed.iter().map(|one| one.delivery.rules_json()).collect();
    let states: Vec<&str> = placed.iter().map(|one| one.state.as_str()).collect();
    let times: Vec<i64> = placed.iter().map(|one| one.run_at.as_millis()).collect();
    let priorities: Vec<i32> = placed.iter().map(|one| one.command.priority).collect();
    let keys: Vec<Option<&str>> = placed
        .iter()
        .map(|one| one.command.ordering_key.as_deref())
        .collect();
    let lanes: Vec<Option<&str>> = placed
        .iter()
        .map(|one| one.delivery.key.as_deref())
        .collect();
    let entries = |entry| placed.iter().map(move |one| one.entry == entry).collect();
    let (behind, at_end): (Vec<bool>, Vec<bool>) = (entries(Entry::Behind), entries(Entry::AtEnd));
    tx.execute(
        include_str!("sql/insert_deliveries.sql"),
        &[
            &owners,
            &handlers,
            &digests,
            &rules,
            &states,
            &times,
            &priorities,
            &keys,
            &behind,
            &at_end,
            &lanes,
        ],
    )
    .await?;
    Ok(())
}

/// Completes a delivery that none waits behind, in a transaction of one
/// statement: the way most go. When it began and ended; none where that is not so.
pub(super) async fn complete(
    client: &Scope<'_>,
    now: Option<Timestamp>,
    lease: &Lease,
    row: &SettlementRow,
) -> Result<Option<(Option<Timestamp>, Timestamp)>, Fault> {
    let now = now.map(Timestamp::as_millis);
    let completed = client
        .query_opt(
            include_str!("sql/complete.sql"),
            &[&lease.row, &lease.token, &row.output, &now],
        )
        .await?;
    Ok(completed.map(|row| {
        let started = row.get::<_, Option<i64>>(0);
        let ended = Timestamp::from_millis(row.get(1));
        (started.map(Timestamp::from_millis), ended)
    }))
}

/// Ends an attempt: the new state; none where the lease is lost.
pub(super) async fn settle(
    tx: &mut Tx<'_>,
    lease: &Lease,
    row: &SettlementRow,
) -> Result<Option<State>, Fault> {
    let found = tx
        .query_opt(include_str!("sql/leased.sql"), &[&lease.row, &lease.token])
        .await?;
    let Some(found) = found else { return Ok(None) };
    let state = policy::settled(row.state, found.get(0));
    let (now, failures) = (tx.now, row.failures);
    let given_back = i64::from(!row.charged);
    let run_at = (state == State::Retryable).then(|| now.after(row.delay).as_millis());
    tx.execute(
        include_str!("sql/settle.sql"),
        &[
            &lease.row,
            &state.as_str(),
            &row.output,
            &given_back,
            &run_at,
            &i64::from(failures.transient),
            &i64::from(failures.trap),
            &i64::from(failures.timeout),
            &i64::from(failures.memory),
            &state.is_final().then_some(now.as_millis()),
        ],
    )
    .await?;
    if let Some(error) = &row.error {
        let attempt = found.get::<_, i64>(1);
        add_failure(tx, lease.row, attempt, error).await?;
    }
    let status = match &row.error {
        Some(error) => Some(error.status),
        None => (row.state == State::Completed).then_some(Status::Succeeded.into()),
    };
    if let Some(status) = status {
        let started = found.get::<_, Option<i64>>(5).map(Timestamp::from_millis);
        let handler = &lease.delivery.handler;
        tx.news.attempts.add(handler, status, started, now);
    }
    if state == State::Retryable {
        let handler = &lease.delivery.handler;
        lanes::hold(tx, handler, found.get(6), row).await?;
    }
    let ended = state.is_final().then(|| InLine::read(&found, 2)).flatten();
    let freed = lines::leave(tx, ended.as_slice()).await?;
    tx.news.work |= leaves_work(state, freed);
    tx.news.changed.push(lease.delivery.command);
    Ok(Some(state))
}

pub(super) async fn add_failure(
    tx: &Tx<'_>,
    seq: i64,
    attempt: i64,
    error: &AttemptError,
) -> Result<(), Fault> {
    // Texts and closed enums only: it always has a JSON form.
    let text = serde_json::json!(error).to_string();
    tx.execute(
        include_str!("sql/add_failure.sql"),
        &[
            &seq,
            &attempt,
            &tx.now.as_millis(),
            &error.status.as_str(),
            &text,
        ],
    )
    .await?;
    Ok(())
}

/// Calls off what has not ended; none where there is no such command.
pub(super) async fn cancel(
    tx: &mut Tx<'_>,
    command: CommandId,
) -> Result<Option<Cancellation>, Fault> {
    let known = tx
        .query_opt("SELECT 1 FROM @.command WHERE id = $1", &[&command.0])
        .await?;
    if known.is_none() {
        return Ok(None);
    }
    // Waits for a claim that has one of them in hand: it is running after that.
    tx.query(
        "SELECT 1 FROM @.delivery WHERE command_id = $1 ORDER BY seq FOR UPDATE",
        &[&command.0],
    )
    .await?;
    let interrupting = tx
        .execute(include_str!("sql/request_cancel.sql"), &[&command.0])
        .await?;
    let cancelled = tx
        .query(
            include_str!("sql/cancel.sql"),
            &[&command.0, &tx.now.as_millis()],
        )
        .await?;
    let ended = cancelled.iter().filter_map(|row| InLine::read(row, 0));
    lines::leave(tx, &ended.collect::<Vec<_>>()).await?;
    tx.news.changed.push(command);
    if interrupting > 0 {
        tx.news.cancelled.push(command);
    }
    Ok(Some(Cancellation {
        cancelled: cancelled.len() as u64,
        interrupting,
    }))
}

/// Puts the command in the place of `id`, which has not begun.
pub(super) async fn replace(tx: &mut Tx<'_>, id: CommandId, by: &NewCommand) -> Result<(), Fault> {
    cancel(tx, id).await?;
    let by = NewCommand { id, ..by.clone() };
    let sql = "DELETE FROM @.delivery WHERE command_id = $1";
    tx.execute(sql, &[&id.0]).await?;
    let sql = "UPDATE @.command SET attributes = $2, traceparent = $3, rules_generation = $4 WHERE id = $1";
    let generation = by.rules_generation.cast_signed();
    tx.execute(sql, &[&id.0, &by.attributes, &by.traceparent, &generation])
        .await?;
    insert_deliveries(tx, &[&by]).await?;
    tx.news.work = true;
    dedup::remember(tx, &by, id).await
}
