//! Stores commands and ends attempts.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    fault::{Fault, to},
    session::Scope,
};
use crate::{
    AttemptError, Cancellation, CommandId, Enqueued, Lease, NewCommand, QueueError, State,
    Timestamp, model::SettlementRow,
};

const STORE: &str = "store a command";

/// What each command is: new, or one that its idempotency key names. Holds the
/// locks of all their keys until the transaction ends.
pub(super) async fn recognise(
    tx: &Scope<'_>,
    now: Timestamp,
    commands: &[NewCommand],
) -> Result<Vec<Enqueued>, QueueError> {
    // Locks in one order, so that two batches with the same keys do not wait for each other.
    let mut locks: Vec<String> = commands
        .iter()
        .flat_map(|command| {
            let key = command.idempotency_key.iter().map(|key| format!("i/{key}"));
            let ordered = command.ordering_key.iter().flat_map(|key| {
                command
                    .deliveries
                    .iter()
                    .map(move |delivery| order_lock(delivery.handler.as_str(), key))
            });
            key.chain(ordered).collect::<Vec<_>>()
        })
        .collect();
    locks.sort_unstable();
    locks.dedup();
    lock(tx, &locks).await.map_err(to(STORE))?;
    look_up(tx, now, commands).await
}

/// The lock under which the deliveries of one ordering key enter and leave.
fn order_lock(handler: &str, key: &str) -> String {
    format!("o/{handler}/{key}")
}

async fn lock(tx: &Scope<'_>, names: &[String]) -> Result<(), Fault> {
    for name in names {
        tx.lock(name).await?;
    }
    Ok(())
}

async fn look_up(
    tx: &Scope<'_>,
    now: Timestamp,
    commands: &[NewCommand],
) -> Result<Vec<Enqueued>, QueueError> {
    let mut known: HashMap<&str, (CommandId, Vec<u8>)> = HashMap::new();
    let mut answers = Vec::with_capacity(commands.len());
    for command in commands {
        let mut answer = Enqueued {
            id: command.id,
            repeated: false,
        };
        if let Some(key) = command.idempotency_key.as_deref() {
            let body = Sha256::digest(&command.attributes).to_vec();
            if !known.contains_key(key) {
                let row = async {
                                        tx.query_opt("SELECT command_id, body FROM @.idempotency WHERE key = $1 AND expires_ms > $2", &[&key, &now.as_millis()]).await
                }
                .await
                .map_err(to(STORE))?;
                if let Some(row) = row {
                    known.insert(key, (CommandId(row.get(0)), row.get(1)));
                }
            }
            match known.get(key) {
                Some((id, first)) if *first == body => {
                    answer = Enqueued {
                        id: *id,
                        repeated: true,
                    }
                }
                Some((first, _)) => {
                    return Err(QueueError::Conflict {
                        key: key.to_owned(),
                        first: *first,
                    });
                }
                None => drop(known.insert(key, (command.id, body))),
            }
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// Stores commands that are new.
pub(super) async fn insert(
    tx: &Scope<'_>,
    now: Timestamp,
    commands: &[&NewCommand],
) -> Result<(), Fault> {
    let now_ms = now.as_millis();
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
    tx.execute(
        "INSERT INTO @.command (id, attributes, idempotency_key, rules_generation, traceparent, created_ms)
             SELECT id, a, k, g, t, $6 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int8[], $5::text[])
                 AS new (id, a, k, g, t)",
        &[&ids, &attributes, &keys, &generations, &traces, &now_ms],
    )
    .await?;
    for command in commands {
        let Some(key) = &command.idempotency_key else {
            continue;
        };
        let body = Sha256::digest(&command.attributes).to_vec();
        let expires = now.after(command.idempotency_kept).as_millis();
        tx.execute(
            "INSERT INTO @.idempotency (key, command_id, body, expires_ms) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (key) DO UPDATE SET command_id = $2, body = $3, expires_ms = $4",
            &[key, &command.id.0, &body, &expires],
        )
        .await?;
    }
    let all = || {
        commands
            .iter()
            .flat_map(|command| command.deliveries.iter().map(move |d| (command, d)))
    };
    let owners: Vec<Uuid> = all().map(|(command, _)| command.id.0).collect();
    let handlers: Vec<&str> = all()
        .map(|(_, delivery)| delivery.handler.as_str())
        .collect();
    let digests: Vec<&str> = all()
        .map(|(_, delivery)| delivery.digest.as_str())
        .collect();
    let rules: Vec<String> = all()
        .map(|(_, delivery)| serde_json::Value::from(delivery.rules.clone()).to_string())
        .collect();
    let run_at = |command: &NewCommand| command.run_at.map_or(now_ms, Timestamp::as_millis);
    let times: Vec<i64> = all().map(|(command, _)| run_at(command)).collect();
    let priorities: Vec<i32> = all().map(|(command, _)| command.priority).collect();
    let orders: Vec<Option<&str>> = all()
        .map(|(command, _)| command.ordering_key.as_deref())
        .collect();
    // Blocked where the store, or an earlier row of this batch, has one of the same key;
    // one that is scheduled enters the order when it is due.
    tx.execute(
        "INSERT INTO @.delivery (command_id, handler, digest, rules, state, priority, run_at_ms, ordering_key, blocked)
             SELECT c, h, d, r, CASE WHEN t > $8 THEN 'scheduled' ELSE 'available' END, p, t, o,
                 o IS NOT NULL AND t <= $8 AND (row_number() OVER (PARTITION BY h, o, t > $8 ORDER BY n) > 1
                     OR EXISTS (SELECT 1 FROM @.delivery x WHERE x.handler = h AND x.ordering_key = o
                         AND x.state IN ('available', 'running', 'scheduled', 'retryable')
                         AND x.state <> 'scheduled'))
             FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int8[], $6::int4[], $7::text[])
                 WITH ORDINALITY AS new (c, h, d, r, t, p, o, n)
             ORDER BY n",
        &[
            &owners,
            &handlers,
            &digests,
            &rules,
            &times,
            &priorities,
            &orders,
            &now_ms,
        ],
    )
    .await?;
    Ok(())
}

/// Completes a delivery that none waits behind, in a transaction of one
/// statement: the way most go. None where that is not so.
pub(super) async fn complete(
    client: &Scope<'_>,
    now: Option<Timestamp>,
    lease: &Lease,
    row: &SettlementRow,
) -> Result<Option<State>, Fault> {
    let now = now.map(Timestamp::as_millis);
    let completed = client
        .execute(
            "UPDATE @.delivery SET state = 'completed', output = $3,
                 finished_ms = coalesce($4, (extract(epoch FROM clock_timestamp()) * 1000)::int8),
                 lease_until_ms = NULL, lease_token = NULL
             WHERE seq = $1 AND lease_token = $2 AND state = 'running' AND ordering_key IS NULL",
            &[&lease.row, &lease.token, &row.output, &now],
        )
        .await?;
    Ok((completed > 0).then_some(State::Completed))
}

/// Ends an attempt: the new state, and whether another delivery may go on now;
/// none where the lease is lost.
pub(super) async fn settle(
    tx: &Scope<'_>,
    now: Timestamp,
    lease: &Lease,
    row: &SettlementRow,
) -> Result<Option<(State, bool)>, Fault> {
    let found = tx
        .query_opt(
            "UPDATE @.delivery SET
                 state = CASE WHEN cancel_requested AND $3 <> 'completed' THEN 'cancelled' ELSE $3 END,
                 output = $4, attempt = attempt - $5,
                 run_at_ms = CASE WHEN $3 = 'retryable' THEN $6 ELSE run_at_ms END,
                 transient = transient + $7, trap = trap + $8, timeout = timeout + $9, memory = memory + $10,
                 finished_ms = CASE WHEN $11 OR cancel_requested THEN $12::int8 END,
                 lease_until_ms = NULL, lease_token = NULL
             WHERE seq = $1 AND lease_token = $2 AND state = 'running'
             RETURNING state, attempt, ordering_key, handler",
            &[
                &lease.row,
                &lease.token,
                &row.state.as_str(),
                &row.output,
                &i64::from(!row.charged),
                &now.after(row.delay).as_millis(),
                &i64::from(row.failures.transient),
                &i64::from(row.failures.trap),
                &i64::from(row.failures.timeout),
                &i64::from(row.failures.memory),
                &row.state.is_final(),
                &now.as_millis(),
            ],
        )
        .await?;
    let Some(found) = found else { return Ok(None) };
    let state = super::row::state(&found, 0)?;
    if let Some(error) = &row.error {
        add_failure(tx, now, lease.row, found.get(1), error).await?;
    }
    let ordering_key: Option<&str> = found.get(2);
    if state.is_final() {
        ended(tx, lease.row, found.get(3), ordering_key).await?;
    }
    Ok(Some((state, !state.is_final() || ordering_key.is_some())))
}

pub(super) async fn add_failure(
    tx: &Scope<'_>,
    now: Timestamp,
    seq: i64,
    attempt: i64,
    error: &AttemptError,
) -> Result<(), Fault> {
    // Texts and closed enums only: it always has a JSON form.
    let text = serde_json::json!(error).to_string();
    tx.execute(
        "INSERT INTO @.failure (delivery, ordinal, attempt, at_ms, status, error)
             VALUES ($1, (SELECT coalesce(max(ordinal), 0) + 1 FROM @.failure WHERE delivery = $1), $2, $3, $4, $5)",
        &[
            &seq,
            &attempt,
            &now.as_millis(),
            &error.status.as_str(),
            &text,
        ],
    )
    .await?;
    Ok(())
}

/// Lets the next of the same ordering key go on. Under the key's lock: a
/// delivery that enters now either sees this one ended or is seen here.
pub(super) async fn ended(
    tx: &Scope<'_>,
    seq: i64,
    handler: &str,
    ordering_key: Option<&str>,
) -> Result<(), Fault> {
    let Some(key) = ordering_key else {
        return Ok(());
    };
    lock(tx, &[order_lock(handler, key)]).await?;
    tx.execute(
        "UPDATE @.delivery SET blocked = false WHERE blocked AND seq = (
                 SELECT next.seq FROM @.delivery AS ended JOIN @.delivery AS next
                     ON next.handler = ended.handler AND next.ordering_key = ended.ordering_key
                 WHERE ended.seq = $1 AND next.ordering_key IS NOT NULL
                     AND next.state IN ('available', 'running', 'scheduled', 'retryable')
                     AND next.state <> 'scheduled'
                 ORDER BY next.position, next.seq LIMIT 1)",
        &[&seq],
    )
    .await?;
    Ok(())
}

pub(super) async fn cancel(
    tx: &Scope<'_>,
    now: Timestamp,
    command: CommandId,
) -> Result<Option<Cancellation>, Fault> {
    if tx
        .query_opt("SELECT 1 FROM @.command WHERE id = $1", &[&command.0])
        .await?
        .is_none()
    {
        return Ok(None);
    }
    let interrupting = tx
        .execute("UPDATE @.delivery SET cancel_requested = true WHERE command_id = $1 AND state = 'running'", &[&command.0])
        .await?;
    let cancelled = tx
        .query(
            "UPDATE @.delivery SET state = 'cancelled', finished_ms = $2
             WHERE command_id = $1 AND state IN ('available', 'scheduled', 'retryable')
             RETURNING seq, handler, ordering_key",
            &[&command.0, &now.as_millis()],
        )
        .await?;
    for row in &cancelled {
        ended(tx, row.get(0), row.get(1), row.get(2)).await?;
    }
    Ok(Some(Cancellation {
        cancelled: cancelled.len() as u64,
        interrupting,
    }))
}
