//! Owns the room of the store. Part of it is kept for work under way: claims,
//! settlements and sweeps always fit, as a command is refused before their part
//! is touched. Where it is short, finished commands give way at once.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use crate::policy::Pass;

/// The most that is kept free: what `queue.concurrency` runs may answer, with
/// the defaults of both.
const RESERVE_MAX_BYTES: u64 = 64 << 20;
/// The least: a claim and a settlement touch some dozen pages.
const RESERVE_MIN_BYTES: u64 = 256 << 10;
/// The most that waits in the log before it is carried into the database. Pages
/// that change often are then written once, not each time.
const LOG_MAX_BYTES: u64 = 64 << 20;
/// The least: at 4 KiB a page, 64 of them.
const LOG_MIN_BYTES: u64 = 256 << 10;
/// The pause after all commands were looked at in vain: a store full of what is
/// not finished must not be searched again for each command that is refused.
const REST: Duration = Duration::from_millis(100);

/// How the room is divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// The largest database, where one is set.
    size_max_bytes: Option<u64>,
    reserve_bytes: u64,
    /// So much log makes a checkpoint due.
    log_bytes: u64,
}

impl Room {
    /// For a store in this folder.
    pub(super) fn new(folder: &Path, size_max_bytes: Option<u64>) -> Self {
        // A disk that does not say how large it is counts as large.
        let disk = disk(folder).map_or(u64::MAX, |disk| disk.total);
        let size = size_max_bytes.unwrap_or(u64::MAX);
        let reserve = (size / 4).min(disk / 8);
        Self {
            size_max_bytes,
            reserve_bytes: reserve.clamp(RESERVE_MIN_BYTES, RESERVE_MAX_BYTES),
            log_bytes: (size / 4).min(disk / 8).clamp(LOG_MIN_BYTES, LOG_MAX_BYTES),
        }
    }

    /// Pages in the log that make a checkpoint due.
    pub(super) fn checkpoint_pages(&self, page_bytes: u64) -> u64 {
        self.log_bytes / page_bytes.max(1)
    }

    /// The log is cut to this size when it begins anew. Twice what makes a
    /// checkpoint due, so that in calm it keeps its size.
    pub(super) fn log_max_bytes(&self) -> u64 {
        self.log_bytes * 2
    }

    /// The most pages of the database. A file that an earlier version filled up
    /// gets the reserve on top, or it could never drain.
    pub(super) fn pages_max(&self, connection: &Connection) -> rusqlite::Result<Option<u64>> {
        let Some(bytes) = self.size_max_bytes else {
            return Ok(None);
        };
        let page = pragma(connection, "PRAGMA page_size")?.max(1);
        let pages = (used_bytes(connection)?.saturating_add(self.reserve_bytes)).div_ceil(page);
        Ok(Some((bytes / page).max(pages)))
    }

    /// What new commands may still take, beside a log of so many bytes.
    pub(super) fn free(
        &self,
        connection: &Connection,
        folder: &Path,
        log: u64,
    ) -> rusqlite::Result<Free> {
        let intake = self.size_max_bytes;
        let log_to_come = self.log_max_bytes().saturating_sub(log);
        Ok(Free {
            intake: intake.map(|bytes| bytes.saturating_sub(self.reserve_bytes)),
            disk: disk(folder).map(|disk| {
                disk.free
                    .saturating_sub(self.reserve_bytes.saturating_add(log_to_come))
            }),
            page_bytes: pragma(connection, "PRAGMA page_size")?,
        })
    }

    /// History is kept below this, so that there is room for more without asking.
    pub(super) fn history_max_bytes(&self) -> u64 {
        let size = self.size_max_bytes.unwrap_or(u64::MAX);
        size.saturating_sub(self.reserve_bytes) / 4 * 3
    }

    /// What is made free beyond what is asked, so that it is not asked each time.
    pub(super) fn spare_bytes(&self) -> u64 {
        self.reserve_bytes / 4
    }
}

/// What new commands may take, before what the database has unused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Free {
    intake: Option<u64>,
    disk: Option<u64>,
    page_bytes: u64,
}

impl Free {
    /// The bytes that are left now.
    pub(super) fn left(self, connection: &Connection) -> rusqlite::Result<u64> {
        let unused = pragma(connection, "PRAGMA freelist_count")?.saturating_mul(self.page_bytes);
        // Half of it: on its way into the database it is in the log too.
        let mut left = self
            .disk
            .map_or(u64::MAX, |disk| disk.saturating_add(unused) / 2);
        if let Some(intake) = self.intake {
            let pages = pragma(connection, "PRAGMA page_count")?;
            let used = pages.saturating_mul(self.page_bytes).saturating_sub(unused);
            left = left.min(intake.saturating_sub(used));
        }
        Ok(left)
    }
}

/// Where the search for finished commands goes on.
#[derive(Debug)]
pub(super) struct Relief {
    pub(super) after: i64,
    pub(super) pass: Pass,
    pub(super) rests_until: Option<Instant>,
}

impl Default for Relief {
    fn default() -> Self {
        Self {
            after: 0,
            pass: Pass::Size,
            rests_until: None,
        }
    }
}

impl Relief {
    /// Searches again at once: work under way waits for it.
    pub(super) fn hurry(&mut self) {
        self.rests_until = None;
    }

    /// Begins at the oldest again; not where all was looked at.
    pub(super) fn next_pass(&mut self) -> bool {
        self.after = 0;
        let next = self.pass.next();
        self.pass = next.unwrap_or(Pass::Size);
        if next.is_none() {
            self.rests_until = Some(Instant::now() + REST);
        }
        next.is_some()
    }
}

/// Bytes of the file that hold something: what was removed is used again.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let (pages, unused) = (
        pragma(connection, "PRAGMA page_count")?,
        pragma(connection, "PRAGMA freelist_count")?,
    );
    // A damaged file may claim more unused pages than it has.
    let used = pages.saturating_sub(unused);
    Ok(used.saturating_mul(pragma(connection, "PRAGMA page_size")?))
}

fn pragma(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(sql)?
        .query_row([], |row| row.get(0))
}

/// A disk, in bytes.
struct Disk {
    total: u64,
    free: u64,
}

#[cfg(unix)]
fn disk(folder: &Path) -> Option<Disk> {
    let found = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    // File systems without a size of their own say 0.
    (found.f_blocks > 0).then(|| Disk {
        total: bytes(found.f_blocks),
        free: bytes(found.f_bavail),
    })
}

#[cfg(not(unix))]
fn disk(_: &Path) -> Option<Disk> {
    None
}
