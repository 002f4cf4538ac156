//! Owns schedules: commands that a host enqueues by itself, at times that a rule file
//! names, and which of the times that were missed still count.

mod cron;

use std::{fmt, sync::Arc, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use pointsman_core::name::RuleName;

pub(crate) use cron::Cron;

/// A time counts as missed where it is longer ago: no host was there.
pub const MISSED_AFTER: Duration = Duration::from_secs(60);
/// Times that come up at once at most; the rest follows.
const AT_ONCE_MAX: usize = 1000;

/// A command with the times at which it is enqueued.
#[derive(Debug)]
pub struct Schedule {
    /// Its name, unique among all rule files.
    pub name: RuleName,
    /// When it is due.
    pub cadence: Cadence,
    /// What becomes of times at which no host was there.
    pub missed: Missed,
    /// Up to so much later, evenly spread.
    pub jitter: Duration,
    /// Whether it is left alone, as the file says.
    pub paused: bool,
    /// The JSON text of the command's attributes.
    pub attributes: Box<str>,
    /// For people.
    pub description: Option<Box<str>>,
    /// The rule file.
    pub file: Arc<str>,
    /// The line in it.
    pub line: u32,
}

/// When a schedule is due.
#[derive(Debug)]
pub struct Cadence(pub(crate) Kind);

#[derive(Debug)]
pub(crate) enum Kind {
    Cron {
        text: Box<str>,
        cron: Box<Cron>,
        zone: TimeZone,
    },
    /// At each multiple of it since 1970.
    Every(Duration),
}

/// What becomes of times at which no host was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// Nothing.
    Skip,
    /// The last of them is made up for, unless one is due just now.
    #[default]
    Last,
    /// Each is made up for.
    All,
}

impl Missed {
    /// The names, in order of the variants.
    pub(crate) const NAMES: [&str; 3] = ["skip", "last", "all"];

    /// The name, as in rule files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// The times that came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// At which the command is enqueued, once for each.
    pub fire: Vec<Timestamp>,
    /// The last time that is dealt with by that.
    pub until: Option<Timestamp>,
}

impl Schedule {
    /// The first time after this one; none where there is none for years.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.cadence.0 {
            Kind::Cron { cron, zone, .. } => cron.next(after, zone),
            Kind::Every(every) => {
                let every = i64::try_from(every.as_secs())
                    .ok()
                    .filter(|every| *every > 0)?;
                let next = after.as_second().div_euclid(every).checked_add(1)?;
                Timestamp::from_second(next.checked_mul(every)?).ok()
            }
        }
    }

    /// What came up after `last` and by `now`.
    #[must_use]
    pub fn due(&self, last: Timestamp, now: Timestamp) -> Due {
        if self.next(last).is_none_or(|next| next > now) {
            return Due::default();
        }
        if self.missed == Missed::All {
            let fire = self.between(last, now);
            let until = fire.last().copied();
            return Due { fire, until };
        }
        let recent = now.checked_sub(MISSED_AFTER).unwrap_or(last).max(last);
        let mut fire = self.between(recent, now);
        let latest = fire.last().copied().or_else(|| self.latest(last, now));
        if fire.is_empty() && self.missed == Missed::Last {
            fire.extend(latest);
        }
        Due {
            fire,
            until: latest,
        }
    }

    fn between(&self, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let next = |at: &Timestamp| self.next(*at).filter(|next| *next <= until);
        let times = std::iter::successors(next(&after), next);
        times.take(AT_ONCE_MAX).collect()
    }

    /// The last time after `after` and by `until`, however many there are.
    fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let within = |from: Timestamp| self.next(from).filter(|next| *next <= until);
        let (mut latest, mut end) = (within(after)?, until);
        // There is none after `end`: what is left is halved.
        while end > latest {
            let half = end.duration_since(latest) / 2;
            let Ok(middle) = latest.checked_add(half) else {
                break;
            };
            match within(middle) {
                Some(later) => latest = later,
                None if middle == end || half.is_zero() => break,
                None => end = middle,
            }
        }
        Some(latest)
    }
}

impl fmt::Display for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Cron { text, zone, .. } => match zone.iana_name() {
                Some("UTC") | None => f.write_str(text),
                Some(zone) => write!(f, "{text} ({zone})"),
            },
            Kind::Every(every) => {
                write!(
                    f,
                    "every {}",
                    pointsman_core::settings::duration::text(*every)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cadence: Kind, missed: Missed) -> Schedule {
        Schedule {
            name: RuleName::parse("s").unwrap(),
            cadence: Cadence(cadence),
            missed,
            jitter: Duration::ZERO,
            paused: false,
            attributes: "{}".into(),
            description: None,
            file: "s.json".into(),
            line: 1,
        }
    }

    fn cron(text: &str, missed: Missed) -> Schedule {
        let cadence = Kind::Cron {
            text: text.into(),
            cron: Box::new(text.parse().unwrap()),
            zone: TimeZone::UTC,
        };
        schedule(cadence, missed)
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    #[test]
    fn a_host_that_slept_over_ten_times_makes_up_for_what_the_schedule_says() {
        let (last, now) = (at("00:00:00"), at("10:30:00"));
        let due = |missed| cron("0 * * * *", missed).due(last, now);
        let until = Some(at("10:00:00"));
        let fire = vec![];
        assert_eq!(due(Missed::Skip), Due { fire, until });
        let fire = vec![at("10:00:00")];
        assert_eq!(due(Missed::Last), Due { fire, until });
        let all = due(Missed::All);
        assert_eq!((all.fire.len(), all.until), (10, until));
    }

    #[test]
    fn what_is_due_now_is_no_miss() {
        let (last, now) = (at("00:00:00"), at("10:00:30"));
        for missed in [Missed::Skip, Missed::Last] {
            let due = cron("0 * * * *", missed).due(last, now);
            assert_eq!(due.fire, [at("10:00:00")], "{missed:?}");
        }
        let none = cron("0 * * * *", Missed::All).due(at("10:00:00"), now);
        assert_eq!(none, Due::default());
        // A clock that was set back fires nothing again.
        let back = cron("0 * * * *", Missed::All).due(at("12:00:00"), now);
        assert_eq!(back, Due::default());
    }

    #[test]
    fn the_latest_of_millions_is_found_at_once() {
        let start: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
        let due = cron("* * * 1 *", Missed::Last);
        let due = due.due(start, "2025-12-24T00:00:00Z".parse().unwrap());
        let last = "2025-01-31T23:59:00Z".parse().unwrap();
        assert_eq!(due.until, Some(last));
        assert_eq!(due.fire, [last]);
        let all = schedule(Kind::Every(Duration::from_secs(1)), Missed::All);
        let all = all.due(start, at("00:00:00"));
        assert_eq!(all.fire.len(), AT_ONCE_MAX);
        assert_eq!(all.until, all.fire.last().copied());
    }

    #[test]
    fn every_is_counted_from_1970_whenever_a_host_starts() {
        let quarter = schedule(Kind::Every(Duration::from_secs(900)), Missed::Skip);
        assert_eq!(quarter.next(at("00:00:00")), Some(at("00:15:00")));
        assert_eq!(quarter.next(at("00:14:59")), Some(at("00:15:00")));
    }
}
