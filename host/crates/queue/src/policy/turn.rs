//! One claim at the lanes of one handler: what it may take of each, and what is to be
//! stored of them afterwards. Engines read the lanes and store what is left.

use std::collections::HashMap;

use super::flow::{Bucket, Candidate, Lane, LaneState, Room, handler_rate, rounds, turns};
use crate::{clock::Timestamp, flow::Flow};
use pointsman_core::name::HandlerName;

/// How many deliveries of each handler and key run; the empty key is that of what has none.
pub(crate) type Running = HashMap<String, HashMap<String, usize>>;

/// A lane that something is taken from; none for what has no key.
pub(crate) struct Open {
    pub(crate) key: Option<String>,
    pub(crate) lane: Lane,
    /// How many may be taken of it.
    pub(crate) room: usize,
}

/// The lanes of one handler, as a claim found them.
pub(crate) struct Turn<'a> {
    pub(crate) handler: &'a HandlerName,
    pub(crate) flow: &'a Flow,
    /// How many may be taken of the handler.
    pub(crate) room: usize,
    /// The lane of what has no key; it also keeps the bucket of the handler.
    pub(crate) own: LaneState,
    /// How many of each key run.
    pub(crate) running: HashMap<String, usize>,
    pub(crate) open: Vec<Open>,
    pub(crate) candidates: Vec<Candidate>,
    /// When more of it can be taken, where that is known.
    pub(crate) until_ms: Option<i64>,
    now: Timestamp,
    /// Whether `own` is not as it is stored.
    own_changed: bool,
    /// Which lanes were taken from, in order.
    taken: Vec<usize>,
}

/// What is to be stored after what was taken.
pub(crate) struct Left<'t> {
    /// Of each key that was taken from, in the order of their next turns: its bucket, and
    /// until when nothing more can be taken.
    pub(crate) keys: Vec<(&'t str, i64, Option<i64>)>,
    /// The lane of what has no key, and whether it was taken from; none where it is as stored.
    pub(crate) own: Option<(LaneState, bool)>,
    /// When more of the handler can be taken, where that is known.
    pub(crate) until_ms: Option<i64>,
}

impl<'a> Turn<'a> {
    /// Of a handler with this lane of its own, of which `room` may be taken.
    pub(crate) fn new(
        (handler, flow): (&'a HandlerName, &'a Flow),
        room: usize,
        stored: LaneState,
        running: HashMap<String, usize>,
        now: Timestamp,
    ) -> Self {
        let own = stored.owing(flow.rate, now);
        let bucket = handler_rate(flow).map(|rate| Bucket::new(rate, own.full_ns, now));
        Self {
            handler,
            flow,
            room: bucket.map_or(room, |bucket| room.min(bucket.tokens())),
            own,
            running,
            open: Vec::new(),
            candidates: Vec::new(),
            until_ms: bucket.and_then(Bucket::next_ms),
            now,
            own_changed: own != stored,
            taken: Vec::new(),
        }
    }

    /// What of a lane may be taken now; the empty key is that of what has none.
    pub(crate) fn room_of(&self, key: &str, state: LaneState) -> Room {
        let running = self.running.get(key).copied().unwrap_or(0);
        state.room(self.flow, running, self.now)
    }

    /// More can be taken at this time, if not before.
    pub(crate) fn wait_until(&mut self, ms: i64) {
        self.until_ms = self.until_ms.into_iter().chain([ms]).min();
    }

    /// Chooses among the lanes that are open.
    pub(crate) fn choose(&mut self) {
        self.candidates = rounds(self.open.iter().map(|open| &open.lane), self.room);
    }

    /// One of its candidates was taken.
    pub(crate) fn took(&mut self, lane: usize) {
        self.taken.push(lane);
    }

    /// What is left after what was taken.
    pub(crate) fn left(&self) -> Left<'_> {
        let (mut own, mut own_turn) = (self.own, false);
        let (mut keys, mut until_ms) = (Vec::new(), self.until_ms);
        for (at, count) in turns(&self.taken) {
            let open = &self.open[at];
            let (full_ns, until) = open.lane.state.taken(self.flow, count, self.now);
            match &open.key {
                Some(key) => keys.push((key.as_str(), full_ns, until)),
                None => {
                    (own.full_ns, own_turn) = (full_ns, true);
                    until_ms = until_ms.into_iter().chain(until).min();
                }
            }
        }
        let rate = handler_rate(self.flow).filter(|_| !self.taken.is_empty());
        if let Some(rate) = rate {
            let bucket = Bucket::new(rate, self.own.full_ns, self.now).take(self.taken.len());
            own.full_ns = bucket.full_ns();
            until_ms = until_ms.into_iter().chain(bucket.next_ms()).min();
        }
        let is_stored = rate.is_some() || own_turn || self.own_changed;
        Left {
            keys,
            own: is_stored.then_some((own, own_turn)),
            until_ms,
        }
    }
}
