//! Owns the sync of SQLite's log: a group is answered once the disk holds it.
//!
//! With `synchronous = FULL` SQLite would sync within each commit, and the
//! writer would wait for the disk. Here a commit only appends to the log
//! (`NORMAL`), and this thread syncs the log after it, while the writer is at
//! the next group. One sync covers every commit before it, in order: what was
//! claimed, was enqueued. Checkpoints stay SQLite's: it syncs the log before it
//! carries it over, and the database before it begins the log anew.

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use tracing::error;

use super::writer::{News, Operation};
use crate::queue::{QueueError, Signals};

/// Groups that may wait for the disk: more would only make their callers wait
/// for a longer sync.
const GROUPS_MAX: usize = 4;

/// A group that is committed, and not yet known to last.
pub(super) struct Committed {
    /// The log that it was appended to; none where it wrote nothing.
    pub(super) log: Option<Arc<File>>,
    pub(super) group: Vec<Box<dyn Operation>>,
    pub(super) news: News,
}

/// The way to the thread that syncs. Dropping it waits until all is answered.
pub(super) struct Syncer {
    // None only while it is dropped.
    committed: Option<SyncSender<Committed>>,
    thread: Option<thread::JoinHandle<()>>,
    failed: Arc<AtomicBool>,
}

impl Syncer {
    pub(super) fn start(signals: Arc<Signals>) -> io::Result<Self> {
        let (committed, waiting) = sync_channel(GROUPS_MAX);
        let failed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&failed);
        let thread = thread::Builder::new()
            .name("queue-syncer".to_owned())
            .spawn(move || run(&waiting, &signals, &told))?;
        Ok(Self {
            committed: Some(committed),
            thread: Some(thread),
            failed,
        })
    }

    /// Has the group synced and answered.
    pub(super) fn send(&self, committed: Committed) {
        let sent = match &self.committed {
            Some(sender) => sender.send(committed).map_err(|unsent| unsent.0),
            None => Err(committed),
        };
        if let Err(committed) = sent {
            answer(committed.group, || Some(QueueError::Closed));
        }
    }

    /// Whether a sync failed since this was last asked.
    pub(super) fn take_failure(&self) -> bool {
        self.failed.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        drop(self.committed.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the queue's syncer panicked");
        }
    }
}

fn run(waiting: &Receiver<Committed>, signals: &Signals, failed: &AtomicBool) {
    while let Ok(first) = waiting.recv() {
        let groups: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let mut logs: Vec<_> = groups.iter().filter_map(|one| one.log.clone()).collect();
        logs.dedup_by(|one, other| Arc::ptr_eq(one, other));
        match logs.iter().try_for_each(|log| log.sync_data()) {
            Ok(()) => {
                for one in groups {
                    one.news.tell(signals);
                    answer(one.group, || None);
                }
            }
            Err(error) => {
                error!(%error, "the disk did not take the queue's log");
                failed.store(true, Ordering::SeqCst);
                let error = Arc::new(error);
                for one in groups {
                    answer(one.group, || Some(QueueError::Unsynced(Arc::clone(&error))));
                }
            }
        }
    }
}

fn answer(group: Vec<Box<dyn Operation>>, failed: impl Fn() -> Option<QueueError>) {
    for operation in group {
        operation.answer(failed());
    }
}
