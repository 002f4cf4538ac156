//! Owns the history: how many attempts of each handler ended how, minute by minute,
//! and how long they took. It outlives the commands, for charts.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    clock::{Timestamp, millis},
    ending::Ending,
    error::QueueError,
};
use pointsman_core::name::HandlerName;

/// How long the history is kept.
pub const HISTORY_KEPT: Duration = Duration::from_secs(14 * 24 * 3600);
/// What of it stays where the store has to make room.
pub(crate) const HISTORY_SHORT: Duration = Duration::from_secs(24 * 3600);
/// The most points of one answer: a week by the hour, of twenty handlers with three endings.
pub const HISTORY_POINTS_MAX: usize = 10_000;
/// Attempts are counted by how long they took: up to each of these, in milliseconds,
/// and longer than the last.
pub const HISTORY_BOUNDS_MS: [u64; 5] = [10, 100, 1_000, 10_000, 100_000];
/// The shortest step, and what the store keeps.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

const PLACES: usize = HISTORY_BOUNDS_MS.len() + 1;

/// Which part of the history.
#[derive(Clone, Debug)]
pub struct HistoryFilter {
    /// Of this handler; none for all.
    pub handler: Option<HandlerName>,
    /// Attempts that ended at or after the minute of this time.
    pub from: Timestamp,
    /// Attempts that ended before the minute of this time.
    pub until: Timestamp,
    /// How much time one point covers: whole minutes.
    pub step: Duration,
}

/// The attempts of one handler that ended in one way, within one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPoint {
    /// When the step begins.
    pub at: Timestamp,
    /// The handler.
    pub handler: HandlerName,
    /// How they ended.
    pub status: Ending,
    /// How many.
    pub count: u64,
    /// How long they took together, in milliseconds.
    pub total_ms: u64,
    /// How many took up to each of [`HISTORY_BOUNDS_MS`] and no less, and longer.
    pub durations: [u64; PLACES],
}

impl HistoryFilter {
    /// The first minute, the one after the last, and the minutes of a step.
    pub(crate) fn minutes(&self) -> Result<(i64, i64, i64), QueueError> {
        let step = i64::try_from(self.step.as_secs() / 60).unwrap_or(i64::MAX);
        if step == 0 || self.step.subsec_nanos() > 0 || !self.step.as_secs().is_multiple_of(60) {
            return Err(QueueError::Invalid {
                field: "step",
                reason: "use whole minutes, such as `1m` or `1h`".to_owned(),
            });
        }
        Ok((minute(self.from), minute(self.until), step))
    }

    /// The error where there are more points than one answer has.
    pub(crate) fn too_many() -> QueueError {
        QueueError::Invalid {
            field: "step",
            reason: format!(
                "gives more than {HISTORY_POINTS_MAX} points: choose a longer one, a shorter time or one handler"
            ),
        }
    }
}

/// The minute of a time.
pub(crate) fn minute(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(millis(MINUTE))
}

/// When a minute begins.
pub(crate) fn begin(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute.saturating_mul(millis(MINUTE)))
}

/// Attempts that ended and are not yet in the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts(HashMap<(i64, HandlerName, Ending), Sums>);

/// What is known of some attempts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) count: i64,
    pub(crate) total_ms: i64,
    pub(crate) durations: [i64; PLACES],
}

impl Attempts {
    /// One that began at `started`, where that is known.
    pub(crate) fn add(
        &mut self,
        handler: &HandlerName,
        status: Ending,
        started: Option<Timestamp>,
        ended: Timestamp,
    ) {
        let sums = self
            .0
            .entry((minute(ended), handler.clone(), status))
            .or_default();
        sums.count += 1;
        if let Some(started) = started {
            let took_ms = ended.since(started).as_millis();
            let took_ms = u64::try_from(took_ms).unwrap_or(u64::MAX);
            let place = HISTORY_BOUNDS_MS
                .iter()
                .take_while(|bound| took_ms > **bound);
            sums.durations[place.count()] += 1;
            let took_ms = i64::try_from(took_ms).unwrap_or(i64::MAX);
            sums.total_ms = sums.total_ms.saturating_add(took_ms);
        }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn merge(&mut self, other: Self) {
        for (key, more) in other.0 {
            let sums = self.0.entry(key).or_default();
            sums.count += more.count;
            sums.total_ms = sums.total_ms.saturating_add(more.total_ms);
            for (place, more) in sums.durations.iter_mut().zip(more.durations) {
                *place += more;
            }
        }
    }

    /// Each minute, handler and ending, in one order for all hosts.
    pub(crate) fn rows(&self) -> Vec<(i64, &str, Ending, Sums)> {
        let rows = self.0.iter();
        let mut rows: Vec<_> = rows
            .map(|((minute, handler, status), sums)| (*minute, handler.as_str(), *status, *sums))
            .collect();
        rows.sort_unstable_by_key(|(minute, handler, status, _)| {
            (*minute, *handler, status.as_str())
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_by_minute_and_by_how_long_they_took() {
        let handler = HandlerName::parse("a").unwrap();
        let mut attempts = Attempts::default();
        let at = Timestamp::from_millis;
        for (started, ended) in [
            (Some(0), 10),
            (Some(0), 11),
            (Some(0), 59_999),
            // A clock that was set back meanwhile.
            (Some(500), 0),
            (None, 5),
        ] {
            attempts.add(&handler, Ending::HostLost, started.map(at), at(ended));
        }
        attempts.add(&handler, Ending::HostLost, Some(at(59_000)), at(60_000));
        let rows = attempts.rows();
        let rows: Vec<_> = rows
            .iter()
            .map(|(minute, _, _, sums)| (*minute, sums.count, sums.total_ms, sums.durations))
            .collect();
        assert_eq!(
            rows,
            [
                (0, 5, 60_020, [2, 1, 0, 0, 1, 0]),
                (1, 1, 1_000, [0, 0, 1, 0, 0, 0])
            ]
        );
    }

    #[test]
    fn a_step_is_whole_minutes() {
        let filter = |step| HistoryFilter {
            handler: None,
            from: Timestamp::from_millis(-1),
            until: Timestamp::from_millis(120_000),
            step: Duration::from_millis(step),
        };
        assert_eq!(filter(60_000).minutes().unwrap(), (-1, 2, 1));
        for step in [0, 59_000, 60_001, 90_000] {
            assert!(filter(step).minutes().is_err(), "{step}");
        }
    }
}
