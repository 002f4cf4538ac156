//! Owns what the store knows of schedules: up to which time each was dealt with, so
//! that however many hosts there are, each of its times comes up once.

use super::{clock::Timestamp, model::NewCommand};
use pointsman_core::{command::CommandId, name::RuleName};

/// The most schedules that are asked for at once.
pub const SCHEDULES_STEP: usize = 1000;

/// What the store knows of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Its name.
    pub name: RuleName,
    /// The last of its times that was dealt with; when it was first seen, before the first.
    pub last: Timestamp,
    /// Since when it is paused by hand.
    pub paused: Option<Timestamp>,
    /// When it last enqueued a command.
    pub fired: Option<Timestamp>,
    /// The last command that it enqueued.
    pub command: Option<CommandId>,
}

/// Times of a schedule that came up.
#[derive(Clone, Debug)]
pub struct Firing {
    /// The schedule.
    pub name: RuleName,
    /// The last of its times that was dealt with before.
    pub last: Timestamp,
    /// The last that is dealt with now.
    pub until: Timestamp,
    /// What is enqueued: a command for each time that counts.
    pub commands: Vec<NewCommand>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiringResult {
    /// Whether the commands were stored. Otherwise another host was first, the schedule is
    /// paused, or its time has not come by the clock of the store.
    pub fired: bool,
    /// The schedule as it is now.
    pub row: ScheduleRow,
    /// The time by which the store decides.
    pub now: Timestamp,
}

/// Schedules by name, with the time by which the store decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedules {
    /// In the order of their names.
    pub rows: Vec<ScheduleRow>,
    /// The time of the store.
    pub now: Timestamp,
}

/// What an operator asks of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleChange {
    /// It enqueues nothing until it is resumed.
    Pause,
    /// It goes on with its next time: what came up meanwhile is left out.
    Resume,
}

impl ScheduleRow {
    /// One that is new.
    pub(crate) fn new(name: RuleName, now: Timestamp) -> Self {
        Self {
            name,
            last: now,
            paused: None,
            fired: None,
            command: None,
        }
    }

    /// Whether these times of it may come up now.
    pub(crate) fn admits(&self, firing: &Firing, now: Timestamp) -> bool {
        self.paused.is_none() && self.last == firing.last && firing.until <= now
    }

    /// After that.
    pub(crate) fn fire(&mut self, firing: &Firing, now: Timestamp) {
        self.last = firing.until;
        if let Some(command) = firing.commands.last() {
            (self.fired, self.command) = (Some(now), Some(command.id));
        }
    }

    /// After what an operator asks.
    pub(crate) fn change(&mut self, change: ScheduleChange, now: Timestamp) {
        match change {
            ScheduleChange::Pause => self.paused = self.paused.or(Some(now)),
            ScheduleChange::Resume => {
                if self.paused.take().is_some() {
                    self.last = self.last.max(now);
                }
            }
        }
    }
}
