//! Owns the schedules of one host: it enqueues what comes up, once among all hosts, and
//! shows what comes next.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use pointsman_core::name::RuleName;
use pointsman_queue::{
    Firing, NewCommand, QueueError, SCHEDULES_STEP, ScheduleChange, ScheduleRow, Store, Timestamp,
};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Accepted, EnqueueError, EnqueueOptions, Queue, services};
use crate::{
    command::{Command, CommandId},
    dispatcher::{DispatchError, Dispatcher, Routed},
    rules::{RuleFile, Schedule},
    snapshot::Snapshot,
};

/// The longest wait between looks: the clock may be set, and files change.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How many of its next times a schedule shows.
const NEXT_SHOWN: usize = 5;

/// A schedule as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleView {
    /// Its name.
    pub name: String,
    /// When it is due: a cron expression with its time zone, or a pace.
    pub when: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What becomes of times at which no host was there.
    pub missed: String,
    /// Up to how much later it fires, in milliseconds.
    pub jitter_ms: u64,
    /// Whether it is left alone, by its file or by hand.
    pub paused: bool,
    /// Since when it is paused by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<Timestamp>,
    /// When it last enqueued a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired_at: Option<Timestamp>,
    /// The last command that it enqueued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
    /// Its next times; none while it is paused.
    pub next: Vec<Timestamp>,
    /// The rule file.
    pub file: String,
    /// The line in it.
    pub line: u32,
}

fn queue_time(time: jiff::Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millisecond())
}

fn rule_time(time: Timestamp) -> jiff::Timestamp {
    // Past the year 9999 no schedule is due.
    jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or(jiff::Timestamp::MAX)
}

impl ScheduleView {
    fn new(schedule: &Schedule, row: &ScheduleRow, now: Timestamp) -> Self {
        let paused = schedule.paused || row.paused.is_some();
        let next = |at: &jiff::Timestamp| schedule.next(*at);
        let next = std::iter::successors(schedule.next(rule_time(now)), next);
        Self {
            name: schedule.name.to_string(),
            when: schedule.cadence.to_string(),
            description: schedule.description.as_deref().map(str::to_owned),
            missed: schedule.missed.as_str().to_owned(),
            jitter_ms: u64::try_from(schedule.jitter.as_millis()).unwrap_or(u64::MAX),
            paused,
            paused_since: row.paused,
            fired_at: row.fired,
            command_id: row.command,
            next: match paused {
                true => Vec::new(),
                false => next.take(NEXT_SHOWN).map(queue_time).collect(),
            },
            file: schedule.file.to_string(),
            line: schedule.line,
        }
    }
}

impl Queue {
    /// The schedules after the name `after`, by name, and so many at most.
    ///
    /// # Errors
    /// The store's.
    pub async fn schedules(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScheduleView>, QueueError> {
        let snapshot = self.dispatcher.snapshot();
        let mut found: Vec<&Schedule> = snapshot
            .rules
            .schedules()
            .filter(|one| after.is_none_or(|after| one.name.as_str() > after))
            .collect();
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        found.truncate(limit);
        let mut views = Vec::with_capacity(found.len());
        for some in found.chunks(SCHEDULES_STEP) {
            let names = some.iter().map(|schedule| schedule.name.clone()).collect();
            let known = self.store.schedules(names).await?;
            let rows: HashMap<_, _> = known.rows.iter().map(|row| (&row.name, row)).collect();
            views.extend(some.iter().filter_map(|schedule| {
                let row = rows.get(&schedule.name)?;
                Some(ScheduleView::new(schedule, row, known.now))
            }));
        }
        Ok(views)
    }

    /// Pauses a schedule or lets it go on.
    ///
    /// # Errors
    /// [`QueueError::UnknownSchedule`], or the store's.
    pub async fn change_schedule(
        &self,
        name: &str,
        change: ScheduleChange,
    ) -> Result<ScheduleView, QueueError> {
        let snapshot = self.dispatcher.snapshot();
        let schedule = known(&snapshot, name)?;
        let name = schedule.name.clone();
        let row = self.store.change_schedule(name, change).await?;
        Ok(ScheduleView::new(schedule, &row, Timestamp::now()))
    }

    /// Enqueues the command of a schedule now, besides its times.
    ///
    /// # Errors
    /// [`QueueError::UnknownSchedule`], and those of [`Queue::enqueue`].
    pub async fn run_schedule(&self, name: &str) -> Result<Accepted, EnqueueError> {
        let snapshot = self.dispatcher.snapshot();
        let attributes = &known(&snapshot, name)?.attributes;
        let command = Command::trusted(CommandId::generate(), attributes);
        self.enqueue(&command, EnqueueOptions::default()).await
    }
}

fn known<'s>(snapshot: &'s Snapshot, name: &str) -> Result<&'s Schedule, QueueError> {
    let mut all = snapshot.rules.schedules();
    let found = all.find(|schedule| schedule.name.as_str() == name);
    found.ok_or_else(|| QueueError::UnknownSchedule(name.to_owned()))
}

/// Enqueues what comes up.
pub(super) struct Scheduler {
    pub(super) store: Arc<dyn Store>,
    pub(super) dispatcher: Dispatcher,
    pub(super) accept_unmatched: bool,
}

/// The schedules of one generation, and which is due next.
#[derive(Default)]
struct Plan {
    generation: u64,
    entries: Vec<Entry>,
    due: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// How far the store's clock is ahead of the host's, in milliseconds.
    ahead_ms: i64,
}

struct Entry {
    file: Arc<RuleFile>,
    at: usize,
    /// The last of its times that was dealt with.
    last: Timestamp,
}

impl Entry {
    fn schedule(&self) -> &Schedule {
        &self.file.schedules()[self.at]
    }
}

impl Plan {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now().as_millis();
        Timestamp::from_millis(now.saturating_add(self.ahead_ms))
    }

    fn is_now(&mut self, now: Timestamp) {
        self.ahead_ms = now.as_millis() - Timestamp::now().as_millis();
    }

    /// The next time of an entry after `after` is waited for.
    fn wait_for(&mut self, number: usize, after: Timestamp) {
        let next = self.entries[number].schedule().next(rule_time(after));
        let next = next.map(|next| Reverse((queue_time(next), number)));
        self.due.extend(next);
    }
}

impl Scheduler {
    /// Works until `stop`.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        let mut plan = Plan::default();
        let mut failing = false;
        while !stop.is_cancelled() {
            let wait = match self.step(&mut plan, stop).await {
                Ok(wait) => {
                    if failing {
                        info!("schedules go on");
                    }
                    failing = false;
                    wait
                }
                Err(error) => {
                    if !failing {
                        warn!(code = error.code(), %error, "schedules wait: a command could not be enqueued");
                    }
                    failing = true;
                    RETRY
                }
            };
            stop.run_until_cancelled(sleep(wait)).await;
        }
    }

    /// Enqueues what is due now; how long until the next look.
    async fn step(
        &self,
        plan: &mut Plan,
        stop: &CancellationToken,
    ) -> Result<Duration, EnqueueError> {
        let snapshot = self.dispatcher.snapshot();
        if plan.generation != snapshot.generation {
            *plan = self.plan(&snapshot).await?;
        }
        let mut now = plan.now();
        while let Some(Reverse((due, number))) = plan.due.peek().copied() {
            if due > now {
                return Ok(due.since(now).min(LOOK_MAX));
            }
            if stop.is_cancelled() {
                break;
            }
            // It stays the first where that fails.
            let after = self.fire(plan, number, now).await?;
            plan.due.pop();
            plan.wait_for(number, after);
            now = plan.now();
        }
        Ok(LOOK_MAX)
    }

    /// The schedules of this generation, as far as each was dealt with.
    async fn plan(&self, snapshot: &Snapshot) -> Result<Plan, QueueError> {
        let files = snapshot.rule_files.iter();
        let all = files
            .filter_map(|state| state.file.clone())
            .flat_map(|file| {
                let count = file.schedules().len();
                (0..count).map(move |at| (Arc::clone(&file), at))
            });
        let all: Vec<_> = all.collect();
        let mut plan = Plan {
            generation: snapshot.generation,
            ..Plan::default()
        };
        for some in all.chunks(SCHEDULES_STEP) {
            let names = some
                .iter()
                .map(|(file, at)| file.schedules()[*at].name.clone());
            let known = self.store.schedules(names.collect()).await?;
            plan.is_now(known.now);
            let lasts = known.rows.into_iter().map(|row| (row.name, row.last));
            let lasts: HashMap<RuleName, Timestamp> = lasts.collect();
            for (file, at) in some {
                let Some(last) = lasts.get(&file.schedules()[*at].name) else {
                    continue;
                };
                plan.entries.push(Entry {
                    file: Arc::clone(file),
                    at: *at,
                    last: *last,
                });
                plan.wait_for(plan.entries.len() - 1, *last);
            }
        }
        Ok(plan)
    }

    /// Enqueues what is due of one; the time after which to look for its next one.
    async fn fire(
        &self,
        plan: &mut Plan,
        number: usize,
        now: Timestamp,
    ) -> Result<Timestamp, EnqueueError> {
        let entry = &plan.entries[number];
        let schedule = entry.schedule();
        let due = schedule.due(rule_time(entry.last), rule_time(now));
        let Some(until) = due.until else {
            return Ok(entry.last);
        };
        let mut commands = Vec::with_capacity(due.fire.len());
        if !schedule.paused {
            for at in due.fire {
                commands.extend(self.command(schedule, queue_time(at)).await?);
            }
        }
        let (name, count) = (schedule.name.clone(), commands.len());
        let firing = Firing {
            name: name.clone(),
            last: entry.last,
            until: queue_time(until),
            commands,
        };
        let result = self.store.fire(firing).await?;
        plan.is_now(result.now);
        plan.entries[number].last = result.row.last;
        if result.fired && count > 0 {
            info!(schedule = %name, commands = count, "fired");
        }
        Ok(match result.row.paused {
            // What comes up while it is paused is left out.
            Some(_) => result.row.last.max(now),
            None => result.row.last,
        })
    }

    /// The command for the time `at`; none where the rules send it nowhere.
    async fn command(
        &self,
        schedule: &Schedule,
        at: Timestamp,
    ) -> Result<Option<NewCommand>, DispatchError> {
        let command = Command::trusted(CommandId::generate(), &schedule.attributes);
        let mut routed = self.dispatcher.route(&command).await;
        if !self.accept_unmatched {
            routed = routed.and_then(Routed::matched);
        }
        let routed = match routed {
            Ok(routed) => routed,
            Err(error) if error.is_of_rules() => {
                warn!(schedule = %schedule.name, code = error.code(), %error, "the command of a schedule goes nowhere");
                self.dispatcher.metrics().refused(error.code());
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let deliveries = services::deliveries(&self.dispatcher, &routed, &command).await?;
        let late = schedule.jitter.mul_f64(spread(schedule, at));
        Ok(Some(NewCommand {
            id: command.id,
            run_at: (!late.is_zero()).then(|| at.after(late)),
            rules_generation: routed.snapshot.generation,
            ..NewCommand::new(command.attributes(), deliveries)
        }))
    }
}

/// Evenly from 0 to 1, the same for the same time on every host.
fn spread(schedule: &Schedule, at: Timestamp) -> f64 {
    let mut hasher = DefaultHasher::new();
    (schedule.name.as_str(), at).hash(&mut hasher);
    f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX)
}
