//! Hands deliveries to workers: ends leases that ran out, wakes what is due,
//! takes the most urgent, renews.

use std::{collections::HashMap, time::Duration};

use rusqlite::{OptionalExtension, Row, params};
use tracing::error;
use uuid::Uuid;

use super::{
    fault::to,
    lanes, pauses,
    row::{command_id, handler, is_damage, parse},
    settle::{add_failure, ended, unblock},
    tx::Tx,
};
use crate::{
    AttemptError, Capacity, ClaimRequest, Claimed, Claims, DeliveryId, Failures, Flow, Lease,
    Pause, QueueError, Renewal, State, Timestamp,
    policy::{DUE_STEP, Due, Entrant, LeaseEnd, LostLease, Turn},
};
use pointsman_core::{
    name::HandlerName,
    outcome::Status,
    text::{MESSAGE_MAX_BYTES, bounded, escaped},
};

pub(super) fn claim(tx: &mut Tx<'_>, request: &ClaimRequest) -> Result<Claims, QueueError> {
    let due = match tx.due {
        Some(due) => due,
        None => {
            end_leases(tx, request).map_err(to("end the leases of lost hosts"))?;
            let due = follow_clock(tx)
                .and_then(|()| wake(tx))
                .and_then(|()| next_due(tx));
            *tx.due.insert(due.map_err(to("wake what is due"))?)
        }
    };
    let until = tx.steady.after(request.lease).as_millis();
    let (deliveries, lanes_due) = take(tx, request, until).map_err(to("claim deliveries"))?;
    let leased = (!deliveries.is_empty()).then_some(request.lease);
    let lanes_due = lanes_due.map(|at| Timestamp::from_millis(at).since(tx.steady));
    Ok(Claims {
        deliveries,
        next_due: due.into_iter().chain(leased).chain(lanes_due).min(),
    })
}

/// Ends the leases that ran out, but for those of runs that go on in this
/// process: it alone works on the store, and what it runs is not lost, however
/// late it came to renew.
fn end_leases(tx: &mut Tx<'_>, request: &ClaimRequest) -> rusqlite::Result<()> {
    let mut statement = tx
        .connection
        .prepare_cached(include_str!("sql/lost_leases.sql"))?;
    let lost = statement
        .query_map(params![tx.steady.as_millis(), DUE_STEP], |row| {
            let of = handler(row, 6).and_then(|handler| Ok((handler, row.get(7)?)));
            Ok((row.get::<_, i64>(0)?, lost(row), of.ok()))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for (seq, lost, of) in lost {
        let (command, token, lost) = match lost {
            Ok(lost) => lost,
            Err(error) if is_damage(&error) => {
                set_aside(tx, seq, State::Running, &error)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        if request.held.holds(seq, token) {
            let until = tx.steady.after(request.lease).as_millis();
            tx.connection
                .prepare_cached("UPDATE delivery SET lease_until_ms = ?2 WHERE seq = ?1")?
                .execute([seq, until])?;
            continue;
        }
        let LeaseEnd {
            state,
            hosts_lost,
            error,
        } = lost.end();
        add_failure(tx, seq, lost.attempt, &error)?;
        if let Some((handler, started)) = of {
            tx.attempted(&handler, error.status, started);
            tx.moves.change(&handler, State::Running, state);
        }
        tx.connection
            .prepare_cached(include_str!("sql/end_lease.sql"))?
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
    let due = tx
        .connection
        .prepare_cached(include_str!("sql/due.sql"))?
        .query_map(params![tx.now.as_millis(), DUE_STEP], |row| {
            let of = handler(row, 1).and_then(|name| Ok((name, parse(row, 2, str::parse)?)));
            Ok((row.get(0)?, of.ok()))
        })?
        .collect::<rusqlite::Result<Vec<(i64, Option<(HandlerName, State)>)>>>()?;
    let mut entrants = Vec::new();
    for (seq, of) in due {
        let entrant = tx
            .connection
            .prepare_cached(include_str!("sql/wake.sql"))?
            .query_row([seq], |row| {
                let entrant = Entrant {
                    run_at_ms: row.get(0)?,
                    position: row.get(1)?,
                    row: row.get(2)?,
                };
                Ok(row.get::<_, bool>(3)?.then_some(entrant))
            })?;
        entrants.extend(entrant);
        if let Some((handler, state)) = of {
            tx.moves.change(&handler, state, State::Available);
        }
    }
    entrants.sort_unstable();
    for entrant in &entrants {
        let position = tx.next_position()?;
        tx.connection
            .prepare_cached("UPDATE delivery SET position = ?2 WHERE seq = ?1")?
            .execute([entrant.row, position])?;
    }
    // Only then, as the first of a line goes by its position.
    for entrant in entrants {
        unblock(tx, entrant.row)?;
    }
    Ok(())
}

/// The command and token of a delivery whose lease ran out, and what decides about it.
fn lost(row: &Row<'_>) -> rusqlite::Result<(Uuid, Uuid, LostLease)> {
    let lost = LostLease {
        attempt: row.get(2)?,
        hosts_lost: row.get(3)?,
        cancel_requested: row.get(4)?,
    };
    Ok((
        Uuid::from_bytes(row.get(1)?),
        Uuid::from_bytes(row.get::<_, Option<_>>(5)?.unwrap_or_default()),
        lost,
    ))
}

/// Moves the delays of retries along with a wall clock that was set: a delay is
/// a span of time, where `runAt` is a time of day.
fn follow_clock(tx: &mut Tx<'_>) -> rusqlite::Result<()> {
    if tx.clock_moved_ms != 0 {
        tx.connection
            .prepare_cached(include_str!("sql/move_delays.sql"))?
            .execute([tx.clock_moved_ms])?;
        tx.clock_moved_ms = 0;
    }
    Ok(())
}

fn next_due(tx: &Tx<'_>) -> rusqlite::Result<Option<Duration>> {
    let due = tx
        .connection
        .prepare_cached(include_str!("sql/next_due.sql"))?
        .query_row([tx.now.as_millis()], |row| {
            Ok(Due {
                delay_ends_ms: row.get(0)?,
                lease_ends_ms: row.get(1)?,
                pause_ends_ms: row.get(2)?,
            })
        })?;
    Ok(due.within(tx.now, tx.steady))
}

/// What a claim chose, with what it is ordered by: urgency, place, row, and which lane of
/// which turn, where it has one.
type Head = ((i64, i64, i64), Option<(usize, usize)>);

/// Takes the most urgent; and when lanes that are held now can be taken from.
fn take(
    tx: &mut Tx<'_>,
    request: &ClaimRequest,
    until: i64,
) -> rusqlite::Result<(Vec<Claimed>, Option<i64>)> {
    if request.max == 0 {
        return Ok((Vec::new(), None));
    }
    let paused = pauses::in_force(tx.connection, tx.now)?;
    if paused.iter().any(|pause| pause.handler.is_none()) {
        return Ok((Vec::new(), None));
    }
    lanes::wake(tx, request.flows_changed)?;
    let mut wanted = wanted(tx, request)?;
    wanted.retain(|(handler, ..)| {
        let is_it = |pause: &Pause| pause.handler.as_ref() == Some(handler);
        !paused.iter().any(is_it)
    });
    let mut running = lanes::running(tx, &request.capacity.flows)?;
    let (mut heads, mut turns, none) = (Vec::new(), Vec::new(), Flow::default());
    for (handler, room, has_lanes) in &wanted {
        let flow = request.capacity.flows.get(handler);
        if flow.is_none() && !has_lanes {
            heads.extend(front(tx, handler, *room)?);
            continue;
        }
        let of = (handler, flow.unwrap_or(&none));
        let running = running.remove(handler.as_str()).unwrap_or_default();
        let own = lanes::own_lane(tx, handler)?;
        let mut turn = Turn::new(of, *room, own, running, tx.steady);
        lanes::look(tx, &mut turn)?;
        let at = turns.len();
        heads.extend(turn.candidates.iter().map(|one| {
            let order = (-one.priority, one.place, one.row);
            (order, Some((at, one.lane)))
        }));
        turns.push(turn);
    }
    let claimed = take_all(tx, (heads, &mut turns), request.max, until)?;
    let mut due = None;
    for turn in &turns {
        due = due.into_iter().chain(lanes::end(tx, turn)?).min();
    }
    Ok((claimed, due.into_iter().chain(lanes::next_due(tx)?).min()))
}

/// The handlers that this host has with something to take, how many may be taken, and
/// whether they have lanes.
fn wanted(
    tx: &Tx<'_>,
    request: &ClaimRequest,
) -> rusqlite::Result<Vec<(HandlerName, usize, bool)>> {
    let capacity = &request.capacity;
    let running = running(tx, capacity)?;
    let mut found = handlers(tx, include_str!("sql/next_handler.sql"))?;
    let with_lanes = handlers(tx, include_str!("sql/next_lane_handler.sql"))?;
    if !with_lanes.is_empty() {
        found.extend(with_lanes.iter().cloned());
        found.sort_unstable();
        found.dedup();
    }
    let room = |handler: HandlerName| {
        let names = capacity.handlers.as_ref();
        if names.is_some_and(|names| names.binary_search(&handler).is_err()) {
            return None;
        }
        let room = capacity.limits.get(&handler).map_or(request.max, |limit| {
            limit
                .saturating_sub(running.get(&handler).copied().unwrap_or(0))
                .min(request.max)
        });
        let has_lanes = with_lanes.contains(&handler);
        (room > 0).then_some((handler, room, has_lanes))
    };
    Ok(found.into_iter().filter_map(room).collect())
}

/// The front of a handler's queue.
fn front(tx: &Tx<'_>, handler: &HandlerName, room: usize) -> rusqlite::Result<Vec<Head>> {
    tx.connection
        .prepare_cached(include_str!("sql/heads.sql"))?
        .query_map(params![handler.as_str(), room as i64], |row| {
            Ok(((row.get(0)?, row.get(1)?, row.get(2)?), None))
        })?
        .collect()
}

/// Takes the first of these.
fn take_all(
    tx: &mut Tx<'_>,
    (mut heads, turns): (Vec<Head>, &mut [Turn<'_>]),
    max: usize,
    until: i64,
) -> rusqlite::Result<Vec<Claimed>> {
    heads.sort_unstable();
    heads.truncate(max);
    // One token a claim: a delivery is claimed at most once in it.
    let token = Uuid::now_v7();
    let mut claimed = Vec::with_capacity(heads.len());
    for ((_, _, seq), lane) in heads {
        match take_one(tx, seq, token, until) {
            Ok(one) => claimed.push(one),
            Err(error) if is_damage(&error) => {
                set_aside(tx, seq, State::Available, &error)?;
                continue;
            }
            Err(error) => return Err(error),
        }
        if let Some((turn, lane)) = lane {
            turns[turn].took(lane);
        }
    }
    Ok(claimed)
}

/// Puts a delivery that cannot be read into the dead letter, or it would hold up
/// all others for good.
fn set_aside(
    tx: &mut Tx<'_>,
    seq: i64,
    from: State,
    error: &rusqlite::Error,
) -> rusqlite::Result<()> {
    let error = bounded(error, MESSAGE_MAX_BYTES);
    error!(
        row = seq,
        "a stored delivery is damaged and goes to the dead letter: {}",
        escaped(&error)
    );
    let failure = AttemptError {
        status: Status::Rejected.into(),
        message: format!("its stored row is corrupt: {error}"),
        logs: Vec::new(),
    };
    add_failure(tx, seq, 0, &failure)?;
    let name = tx
        .connection
        .prepare_cached("SELECT handler FROM delivery WHERE seq = ?1")?
        .query_row([seq], |row| Ok(handler(row, 0)))?;
    if let Ok(name) = name {
        tx.moves.change(&name, from, State::Discarded);
    }
    tx.connection
        .prepare_cached(include_str!("sql/set_aside.sql"))?
        .execute([seq, tx.now.as_millis()])?;
    ended(tx, seq)
}

fn take_one(tx: &mut Tx<'_>, seq: i64, token: Uuid, until: i64) -> rusqlite::Result<Claimed> {
    let mut statement = tx.connection.prepare_cached(include_str!("sql/take.sql"))?;
    let mut claimed = statement.query_row(
        params![seq, until, token.into_bytes(), tx.now.as_millis()],
        |row| {
            let delivery = DeliveryId::new(command_id(row, 0)?, handler(row, 1)?);
            Ok(Claimed {
                lease: Lease {
                    delivery,
                    row: seq,
                    token,
                },
                attempt: row.get(2)?,
                failures: Failures {
                    transient: row.get(3)?,
                    trap: row.get(4)?,
                    timeout: row.get(5)?,
                    memory: row.get(6)?,
                },
                attributes: String::new(),
                traceparent: None,
                depth: 0,
            })
        },
    )?;
    let command = claimed.lease.delivery.command;
    tx.connection
        .prepare_cached("SELECT attributes, traceparent, depth FROM command WHERE id = ?1")?
        .query_row([command.0.into_bytes()], |row| {
            claimed.attributes = row.get(0)?;
            claimed.traceparent = row.get(1)?;
            claimed.depth = row.get(2)?;
            Ok(())
        })?;
    tx.moves.change(
        &claimed.lease.delivery.handler,
        State::Available,
        State::Running,
    );
    tx.news.changed.push(command);
    Ok(claimed)
}

/// The handlers that a statement steps through: one step of an index each, whatever lies
/// between.
fn handlers(tx: &Tx<'_>, next: &str) -> rusqlite::Result<Vec<HandlerName>> {
    let mut names: Vec<HandlerName> = Vec::new();
    let mut last = String::new();
    let mut statement = tx.connection.prepare_cached(next)?;
    loop {
        match statement
            .query_row([&last], |row| row.get::<_, String>(0))
            .optional()?
        {
            // What is no name is no handler that anyone has: it stays where it is.
            Some(name) => {
                names.extend(HandlerName::parse(&name));
                last = name;
            }
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
        .prepare_cached(include_str!("sql/running.sql"))?
        .query_map([], |row| {
            let name = HandlerName::parse(row.get_ref(0)?.as_str()?);
            Ok(name
                .ok()
                .map(|name| (name, row.get(1).unwrap_or(usize::MAX))))
        })?
        .filter_map(Result::transpose)
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
            .prepare_cached(include_str!("sql/renew.sql"))?
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
