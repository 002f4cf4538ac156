//! The lanes of keys, as in SQLite: which of them may be taken from, in which order, and
//! what a claim leaves of them. Claims of one handler come one after the other, under its
//! lock; a lane is put aside only under a lock that waits for whoever enters it.

mod entry;

use std::collections::HashMap;

use tokio_postgres::Row;
use uuid::Uuid;

pub(super) use entry::{enter, hold};

use super::{fault::Fault, limits, session::Scope, tx::Tx};
use crate::{
    ClaimRequest, Flow,
    policy::{DUE_STEP, Lane, LaneState, Open, Room, Running, Turn, key_rate},
};
use pointsman_core::name::HandlerName;

/// How often one claim looks again after it put lanes aside.
const ROUNDS_MAX: usize = 16;

/// Priority, position and row.
type Ready = (i64, i64, i64);
/// What a claim chose, with what it is ordered by: urgency, place, row, and which lane of
/// which turn, where it has one.
type Head = (Ready, Option<(usize, usize)>);

fn as_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Takes the most urgent, with keys and without; and when lanes that are held now can be
/// taken from.
pub(super) async fn take(
    tx: &Tx<'_>,
    request: &ClaimRequest,
) -> Result<(Vec<Row>, Option<i64>), Fault> {
    wake(tx, request.flows_changed).await?;
    let handlers = handlers(tx, request).await?;
    let flows = &request.capacity.flows;
    let is_keyed = |(handler, lanes): &&(HandlerName, bool)| *lanes || flows.contains_key(handler);
    let keyed = handlers.iter().filter(is_keyed);
    let keyed: Vec<&str> = keyed.map(|(handler, _)| handler.as_str()).collect();
    let left = limits::room(tx, request, &keyed).await?;
    let room = |handler: &HandlerName| {
        let limit = left.get(handler.as_str()).copied();
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(0));
        limit.min(request.max)
    };
    let rooms: Vec<i64> = handlers
        .iter()
        .map(|(handler, _)| as_i64(room(handler).min(request.max)))
        .collect();
    let own = own_lanes(tx, &keyed).await?;
    let mut running = running(tx, &keyed, flows).await?;
    let mut fronts = fronts(tx, &handlers, &rooms).await?;
    let (mut heads, mut turns, none) = (Vec::new(), Vec::new(), Flow::default());
    for (handler, lanes) in &handlers {
        let name = handler.as_str();
        let front = fronts.remove(name).unwrap_or_default();
        if !lanes && !flows.contains_key(handler) {
            let plain = |(priority, position, row): Ready| ((-priority, position, row), None);
            heads.extend(front.into_iter().map(plain));
            continue;
        }
        let of = (handler, flows.get(handler).unwrap_or(&none));
        let own = own.get(name).copied().unwrap_or_default();
        let running = running.remove(name).unwrap_or_default();
        let mut turn = Turn::new(of, room(handler), own, running, tx.now);
        look(tx, &mut turn, front, *lanes).await?;
        let at = turns.len();
        heads.extend(turn.candidates.iter().map(|one| {
            let order = (-one.priority, one.place, one.row);
            (order, Some((at, one.lane)))
        }));
        turns.push(turn);
    }
    let rows = take_all(tx, (heads, &mut turns), request).await?;
    let until = end(tx, &turns).await?;
    let due = tx.query_opt(include_str!("sql/next_lane.sql"), &[]).await?;
    let due: Option<i64> = due.and_then(|row| row.get(0));
    Ok((rows, until.into_iter().chain(due).min()))
}

async fn wake(tx: &Tx<'_>, anew: bool) -> Result<(), Fault> {
    let now = if anew { i64::MAX } else { tx.now.as_millis() };
    let most = if anew { i64::MAX } else { DUE_STEP };
    let sql = include_str!("sql/wake_lanes.sql");
    tx.execute(sql, &[&now, &most]).await.map(drop)
}

/// The handlers that this host has with something to take, and whether they have lanes.
async fn handlers(tx: &Tx<'_>, request: &ClaimRequest) -> Result<Vec<(HandlerName, bool)>, Fault> {
    let only = request.capacity.handlers.as_ref();
    let only: Option<Vec<&str>> =
        only.map(|names| names.iter().map(|name| name.as_str()).collect());
    let sql = include_str!("sql/waiting_handlers.sql");
    let found = tx.query(sql, &[&only, &tx.now.as_millis()]).await?;
    // What is no name is no handler that anyone has.
    let read = |row: &Row| Some((HandlerName::parse(row.get(0)).ok()?, row.get(1)));
    Ok(found.iter().filter_map(read).collect())
}

async fn own_lanes(tx: &Tx<'_>, keyed: &[&str]) -> Result<HashMap<String, LaneState>, Fault> {
    let found = tx
        .query(include_str!("sql/own_lanes.sql"), &[&keyed])
        .await?;
    let read = |row: &Row| {
        let state = LaneState {
            turn: row.get(1),
            full_ns: row.get(2),
            hold_ms: row.get(3),
        };
        (row.get(0), state)
    };
    Ok(found.iter().map(read).collect())
}

/// How many of each handler and key run; counted only where a flow asks.
async fn running(
    tx: &Tx<'_>,
    keyed: &[&str],
    flows: &HashMap<HandlerName, Flow>,
) -> Result<Running, Fault> {
    if keyed.is_empty() || flows.values().all(|flow| flow.per_key.is_none()) {
        return Ok(Running::new());
    }
    let found = tx
        .query(include_str!("sql/running_keys.sql"), &[&keyed])
        .await?;
    let mut running = Running::new();
    for row in &found {
        let key = row.get::<_, Option<String>>(1).unwrap_or_default();
        let count = usize::try_from(row.get::<_, i64>(2)).unwrap_or(usize::MAX);
        running.entry(row.get(0)).or_default().insert(key, count);
    }
    Ok(running)
}

async fn fronts(
    tx: &Tx<'_>,
    handlers: &[(HandlerName, bool)],
    rooms: &[i64],
) -> Result<HashMap<String, Vec<Ready>>, Fault> {
    let names: Vec<&str> = handlers.iter().map(|(name, _)| name.as_str()).collect();
    let found = tx
        .query(include_str!("sql/fronts.sql"), &[&names, &rooms])
        .await?;
    let mut fronts: HashMap<String, Vec<Ready>> = HashMap::new();
    for row in &found {
        let ready = (row.get::<_, i32>(1).into(), row.get(2), row.get(3));
        fronts.entry(row.get(0)).or_default().push(ready);
    }
    for front in fronts.values_mut() {
        front.sort_unstable_by_key(|(priority, position, row)| (-priority, *position, *row));
    }
    Ok(fronts)
}

/// Takes the first of these that no other transaction holds.
async fn take_all(
    tx: &Tx<'_>,
    (mut heads, turns): (Vec<Head>, &mut [Turn<'_>]),
    request: &ClaimRequest,
) -> Result<Vec<Row>, Fault> {
    heads.sort_unstable();
    // Longer than asked, as another may hold some of them. No more of a lane than it may.
    heads.truncate(request.max.saturating_mul(4));
    if heads.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: Vec<i64> = heads.iter().map(|((.., row), _)| *row).collect();
    let (max, until) = (as_i64(request.max), tx.now.after(request.lease).as_millis());
    let mut rows = tx
        .query(
            include_str!("sql/take.sql"),
            &[&wanted, &max, &until, &Uuid::now_v7(), &tx.now.as_millis()],
        )
        .await?;
    let order = heads.iter().enumerate();
    let order: HashMap<i64, usize> = order.map(|(at, ((.., row), _))| (*row, at)).collect();
    rows.sort_by_key(|row| order.get(&row.get::<_, i64>(0)).copied());
    for row in &rows {
        let at = order.get(&row.get::<_, i64>(0));
        if let Some((turn, lane)) = at.and_then(|at| heads[*at].1) {
            turns[turn].took(lane);
        }
    }
    Ok(rows)
}

async fn look(
    tx: &Tx<'_>,
    turn: &mut Turn<'_>,
    front: Vec<Ready>,
    lanes: bool,
) -> Result<(), Fault> {
    if turn.room == 0 {
        return Ok(());
    }
    if lanes {
        look_at_keys(tx, turn).await?;
    }
    look_at_rest(turn, front);
    turn.choose();
    Ok(())
}

/// What has no key is one lane more.
fn look_at_rest(turn: &mut Turn<'_>, mut rows: Vec<Ready>) {
    if rows.is_empty() {
        return;
    }
    match turn.room_of("", turn.own) {
        Room::Some(room) => {
            rows.truncate(room);
            let state = turn.own;
            turn.open.push(Open {
                key: None,
                lane: Lane { state, rows },
                room,
            });
        }
        Room::Until(ms) => turn.wait_until(ms),
        Room::Full => {}
    }
}

/// Goes round the keys, and again where it put some aside.
async fn look_at_keys(tx: &Tx<'_>, turn: &mut Turn<'_>) -> Result<(), Fault> {
    let most = turn.flow.per_key.unwrap_or(usize::MAX);
    let keys = turn.running.iter().filter(|(key, _)| !key.is_empty());
    let full = keys.filter(|(_, count)| **count >= most);
    let mut skipped: Vec<String> = full.map(|(key, _)| key.clone()).collect();
    let room = as_i64(turn.room);
    for _ in 0..ROUNDS_MAX {
        let found = tx
            .query(
                include_str!("sql/lanes.sql"),
                &[&turn.handler.as_str(), &room, &skipped, &room],
            )
            .await?;
        turn.open.clear();
        let (lanes, mut held, mut aside) = (lanes(found), Vec::new(), Vec::new());
        let (mut empty, count) = (Vec::new(), as_i64(lanes.len()));
        for (key, priority, mut lane) in lanes {
            match turn.room_of(&key, lane.state) {
                Room::Until(ms) => {
                    let state = lane.state.owing(key_rate(turn.flow), tx.now);
                    held.push((key, ms, state.full_ns));
                }
                Room::Full => skipped.push(key),
                Room::Some(_) if lane.rows.is_empty() => empty.push(key),
                Room::Some(room) => {
                    if lane.rows[0].0 < priority {
                        aside.push(key.clone());
                    }
                    lane.rows.truncate(room);
                    let key = Some(key);
                    turn.open.push(Open { key, lane, room });
                }
            }
        }
        let lowered = aside.len();
        aside.extend(empty.iter().cloned());
        hold_lanes(tx, turn.handler, &held).await?;
        let is_corrected = put_aside(tx, turn.handler, aside).await?;
        // One that is being entered is looked at by the next claim.
        skipped.extend(empty);
        let is_short = turn.open.len() < turn.room && count == room;
        if !is_short && (lowered == 0 || !is_corrected || count < room) {
            return Ok(());
        }
    }
    // There may be more behind those: another claim follows at once.
    turn.wait_until(tx.now.as_millis());
    Ok(())
}

async fn hold_lanes(
    tx: &Scope<'_>,
    handler: &HandlerName,
    held: &[(String, i64, i64)],
) -> Result<(), Fault> {
    if held.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = held.iter().map(|(key, ..)| key.as_str()).collect();
    let until: Vec<i64> = held.iter().map(|(_, until, _)| *until).collect();
    let full: Vec<i64> = held.iter().map(|(.., full)| *full).collect();
    let sql = include_str!("sql/hold_lanes.sql");
    tx.execute(sql, &[&handler.as_str(), &keys, &until, &full])
        .await
        .map(drop)
}

/// Corrects what the lanes say of these, as far as nobody is about to enter them.
async fn put_aside(tx: &Tx<'_>, handler: &HandlerName, keys: Vec<String>) -> Result<bool, Fault> {
    if keys.is_empty() {
        return Ok(false);
    }
    let handler = handler.as_str();
    let sql = include_str!("sql/lock_lanes.sql");
    let locked = tx.query(sql, &[&handler, &keys]).await?;
    let keys: Vec<&str> = locked.iter().map(|row| row.get(0)).collect();
    if keys.is_empty() {
        return Ok(false);
    }
    // A statement of its own: it sees whoever entered before the locks were taken.
    let sql = include_str!("sql/put_lanes_aside.sql");
    tx.execute(sql, &[&handler, &keys, &tx.now.as_millis()])
        .await?;
    Ok(true)
}

/// The lanes of a query, with the priority that each is said to have.
fn lanes(found: Vec<Row>) -> Vec<(String, i64, Lane)> {
    let mut lanes: Vec<(String, i64, Lane)> = Vec::new();
    for row in &found {
        let key: &str = row.get(0);
        if lanes.last().is_none_or(|(last, ..)| last != key) {
            let state = LaneState {
                turn: row.get(2),
                full_ns: row.get(3),
                hold_ms: row.get(4),
            };
            let rows = Vec::new();
            let priority = row.get::<_, i32>(1).into();
            lanes.push((key.to_owned(), priority, Lane { state, rows }));
        }
        if let (Some(priority), Some((_, _, lane))) =
            (row.get::<_, Option<i32>>(5), lanes.last_mut())
        {
            lane.rows.push((priority.into(), row.get(6), row.get(7)));
        }
    }
    lanes
}

/// Stores what is left of the lanes after what was taken; and when more can be.
async fn end(tx: &Tx<'_>, all: &[Turn<'_>]) -> Result<Option<i64>, Fault> {
    let (mut handlers, mut keys) = (Vec::new(), Vec::new());
    let (mut full, mut until, mut due) = (Vec::new(), Vec::new(), None);
    let place = tx.schema().table("place");
    for turn in all {
        let (handler, left) = (turn.handler.as_str(), turn.left());
        for (key, full_ns, until_ms) in left.keys {
            handlers.push(handler);
            keys.push(key);
            full.push(full_ns);
            until.push(until_ms);
        }
        if let Some((own, is_turn)) = left.own {
            let sql = include_str!("sql/set_own_lane.sql");
            let over = own.over_ms();
            tx.execute(sql, &[&handler, &own.full_ns, &over, &is_turn, &place])
                .await?;
        }
        due = due.into_iter().chain(left.until_ms).min();
    }
    if !keys.is_empty() {
        let sql = include_str!("sql/take_turns.sql");
        tx.execute(sql, &[&handlers, &keys, &full, &until, &place])
            .await?;
    }
    Ok(due)
}
