//! The lanes of keys: which of them may be taken from, in which order, and what a claim
//! leaves of them. The triggers of the schema put a lane in line when something of it is
//! ready; a claim that finds nothing to take from one puts it aside.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params};

use super::tx::Tx;
use crate::{
    Flow, Holds,
    model::SettlementRow,
    pause::{PAUSES_MAX, RETRY_AFTER},
    policy::{
        Bucket, Candidate, DUE_STEP, Lane, LaneState, Room, handler_rate, key_rate, rounds, turns,
    },
};
use pointsman_core::name::HandlerName;

/// Lanes that one claim finds with nothing to take, at most: it bounds how long a claim
/// holds the store after many were emptied or held. The rest is seen by the next one.
const PASSED_MAX: usize = 1000;

/// How many deliveries of each handler and key run.
pub(super) type Running = HashMap<(String, Option<String>), usize>;

/// What a claim may take of one handler.
pub(super) struct Ask<'a> {
    pub(super) handler: &'a HandlerName,
    pub(super) flow: &'a Flow,
    pub(super) running: &'a Running,
    pub(super) room: usize,
}

/// A lane that something is taken from; none for what has no key.
struct Open {
    key: Option<String>,
    lane: Lane,
    room: usize,
}

/// The lanes of one handler, as a claim found them.
pub(super) struct Turn<'a> {
    ask: Ask<'a>,
    own: LaneState,
    /// Whether it is not as it is stored.
    own_changed: bool,
    open: Vec<Open>,
    pub(super) candidates: Vec<Candidate>,
    /// When more of it can be taken, where that is known.
    pub(super) until_ms: Option<i64>,
    /// Which lanes were taken from, in order.
    taken: Vec<usize>,
}

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
        return Ok(HashMap::new());
    }
    tx.connection
        .prepare_cached(include_str!("sql/running_keys.sql"))?
        .query_map([], |row| {
            Ok(((row.get(0)?, row.get(1)?), row.get(2).unwrap_or(usize::MAX)))
        })?
        .collect()
}

impl<'a> Turn<'a> {
    /// Looks at the lanes of a handler.
    pub(super) fn look(tx: &Tx<'_>, ask: Ask<'a>) -> rusqlite::Result<Self> {
        let stored = own_lane(tx, ask.handler)?;
        let own = stored.owing(ask.flow.rate, tx.steady);
        let mut turn = Self {
            ask,
            own,
            own_changed: own != stored,
            open: Vec::new(),
            candidates: Vec::new(),
            until_ms: None,
            taken: Vec::new(),
        };
        if let Some(rate) = handler_rate(turn.ask.flow) {
            let bucket = Bucket::new(rate, own.full_ns, tx.steady);
            turn.until_ms = bucket.next_ms();
            turn.ask.room = turn.ask.room.min(bucket.tokens());
        }
        if turn.ask.room > 0 {
            turn.look_at_rest(tx)?;
            let aside = turn.look_at_keys(tx)?;
            turn.put_aside(tx, aside)?;
            turn.deepen(tx)?;
            let lanes: Vec<Lane> = turn.open.iter().map(|open| open.lane.clone()).collect();
            turn.candidates = rounds(&lanes, turn.ask.room);
        }
        Ok(turn)
    }

    fn running(&self, key: Option<&str>) -> usize {
        let name = (self.ask.handler.to_string(), key.map(str::to_owned));
        self.ask.running.get(&name).copied().unwrap_or(0)
    }

    fn wait_until(&mut self, ms: i64) {
        self.until_ms = Some(self.until_ms.map_or(ms, |until| until.min(ms)));
    }

    /// What has no key is one lane more.
    fn look_at_rest(&mut self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        let open = |room| Open {
            key: None,
            lane: Lane {
                state: self.own,
                rows: Vec::new(),
            },
            room,
        };
        let running = self.running(None);
        match self.own.room(self.ask.flow, running, tx.steady) {
            Room::Some(room) => {
                let mut open = open(room);
                open.read(tx, self.ask.handler, 1)?;
                if !open.lane.rows.is_empty() {
                    self.open.push(open);
                }
            }
            Room::Until(ms) => self.wait_until(ms),
            Room::Full => {}
        }
        Ok(())
    }

    /// Goes round the keys until enough are found that come before the rest.
    fn look_at_keys(&mut self, tx: &Tx<'_>) -> rusqlite::Result<Vec<(String, Aside)>> {
        let mut statement = tx
            .connection
            .prepare_cached(include_str!("sql/lanes.sql"))?;
        let mut lanes = statement.query([self.ask.handler.as_str()])?;
        let (mut aside, handler) = (Vec::new(), self.ask.handler);
        let (mut urgent, most) = (Vec::new(), self.ask.room);
        while let Some(row) = lanes.next()? {
            // A damaged one is left out: it must not hold up the others.
            let (Ok(key), priority) = (row.get::<_, String>(0), row.get::<_, i64>(1)?) else {
                continue;
            };
            let state = LaneState {
                turn: row.get(2)?,
                full_ns: row.get(3)?,
                hold_ms: row.get(4)?,
            };
            // Of those that were found, so many go before this one and the rest.
            let before = |found: &&(i64, i64)| (-found.0, found.1) < (-priority, state.turn);
            if urgent.len() >= most && urgent.iter().filter(before).count() >= most {
                break;
            }
            if aside.len() >= PASSED_MAX {
                // Another claim follows at once.
                self.wait_until(tx.steady.as_millis());
                break;
            }
            let room = match state.room(self.ask.flow, self.running(Some(&key)), tx.steady) {
                Room::Some(room) => room,
                Room::Until(ms) => {
                    let state = state.owing(key_rate(self.ask.flow), tx.steady);
                    aside.push((key, Aside::Held(ms, state)));
                    continue;
                }
                Room::Full => continue,
            };
            let rows = Vec::new();
            let mut open = Open {
                key: Some(key),
                lane: Lane { state, rows },
                room,
            };
            open.read(tx, handler, 1)?;
            let key = open.key.clone().unwrap_or_default();
            match open.lane.rows.first() {
                None => aside.push((key, Aside::Empty(state))),
                Some((found, ..)) => {
                    if *found < priority {
                        aside.push((key, Aside::Lowered(*found)));
                    }
                    urgent.push((*found, state.turn));
                    self.open.push(open);
                }
            }
        }
        Ok(aside)
    }

    fn put_aside(&self, tx: &Tx<'_>, lanes: Vec<(String, Aside)>) -> rusqlite::Result<()> {
        let handler = self.ask.handler.as_str();
        for (key, aside) in lanes {
            let (sql, value, full_ns) = match aside {
                Aside::Held(until, state) => (
                    "UPDATE lane SET until_ms = ?3, full_ns = ?4",
                    until,
                    state.full_ns,
                ),
                Aside::Lowered(priority) => ("UPDATE lane SET priority = ?3", priority, 0),
                Aside::Empty(state) if state.over_ms() <= tx.steady.as_millis() => {
                    ("DELETE FROM lane", 0, 0)
                }
                Aside::Empty(state) => (
                    "UPDATE lane SET until_ms = ?3, parked = 1",
                    state.over_ms(),
                    0,
                ),
            };
            let sql = format!("{sql} WHERE handler = ?1 AND key = ?2 AND ?3 = ?3 AND ?4 = ?4");
            tx.connection
                .prepare_cached(&sql)?
                .execute(params![handler, key, value, full_ns])?;
        }
        Ok(())
    }

    /// Where there are fewer lanes than places, more of each is read.
    fn deepen(&mut self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        let (lanes, room) = (self.open.len(), self.ask.room);
        if lanes == 0 || lanes >= room {
            return Ok(());
        }
        let each = room.saturating_mul(4).div_ceil(lanes).min(room);
        for open in &mut self.open {
            open.read(tx, self.ask.handler, each.min(open.room))?;
        }
        Ok(())
    }

    /// One of its candidates was taken.
    pub(super) fn took(&mut self, lane: usize) {
        self.taken.push(lane);
    }

    /// Stores what is left after what was taken.
    pub(super) fn end(&mut self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        let (handler, flow) = (self.ask.handler.as_str(), self.ask.flow);
        let mut own = (self.own, false);
        for (at, count) in turns(&self.taken) {
            let open = &self.open[at];
            let (full_ns, until) = open.lane.state.taken(flow, count, tx.steady);
            let Some(key) = &open.key else {
                own = (LaneState { full_ns, ..own.0 }, true);
                self.until_ms = self.until_ms.into_iter().chain(until).min();
                continue;
            };
            tx.connection
                .prepare_cached(include_str!("sql/take_turn.sql"))?
                .execute(params![handler, key, full_ns, until])?;
        }
        let rate = handler_rate(flow).filter(|_| !self.taken.is_empty());
        if let Some(rate) = rate {
            let bucket = Bucket::new(rate, self.own.full_ns, tx.steady).take(self.taken.len());
            own.0.full_ns = bucket.full_ns();
            self.until_ms = self.until_ms.into_iter().chain(bucket.next_ms()).min();
        }
        if rate.is_some() || own.1 || self.own_changed {
            tx.connection
                .prepare_cached(include_str!("sql/set_own_lane.sql"))?
                .execute(params![handler, own.0.full_ns, own.0.over_ms(), own.1])?;
        }
        Ok(())
    }
}

impl Open {
    /// Reads the first of its deliveries.
    fn read(&mut self, tx: &Tx<'_>, handler: &HandlerName, most: usize) -> rusqlite::Result<()> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = match &self.key {
            Some(key) => tx
                .connection
                .prepare_cached(include_str!("sql/lane_rows.sql"))?
                .query_map(params![handler.as_str(), key, most], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?
                .collect(),
            None => tx
                .connection
                .prepare_cached(include_str!("sql/heads.sql"))?
                .query_map(params![handler.as_str(), most], |row| {
                    Ok((-row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?))
                })?
                .collect::<rusqlite::Result<_>>(),
        };
        self.lane.rows = rows?;
        Ok(())
    }
}

fn own_lane(tx: &Tx<'_>, handler: &HandlerName) -> rusqlite::Result<LaneState> {
    let found = tx
        .connection
        .prepare_cached("SELECT turn, full_ns, hold_ms FROM lane WHERE handler = ?1 AND key = ''")?
        .query_row([handler.as_str()], |row| {
            Ok(LaneState {
                turn: row.get(0)?,
                full_ns: row.get(1)?,
                hold_ms: row.get(2)?,
            })
        })
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
