//! Hands deliveries to workers: ends leases that ran out, wakes what is due,
//! takes the most urgent, renews.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::{
    row::{command_id, handler, json},
    schema::to,
    settle::{add_failure, ended, unblock},
    writer::Tx,
};
use crate::{
    name::HandlerName,
    queue::{
        Capacity, ClaimRequest, Claimed, Claims, DeliveryId, Failures, HOSTS_LOST_MAX, Lease,
        QueueError, Renewal, State, Timestamp, view,
    },
};

/// Deliveries that one claim wakes, or takes from lost hosts: it bounds the
/// time that a claim holds the writer after a long stop.
const DUE_STEP: i64 = 1000;

pub(super) fn claim(tx: &mut Tx<'_>, request: &ClaimRequest) -> Result<Claims, QueueError> {
    let due = match tx.due {
        Some(due) => due,
        None => {
            end_leases(tx).map_err(to("end the leases of lost hosts"))?;
            let due = wake(tx).and_then(|()| next_due(tx));
            *tx.due.insert(due.map_err(to("wake what is due"))?)
        }
    };
    let until = tx.now.after(request.lease).as_millis();
    let deliveries = take(tx, request, until).map_err(to("claim deliveries"))?;
    let leased = (!deliveries.is_empty()).then_some(until);
    let next_due = due.into_iter().chain(leased).min();
    Ok(Claims {
        deliveries,
        next_due: view::until(next_due, tx.now),
    })
}

fn end_leases(tx: &mut Tx<'_>) -> rusqlite::Result<()> {
    let mut statement = tx.connection.prepare_cached(
        "SELECT seq, command_id, attempt, hosts_lost, cancel_requested FROM delivery
         WHERE state = 'running' AND lease_until_ms <= ?1 LIMIT ?2",
    )?;
    let lost = statement
        .query_map(params![tx.now.as_millis(), DUE_STEP], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                Uuid::from_bytes(row.get(1)?),
                row.get::<_, u32>(2)?,
                row.get::<_, u32>(3)? + 1,
                row.get::<_, bool>(4)?,
            ))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for (seq, command, attempt, hosts_lost, cancelled) in lost {
        let state = match (cancelled, hosts_lost >= HOSTS_LOST_MAX) {
            (true, _) => State::Cancelled,
            (false, true) => State::Discarded,
            (false, false) => State::Available,
        };
        add_failure(
            tx,
            seq,
            attempt,
            &view::host_lost(attempt, hosts_lost, HOSTS_LOST_MAX),
        )?;
        tx.connection
            .prepare_cached(
                "UPDATE delivery SET state = ?2, hosts_lost = ?3, lease_until_ms = NULL,
                     lease_token = NULL, finished_ms = ?4 WHERE seq = ?1",
            )?
            .execute(params![
                seq,
                state.as_str(),
                hosts_lost,
                state.is_final().then_some(tx.now.as_millis())
            ])?;
        if state.is_final() {
            ended(tx, seq)?;
        }
        tx.changed(command);
    }
    Ok(())
}

fn wake(tx: &mut Tx<'_>) -> rusqlite::Result<()> {
    let woken = tx
        .connection
        .prepare_cached(
            "UPDATE delivery SET state = 'available',
                 blocked = blocked OR (state = 'scheduled' AND ordering_key IS NOT NULL)
             WHERE seq IN (
                 SELECT seq FROM delivery WHERE state IN ('scheduled', 'retryable')
                 AND run_at_ms <= ?1 ORDER BY run_at_ms LIMIT ?2)
             RETURNING run_at_ms, position, seq, blocked",
        )?
        .query_map(params![tx.now.as_millis(), DUE_STEP], |row| {
            let place = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(row.get::<_, bool>(3)?.then_some(place))
        })?
        .collect::<rusqlite::Result<Vec<Option<(i64, i64, i64)>>>>()?;
    // What was scheduled takes its place in the order of its key only now.
    let mut ordered: Vec<_> = woken.into_iter().flatten().collect();
    ordered.sort_unstable();
    for (_, _, seq) in &ordered {
        let position = tx.next_position();
        tx.connection
            .prepare_cached("UPDATE delivery SET position = ?2 WHERE seq = ?1")?
            .execute([*seq, position])?;
    }
    // Only then, as the first of a key goes by its place.
    for (_, _, seq) in ordered {
        unblock(tx, seq)?;
    }
    Ok(())
}

fn next_due(tx: &Tx<'_>) -> rusqlite::Result<Option<i64>> {
    tx.connection
        .prepare_cached(
            "SELECT min(at) FROM (
                 SELECT min(run_at_ms) AS at FROM delivery WHERE state IN ('scheduled', 'retryable')
                 UNION ALL SELECT min(lease_until_ms) FROM delivery WHERE state = 'running')",
        )?
        .query_row([], |row| row.get(0))
}

fn take(tx: &mut Tx<'_>, request: &ClaimRequest, until: i64) -> rusqlite::Result<Vec<Claimed>> {
    if request.max == 0 {
        return Ok(Vec::new());
    }
    let capacity = &request.capacity;
    let running = running(tx, capacity)?;
    // (urgency, place, row): the front of each handler's queue, then the front of all.
    let mut heads: Vec<(i64, i64, i64)> = Vec::new();
    for handler in waiting_handlers(tx)? {
        let wanted = capacity
            .handlers
            .as_ref()
            .is_none_or(|names| names.binary_search(&handler).is_ok());
        let room = capacity.limits.get(&handler).map_or(request.max, |limit| {
            limit
                .saturating_sub(running.get(&handler).copied().unwrap_or(0))
                .min(request.max)
        });
        if !wanted || room == 0 {
            continue;
        }
        let mut statement = tx.connection.prepare_cached(
            "SELECT -priority, position, seq FROM delivery
             WHERE state = 'available' AND blocked = 0 AND handler = ?1
             ORDER BY priority DESC, position LIMIT ?2",
        )?;
        let rows = statement.query_map(params![handler.as_str(), room as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        for row in rows {
            heads.push(row?);
        }
    }
    heads.sort_unstable();
    heads.truncate(request.max);
    // One token a claim: a delivery is claimed at most once in it.
    let token = Uuid::now_v7();
    heads
        .into_iter()
        .map(|(_, _, seq)| take_one(tx, seq, token, until))
        .collect()
}

fn take_one(tx: &mut Tx<'_>, seq: i64, token: Uuid, until: i64) -> rusqlite::Result<Claimed> {
    let mut statement = tx.connection.prepare_cached(
        "UPDATE delivery SET state = 'running', attempt = attempt + 1, lease_until_ms = ?2,
             lease_token = ?3 WHERE seq = ?1
         RETURNING command_id, handler, digest, rules, attempt, transient, trap, timeout, memory",
    )?;
    let mut claimed = statement.query_row(params![seq, until, token.into_bytes()], |row| {
        let delivery = DeliveryId {
            command: command_id(row, 0)?,
            handler: handler(row, 1)?,
        };
        Ok(Claimed {
            lease: Lease {
                delivery,
                row: seq,
                token,
            },
            digest: row.get(2)?,
            rules: json(row, 3)?,
            attempt: row.get(4)?,
            failures: Failures {
                transient: row.get(5)?,
                trap: row.get(6)?,
                timeout: row.get(7)?,
                memory: row.get(8)?,
            },
            attributes: String::new(),
            traceparent: None,
            created: Timestamp::default(),
        })
    })?;
    let command = claimed.lease.delivery.command;
    tx.connection
        .prepare_cached("SELECT attributes, traceparent, created_ms FROM command WHERE id = ?1")?
        .query_row([command.0.into_bytes()], |row| {
            claimed.attributes = row.get(0)?;
            claimed.traceparent = row.get(1)?;
            claimed.created = Timestamp::from_millis(row.get(2)?);
            Ok(())
        })?;
    tx.news.changed.push(command);
    Ok(claimed)
}

/// The handlers with something to take: one step of the index each, whatever
/// lies between.
fn waiting_handlers(tx: &Tx<'_>) -> rusqlite::Result<Vec<HandlerName>> {
    let mut names: Vec<HandlerName> = Vec::new();
    let mut statement = tx.connection.prepare_cached(
        "SELECT handler FROM delivery WHERE state = 'available' AND blocked = 0 AND handler > ?1
         ORDER BY handler LIMIT 1",
    )?;
    loop {
        let last = names.last().map_or("", HandlerName::as_str);
        match statement
            .query_row([last], |row| handler(row, 0))
            .optional()?
        {
            Some(name) => names.push(name),
            None => return Ok(names),
        }
    }
}

/// How many of each handler run; counted only where a limit asks.
fn running(tx: &Tx<'_>, capacity: &Capacity) -> rusqlite::Result<HashMap<HandlerName, usize>> {
    if capacity.limits.is_empty() {
        return Ok(HashMap::new());
    }
    tx.connection
        .prepare_cached(
            "SELECT handler, count(*) FROM delivery WHERE state = 'running' GROUP BY handler",
        )?
        .query_map([], |row| Ok((handler(row, 0)?, row.get(1)?)))?
        .collect()
}

pub(super) fn renew(
    tx: &mut Tx<'_>,
    leases: &[Lease],
    until: Timestamp,
) -> Result<Vec<Renewal>, QueueError> {
    let one = |lease: &Lease| {
        let cancelled = tx
            .connection
            .prepare_cached(
                "UPDATE delivery SET lease_until_ms = ?3
                 WHERE seq = ?1 AND lease_token = ?2 AND state = 'running' RETURNING cancel_requested",
            )?
            .query_row(
                params![lease.row, lease.token.into_bytes(), until.as_millis()],
                |row| row.get(0),
            )
            .optional()?;
        Ok(match cancelled {
            Some(false) => Renewal::Renewed,
            Some(true) => Renewal::CancelRequested,
            None => Renewal::Lost,
        })
    };
    leases
        .iter()
        .map(one)
        .collect::<rusqlite::Result<_>>()
        .map_err(to("renew leases"))
}
