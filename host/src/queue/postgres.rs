//! Owns the queue on a PostgreSQL server that several hosts share. They never
//! talk to each other: `FOR UPDATE SKIP LOCKED` deals the deliveries out, and
//! notifications only save the wait for the next look.
//!
//! The server's clock decides about leases, delays and retention, not the
//! hosts': one clock for all, so that a host whose clock is wrong neither takes
//! a live lease nor holds a delivery back.
//!
//! Nothing relies on what a session remembers, as a pooler may stand between;
//! [`session`] says how.

mod claim;
mod connect;
mod dead;
mod drift;
mod fault;
mod listen;
mod migrate;
mod param;
mod pool;
mod read;
mod row;
mod schema;
mod session;
mod url;
mod write;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;
use uuid::Uuid;

use self::{
    claim::Leases,
    connect::Connector,
    drift::Drift,
    fault::{is_conflict, to},
    listen::{Listener, News, Outbox},
    pool::{Lent, Sessions},
    schema::Schema,
    session::{Scope, Terms},
};
use super::{
    Answer, Cancellation, ClaimRequest, Claims, Clock, CommandFilter, CommandId, CommandView,
    DEPTH_MAX, DeadCursor, DeadFilter, DeadLetter, DeliveryDetail, DeliveryId, Depth, Enqueued,
    Lease, NewCommand, Page, QueueError, Renewal, RetentionPolicy, Settlement, Signals, State,
    Store, Swept, Timestamp, model::SettlementRow, view::Payloads,
};
use crate::{config::QueuePooler, shutdown::Supervisor};

/// How long the end of the background tasks may take.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// How often a transaction that met another one is tried.
const TRIES: usize = 4;

/// Runs a transaction again where it met another one (a deadlock, or a server
/// that serialises): nothing of it was done.
/// A macro, as no bound says that an async closure's future is `Send`.
macro_rules! retried {
    ($attempt:expr) => {{
        let mut tries = 1;
        loop {
            match $attempt.await {
                Err(error) if tries < TRIES && is_conflict(&error) => tries += 1,
                answer => break answer,
            }
        }
    }};
}

/// How to reach a [`Postgres`] queue.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`. Off this machine TLS is
    /// required, and the server's certificate and name are verified, unless the
    /// URL says `sslmode=disable`.
    pub url: String,
    /// The schema that holds the tables; made where it is missing. Any name that
    /// PostgreSQL has.
    pub schema: String,
    /// Authorities to trust instead of the machine's: a PEM file.
    pub root_certificates: Option<PathBuf>,
    /// Connections at most, besides the one that listens.
    pub connections: usize,
    /// How long one call may take, waiting for a connection included.
    pub timeout: Duration,
    /// Whether a connection keeps its session on the server.
    pub pooler: QueuePooler,
    /// Unfinished deliveries that are taken at most. Several hosts that are
    /// asked at once may exceed it by what they take in that moment.
    pub depth_max: u64,
    /// Starts the background tasks again where they end.
    pub supervisor: Supervisor,
    /// For tests: tells the time instead of the server.
    pub clock: Option<Arc<dyn Clock>>,
}

impl PostgresConfig {
    /// The defaults, on this server.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "pointsman".to_owned(),
            root_certificates: None,
            // Enough to keep one host's commits in flight; a server takes 100 by default.
            connections: 16,
            // Three fit into a lease; a busy server takes one for a lock that is held.
            timeout: Duration::from_secs(10),
            pooler: QueuePooler::Auto,
            depth_max: DEPTH_MAX,
            supervisor: Supervisor::default(),
            clock: None,
        }
    }
}

/// A queue on a server.
#[derive(Debug)]
pub struct Postgres {
    sessions: Sessions,
    depth_max: u64,
    clock: Option<Arc<dyn Clock>>,
    signals: Arc<Signals>,
    outbox: Arc<Outbox>,
    counted: Mutex<Counted>,
    drift: Drift,
    stop: CancellationToken,
    // The listener and the teller; dropping the store only tells it to stop, closing awaits it.
    tasks: TaskTracker,
}

/// The unfinished deliveries, as last counted and with what came since.
#[derive(Debug, Default)]
struct Counted {
    depth: u64,
    /// Not before this is it counted again: counting takes a tenth of the time.
    next: Option<Instant>,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Postgres {
    /// Connects, and makes or migrates the tables.
    ///
    /// # Errors
    /// [`QueueError::Config`], [`QueueError::NewerSchema`], [`QueueError::Unavailable`].
    pub async fn open(config: PostgresConfig) -> Result<Self, QueueError> {
        let target = url::target(&config)?;
        let schema = Schema::new(&config.schema)?;
        let channel = schema.channel();
        let connector = Connector {
            config: target.config,
            tls: target.tls,
            pooler: config.pooler,
            terms: Arc::new(Terms::new(schema, config.timeout)),
        };
        let sessions = Sessions::new(connector.clone(), config.connections)?;
        migrate::migrate(&sessions).await?;
        let (signals, stop) = (Arc::new(Signals::default()), CancellationToken::new());
        let listener = Arc::new(Listener {
            connector,
            channel: channel.clone(),
            signals: Arc::clone(&signals),
            stop: stop.clone(),
        });
        let outbox = Arc::new(Outbox {
            sessions: sessions.clone(),
            channel,
            signals: Arc::clone(&signals),
            news: Mutex::default(),
            filled: Notify::new(),
        });
        let tasks = TaskTracker::new();
        let supervisor = &config.supervisor;
        supervisor.spawn(&tasks, "queue-news", stop.clone(), move || {
            Arc::clone(&listener).run()
        });
        let (teller, end) = (Arc::clone(&outbox), stop.clone());
        supervisor.spawn(&tasks, "queue-teller", stop.clone(), move || {
            let (teller, end) = (Arc::clone(&teller), end.clone());
            async move { teller.run(&end).await }
        });
        tasks.close();
        Ok(Self {
            sessions,
            outbox,
            depth_max: config.depth_max,
            clock: config.clock,
            signals,
            counted: Mutex::default(),
            drift: Drift::default(),
            stop,
            tasks,
        })
    }

    /// A transaction, and the time by which it decides.
    async fn begin<'l>(&self, lent: &'l mut Lent) -> Result<(Scope<'l>, Timestamp), QueueError> {
        let tx = lent.begin().await?;
        let now = tx.now().await.map_err(to("ask the time"))?;
        Ok((tx, self.clock.as_ref().map_or(now, |clock| clock.now())))
    }

    /// Refuses where `added` more would be too many. Counts only when what is
    /// known says so.
    async fn admit(&self, tx: &Scope<'_>, added: u64) -> Result<(), QueueError> {
        let fits = |counted: &mut Counted| {
            let fits = counted.next.is_some() && counted.depth + added <= self.depth_max;
            counted.depth += if fits { added } else { 0 };
            fits
        };
        {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            if fits(&mut counted) {
                return Ok(());
            }
            if counted.next.is_some_and(|next| Instant::now() < next) {
                return Err(QueueError::Full {
                    max: self.depth_max,
                });
            }
        }
        let started = Instant::now();
        let limit = i64::try_from(self.depth_max).unwrap_or(i64::MAX);
        let row = tx
            .query_opt(
                "SELECT count(*) FROM (SELECT 1 FROM @.delivery
                     WHERE state IN ('available', 'running', 'scheduled', 'retryable') LIMIT $1) open",
                &[&limit],
            )
            .await
            .map_err(to("count the queue"))?;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.depth = row.map_or(0, |row| row.get::<_, i64>(0)).cast_unsigned();
        counted.next = Some(Instant::now() + started.elapsed() * 9);
        if fits(&mut counted) {
            Ok(())
        } else {
            Err(QueueError::Full {
                max: self.depth_max,
            })
        }
    }

    async fn try_enqueue(&self, commands: &[NewCommand]) -> Result<Vec<Enqueued>, QueueError> {
        let mut lent = self.sessions.get().await?;
        let (tx, now) = self.begin(&mut lent).await?;
        let answers = write::recognise(&tx, now, commands).await?;
        let both = commands.iter().zip(&answers);
        let fresh: Vec<_> = both
            .filter(|(_, answer)| !answer.repeated)
            .map(|(command, _)| command)
            .collect();
        let added: usize = fresh.iter().map(|command| command.deliveries.len()).sum();
        if added > 0 {
            self.admit(&tx, added as u64).await?;
        }
        write::insert(&tx, now, &fresh)
            .await
            .map_err(to("store a command"))?;
        tx.commit().await.map_err(to("commit"))?;
        if added > 0 {
            self.outbox.put(News::Work);
        }
        Ok(answers)
    }

    async fn try_claim(&self, request: &ClaimRequest) -> Result<Claims, QueueError> {
        let mut lent = self.sessions.get().await?;
        let asked = Instant::now();
        let (tx, now) = self.begin(&mut lent).await?;
        // A clock of a test jumps on purpose.
        let leases = match &self.clock {
            None if !self.drift.trusts(now, asked, request.lease) => Leases::Leave,
            _ => Leases::End,
        };
        let claims = claim::claim(&tx, now, request, leases).await?;
        tx.commit().await.map_err(to("commit"))?;
        for claimed in &claims.deliveries {
            self.signals.send_change(claimed.lease.delivery.command);
        }
        Ok(claims)
    }

    async fn try_renew(
        &self,
        leases: &[Lease],
        lease: Duration,
    ) -> Result<Vec<Renewal>, QueueError> {
        let mut lent = self.sessions.get().await?;
        let (tx, now) = self.begin(&mut lent).await?;
        let renewals = claim::renew(&tx, leases, now.after(lease))
            .await
            .map_err(to("renew leases"))?;
        tx.commit().await.map_err(to("commit"))?;
        Ok(renewals)
    }

    async fn try_settle(&self, lease: &Lease, row: &SettlementRow) -> Result<State, QueueError> {
        let mut lent = self.sessions.get().await?;
        if row.state == State::Completed {
            let now = self.clock.as_ref().map(|clock| clock.now());
            let single = lent.single().await?;
            let completed = write::complete(&single, now, lease, row)
                .await
                .map_err(to("complete a delivery"))?;
            if let Some(state) = completed {
                single.commit().await.map_err(to("commit"))?;
                self.signals.send_change(lease.delivery.command);
                return Ok(state);
            }
        }
        let (tx, now) = self.begin(&mut lent).await?;
        let state = write::settle(&tx, now, lease, row)
            .await
            .map_err(to("settle a delivery"))?;
        let Some((state, more)) = state else {
            return Err(QueueError::LeaseLost(lease.delivery.clone()));
        };
        tx.commit().await.map_err(to("commit"))?;
        self.signals.send_change(lease.delivery.command);
        if more {
            self.outbox.put(News::Work);
        }
        Ok(state)
    }

    async fn try_cancel(&self, command: CommandId) -> Result<Cancellation, QueueError> {
        let mut lent = self.sessions.get().await?;
        let (tx, now) = self.begin(&mut lent).await?;
        let done = write::cancel(&tx, now, command)
            .await
            .map_err(to("cancel a command"))?;
        let done = done.ok_or(QueueError::UnknownCommand(command))?;
        tx.commit().await.map_err(to("commit"))?;
        self.signals.send_change(command);
        self.outbox.put(News::Cancelled(command));
        self.outbox.put(News::Work);
        Ok(done)
    }

    async fn one(&self, command: CommandId, payloads: Payloads) -> Result<CommandView, QueueError> {
        let found = read::commands(
            &self.sessions.get().await?.single().await?,
            &[command.0],
            payloads,
        )
        .await?;
        let found = found.into_iter().next();
        found.ok_or(QueueError::UnknownCommand(command))
    }

    async fn change_dead(&self, filter: &DeadFilter, retry: bool) -> Result<u64, QueueError> {
        let (mut total, mut below) = (0, Some(i64::MAX));
        while let Some(from) = below {
            let (changed, next) = retried!(self.try_change_dead(filter, retry, from))?;
            total += changed;
            below = next;
        }
        Ok(total)
    }

    async fn try_change_dead(
        &self,
        filter: &DeadFilter,
        retry: bool,
        below: i64,
    ) -> Result<(u64, Option<i64>), QueueError> {
        let mut lent = self.sessions.get().await?;
        let (tx, now) = self.begin(&mut lent).await?;
        let done = dead::step(&tx, now, filter, retry, below).await?;
        tx.commit().await.map_err(to("commit"))?;
        self.outbox.put(News::Work);
        Ok(done)
    }

    async fn sweep_all(&self, policy: &RetentionPolicy) -> Result<Swept, QueueError> {
        const DOING: &str = "remove what is past its retention";
        let mut swept = Swept::default();
        let far = Timestamp::from_millis(i64::MIN);
        // By age; then by size, first all but the dead letter, then that too.
        for pass in 0..3 {
            let mut next = Some((i64::MIN, Uuid::nil()));
            while let Some(after) = next {
                let mut lent = self.sessions.get().await?;
                let (tx, now) = self.begin(&mut lent).await?;
                if pass > 0 && !dead::too_large(&tx, policy).await.map_err(to(DOING))? {
                    return Ok(swept);
                }
                if pass == 0 && after.0 == i64::MIN {
                    swept.keys = dead::sweep_keys(&tx, now).await.map_err(to(DOING))?;
                }
                let (age, dead_age) = match pass {
                    0 => (now.before(policy.age_max), now.before(policy.dead_age_max)),
                    1 => (now, far),
                    _ => (now, now),
                };
                let (removed, rest) = dead::sweep(&tx, age, dead_age, after)
                    .await
                    .map_err(to(DOING))?;
                tx.commit().await.map_err(to("commit"))?;
                swept.commands += removed;
                next = rest;
            }
        }
        Ok(swept)
    }
}

impl Store for Postgres {
    fn enqueue(&self, commands: Vec<NewCommand>) -> Answer<'_, Vec<Enqueued>> {
        Box::pin(async move {
            commands.iter().try_for_each(NewCommand::validate)?;
            retried!(self.try_enqueue(&commands))
        })
    }

    fn claim(&self, request: ClaimRequest) -> Answer<'_, Claims> {
        Box::pin(async move { retried!(self.try_claim(&request)) })
    }

    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> Answer<'_, Vec<Renewal>> {
        Box::pin(async move { retried!(self.try_renew(&leases, lease)) })
    }

    fn settle(&self, lease: Lease, settlement: Settlement) -> Answer<'_, State> {
        let row = SettlementRow::from(settlement);
        Box::pin(async move { retried!(self.try_settle(&lease, &row)) })
    }

    fn cancel(&self, command: CommandId) -> Answer<'_, Cancellation> {
        Box::pin(async move { retried!(self.try_cancel(command)) })
    }

    fn get(&self, command: CommandId) -> Answer<'_, CommandView> {
        Box::pin(self.one(command, Payloads::Whole))
    }

    fn glance(&self, command: CommandId) -> Answer<'_, CommandView> {
        Box::pin(self.one(command, Payloads::Short))
    }

    fn list(&self, filter: CommandFilter, page: Page<CommandId>) -> Answer<'_, Vec<CommandView>> {
        Box::pin(async move {
            read::list(&self.sessions.get().await?.single().await?, &filter, page).await
        })
    }

    fn inspect(&self, delivery: DeliveryId) -> Answer<'_, DeliveryDetail> {
        Box::pin(async move {
            read::inspect(&self.sessions.get().await?.single().await?, &delivery).await
        })
    }

    fn dead(&self, filter: DeadFilter, page: Page<DeadCursor>) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(async move {
            read::dead(&self.sessions.get().await?.single().await?, &filter, page).await
        })
    }

    fn retry_dead(&self, filter: DeadFilter) -> Answer<'_, u64> {
        Box::pin(async move { self.change_dead(&filter, true).await })
    }

    fn discard_dead(&self, filter: DeadFilter) -> Answer<'_, u64> {
        Box::pin(async move { self.change_dead(&filter, false).await })
    }

    fn sweep(&self, policy: RetentionPolicy) -> Answer<'_, Swept> {
        Box::pin(async move { self.sweep_all(&policy).await })
    }

    fn depth(&self) -> Answer<'_, Vec<Depth>> {
        Box::pin(async move { read::depth(&self.sessions.get().await?.single().await?).await })
    }

    fn check(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            // A transaction that may write: a standby refuses it.
            let mut lent = self.sessions.get().await?;
            let tx = lent.begin().await?;
            tx.now().await.map_err(to("answer"))?;
            tx.commit().await.map_err(to("answer"))
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.stop.cancel();
            self.sessions.close();
            // Both end at once; neither is waited for where it does not.
            if timeout(CLOSE_MAX, self.tasks.wait()).await.is_err() {
                warn!("could not end the connection that listens in time");
            }
            Ok(())
        })
    }

    fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }
}
