//! Owns cron expressions: which times of day they name, and which instants these are
//! in a time zone whose clocks are put forward and back.

use std::str::FromStr;

use jiff::{
    SignedDuration, Timestamp, ToSpan as _,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};

/// How far ahead a time is looked for: from one 29 February past 1900 or 2100 to the
/// next there are eight years.
const YEARS_MAX: i16 = 9;
/// No clock is put forward by more.
const GAP_MAX: SignedDuration = SignedDuration::from_hours(25);

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A cron expression: five fields (minute, hour, day of month, month, day of week), or
/// six with the second before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cron {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both the day of the month and that of the week are named: either is enough.
    either_day: bool,
    /// The hour is `*` or `*/n`: it means a pace, not a time of day.
    is_pace: bool,
}

impl FromStr for Cron {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = match text {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            text => text,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let (second, [minute, hour, day, month, weekday]) = match fields[..] {
            [a, b, c, d, e] => ("0", [a, b, c, d, e]),
            [s, a, b, c, d, e] => (s, [a, b, c, d, e]),
            _ => {
                let count = fields.len();
                return Err(format!("has {count} fields: 5, or 6 with seconds first"));
            }
        };
        let weekdays = field(weekday, "day of week", (0, 7), &DAYS, 0)?;
        Ok(Self {
            seconds: field(second, "second", (0, 59), &[], 0)?,
            minutes: field(minute, "minute", (0, 59), &[], 0)?,
            hours: field(hour, "hour", (0, 23), &[], 0)?,
            days: field(day, "day of month", (1, 31), &[], 0)?,
            months: field(month, "month", (1, 12), &MONTHS, 1)?,
            // 7 is Sunday, too.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
            is_pace: hour.starts_with('*'),
        })
    }
}

/// The values of a field as bits.
fn field(
    text: &str,
    what: &str,
    (min, max): (u32, u32),
    names: &[&str],
    first_name: u32,
) -> Result<u64, String> {
    let wrong =
        || format!("`{text}` is no {what}: {min} to {max}, `*`, `a-b`, `*/n`, lists with `,`");
    let value = |text: &str| {
        let named = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(at) => u32::try_from(at).ok().map(|at| at + first_name),
            None => pointsman_core::integer::parse(text),
        };
        value.filter(|value| (min..=max).contains(value))
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step: Option<u32> = pointsman_core::integer::parse(step);
                (range, step.filter(|step| *step > 0).ok_or_else(wrong)?)
            }
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (min, max),
            Some((first, last)) => (
                value(first).ok_or_else(wrong)?,
                value(last).ok_or_else(wrong)?,
            ),
            None => {
                let first = value(range).ok_or_else(wrong)?;
                (first, if part.contains('/') { max } else { first })
            }
        };
        if first > last {
            return Err(wrong());
        }
        for value in (first..=last).step_by(step as usize) {
            bits |= 1 << value;
        }
    }
    Ok(bits)
}

/// The first bit of `bits` from `from` on.
fn first_from(bits: u64, from: i8) -> Option<i8> {
    let from = u32::try_from(from).ok().filter(|from| *from < 64)?;
    let left = bits >> from << from;
    (left != 0).then(|| i8::try_from(left.trailing_zeros()).unwrap_or(i8::MAX))
}

impl Cron {
    /// The first instant after `after`.
    ///
    /// A time of day that a clock which is put forward leaves out comes when it was put
    /// forward; one that comes twice counts the first time. Where the hour is `*`, each
    /// time that a clock shows counts, and none that it does not.
    pub(crate) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.is_pace {
            self.next_shown(after, zone)
        } else {
            self.next_of_day(after, zone)
        }
    }

    fn next_of_day(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut civil = zone.to_datetime(after).checked_sub(GAP_MAX).ok()?;
        loop {
            civil = self.next_civil(civil)?;
            let ambiguous = zone.to_ambiguous_timestamp(civil);
            let instant = match ambiguous.offset() {
                AmbiguousOffset::Gap { before, .. } => {
                    // The moment at which the clock was put forward: by the old offset
                    // this time of day comes at it or after it.
                    let late = before.to_timestamp(civil).ok()?;
                    let transition = zone
                        .preceding(late.checked_add(1.nanoseconds()).ok()?)
                        .next();
                    transition.map_or(late, |transition| transition.timestamp())
                }
                _ => ambiguous.earlier().ok()?,
            };
            if instant > after {
                return Some(instant);
            }
        }
    }

    fn next_shown(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let (mut from, mut inclusive) = (after, false);
        // Between two changes of the offset, time passes evenly.
        for _ in 0..4 * YEARS_MAX {
            let offset = zone.to_offset(from);
            let mut civil = offset.to_datetime(from);
            if inclusive {
                civil = civil.checked_sub(1.second()).ok()?;
            }
            let found = self.next_civil(civil);
            let found = found.and_then(|civil| offset.to_timestamp(civil).ok());
            let change = zone.following(from).next().map(|change| change.timestamp());
            match (found, change) {
                (Some(found), Some(change)) if found >= change => {
                    (from, inclusive) = (change, true);
                }
                (None, Some(change)) => (from, inclusive) = (change, true),
                (found, _) => return found,
            }
        }
        None
    }

    /// The first time of day that it names after this one.
    fn next_civil(&self, after: DateTime) -> Option<DateTime> {
        let start = after.checked_add(1.second()).ok()?;
        let (mut date, mut time) = (start.date(), start.time());
        let last_year = date.year().checked_add(YEARS_MAX)?;
        while date.year() <= last_year {
            if !has(self.months, date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
                time = Time::midnight();
                continue;
            }
            if self.is_day(date)
                && let Some(time) = self.next_time(time)
            {
                return Some(date.to_datetime(time));
            }
            date = date.tomorrow().ok()?;
            time = Time::midnight();
        }
        None
    }

    fn is_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.either_day {
            day || weekday
        } else {
            day && weekday
        }
    }

    /// The first time from `from` on, in whole seconds.
    fn next_time(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let first = |bits| first_from(bits, 0);
        let found = |hour, minute, second| Time::new(hour, minute, second, 0).ok();
        if has(self.hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = first_from(self.seconds, second)
            {
                return found(hour, minute, second);
            }
            if let Some(minute) = first_from(self.minutes, minute + 1) {
                return found(hour, minute, first(self.seconds)?);
            }
        }
        let hour = first_from(self.hours, hour + 1)?;
        found(hour, first(self.minutes)?, first(self.seconds)?)
    }
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits >> value & 1 == 1)
}

#[cfg(test)]
mod tests;
