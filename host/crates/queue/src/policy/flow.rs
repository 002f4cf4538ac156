//! Who is next among the keys of a handler, and when: the tokens of a rate, and the
//! order in which claims go round the keys.
//!
//! - Deliveries of a handler with one key form a lane; those without a key another one.
//! - A claim takes the most urgent priority first and, within it, one delivery of each
//!   lane in turn: that which was served, or began to wait, longest ago comes first.
//! - Beside other handlers, what is taken counts as if it were taken in the order stored.

use std::collections::HashMap;

use crate::{
    clock::Timestamp,
    flow::{Flow, Rate, RateOf},
};

const NANOS: i64 = 1_000_000;

/// A bucket of tokens, by the time at which it is full again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    full_ns: i64,
    now_ns: i64,
    limit: i64,
    /// How long one token takes.
    each_ns: i64,
}

impl Bucket {
    /// The bucket that was stored, under the rate of now. One that a slower rate left is at
    /// most empty.
    pub(crate) fn new(rate: Rate, full_ns: i64, now: Timestamp) -> Self {
        let now_ns = now.as_millis().saturating_mul(NANOS);
        let limit = i64::from(rate.limit.max(1));
        let per = i64::try_from(rate.per.as_nanos()).unwrap_or(i64::MAX);
        let each_ns = (per / limit).max(1);
        let empty = now_ns.saturating_add(each_ns.saturating_mul(limit));
        Self {
            full_ns: full_ns.clamp(now_ns, empty.max(now_ns)),
            now_ns,
            limit,
            each_ns,
        }
    }

    /// How many tokens there are.
    pub(crate) fn tokens(self) -> usize {
        let missing = self.full_ns - self.now_ns;
        let gone = missing / self.each_ns + i64::from(missing % self.each_ns > 0);
        usize::try_from(self.limit - gone).unwrap_or(0)
    }

    /// So many are taken.
    pub(crate) fn take(self, count: usize) -> Self {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let full_ns = self
            .full_ns
            .saturating_add(self.each_ns.saturating_mul(count));
        Self { full_ns, ..self }
    }

    /// When it is full again, as it is stored.
    pub(crate) fn full_ns(self) -> i64 {
        self.full_ns
    }

    /// When there is a token, if there is none now.
    pub(crate) fn next_ms(self) -> Option<i64> {
        let at = self.full_ns - self.each_ns.saturating_mul(self.limit - 1);
        (self.tokens() == 0).then(|| to_ms(at))
    }
}

/// The first millisecond that is not before this time.
pub(crate) fn to_ms(ns: i64) -> i64 {
    ns / NANOS + i64::from(ns % NANOS > 0)
}

/// What a lane keeps between claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneState {
    pub(crate) turn: i64,
    /// When its bucket is full again.
    pub(crate) full_ns: i64,
    /// Until when a `retry-after` holds it.
    pub(crate) hold_ms: i64,
}

/// How much a lane may take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// So many.
    Some(usize),
    /// Nothing before this time.
    Until(i64),
    /// Nothing before one of it ends.
    Full,
}

impl LaneState {
    /// What of a lane may be taken under `flow`, of which so many run.
    pub(crate) fn room(self, flow: &Flow, running: usize, now: Timestamp) -> Room {
        if self.hold_ms > now.as_millis() {
            return Room::Until(self.hold_ms);
        }
        let mut room = usize::MAX;
        if let Some(rate) = key_rate(flow) {
            let bucket = Bucket::new(rate, self.full_ns, now);
            if let Some(next) = bucket.next_ms() {
                return Room::Until(next);
            }
            room = bucket.tokens();
        }
        let most = flow.per_key.unwrap_or(usize::MAX);
        match room.min(most.saturating_sub(running)) {
            0 => Room::Full,
            room => Room::Some(room),
        }
    }

    /// After so many were taken: the bucket, and until when nothing more can be.
    pub(crate) fn taken(self, flow: &Flow, count: usize, now: Timestamp) -> (i64, Option<i64>) {
        match key_rate(flow) {
            Some(rate) => {
                let bucket = Bucket::new(rate, self.full_ns, now).take(count);
                (bucket.full_ns(), bucket.next_ms())
            }
            None => (self.full_ns, None),
        }
    }

    /// The same with no less in its bucket than the rate of now owes: a slower one may have
    /// left more to wait for.
    pub(crate) fn owing(self, rate: Option<Rate>, now: Timestamp) -> Self {
        let most = rate.map(|rate| Bucket::new(rate, self.full_ns, now).full_ns());
        let full_ns = self.full_ns.min(most.unwrap_or(i64::MAX));
        Self { full_ns, ..self }
    }

    /// From when on nothing of it need be kept.
    pub(crate) fn over_ms(self) -> i64 {
        to_ms(self.full_ns).max(self.hold_ms)
    }
}

/// The rate that each key has.
pub(crate) fn key_rate(flow: &Flow) -> Option<Rate> {
    flow.rate.filter(|rate| rate.of == RateOf::Key)
}

/// The rate that a handler has for all of its deliveries.
pub(crate) fn handler_rate(flow: &Flow) -> Option<Rate> {
    flow.rate.filter(|rate| rate.of == RateOf::Handler)
}

/// The front of one lane.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    pub(crate) state: LaneState,
    /// Priority, position and row, the most urgent first.
    pub(crate) rows: Vec<(i64, i64, i64)>,
}

/// One that a claim may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Higher first.
    pub(crate) priority: i64,
    /// Its place beside other handlers.
    pub(crate) place: i64,
    pub(crate) row: i64,
    /// Which of the lanes.
    pub(crate) lane: usize,
}

/// Urgency, round, turn and number of the lane.
type Order = (i64, usize, i64, usize);

/// The first `max` of these lanes, in the order in which they are to be taken.
pub(crate) fn rounds<'l>(lanes: impl IntoIterator<Item = &'l Lane>, max: usize) -> Vec<Candidate> {
    let mut all: Vec<(Order, i64, i64)> = Vec::new();
    for (number, lane) in lanes.into_iter().enumerate() {
        let mut rounds: HashMap<i64, usize> = HashMap::new();
        for (priority, position, row) in &lane.rows {
            let round = rounds.entry(*priority).or_default();
            all.push((
                (-priority, *round, lane.state.turn, number),
                *position,
                *row,
            ));
            *round += 1;
        }
    }
    all.sort_unstable();
    all.truncate(max);
    let mut places: Vec<(i64, i64)> = all.iter().map(|(key, at, _)| (key.0, *at)).collect();
    places.sort_unstable();
    let mut taken = Vec::with_capacity(all.len());
    for (((urgency, _, _, lane), _, row), (_, place)) in all.into_iter().zip(places) {
        taken.push(Candidate {
            priority: -urgency,
            place,
            row,
            lane,
        });
    }
    taken
}

/// How many were taken of each lane, in the order in which the lanes go on: that which was
/// served last is the last. `taken` are the lanes of what was taken, one after the other.
pub(crate) fn turns(taken: &[usize]) -> Vec<(usize, usize)> {
    let mut order: Vec<(usize, usize)> = Vec::new();
    let mut known: HashMap<usize, usize> = HashMap::new();
    for lane in taken.iter().rev() {
        match known.get(lane) {
            Some(at) => order[*at].1 += 1,
            None => {
                known.insert(*lane, order.len());
                order.push((*lane, 1));
            }
        }
    }
    order.reverse();
    order
}

#[cfg(test)]
mod tests;
