//! Owns [`Tx`]: what an operation works with, within a transaction of the writer.

use std::time::Duration;

use rusqlite::Connection;
use uuid::Uuid;

use super::{
    files::Files,
    room::{Free, Relief, Room},
    tally::Moves,
};
use crate::{clock::Timestamp, ending::Ending, settings::RetentionSettings, signals::News};
use pointsman_core::{command::CommandId, name::HandlerName};

/// What an operation works with, within a transaction.
pub(super) struct Tx<'c> {
    pub(super) connection: &'c Connection,
    pub(super) now: Timestamp,
    /// The time for leases.
    pub(super) steady: Timestamp,
    /// How far the wall clock was set since the last claim.
    pub(super) clock_moved_ms: i64,
    pub(super) depth_max: u64,
    pub(super) counts: Counts,
    pub(super) news: News,
    /// What is to be counted once it is committed.
    pub(super) moves: Moves,
    /// The next time that something falls due, once what is due now was looked
    /// after: one claim does it for all of a transaction, where no time passes.
    pub(super) due: Option<Option<Duration>>,
    pub(super) files: &'c Files,
    pub(super) room: &'c Room,
    pub(super) relief: &'c mut Relief,
    /// What is free for new commands, once one asked.
    pub(super) free: Option<(Free, u64)>,
    /// The bytes of a command that was refused for want of room.
    pub(super) refused: Option<u64>,
}

/// Figures that would be slow to count each time. Only a commit changes the writer's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Unfinished deliveries.
    pub(super) depth: u64,
    /// The newest place in the queue.
    pub(super) position: i64,
}

impl Tx<'_> {
    /// A place behind all others.
    pub(super) fn next_position(&mut self) -> rusqlite::Result<i64> {
        let next = self.counts.position.checked_add(1);
        // Only another program can have written a row that high.
        self.counts.position = next.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))?;
        Ok(self.counts.position)
    }

    /// What is free for new commands, and how much of it is left.
    pub(super) fn measure(&self) -> rusqlite::Result<(Free, u64)> {
        let free = self
            .room
            .free(self.connection, self.files.folder(), self.files.log_bytes())?;
        Ok((free, free.left(self.connection)?))
    }

    /// So many bytes of finished commands are kept at most.
    pub(super) fn history_max(&self, policy: &RetentionSettings) -> u64 {
        policy.bytes_max.min(self.room.history_max_bytes())
    }

    /// An attempt ended that began at `started_ms`.
    pub(super) fn attempted(
        &mut self,
        handler: &HandlerName,
        status: Ending,
        started_ms: Option<i64>,
    ) {
        let started = started_ms.map(Timestamp::from_millis);
        self.news.attempts.add(handler, status, started, self.now);
    }

    pub(super) fn changed(&mut self, command: Uuid) {
        self.news.changed.push(CommandId(command));
    }
}
