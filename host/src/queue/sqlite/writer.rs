//! Owns the one thread that writes. Operations that arrive while a commit is
//! under way form the next group: one transaction, one sync of the disk, and
//! only then their answers. A refusal writes nothing and so harms no neighbour;
//! where the engine fails, the group is rolled back and each operation is tried
//! in a transaction of its own.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};
use uuid::Uuid;

use super::{
    read::OPEN,
    schema::{self, to},
};
use crate::queue::{Clock, CommandId, QueueError, Signals, Timestamp};

/// Operations in one transaction: enough to hide the disk's sync, few enough
/// that none waits long for the group's last.
const GROUP_MAX: usize = 1024;
/// Operations that may wait for the writer; beyond it, callers wait to be let in.
const WAITING_MAX: usize = 8192;

/// What an operation works with, within a transaction.
pub(super) struct Tx<'c> {
    pub(super) connection: &'c Connection,
    pub(super) now: Timestamp,
    pub(super) depth_max: u64,
    pub(super) counts: Counts,
    pub(super) news: News,
    /// The next time that something falls due, once what is due now was looked
    /// after: one claim does it for all of a transaction, where no time passes.
    pub(super) due: Option<Option<i64>>,
}

/// Figures that would be slow to count each time. Only a commit changes the writer's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Unfinished deliveries.
    pub(super) depth: u64,
    /// The newest place in the queue.
    pub(super) position: i64,
}

/// What to tell after the commit.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) work: bool,
    pub(super) changed: Vec<CommandId>,
    pub(super) cancelled: Vec<CommandId>,
}

impl Tx<'_> {
    pub(super) fn next_position(&mut self) -> i64 {
        self.counts.position += 1;
        self.counts.position
    }

    pub(super) fn changed(&mut self, command: Uuid) {
        self.news.changed.push(CommandId(command));
    }
}

trait Operation: Send {
    /// Runs it; only an engine's error comes back, the rest waits for the answer.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), QueueError>;
    /// Answers: what `run` found, or that it failed.
    fn answer(self: Box<Self>, failed: Option<QueueError>);
}

struct Job<T, F> {
    work: F,
    result: Option<Result<T, QueueError>>,
    reply: oneshot::Sender<Result<T, QueueError>>,
}

impl<T: Send, F: FnMut(&mut Tx<'_>) -> Result<T, QueueError> + Send> Operation for Job<T, F> {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        match (self.work)(tx) {
            Err(error) if error.is_engine() => Err(error),
            result => {
                self.result = Some(result);
                Ok(())
            }
        }
    }

    fn answer(self: Box<Self>, failed: Option<QueueError>) {
        let answer = match (failed, self.result) {
            (None, Some(result)) => result,
            (Some(error), _) => Err(error),
            (None, None) => Err(QueueError::Closed),
        };
        // Fails only where the caller no longer waits; the work is committed all the same.
        let _ = self.reply.send(answer);
    }
}

/// The way to the writer. The thread ends when it is closed or dropped.
#[derive(Debug)]
pub(super) struct Writer {
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    operations: mpsc::Sender<Box<dyn Operation>>,
    thread: thread::JoinHandle<()>,
}

/// What the thread needs.
pub(super) struct Settings {
    pub(super) folder: PathBuf,
    pub(super) size_max_bytes: Option<u64>,
    pub(super) depth_max: u64,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) signals: Arc<Signals>,
}

impl Writer {
    /// Starts the thread on an open connection.
    pub(super) fn start(connection: Connection, settings: Settings) -> Result<Self, QueueError> {
        let counts = count(&connection)?;
        let (operations, mut waiting) = mpsc::channel(WAITING_MAX);
        let mut state = State {
            connection: Some(connection),
            counts,
            settings,
        };
        let thread = thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || {
                let mut group = Vec::with_capacity(GROUP_MAX);
                while waiting.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
                    state.commit_group(std::mem::take(&mut group));
                }
            })
            .map_err(|error| QueueError::Storage {
                doing: "start its writer",
                source: error.into(),
            })?;
        Ok(Self {
            open: Mutex::new(Some(Open { operations, thread })),
        })
    }

    /// Commits what waits and ends the thread. Blocks on the disk.
    pub(super) fn close(&self) {
        let open = self.lock().take();
        if let Some(Open { operations, thread }) = open {
            // Closes the channel; the thread commits what waits, then the file is free.
            drop(operations);
            if thread.join().is_err() {
                error!("the queue's writer panicked");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        // Every change is one assignment: a panic leaves it whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in a transaction and answers after its commit. `work` may
    /// run more than once, each time on a clean slate; where it answers an
    /// error that is not the engine's, it must not have written.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, QueueError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, QueueError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Job {
            work,
            result: None,
            reply,
        });
        let operations = self.lock().as_ref().map(|open| open.operations.clone());
        let operations = operations.ok_or(QueueError::Closed)?;
        operations.send(job).await.map_err(|_| QueueError::Closed)?;
        // Held while it waits, it would keep a closing writer alive.
        drop(operations);
        answer.await.map_err(|_| QueueError::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

struct State {
    // None after an I/O error, until it could be reopened.
    connection: Option<Connection>,
    counts: Counts,
    settings: Settings,
}

impl State {
    fn commit_group(&mut self, mut group: Vec<Box<dyn Operation>>) {
        if self.try_commit(&mut group).is_ok() {
            group
                .into_iter()
                .for_each(|operation| operation.answer(None));
            return;
        }
        for operation in group {
            let mut alone = [operation];
            let failed = self.try_commit(&mut alone).err();
            if let Some(failed) = &failed {
                error!(code = failed.code(), error = ?failed, "the queue could not write");
            }
            let [operation] = alone;
            operation.answer(failed);
        }
    }

    fn try_commit(&mut self, group: &mut [Box<dyn Operation>]) -> Result<(), QueueError> {
        self.reopen_if_broken()?;
        let Some(connection) = &self.connection else {
            return Err(QueueError::Closed);
        };
        let mut tx = Tx {
            connection,
            now: self.settings.clock.now(),
            depth_max: self.settings.depth_max,
            counts: self.counts,
            news: News::default(),
            due: None,
        };
        let done = (|| {
            execute(connection, "BEGIN IMMEDIATE").map_err(to("begin a transaction"))?;
            group
                .iter_mut()
                .try_for_each(|operation| operation.run(&mut tx))?;
            execute(connection, "COMMIT").map_err(to("commit"))
        })();
        let Tx { counts, news, .. } = tx;
        match done {
            Ok(()) => {
                self.counts = counts;
                self.tell(news);
                Ok(())
            }
            Err(error) => {
                let rolled_back =
                    connection.is_autocommit() || execute(connection, "ROLLBACK").is_ok();
                // After a failed write or sync nobody knows what the disk holds of
                // the log: the connection starts over.
                if !rolled_back || !matches!(error, QueueError::NoRoom) {
                    self.connection = None;
                }
                Err(error)
            }
        }
    }

    /// Opens the file anew and carries the log into the database, so that no
    /// later commit builds on a log that the disk may not hold.
    fn reopen_if_broken(&mut self) -> Result<(), QueueError> {
        if self.connection.is_some() {
            return Ok(());
        }
        let connection = schema::open_writer(&self.settings.folder, self.settings.size_max_bytes)?;
        let busy: bool = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(to("carry the log into the database"))?;
        if busy {
            return Err(QueueError::Storage {
                doing: "carry the log into the database",
                source: "a reader held it".into(),
            });
        }
        self.counts = count(&connection)?;
        self.connection = Some(connection);
        info!("the queue's database was reopened after an error");
        Ok(())
    }

    fn tell(&self, news: News) {
        let signals = &self.settings.signals;
        news.changed
            .into_iter()
            .for_each(|command| signals.send_change(command));
        news.cancelled
            .into_iter()
            .for_each(|command| signals.send_cancellation(command));
        if news.work {
            signals.send_work();
        }
    }
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

fn count(connection: &Connection) -> Result<Counts, QueueError> {
    // From the partial indexes: it must not read the whole history at every start.
    connection
        .query_row(
            &format!(
                "SELECT (SELECT count(*) FROM ({OPEN})), (SELECT ifnull(max(seq), 0) FROM delivery)"
            ),
            [],
            |row| {
                Ok(Counts {
                    depth: row.get(0)?,
                    position: row.get(1)?,
                })
            },
        )
        .map_err(to("count the queue"))
}
