//! Owns what calls came to in each of the last minutes, for people who look at
//! this host: how many, how they ended, how long they took.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Minutes that are remembered, the current one included.
pub const RECENT_MINUTES: usize = 60;
/// Durations are counted in steps of which four double them, so that a percentile is
/// at most a fifth too high; the last one, from some 300 hours on, is open.
const STEPS: usize = 4 * 38;

/// Calls of the last minutes. Its lock is held for some nanoseconds.
#[derive(Debug)]
pub struct Recent {
    began: Instant,
    minutes: Mutex<Box<[Minute; RECENT_MINUTES]>>,
}

/// What one minute came to.
#[derive(Clone, Debug)]
struct Minute {
    // Since the beginning, from 1; 0 is none.
    number: u64,
    succeeded: u64,
    failed: u64,
    durations: [u32; STEPS],
}

impl Minute {
    const NONE: Self = Self {
        number: 0,
        succeeded: 0,
        failed: 0,
        durations: [0; STEPS],
    };
}

/// Calls that ended within one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCount {
    /// Those that succeeded.
    pub succeeded: u64,
    /// All others.
    pub failed: u64,
}

/// The last minutes of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastMinutes {
    /// The oldest first; the current minute, which goes on, is the last.
    pub counts: Vec<CallCount>,
    /// Half of the calls took no longer; none without calls.
    pub median: Option<Duration>,
    /// 99 of 100 took no longer.
    pub p99: Option<Duration>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            minutes: Mutex::new(Box::new([Minute::NONE; RECENT_MINUTES])),
        }
    }
}

impl Recent {
    /// A call ended.
    pub fn call(&self, succeeded: bool, duration: Duration) {
        self.call_in(self.number(), succeeded, duration);
    }

    fn call_in(&self, number: u64, succeeded: bool, duration: Duration) {
        let mut minutes = self.minutes();
        let minute = &mut minutes[index(number)];
        if minute.number != number {
            *minute = Minute {
                number,
                ..Minute::NONE
            };
        }
        if succeeded {
            minute.succeeded += 1;
        } else {
            minute.failed += 1;
        }
        let count = &mut minute.durations[step(duration)];
        *count = count.saturating_add(1);
    }

    /// The last minutes until now.
    #[must_use]
    pub fn last(&self) -> LastMinutes {
        self.last_at(self.number())
    }

    fn last_at(&self, now: u64) -> LastMinutes {
        let mut durations = [0_u64; STEPS];
        let minutes = self.minutes();
        let numbers = (0..RECENT_MINUTES as u64)
            .rev()
            .map(|ago| now.checked_sub(ago));
        let counts = numbers.map(|number| {
            let minute = number.map(|number| (number, &minutes[index(number)]));
            let found = minute.filter(|(number, minute)| *number > 0 && minute.number == *number);
            let Some((_, minute)) = found else {
                return CallCount::default();
            };
            for (sum, count) in durations.iter_mut().zip(minute.durations) {
                *sum += u64::from(count);
            }
            CallCount {
                succeeded: minute.succeeded,
                failed: minute.failed,
            }
        });
        LastMinutes {
            counts: counts.collect(),
            median: percentile(&durations, 50),
            p99: percentile(&durations, 99),
        }
    }

    fn number(&self) -> u64 {
        1 + self.began.elapsed().as_secs() / 60
    }

    fn minutes(&self) -> MutexGuard<'_, Box<[Minute; RECENT_MINUTES]>> {
        // Nothing panics while it is held but an overflow of a count.
        self.minutes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(number: u64) -> usize {
    (number % RECENT_MINUTES as u64) as usize
}

/// Two bits below the highest one tell four steps of a doubling apart.
fn step(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros())
        .unwrap_or(u64::MAX)
        .max(4);
    let doubling = 63 - micros.leading_zeros();
    let quarter = (micros >> (doubling - 2)) & 3;
    (4 * (doubling as usize - 2) + quarter as usize).min(STEPS - 1)
}

/// The largest duration of a step.
fn end(step: usize) -> Duration {
    let (doubling, quarter) = (step / 4, step as u64 % 4);
    Duration::from_micros(((5 + quarter) << doubling) - 1)
}

fn percentile(durations: &[u64; STEPS], percent: u64) -> Option<Duration> {
    let all: u64 = durations.iter().sum();
    let rank = (all * percent).div_ceil(100);
    let mut seen = 0;
    let found = durations.iter().position(|count| {
        seen += count;
        seen >= rank && all > 0
    });
    found.map(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minute_counts_its_own_calls_and_leaves_after_an_hour() {
        let recent = Recent::default();
        recent.call_in(1, true, Duration::from_millis(1));
        recent.call_in(1, false, Duration::from_millis(1));
        recent.call_in(3, true, Duration::from_millis(1));
        let count = |succeeded, failed| CallCount { succeeded, failed };
        let last = recent.last_at(3).counts;
        assert_eq!(last.len(), RECENT_MINUTES);
        assert_eq!(last[57..], [count(1, 1), count(0, 0), count(1, 0)]);
        assert_eq!(recent.last_at(60).counts[0], count(1, 1));
        let later = recent.last_at(61);
        assert_eq!(later.counts[0], count(0, 0));
        assert_eq!(later.counts[1], count(1, 0));
        assert_eq!(recent.last_at(500).median, None);
        // The place of minute 1, taken by another.
        recent.call_in(61, true, Duration::from_millis(1));
        assert_eq!(recent.last_at(61).counts[59], count(1, 0));
    }

    #[test]
    fn a_percentile_is_at_most_a_quarter_too_high_and_never_too_low() {
        for micros in [0, 1, 5, 999, 10_000, 1_002_000, 3_600_000_000_u64] {
            let duration = Duration::from_micros(micros);
            let shown = end(step(duration));
            assert!(shown >= duration, "{micros}: {shown:?}");
            assert!(
                shown <= duration.max(Duration::from_micros(4)) * 5 / 4,
                "{micros}: {shown:?}"
            );
        }
        let recent = Recent::default();
        for _ in 0..98 {
            recent.call_in(1, true, Duration::from_millis(1));
        }
        for _ in 0..2 {
            recent.call_in(1, false, Duration::from_secs(3));
        }
        let last = recent.last_at(1);
        assert!(last.median.unwrap() < Duration::from_micros(1_250));
        assert!(last.p99.unwrap() >= Duration::from_secs(3));
        recent.call_in(1, true, Duration::MAX);
    }
}
