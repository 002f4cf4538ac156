//! Owns the embedded queue: one SQLite file in a data folder, one process at a
//! time. All writes go through one thread ([`writer`]) and are answered after
//! the commit they are part of; reads go beside it.

mod claim;
mod dead;
mod enqueue;
mod read;
mod row;
mod schema;
mod settle;
mod writer;

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use self::{
    dead::{Fate, Pass, Sweep},
    writer::{Settings, Writer},
};
use super::{
    Answer, Cancellation, ClaimRequest, Claims, Clock, CommandFilter, CommandId, CommandView,
    DEPTH_MAX, DeadCursor, DeadFilter, DeadLetter, DeliveryDetail, DeliveryId, Depth, Enqueued,
    Lease, NewCommand, Page, QueueError, Renewal, RetentionPolicy, Settlement, Signals, State,
    Store, Swept, SystemClock, model::SettlementRow, view::Payloads,
};

/// Reads at once: more would only fight for the same disk.
const READERS: usize = 4;
/// How long a lost host's leases still last when the next one opens the folder:
/// a host that crashes again and again must not use up the chances of what it
/// was running in an instant.
const LOST_LEASE: Duration = Duration::from_secs(1);
/// The file whose lock keeps a second process out.
const LOCK_FILE: &str = "queue.lock";

/// How to open a [`Sqlite`] queue.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    /// The data folder; made where it is missing.
    pub folder: PathBuf,
    /// Unfinished deliveries that are taken at most.
    pub depth_max: u64,
    /// The largest database file, in bytes; none for as large as the disk.
    pub size_max_bytes: Option<u64>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl SqliteConfig {
    /// The defaults, in this folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            depth_max: DEPTH_MAX,
            size_max_bytes: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// A queue in a folder of this machine.
#[derive(Debug)]
pub struct Sqlite {
    // Dropped first: its thread ends before the lock is given up.
    writer: Arc<Writer>,
    readers: Arc<Readers>,
    signals: Arc<Signals>,
    // None once closed.
    lock: Arc<Mutex<Option<File>>>,
}

impl Sqlite {
    /// Opens the queue in the folder, or makes it. Blocks on the disk.
    ///
    /// # Errors
    /// [`QueueError::Locked`], [`QueueError::NewerSchema`], or the disk's.
    pub fn open(config: SqliteConfig) -> Result<Self, QueueError> {
        let lock = lock(&config.folder)?;
        let connection = schema::open_writer(&config.folder, config.size_max_bytes)?;
        let soon = config.clock.now().after(LOST_LEASE);
        // They run out by themselves, only later: a full disk is no reason not to open.
        if let Err(error) = schema::shorten_leases(&connection, soon) {
            tracing::warn!(code = error.code(), error = ?error, "could not shorten the leases of a lost host");
        }
        let signals = Arc::new(Signals::default());
        let readers = Arc::new(Readers {
            folder: config.folder.clone(),
            idle: Mutex::new(Vec::new()),
            permits: Semaphore::new(READERS),
        });
        let settings = Settings {
            folder: config.folder,
            size_max_bytes: config.size_max_bytes,
            depth_max: config.depth_max,
            clock: config.clock,
            signals: Arc::clone(&signals),
        };
        let writer = Writer::start(connection, settings)?;
        Ok(Self {
            writer: Arc::new(writer),
            readers,
            signals,
            lock: Arc::new(Mutex::new(Some(lock))),
        })
    }

    async fn change_dead(&self, filter: DeadFilter, fate: Fate) -> Result<u64, QueueError> {
        let filter = Arc::new(filter);
        let (mut total, mut below) = (0, Some(i64::MAX));
        while let Some(from) = below {
            let filter = Arc::clone(&filter);
            let (changed, next) = self
                .writer
                .write(move |tx| dead::step(tx, &filter, fate, from))
                .await?;
            total += changed;
            below = next;
        }
        Ok(total)
    }
}

fn lock(folder: &Path) -> Result<File, QueueError> {
    let failed = |cause: std::io::Error| QueueError::Storage {
        doing: "open its data folder",
        source: format!("`{}`: {cause}", folder.display()).into(),
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK_FILE))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(QueueError::Locked(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

impl Store for Sqlite {
    fn enqueue(&self, commands: Vec<NewCommand>) -> Answer<'_, Vec<Enqueued>> {
        Box::pin(async move {
            commands.iter().try_for_each(NewCommand::validate)?;
            self.writer
                .write(move |tx| enqueue::enqueue(tx, &commands))
                .await
        })
    }

    fn claim(&self, request: ClaimRequest) -> Answer<'_, Claims> {
        Box::pin(self.writer.write(move |tx| claim::claim(tx, &request)))
    }

    fn renew(&self, leases: Vec<Lease>, lease: std::time::Duration) -> Answer<'_, Vec<Renewal>> {
        Box::pin(self.writer.write(move |tx| {
            let until = tx.now.after(lease);
            claim::renew(tx, &leases, until)
        }))
    }

    fn settle(&self, lease: Lease, settlement: Settlement) -> Answer<'_, State> {
        let row = SettlementRow::from(settlement);
        Box::pin(
            self.writer
                .write(move |tx| settle::settle(tx, &lease, &row)),
        )
    }

    fn cancel(&self, command: CommandId) -> Answer<'_, Cancellation> {
        Box::pin(self.writer.write(move |tx| settle::cancel(tx, command)))
    }

    fn get(&self, command: CommandId) -> Answer<'_, CommandView> {
        Box::pin(
            self.readers
                .read(move |reader| read::get(reader, command, Payloads::Whole)),
        )
    }

    fn glance(&self, command: CommandId) -> Answer<'_, CommandView> {
        Box::pin(
            self.readers
                .read(move |reader| read::get(reader, command, Payloads::Short)),
        )
    }

    fn list(&self, filter: CommandFilter, page: Page<CommandId>) -> Answer<'_, Vec<CommandView>> {
        Box::pin(
            self.readers
                .read(move |reader| read::list(reader, &filter, page)),
        )
    }

    fn inspect(&self, delivery: DeliveryId) -> Answer<'_, DeliveryDetail> {
        Box::pin(
            self.readers
                .read(move |reader| read::inspect(reader, &delivery)),
        )
    }

    fn dead(&self, filter: DeadFilter, page: Page<DeadCursor>) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(
            self.readers
                .read(move |reader| read::dead(reader, &filter, page)),
        )
    }

    fn retry_dead(&self, filter: DeadFilter) -> Answer<'_, u64> {
        Box::pin(self.change_dead(filter, Fate::Retry))
    }

    fn discard_dead(&self, filter: DeadFilter) -> Answer<'_, u64> {
        Box::pin(self.change_dead(filter, Fate::GiveUp))
    }

    fn sweep(&self, policy: RetentionPolicy) -> Answer<'_, Swept> {
        Box::pin(async move {
            let policy = Arc::new(policy);
            let mut total = Swept::default();
            let mut next = Some(Sweep {
                after: 0,
                pass: Pass::Age,
            });
            while let Some(sweep) = next {
                let policy = Arc::clone(&policy);
                let (swept, rest) = self
                    .writer
                    .write(move |tx| dead::sweep(tx, &policy, sweep))
                    .await?;
                total.commands += swept.commands;
                total.keys += swept.keys;
                next = rest;
            }
            Ok(total)
        })
    }

    fn depth(&self) -> Answer<'_, Vec<Depth>> {
        Box::pin(self.readers.read(read::depth))
    }

    fn check(&self) -> Answer<'_, ()> {
        // An empty transaction: it tells of a writer that is gone or cannot reopen.
        Box::pin(self.writer.write(|_| Ok(())))
    }

    fn close(&self) -> Answer<'_, ()> {
        let (writer, readers) = (Arc::clone(&self.writer), Arc::clone(&self.readers));
        let lock = Arc::clone(&self.lock);
        Box::pin(async move {
            // Reads under way keep their permits, and end with them.
            readers.permits.close();
            let closed = tokio::task::spawn_blocking(move || {
                readers
                    .idle
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clear();
                writer.close();
                drop(lock.lock().unwrap_or_else(PoisonError::into_inner).take());
            });
            closed.await.map_err(|error| QueueError::Storage {
                doing: "close",
                source: error.into(),
            })
        })
    }

    fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }
}

/// Connections that only read.
#[derive(Debug)]
struct Readers {
    folder: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let readers = Arc::clone(self);
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| QueueError::Closed)?;
        tokio::task::spawn_blocking(move || {
            let idle = readers
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            let reader = match idle {
                Some(reader) => reader,
                None => schema::open_reader(&readers.folder)?,
            };
            let answer = work(&reader);
            // One that failed may be broken: the next read opens another.
            if !matches!(&answer, Err(error) if error.is_engine()) {
                readers
                    .idle
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(reader);
            }
            answer
        })
        .await
        .map_err(|error| QueueError::Storage {
            doing: "read",
            source: error.into(),
        })?
    }
}
