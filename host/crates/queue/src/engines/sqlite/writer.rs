//! Owns the one thread that writes. Operations that arrive while a commit is
//! under way form the next group: one transaction, one sync of the disk, and
//! only then their answers. A refusal writes nothing and so harms no neighbour;
//! where the engine fails, the group is rolled back and each operation is tried
//! in a transaction of its own. Where room is short, finished commands are
//! removed first.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::{
    fault::to,
    files::Files,
    history, read, relief,
    room::{Relief, Room},
    schema,
    tally::{Moves, Tally},
    tx::{Counts, Tx},
};
use crate::{
    Clock, QueueError, Signals,
    error::panicked,
    signals::{News, Part},
};

/// Operations in one transaction: enough to hide the disk's sync, few enough
/// that none waits long for the group's last.
const GROUP_MAX: usize = 1024;
/// Operations that may wait for the writer; beyond it, callers wait to be let in.
const WAITING_MAX: usize = 8192;

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
    pub(super) files: Arc<Files>,
    pub(super) room: Room,
    pub(super) depth_max: u64,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) signals: Arc<Signals>,
    pub(super) tally: Arc<Tally>,
}

impl Writer {
    /// Starts the thread on an open connection.
    pub(super) fn start(connection: Connection, settings: Settings) -> Result<Self, QueueError> {
        let counts = count(&connection, &settings.tally)?;
        let (operations, mut waiting) = mpsc::channel(WAITING_MAX);
        let mut state = State {
            connection: Some(connection),
            counts,
            relief: Relief::default(),
            refused: None,
            recount: false,
            ahead_ms: ahead_ms(&*settings.clock),
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
    relief: Relief,
    /// The bytes of the last command that was refused for want of room.
    refused: Option<u64>,
    /// A commit went into files that were moved: what they hold is to be counted.
    recount: bool,
    /// The wall clock's lead over the steady one, as retries were last fitted to it.
    ahead_ms: i64,
    settings: Settings,
}

/// The wall clock was set where its lead changed by more than that. Less is the
/// even adjustment of a clock that is a little off.
const CLOCK_SET_MS: u64 = 1_000;

fn ahead_ms(clock: &dyn Clock) -> i64 {
    clock
        .now()
        .as_millis()
        .saturating_sub(clock.steady().as_millis())
}

impl State {
    fn commit_group(&mut self, mut group: Vec<Box<dyn Operation>>) {
        let failed = match self.try_commit(&mut group) {
            Ok(()) => return answer_all(group, || None),
            Err(error) => error,
        };
        match failed {
            // The same would come of each: nothing was written.
            QueueError::Busy { doing } => {
                self.settings
                    .signals
                    .failed(Part::Work, &QueueError::Busy { doing });
                return answer_all(group, || Some(QueueError::Busy { doing }));
            }
            QueueError::Replaced(path) => {
                self.settings
                    .signals
                    .failed(Part::Work, &QueueError::Replaced(path.clone()));
                return answer_all(group, || Some(QueueError::Replaced(path.clone())));
            }
            _ => {}
        }
        for operation in group {
            let mut alone = [operation];
            let mut done = self.try_commit(&mut alone);
            if matches!(done, Err(QueueError::NoRoom)) {
                self.make_room();
                done = self.try_commit(&mut alone);
            }
            let failed = done.err();
            if let Some(failed) = &failed {
                let part = match failed {
                    QueueError::NoRoom => Part::Intake,
                    _ => Part::Work,
                };
                self.settings.signals.failed(part, failed);
            }
            let [operation] = alone;
            operation.answer(failed);
        }
    }

    fn try_commit(&mut self, group: &mut [Box<dyn Operation>]) -> Result<(), QueueError> {
        self.reopen_if_broken()?;
        let refused = self.refused;
        let news = self.transaction(|tx| {
            group
                .iter_mut()
                .try_for_each(|operation| operation.run(tx))?;
            if let (Some(bytes), None) = (refused, tx.refused) {
                relief::admit(tx, bytes).map_err(to("look for room"))?;
            }
            Ok(())
        })?;
        self.settings.signals.tell(news);
        Ok(())
    }

    /// Runs `work` in a transaction; commits where it succeeds and the files are
    /// still those that are open.
    fn transaction(
        &mut self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(), QueueError>,
    ) -> Result<News, QueueError> {
        let Some(connection) = &self.connection else {
            return Err(QueueError::Closed);
        };
        let (clock, files) = (&*self.settings.clock, &*self.settings.files);
        files.check()?;
        if self.recount {
            self.counts = count(connection, &self.settings.tally)?;
            self.recount = false;
        }
        let ahead_ms = ahead_ms(clock);
        let moved = ahead_ms.saturating_sub(self.ahead_ms);
        let mut tx = Tx {
            connection,
            now: clock.now(),
            steady: clock.steady(),
            clock_moved_ms: if moved.unsigned_abs() > CLOCK_SET_MS {
                moved
            } else {
                0
            },
            depth_max: self.settings.depth_max,
            counts: self.counts,
            news: News::default(),
            moves: Moves::default(),
            due: None,
            files,
            room: &self.settings.room,
            relief: &mut self.relief,
            free: None,
            refused: None,
        };
        let was_moved = tx.clock_moved_ms != 0;
        let run = AssertUnwindSafe(|| {
            execute(connection, "BEGIN IMMEDIATE").map_err(to("begin a transaction"))?;
            work(&mut tx)?;
            history::store(&tx)?;
            execute(connection, "COMMIT").map_err(to("commit"))
        });
        // After a panic the transaction is rolled back and the connection dropped.
        let done = catch_unwind(run)
            .unwrap_or_else(|panic| Err(panicked("write", &*panic)))
            // What was committed into a file that nobody finds again is not stored.
            .and_then(|()| files.check());
        match done {
            Ok(()) => {
                self.counts = tx.counts;
                if was_moved && tx.clock_moved_ms == 0 {
                    self.ahead_ms = ahead_ms;
                }
                let (refused, asked) = (tx.refused, tx.free.is_some());
                let (news, moves) = (tx.news, tx.moves);
                self.settings.tally.apply(moves);
                self.settings.signals.recovered(Part::Work);
                self.note_room(refused, asked);
                Ok(news)
            }
            Err(error) => {
                let rolled_back =
                    connection.is_autocommit() || execute(connection, "ROLLBACK").is_ok();
                let is_sound = matches!(
                    error,
                    QueueError::NoRoom | QueueError::Busy { .. } | QueueError::Replaced(_)
                );
                self.recount |= matches!(error, QueueError::Replaced(_));
                // After a failed write or sync nobody knows what the disk holds of
                // the log: the connection starts over.
                if !rolled_back || !is_sound {
                    self.connection = None;
                }
                Err(error)
            }
        }
    }

    /// Says when room for new commands is short, and when it no longer is.
    fn note_room(&mut self, refused: Option<u64>, asked: bool) {
        if refused.is_some() {
            self.refused = refused;
            self.settings
                .signals
                .failed(Part::Intake, &QueueError::NoRoom);
        } else if asked && self.refused.take().is_some() {
            self.settings.signals.recovered(Part::Intake);
        }
    }

    /// Carries the log into the database, so that its file is used again, and
    /// lets finished commands give way, where an operation found no room.
    fn make_room(&mut self) {
        if let Some(connection) = &self.connection
            && let Err(error) = checkpoint(connection)
        {
            warn!(%error, "could not checkpoint the write-ahead log");
        }
        self.relief.hurry();
        let spare = self.settings.room.spare_bytes();
        let made =
            self.transaction(|tx| relief::admit(tx, spare).map_err(to("make room")).map(drop));
        match made {
            Ok(news) => self.settings.signals.tell(news),
            Err(error) => self.settings.signals.failed(Part::Intake, &error),
        }
    }

    /// Opens the file anew and carries the log into the database, as far as
    /// readers permit. What a failed sync left behind in the log lies after the
    /// last commit: the next one writes over it.
    fn reopen_if_broken(&mut self) -> Result<(), QueueError> {
        if self.connection.is_some() {
            return Ok(());
        }
        let settings = &self.settings;
        let connection = schema::open_writer(&settings.files, &settings.room)?;
        checkpoint(&connection).map_err(to("carry the log into the database"))?;
        self.counts = count(&connection, &settings.tally)?;
        self.connection = Some(connection);
        info!("the queue's database was reopened after an error");
        Ok(())
    }
}

/// Waits for nobody: what a reader still needs stays in the log.
fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Answers each of them; `failed` says what went wrong with it, if anything.
fn answer_all(group: Vec<Box<dyn Operation>>, failed: impl Fn() -> Option<QueueError>) {
    for operation in group {
        operation.answer(failed());
    }
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

fn count(connection: &Connection, tally: &Tally) -> Result<Counts, QueueError> {
    tally.set(read::depth(connection)?);
    // From the partial indexes: it must not read the whole history at every start.
    connection
        .query_row(
            concat!(
                "SELECT (SELECT count(*) FROM (",
                include_str!("sql/unfinished.sql"),
                ")), (SELECT ifnull(max(seq), 0) FROM delivery)"
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
