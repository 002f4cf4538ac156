//! Owns the keys of a schedule in a rule file.

use std::time::Duration;

use jiff::tz::TimeZone;
use pointsman_core::settings::duration;
use rustc_hash::FxHashMap;

use super::{Member, Node, NodeValue, Read, Reader, excerpt, find};
use crate::schedule::{Cadence, Cron, Kind, Missed, Schedule};

/// The most schedules in one file.
const MAX_SCHEDULES: usize = 100_000;
/// The longest jitter: a day.
const JITTER_MAX: Duration = Duration::from_secs(24 * 3600);

const SCHEDULE_KEYS: [&str; 9] = [
    "command",
    "cron",
    "description",
    "every",
    "jitter",
    "missed",
    "name",
    "paused",
    "timezone",
];

impl Reader<'_, '_> {
    pub(super) fn schedules(&mut self, node: &Node<'_>) -> Read<Box<[Schedule]>> {
        let nodes = self.items(node, "`schedules`", MAX_SCHEDULES)?;
        let mut lines = FxHashMap::default();
        let mut schedules = Vec::with_capacity(nodes.len());
        for node in nodes {
            let schedule = self.schedule(node)?;
            if let Some(line) = lines.insert(schedule.name.clone(), schedule.line) {
                let name = &schedule.name;
                let message = format!("the schedule name `{name}` is used twice in this file");
                let hint = format!("the other one is on line {line}");
                let error = self
                    .source
                    .error_with_hint(node.at, "name-twice", message, hint);
                return Err(error);
            }
            schedules.push(schedule);
        }
        Ok(schedules.into())
    }

    fn schedule(&mut self, node: &Node<'_>) -> Read<Schedule> {
        let members = self.object(node, "a schedule", &SCHEDULE_KEYS)?;
        let require = |key: &str| {
            find(members, key).ok_or_else(|| {
                let hint = "a schedule has at least `name`, `command` and `cron` or `every`";
                let message = format!("this schedule has no `{key}`");
                self.source
                    .error_with_hint(node.at, "missing-key", message, hint)
            })
        };
        let (name, command) = (self.name(require("name")?)?, require("command")?);
        if !matches!(command.value, NodeValue::Object(_)) {
            return self.wrong_kind(command, "`command`", "an object: the attributes");
        }
        self.command(command, "the schedule's")?;
        let missed = match find(members, "missed") {
            Some(node) => {
                let at = self.one_of(node, "`missed`", &Missed::NAMES)?;
                [Missed::Skip, Missed::Last, Missed::All][at]
            }
            None => Missed::default(),
        };
        let paused = match find(members, "paused").map(|node| (node, &node.value)) {
            None => false,
            Some((_, NodeValue::Bool(value))) => *value,
            Some((node, _)) => return self.wrong_kind(node, "`paused`", "true or false"),
        };
        let jitter = match find(members, "jitter") {
            Some(node) => self.duration(node, "`jitter`", Duration::ZERO..=JITTER_MAX)?,
            None => Duration::ZERO,
        };
        let description = match find(members, "description") {
            Some(node) => Some(self.text(node, "`description`")?.into()),
            None => None,
        };
        Ok(Schedule {
            name,
            cadence: Cadence(self.cadence(node, members)?),
            missed,
            jitter,
            paused,
            attributes: self.json_text(command),
            description,
            file: self.path.clone(),
            line: self.position(node.at).0,
        })
    }

    fn cadence(&self, schedule: &Node<'_>, members: &[Member<'_>]) -> Read<Kind> {
        let zone = find(members, "timezone");
        let wrong = |node: &Node<'_>, message: &str, hint: &str| {
            Err(self
                .source
                .error_with_hint(node.at, "invalid-schedule", message, hint))
        };
        match (find(members, "cron"), find(members, "every")) {
            (Some(node), None) => {
                let text = self.text(node, "`cron`")?;
                let cron: Cron = text.parse().map_err(|error| {
                    let message = format!("`cron`: {error}");
                    self.source.error(node.at, "invalid-schedule", message)
                })?;
                let zone = zone.map(|zone| self.zone(zone)).transpose()?;
                let zone = zone.unwrap_or(TimeZone::UTC);
                if cron.next(jiff::Timestamp::UNIX_EPOCH, &zone).is_none() {
                    return wrong(
                        node,
                        "`cron` names no day that ever comes",
                        "check day and month",
                    );
                }
                Ok(Kind::Cron {
                    text: text.into(),
                    cron: Box::new(cron),
                    zone,
                })
            }
            (None, Some(node)) => {
                if let Some(zone) = zone {
                    let message = "`timezone` means nothing with `every`";
                    return wrong(zone, message, "use `cron` for times of day");
                }
                let range = Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 3600);
                let every = self.duration(node, "`every`", range)?;
                if every.subsec_nanos() > 0 {
                    return wrong(node, "`every` must be whole seconds", "the least is `1s`");
                }
                Ok(Kind::Every(every))
            }
            (Some(_), Some(node)) => wrong(
                node,
                "a schedule has `cron` or `every`, not both",
                "keep one",
            ),
            (None, None) => wrong(
                schedule,
                "this schedule does not say when",
                "add `cron`, such as `\"0 3 * * *\"`, or `every`, such as `\"15m\"`",
            ),
        }
    }

    fn zone(&self, node: &Node<'_>) -> Read<TimeZone> {
        let name = self.text(node, "`timezone`")?;
        TimeZone::get(name).map_err(|_| {
            let message = format!("`timezone`: there is no time zone `{}`", excerpt(name));
            let hint = "use a name of the IANA database, such as `Europe/Berlin`";
            self.source
                .error_with_hint(node.at, "invalid-schedule", message, hint)
        })
    }

    fn duration(
        &self,
        node: &Node<'_>,
        what: &str,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Read<Duration> {
        let text = self.text(node, what)?;
        let found = duration::parse(text).filter(|found| range.contains(found));
        found.ok_or_else(|| {
            let (min, max) = (duration::text(*range.start()), duration::text(*range.end()));
            let message = format!("{what} cannot be `{}`", excerpt(text));
            let hint = format!("use {min} to {max}, such as `90s`, `15m` or `2h`");
            self.source
                .error_with_hint(node.at, "invalid-schedule", message, hint)
        })
    }
}
