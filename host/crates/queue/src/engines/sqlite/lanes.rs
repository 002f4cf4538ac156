//! The lanes of keys: which of them may be taken from, in which order, and what a claim
//! leaves of them. The triggers of the schema put a lane in line when something of it is
//! ready; a claim that finds nothing to take from one puts it aside.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Row, ToSql, params};

use super::tx::Tx;
use crate::{
    Flow, Holds,
    model::SettlementRow,
    pause::{PAUSES_MAX, RETRY_AFTER},
    policy::{DUE_STEP, Lane, LaneState, Open, Room, Running, Turn, key_rate},
};
use pointsman_core::name::HandlerName;

/// Lanes that one claim finds with nothing to take, at most: it bounds how long a claim
/// holds the store after many were emptied or held. The rest is seen by the next one.
const PASSED_MAX: usize = 1000;

/// What becomes of a lane that nothing is taken from.
enum Aside {
    /// It is held until then.
    Held(i64, LaneState),
    Empty(LaneState),
    /// Its first delivery is less urgent than it was.
    Lowered(i64),
}

/// Lets lanes take their turn whose time has come; all that are held where `anew`.
pub(super) fn wake(tx: &Tx<'_>, anew: bool) -> rusqlite::Result<()> {
    if anew {
        tx.connection
            .prepare_cached(
                "UPDATE lane SET until_ms = NULL WHERE until_ms IS NOT NULL AND parked = 0",
            )?
            .execute([])?;
    }
    tx.connection
        .prepare_cached(include_str!("sql/wake_lanes.sql"))?
        .execute(params![tx.steady.as_millis(), DUE_STEP])
        .map(drop)
}

/// When the next lane is no longer held.
pub(super) fn next_due(tx: &Tx<'_>) -> rusqlite::Result<Option<i64>> {
    tx.connection
        .prepare_cached("SELECT min(until_ms) FROM lane WHERE until_ms IS NOT NULL AND parked = 0")?
        .query_row([], |row| row.get(0))
}

/// How many of each handler and key run; counted only where a flow asks.
pub(super) fn running(
    tx: &Tx<'_>,
    flows: &HashMap<HandlerName, Flow>,
) -> rusqlite::Result<Running> {
    if flows.values().all(|flow| flow.per_key.is_none()) {
        return Ok(Running::new());
    }
    let mut statement = tx
        .connection
        .prepare_cached(include_str!("sql/running_keys.sql"))?;
    let mut rows = statement.query([])?;
    let mut running = Running::new();
    while let Some(row) = rows.next()? {
        let key = row.get::<_, Option<String>>(1)?.unwrap_or_default();
        let count = row.get(2).unwrap_or(usize::MAX);
        running.entry(row.get(0)?).or_default().insert(key, count);
    }
    Ok(running)
}

/// Looks at the lanes of a handler.
pub(super) fn look(tx: &Tx<'_>, turn: &mut Turn<'_>) -> rusqlite::Result<()> {
    if turn.room == 0 {
        return Ok(());
    }
    look_at_rest(tx, turn)?;
    let aside = look_at_keys(tx, turn)?;
    put_aside(tx, turn.handler, aside)?;
    deepen(tx, turn)?;
    turn.choose();
    Ok(())
}

/// What has no key is one lane more.
fn look_at_rest(tx: &Tx<'_>, turn: &mut Turn<'_>) -> rusqlite::Result<()> {
    match turn.room_of("", turn.own) {
        Room::Some(room) => {
            let open = read(tx, turn.handler, (None, turn.own, room), 1)?;
            if !open.lane.rows.is_empty() {
                turn.open.push(open);
            }
        }
        Room::Until(ms) => turn.wait_until(ms),
        Room::Full => {}
    }
    Ok(())
}

/// Goes round the keys until enough are found that come before the rest.
fn look_at_keys(tx: &Tx<'_>, turn: &mut Turn<'_>) -> rusqlite::Result<Vec<(String, Aside)>> {
    let mut statement = tx
        .connection
        .prepare_cached(include_str!("sql/lanes.sql"))?;
    let mut lanes = statement.query([turn.handler.as_str()])?;
    let (mut aside, mut urgent) = (Vec::new(), Vec::new());
    while let Some(row) = lanes.next()? {
        // A damaged one is left out: it must not hold up the others.
        let (Ok(key), priority) = (row.get::<_, String>(0), row.get::<_, i64>(1)?) else {
            continue;
        };
        let state = state(row, 2)?;
        // Of those that were found, so many go before this one and the rest.
        let before = |found: &&(i64, i64)| (-found.0, found.1) < (-priority, state.turn);
        if urgent.len() >= turn.room && urgent.iter().filter(before).count() >= turn.room {
            break;
        }
        if aside.len() >= PASSED_MAX {
            // Another claim follows at once.
            turn.wait_until(tx.steady.as_millis());
            break;
        }
        let room = match turn.room_of(&key, state) {
            Room::Some(room) => room,
            Room::Until(ms) => {
                let state = state.owing(key_rate(turn.flow), tx.steady);
                aside.push((key, Aside::Held(ms, state)));
                continue;
            }
            Room::Full => continue,
        };
        let open = read(tx, turn.handler, (Some(&key), state, room), 1)?;
        match open.lane.rows.first() {
            None => aside.push((key, Aside::Empty(state))),
            Some((found, ..)) => {
                if *found < priority {
                    aside.push((key, Aside::Lowered(*found)));
                }
                urgent.push((*found, state.turn));
                turn.open.push(open);
            }
        }
    }
    Ok(aside)
}

fn put_aside(
    tx: &Tx<'_>,
    handler: &HandlerName,
    lanes: Vec<(String, Aside)>,
) -> rusqlite::Result<()> {
    let handler = handler.as_str();
    for (key, aside) in lanes {
        let run = |sql: &str, values: &[&dyn ToSql]| {
            let sql = format!("{sql} WHERE handler = ?1 AND key = ?2");
            let values = [&[&handler as &dyn ToSql, &key], values].concat();
            tx.connection.prepare_cached(&sql)?.execute(&*values)
        };
        match aside {
            Aside::Held(until, state) => run(
                "UPDATE lane SET until_ms = ?3, full_ns = ?4",
                &[&until, &state.full_ns],
            ),
            Aside::Lowered(priority) => run("UPDATE lane SET priority = ?3", &[&priority]),
            Aside::Empty(state) if state.over_ms() <= tx.steady.as_millis() => {
                run("DELETE FROM lane", &[])
            }
            Aside::Empty(state) => run(
                "UPDATE lane SET until_ms = ?3, parked = 1",
                &[&state.over_ms()],
            ),
        }?;
    }
    Ok(())
}

/// Where there are fewer lanes than places, more of each is read.
fn deepen(tx: &Tx<'_>, turn: &mut Turn<'_>) -> rusqlite::Result<()> {
    let (lanes, room) = (turn.open.len(), turn.room);
    if lanes == 0 || lanes >= room {
        return Ok(());
    }
    let each = room.saturating_mul(4).div_ceil(lanes).min(room);
    for open in &mut turn.open {
        open.lane.rows = rows(tx, turn.handler, open.key.as_deref(), each.min(open.room))?;
    }
    Ok(())
}

/// Stores what is left after what was taken; and when more can be.
pub(super) fn end(tx: &Tx<'_>, turn: &Turn<'_>) -> rusqlite::Result<Option<i64>> {
    let (handler, left) = (turn.handler.as_str(), turn.left());
    for (key, full_ns, until) in left.keys {
        tx.connection
            .prepare_cached(include_str!("sql/take_turn.sql"))?
            .execute(params![handler, key, full_ns, until])?;
    }
    if let Some((own, is_turn)) = left.own {
        tx.connection
            .prepare_cached(include_str!("sql/set_own_lane.sql"))?
            .execute(params![handler, own.full_ns, own.over_ms(), is_turn])?;
    }
    Ok(left.until_ms)
}

/// A lane with the first of its deliveries.
fn read(
    tx: &Tx<'_>,
    handler: &HandlerName,
    (key, state, room): (Option<&str>, LaneState, usize),
    most: usize,
) -> rusqlite::Result<Open> {
    let rows = rows(tx, handler, key, most)?;
    Ok(Open {
        key: key.map(str::to_owned),
        lane: Lane { state, rows },
        room,
    })
}

/// Priority, position and row of the first deliveries of a lane.
fn rows(
    tx: &Tx<'_>,
    handler: &HandlerName,
    key: Option<&str>,
    most: usize,
) -> rusqlite::Result<Vec<(i64, i64, i64)>> {
    let (handler, most) = (handler.as_str(), i64::try_from(most).unwrap_or(i64::MAX));
    match key {
        Some(key) => tx
            .connection
            .prepare_cached(include_str!("sql/lane_rows.sql"))?
            .query_map(params![handler, key, most], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect(),
        None => tx
            .connection
            .prepare_cached(include_str!("sql/heads.sql"))?
            .query_map(params![handler, most], |row| {
                Ok((-row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect(),
    }
}

fn state(row: &Row<'_>, first: usize) -> rusqlite::Result<LaneState> {
    Ok(LaneState {
        turn: row.get(first)?,
        full_ns: row.get(first + 1)?,
        hold_ms: row.get(first + 2)?,
    })
}

/// The lane of what has no key.
pub(super) fn own_lane(tx: &Tx<'_>, handler: &HandlerName) -> rusqlite::Result<LaneState> {
    let found = tx
        .connection
        .prepare_cached("SELECT turn, full_ns, hold_ms FROM lane WHERE handler = ?1 AND key = ''")?
        .query_row([handler.as_str()], |row| state(row, 0))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Lets what waits with a retried delivery wait as long.
pub(super) fn hold(
    tx: &mut Tx<'_>,
    handler: &HandlerName,
    seq: i64,
    row: &SettlementRow,
) -> rusqlite::Result<()> {
    match row.holds {
        Holds::Delivery => Ok(()),
        Holds::Key => {
            let key: Option<String> = tx
                .connection
                .prepare_cached("SELECT key FROM delivery WHERE seq = ?1")?
                .query_row([seq], |row| row.get(0))?;
            let until = tx.steady.after(row.delay).as_millis();
            tx.connection
                .prepare_cached(include_str!("sql/hold_lane.sql"))?
                .execute(params![handler.as_str(), key.unwrap_or_default(), until])
                .map(drop)
        }
        Holds::Handler => {
            let others: u64 = tx
                .connection
                .prepare_cached("SELECT count(*) FROM pause WHERE handler <> ?1")?
                .query_row([handler.as_str()], |row| row.get(0))?;
            if others >= PAUSES_MAX {
                return Ok(());
            }
            let until = tx.now.after(row.delay).as_millis();
            let (by, reason) = RETRY_AFTER;
            let now = tx.now.as_millis();
            tx.connection
                .prepare_cached(include_str!("sql/hold_handler.sql"))?
                .execute(params![handler.as_str(), now, until, by, reason])
                .map(drop)
        }
    }
}

/// Removes what is kept of lanes with nothing to take, once it is over.
pub(super) fn remove_over(tx: &Tx<'_>) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(
            "DELETE FROM lane WHERE until_ms IS NOT NULL AND parked = 1 AND until_ms <= ?1",
        )?
        .execute([tx.steady.as_millis()])
        .map(drop)
}
