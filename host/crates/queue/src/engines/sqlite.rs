//! Owns the embedded queue: one SQLite file in a data folder, one process at a
//! time. All writes go through one thread (`writer`) and are answered after
//! the commit they are part of; reads go beside it.

mod claim;
mod dead;
mod dedup;
mod enqueue;
mod entries;
mod fault;
mod files;
mod history;
mod lanes;
mod pauses;
mod read;
mod readers;
mod relief;
mod room;
mod route;
mod row;
mod schedules;
mod schema;
mod settle;
mod tally;
mod tx;
mod writer;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    files::Files,
    readers::Readers,
    room::Room,
    tally::Tally,
    tx::Tx,
    writer::{Settings, Writer},
};
use pointsman_core::{
    name::{HandlerName, RuleName},
    state::{Space, StateAnswer, StateError, StateRequest},
};

use crate::{
    Cancellation, ClaimRequest, Claims, Clock, CommandFilter, CommandId, CommandView, DEPTH_MAX,
    DeadCursor, DeadFilter, DeadLetter, DeliveryDetail, DeliveryId, Depth, Enqueued, Firing,
    FiringResult, HistoryFilter, HistoryPoint, Lease, NewCommand, NewPause, Page, Pause,
    QueueError, REREAD, Renewal, RetentionSettings, ScheduleChange, ScheduleRow, Schedules,
    Settlement, Signals, State, Store, StoreFuture, Swept, SystemClock,
    model::{SettlementRow, validate_all},
    policy::{Fate, Sweep},
    query::Payloads,
};

/// How long a lost host's leases still last when the next one opens the folder:
/// a host that crashes again and again must not use up the chances of what it
/// was running in an instant.
const LOST_LEASE: Duration = Duration::from_secs(1);
/// How long a command waits for a lock that another process holds, at least: half
/// of what a client waits at most, as a rule.
const BUSY_ENQUEUE_MAX: Duration = Duration::from_secs(15);

/// How to open a [`Sqlite`] queue.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    /// The data folder; made where it is missing.
    pub folder: PathBuf,
    /// Unfinished deliveries that are taken at most.
    pub depth_max: u64,
    /// How long whoever waits for a command trusts that no news is no change.
    pub reread: Duration,
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
            reread: REREAD,
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
    files: Arc<Files>,
    tally: Arc<Tally>,
    clock: Arc<dyn Clock>,
}

impl Sqlite {
    /// Opens the queue in the folder, or makes it. Blocks on the disk.
    ///
    /// # Errors
    /// [`QueueError::Locked`], [`QueueError::NewerSchema`], or the disk's.
    pub fn open(config: SqliteConfig) -> Result<Self, QueueError> {
        let files = Arc::new(Files::open(&config.folder)?);
        let room = Room::new(&config.folder, config.size_max_bytes);
        let connection = schema::open_writer(&files, &room)?;
        let soon = config.clock.steady().after(LOST_LEASE);
        // They run out by themselves, only later: a full disk is no reason not to open.
        if let Err(error) = schema::shorten_leases(&connection, soon) {
            tracing::warn!(code = error.code(), error = ?error, "could not shorten the leases of a lost host");
        }
        let signals = Arc::new(Signals::new(config.reread));
        let readers = Arc::new(Readers::start(&files)?);
        let tally = Arc::new(Tally::default());
        let settings = Settings {
            files: Arc::clone(&files),
            room,
            depth_max: config.depth_max,
            clock: Arc::clone(&config.clock),
            signals: Arc::clone(&signals),
            tally: Arc::clone(&tally),
        };
        let writer = Writer::start(connection, settings)?;
        Ok(Self {
            writer: Arc::new(writer),
            readers,
            signals,
            files,
            tally,
            clock: config.clock,
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

impl Store for Sqlite {
    fn enqueue(&self, commands: Vec<NewCommand>) -> StoreFuture<'_, Vec<Enqueued>> {
        Box::pin(async move {
            validate_all(&commands)?;
            let (commands, started) = (Arc::new(commands), Instant::now());
            loop {
                let commands = Arc::clone(&commands);
                let work = move |tx: &mut Tx<'_>| enqueue::enqueue(tx, &commands);
                match self.writer.write(work).await {
                    // Nothing was written: a backup that has the lock for some
                    // seconds is no reason to refuse.
                    Err(QueueError::Busy { .. }) if started.elapsed() < BUSY_ENQUEUE_MAX => {}
                    answer => return answer?,
                }
            }
        })
    }

    fn claim(&self, request: ClaimRequest) -> StoreFuture<'_, Claims> {
        Box::pin(self.writer.write(move |tx| claim::claim(tx, &request)))
    }

    fn renew(
        &self,
        leases: Vec<Lease>,
        lease: std::time::Duration,
    ) -> StoreFuture<'_, Vec<Renewal>> {
        Box::pin(self.writer.write(move |tx| {
            let until = tx.steady.after(lease);
            claim::renew(tx, &leases, until)
        }))
    }

    fn settle(&self, lease: Lease, settlement: Settlement) -> StoreFuture<'_, State> {
        let row = SettlementRow::from(settlement);
        Box::pin(self.writer.write(move |tx| {
            if let Some(routed) = &row.routed {
                return route::route(tx, &lease, routed);
            }
            let state = settle::settle(tx, &lease, &row)?;
            if state == State::Completed {
                enqueue::follow_up(tx, &row.follow_ups)?;
            }
            Ok(state)
        }))
    }

    fn cancel(&self, command: CommandId) -> StoreFuture<'_, Cancellation> {
        Box::pin(self.writer.write(move |tx| settle::cancel(tx, command)))
    }

    fn get(&self, command: CommandId) -> StoreFuture<'_, CommandView> {
        Box::pin(
            self.readers
                .read(move |reader| read::get(reader, command, Payloads::Whole)),
        )
    }

    fn glance(&self, command: CommandId) -> StoreFuture<'_, CommandView> {
        Box::pin(
            self.readers
                .read(move |reader| read::get(reader, command, Payloads::Short)),
        )
    }

    fn list(
        &self,
        filter: CommandFilter,
        page: Page<CommandId>,
    ) -> StoreFuture<'_, Vec<CommandView>> {
        Box::pin(
            self.readers
                .read(move |reader| read::list(reader, &filter, page)),
        )
    }

    fn inspect(&self, delivery: DeliveryId) -> StoreFuture<'_, DeliveryDetail> {
        Box::pin(
            self.readers
                .read(move |reader| read::inspect(reader, &delivery)),
        )
    }

    fn dead(&self, filter: DeadFilter, page: Page<DeadCursor>) -> StoreFuture<'_, Vec<DeadLetter>> {
        Box::pin(
            self.readers
                .read(move |reader| read::dead(reader, &filter, page)),
        )
    }

    fn retry_dead(&self, filter: DeadFilter) -> StoreFuture<'_, u64> {
        Box::pin(self.change_dead(filter, Fate::Retry))
    }

    fn discard_dead(&self, filter: DeadFilter) -> StoreFuture<'_, u64> {
        Box::pin(self.change_dead(filter, Fate::GiveUp))
    }

    fn pause(&self, pause: NewPause) -> StoreFuture<'_, Pause> {
        Box::pin(async move {
            pause.validate()?;
            self.writer.write(move |tx| pauses::pause(tx, &pause)).await
        })
    }

    fn resume(&self, handler: Option<HandlerName>) -> StoreFuture<'_, Vec<Pause>> {
        Box::pin(
            self.writer
                .write(move |tx| pauses::resume(tx, handler.as_ref())),
        )
    }

    fn pauses(&self) -> StoreFuture<'_, Vec<Pause>> {
        let now = self.clock.now();
        Box::pin(self.readers.read(move |reader| {
            pauses::in_force(reader, now).map_err(fault::to("read the pauses"))
        }))
    }

    fn sweep(&self, policy: RetentionSettings) -> StoreFuture<'_, Swept> {
        Box::pin(async move {
            let policy = Arc::new(policy);
            let mut total = Swept::default();
            let mut rest = true;
            while rest {
                let removed;
                (removed, rest) = self.writer.write(entries::sweep).await?;
                total.entries += removed;
            }
            let mut rest = true;
            while rest {
                let removed;
                (removed, rest) = self.writer.write(dedup::sweep).await?;
                total.keys += removed;
            }
            let mut next = Some(Sweep::FIRST);
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

    fn state(
        &self,
        space: Space,
        request: StateRequest,
    ) -> StoreFuture<'_, Result<StateAnswer, StateError>> {
        if request.reads() {
            let now = self.clock.now();
            let read = move |reader: &_| entries::read(reader, &space, &request, now);
            return Box::pin(self.readers.read(read));
        }
        Box::pin(
            self.writer
                .write(move |tx| entries::change(tx, &space, &request)),
        )
    }

    fn schedules(&self, names: Vec<RuleName>) -> StoreFuture<'_, Schedules> {
        Box::pin(
            self.writer
                .write(move |tx| schedules::schedules(tx, &names)),
        )
    }

    fn fire(&self, firing: Firing) -> StoreFuture<'_, FiringResult> {
        Box::pin(async move {
            firing.commands.iter().try_for_each(NewCommand::validate)?;
            self.writer
                .write(move |tx| schedules::fire(tx, &firing))
                .await?
        })
    }

    fn change_schedule(
        &self,
        name: RuleName,
        change: ScheduleChange,
    ) -> StoreFuture<'_, ScheduleRow> {
        Box::pin(
            self.writer
                .write(move |tx| schedules::change(tx, &name, change)),
        )
    }

    fn history(&self, filter: HistoryFilter) -> StoreFuture<'_, Vec<HistoryPoint>> {
        Box::pin(
            self.readers
                .read(move |reader| history::read(reader, &filter)),
        )
    }

    fn depth(&self) -> StoreFuture<'_, Vec<Depth>> {
        let tally = Arc::clone(&self.tally);
        // A reader says whether the store is still there.
        Box::pin(self.readers.read(move |_| Ok(tally.depth())))
    }

    fn check(&self) -> StoreFuture<'_, ()> {
        // An empty transaction: it tells of a writer that is gone or cannot reopen.
        Box::pin(self.writer.write(|_| Ok(())))
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        let (writer, readers) = (Arc::clone(&self.writer), Arc::clone(&self.readers));
        let files = Arc::clone(&self.files);
        Box::pin(async move {
            let closed = tokio::task::spawn_blocking(move || {
                readers.close();
                writer.close();
                files.close();
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
