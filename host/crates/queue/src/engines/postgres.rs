//! Owns the queue on a PostgreSQL server that several hosts share. They never
//! talk to each other: `FOR UPDATE SKIP LOCKED` deals the deliveries out, and
//! notifications only save the wait for the next look.
//!
//! The server's clock decides about leases, delays and retention, not the
//! hosts': one clock for all, so that a host whose clock is wrong neither takes
//! a live lease nor holds a delivery back.
//!
//! Nothing relies on what a session remembers, as a pooler may stand between;
//! `session` says how.

mod admit;
mod claim;
mod connect;
mod dead;
mod dedup;
mod drift;
mod entries;
mod fault;
mod history;
mod lanes;
mod limits;
mod lines;
mod listen;
mod migrate;
mod param;
mod pauses;
mod pool;
mod read;
mod route;
mod row;
mod schedules;
mod schema;
mod session;
mod store;
mod tx;
mod url;
mod write;

use std::{
    mem,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use pointsman_core::{
    outcome::Status,
    state::{Space, StateAnswer, StateError, StateRequest},
};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    admit::Admission,
    claim::Leases,
    connect::Connector,
    drift::Drift,
    fault::to,
    history::History,
    listen::{Listener, Outbox},
    pool::{Lent, Sessions},
    schema::Schema,
    session::Terms,
    tx::Tx,
};
use crate::settings::Pooler;
use crate::{
    Cancellation, ClaimRequest, Claims, Clock, CommandId, CommandView, DEPTH_MAX, DeadFilter,
    Enqueued, Lease, NewCommand, QueueError, REREAD, Renewal, RetentionSettings, Signals, State,
    Swept,
    model::SettlementRow,
    policy::{Fate, Sweep, Verdict},
    query::Payloads,
    signals::News,
};
use pointsman_machine::shutdown::Supervisor;

/// How long one step of the retention may take: it may have to read all that is
/// stored. Nobody waits for it.
const SWEEP_MAX: Duration = Duration::from_secs(300);

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
    pub pooler: Pooler,
    /// Unfinished deliveries that are taken at most. Several hosts that are
    /// asked at once may exceed it by what they take in that moment.
    pub depth_max: u64,
    /// How long whoever waits for a command trusts that no news is no change.
    pub reread: Duration,
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
            pooler: Pooler::Auto,
            depth_max: DEPTH_MAX,
            reread: REREAD,
            supervisor: Supervisor::default(),
            clock: None,
        }
    }
}

/// A queue on a server.
#[derive(Debug)]
pub struct Postgres {
    sessions: Sessions,
    admission: Admission,
    clock: Option<Arc<dyn Clock>>,
    signals: Arc<Signals>,
    outbox: Arc<Outbox>,
    history: Arc<History>,
    drift: Drift,
    stop: CancellationToken,
    // The listener and the teller; dropping the store only tells it to stop, closing awaits it.
    tasks: TaskTracker,
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
        let (signals, stop) = (
            Arc::new(Signals::new(config.reread)),
            CancellationToken::new(),
        );
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
        let history = Arc::new(History::new(sessions.clone()));
        let (counts, end) = (Arc::clone(&history), stop.clone());
        supervisor.spawn(&tasks, "queue-history", stop.clone(), move || {
            let (counts, end) = (Arc::clone(&counts), end.clone());
            async move { counts.run(&end).await }
        });
        tasks.close();
        Ok(Self {
            sessions,
            outbox,
            history,
            admission: Admission::new(config.depth_max),
            clock: config.clock,
            signals,
            drift: Drift::default(),
            stop,
            tasks,
        })
    }

    /// A transaction, with the time by which it decides.
    async fn begin<'l>(&self, lent: &'l mut Lent) -> Result<Tx<'l>, QueueError> {
        let scope = lent.begin().await?;
        let now = scope.now().await.map_err(to("ask the time"))?;
        let now = self.clock.as_ref().map_or(now, |clock| clock.now());
        Ok(Tx::new(scope, now))
    }

    /// Commits, and tells what changed: the only place that does.
    async fn commit(&self, tx: Tx<'_>) -> Result<(), QueueError> {
        let mut news = tx.commit().await?;
        self.history.add(mem::take(&mut news.attempts));
        self.outbox.tell(news);
        Ok(())
    }

    async fn try_enqueue(&self, commands: &[NewCommand]) -> Result<Vec<Enqueued>, QueueError> {
        let mut lent = self.sessions.get().await?;
        let mut tx = self.begin(&mut lent).await?;
        let mut answers = write::recognise(&tx, commands).await?;
        if let [command] = commands
            && let Some(dedup) = &command.dedup
        {
            match dedup::verdict(&tx, dedup)
                .await
                .map_err(to("store a command"))?
            {
                Verdict::New => {}
                Verdict::Repeats(id) => (answers[0].id, answers[0].repeated) = (id, true),
                Verdict::Replaces(id) => {
                    let added = command.deliveries.len() as u64;
                    self.admission.admit(&tx, added).await?;
                    write::replace(&mut tx, id, command)
                        .await
                        .map_err(to("replace a command"))?;
                    self.commit(tx).await?;
                    (answers[0].id, answers[0].replaced) = (id, true);
                    return Ok(answers);
                }
            }
        }
        let both = commands.iter().zip(&answers);
        let fresh: Vec<_> = both
            .filter(|(_, answer)| !answer.repeated)
            .map(|(command, _)| command)
            .collect();
        let added: usize = fresh.iter().map(|command| command.deliveries.len()).sum();
        if added > 0 {
            self.admission.admit(&tx, added as u64).await?;
        }
        write::insert(&tx, &fresh)
            .await
            .map_err(to("store a command"))?;
        tx.news.work = added > 0;
        self.commit(tx).await?;
        Ok(answers)
    }

    async fn try_claim(&self, request: &ClaimRequest) -> Result<Claims, QueueError> {
        let mut lent = self.sessions.get().await?;
        let asked = Instant::now();
        let mut tx = self.begin(&mut lent).await?;
        // A clock of a test jumps on purpose.
        let leases = match &self.clock {
            None if !self.drift.trusts(tx.now, asked, request.lease) => Leases::Leave,
            _ => Leases::End,
        };
        let claims = claim::claim(&mut tx, request, leases).await?;
        self.commit(tx).await?;
        Ok(claims)
    }

    async fn try_renew(
        &self,
        leases: &[Lease],
        lease: Duration,
    ) -> Result<Vec<Renewal>, QueueError> {
        // One that is not answered leaves time for another before the lease is over.
        let mut lent = self.sessions.get_within(lease / 3).await?;
        let tx = self.begin(&mut lent).await?;
        let renewals = claim::renew(&tx, leases, tx.now.after(lease))
            .await
            .map_err(to("renew leases"))?;
        self.commit(tx).await?;
        Ok(renewals)
    }

    async fn try_settle(&self, lease: &Lease, row: &SettlementRow) -> Result<State, QueueError> {
        let mut lent = self.sessions.get().await?;
        if row.state == State::Completed && row.follow_ups.is_empty() && row.routed.is_none() {
            let now = self.clock.as_ref().map(|clock| clock.now());
            let single = lent.single().await?;
            let completed = write::complete(&single, now, lease, row)
                .await
                .map_err(to("complete a delivery"))?;
            if let Some((started, ended)) = completed {
                single.commit().await.map_err(to("commit"))?;
                let (handler, succeeded) = (&lease.delivery.handler, Status::Succeeded);
                self.history
                    .attempted(handler, succeeded.into(), started, ended);
                self.outbox.tell(News {
                    changed: vec![lease.delivery.command],
                    ..News::default()
                });
                return Ok(State::Completed);
            }
        }
        let mut tx = self.begin(&mut lent).await?;
        let state = match &row.routed {
            Some(routed) => route::route(&mut tx, lease, routed).await,
            None => write::settle(&mut tx, lease, row).await,
        };
        let state = state.map_err(to("settle a delivery"))?;
        let state = state.ok_or_else(|| QueueError::LeaseLost(lease.delivery.clone()))?;
        if state == State::Completed {
            write::follow_up(&mut tx, &row.follow_ups)
                .await
                .map_err(to("store a follow-up command"))?;
        }
        self.commit(tx).await?;
        Ok(state)
    }

    async fn try_cancel(&self, command: CommandId) -> Result<Cancellation, QueueError> {
        let mut lent = self.sessions.get().await?;
        let mut tx = self.begin(&mut lent).await?;
        let done = write::cancel(&mut tx, command)
            .await
            .map_err(to("cancel a command"))?;
        let done = done.ok_or(QueueError::UnknownCommand(command))?;
        self.commit(tx).await?;
        Ok(done)
    }

    async fn try_state(
        &self,
        space: &Space,
        request: &StateRequest,
    ) -> Result<Result<StateAnswer, StateError>, QueueError> {
        let mut lent = self.sessions.get().await?;
        let tx = self.begin(&mut lent).await?;
        if request.reads() {
            let read = entries::read(&tx, space, request, tx.now).await;
            return Ok(Ok(read.map_err(to("read an entry"))?));
        }
        let changed = entries::change(&tx, space, request).await;
        let answer = changed.map_err(to("change an entry"))?;
        self.commit(tx).await?;
        Ok(answer)
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

    async fn try_change_dead(
        &self,
        filter: &DeadFilter,
        fate: Fate,
        below: i64,
    ) -> Result<(u64, Option<i64>), QueueError> {
        let mut lent = self.sessions.get().await?;
        let mut tx = self.begin(&mut lent).await?;
        let done = dead::step(&mut tx, filter, fate, below).await?;
        self.commit(tx).await?;
        Ok(done)
    }

    /// Removes some entries that are over: how many, and whether there may be more.
    async fn try_sweep_entries(&self) -> Result<(u64, bool), QueueError> {
        const DOING: &str = "remove entries that are over";
        let mut lent = self.sessions.get_for(SWEEP_MAX).await?;
        let tx = self.begin(&mut lent).await?;
        tx.may_take(SWEEP_MAX).await.map_err(to(DOING))?;
        let removed = entries::sweep(&tx).await.map_err(to(DOING))?;
        self.commit(tx).await?;
        Ok(removed)
    }

    /// Forgets some deduplication keys that are over: how many, and whether there may be more.
    async fn try_sweep_dedup(&self) -> Result<(u64, bool), QueueError> {
        const DOING: &str = "forget deduplication keys";
        let mut lent = self.sessions.get_for(SWEEP_MAX).await?;
        let tx = self.begin(&mut lent).await?;
        tx.may_take(SWEEP_MAX).await.map_err(to(DOING))?;
        let removed = dedup::sweep(&tx).await.map_err(to(DOING))?;
        self.commit(tx).await?;
        Ok(removed)
    }

    /// One step of a sweep: what it removed, and the next one.
    async fn try_sweep(
        &self,
        policy: &RetentionSettings,
        step: Sweep<dead::Place>,
    ) -> Result<(Swept, Option<Sweep<dead::Place>>), QueueError> {
        const DOING: &str = "remove what is past its retention";
        let pass = step.pass;
        let mut swept = Swept::default();
        let mut lent = self.sessions.get_for(SWEEP_MAX).await?;
        let mut tx = self.begin(&mut lent).await?;
        tx.may_take(SWEEP_MAX).await.map_err(to(DOING))?;
        if pass.is_for_size() && !dead::too_large(&tx, policy).await.map_err(to(DOING))? {
            return Ok((swept, None));
        }
        if step.is_first() {
            swept.keys = dead::sweep_keys(&tx).await.map_err(to(DOING))?;
            history::remove(&tx).await.map_err(to(DOING))?;
            let over = "DELETE FROM @.pause WHERE until_ms <= $1";
            tx.execute(over, &[&tx.now.as_millis()])
                .await
                .map_err(to(DOING))?;
            let over =
                "DELETE FROM @.lane WHERE until_ms IS NOT NULL AND parked AND until_ms <= $1";
            tx.execute(over, &[&tx.now.as_millis()])
                .await
                .map_err(to(DOING))?;
        }
        let cutoffs = pass.cutoffs(policy, tx.now);
        let (removed, last) = dead::sweep(&tx, cutoffs, step.after)
            .await
            .map_err(to(DOING))?;
        swept.commands = removed;
        if pass.is_for_size() {
            tx.news.gave_way = removed;
        }
        self.commit(tx).await?;
        Ok((swept, step.next(last)))
    }
}
