//! Owns connections to one PostgreSQL server for one handler. Values travel as text
//! towards the server, which knows their types, and nothing is prepared: that works
//! behind a pooler, too.

mod decode;
mod encode;
mod fault;
mod query;
mod stream;
mod wire;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

use self::{
    query::Rows,
    wire::{Status, Wire},
};
use crate::{
    engine::{Engaged, failed_transaction, no_more, unknown_outcome},
    error::SqlError,
    settings::DatabaseLimits,
    url::Target,
    value::{SqlPage, SqlValue},
};

/// How long a connection is kept that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long the end of a session may take on the server.
const DISCARD_MAX: Duration = Duration::from_secs(5);

/// Connections to one server.
#[derive(Debug)]
pub(crate) struct Postgres {
    shared: Arc<Shared>,
}

struct Shared {
    target: Target,
    read_only: bool,
    bytes_max: u64,
    places: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    wires: Vec<(Wire, Instant)>,
    /// Whether a task closes those that are old.
    is_swept: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Postgres {
    pub(crate) fn new(target: Target, limits: &DatabaseLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                target,
                read_only: limits.read_only,
                bytes_max: limits.bytes_max,
                places: Arc::new(Semaphore::new(limits.connections_max)),
                idle: Mutex::default(),
            }),
        }
    }

    /// A connection, once there is a place for one.
    pub(crate) async fn take(&self) -> Result<Lent, SqlError> {
        let shared = &self.shared;
        let places = Arc::clone(&shared.places);
        let permit = places.acquire_owned().await;
        let permit = permit.map_err(|_| SqlError::unavailable("the host is shutting down"))?;
        let wire = match shared.waiting() {
            Some(wire) => wire,
            None => Wire::connect(&shared.target, shared.bytes_max).await?,
        };
        Ok(Lent {
            shared: Arc::clone(shared),
            held: Some((wire, permit)),
            rows: None,
            scope: Scope::Statement,
            is_asking: false,
        })
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> Option<Wire> {
        let mut idle = self.idle();
        while let Some((mut wire, since)) = idle.wires.pop() {
            if since.elapsed() < IDLE_MAX && wire.is_quiet() {
                return Some(wire);
            }
        }
        None
    }

    /// Keeps a connection for the next call.
    fn keep(self: &Arc<Self>, wire: Wire) {
        let mut idle = self.idle();
        idle.wires.push((wire, Instant::now()));
        if std::mem::replace(&mut idle.is_swept, true) {
            return;
        }
        drop(idle);
        let shared = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                sleep(IDLE_MAX).await;
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                let mut idle = shared.idle();
                idle.wires.retain(|(_, since)| since.elapsed() < IDLE_MAX);
                if idle.wires.is_empty() {
                    idle.is_swept = false;
                    return;
                }
            }
        });
    }
}

/// A connection that one session has.
pub(crate) struct Lent {
    shared: Arc<Shared>,
    // None only while it is dropped.
    held: Option<(Wire, OwnedSemaphorePermit)>,
    rows: Option<Rows>,
    scope: Scope,
    is_asking: bool,
}

/// What the session has opened around its statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Nothing.
    Statement,
    /// A transaction of the session's own around one query that only reads.
    Reading,
    /// The handler's transaction.
    Transaction,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Lent {
    pub(crate) fn in_transaction(&self) -> bool {
        self.scope == Scope::Transaction
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.is_asking || self.held.as_ref().is_none_or(|(wire, _)| wire.is_over)
    }

    /// Begins what must come to its end: a connection on which it did not is given up.
    pub(crate) fn asks(&mut self) {
        self.is_asking = true;
    }

    /// The answer is there.
    pub(crate) fn answered(&mut self) {
        self.is_asking = false;
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.held.as_mut().expect("not dropped").0
    }

    /// Leaves the last query, if it has more rows, and what the session opened around it.
    async fn leave(&mut self) -> Result<(), SqlError> {
        let left = match self.rows.take() {
            Some(rows) => rows.leave(self).await,
            None => Ok(()),
        };
        self.close(left).await
    }

    /// Ends the session's own transaction around a query, which gave `done`.
    async fn close<T>(&mut self, done: Result<T, SqlError>) -> Result<T, SqlError> {
        if self.scope == Scope::Reading && !self.wire().is_over {
            self.wire().run("ROLLBACK").await?;
            self.scope = Scope::Statement;
        }
        done
    }

    /// Makes the connection ready for a statement. Where nothing may be changed, the statement
    /// is in a transaction that it cannot leave.
    async fn enter(&mut self) -> Result<(), SqlError> {
        self.leave().await?;
        if self.in_transaction() && self.wire().status != Status::Transaction {
            return Err(failed_transaction());
        }
        if self.shared.read_only && self.scope == Scope::Statement {
            self.open(BEGIN_READ_ONLY, Scope::Reading).await?;
        }
        Ok(())
    }

    /// Opens a transaction: all of it, or nothing of it stays.
    async fn open(&mut self, text: &str, scope: Scope) -> Result<(), SqlError> {
        let wire = self.wire();
        let opened = wire.run(text).await;
        if opened.is_err() && !wire.is_over && wire.status != Status::Idle {
            wire.run("ROLLBACK").await?;
        }
        opened?;
        self.scope = scope;
        Ok(())
    }

    async fn page(&mut self, mut rows: Rows) -> Result<SqlPage, SqlError> {
        match rows.page(self).await {
            Ok(page) if page.more => {
                self.rows = Some(rows);
                Ok(page)
            }
            done => {
                if !rows.is_done() && !self.wire().is_over {
                    // A value that has no form here; the statement is left.
                    rows.leave(self).await?;
                }
                self.close(done).await
            }
        }
    }
}

/// After its first query, a transaction takes no `SET TRANSACTION READ WRITE`.
const BEGIN_READ_ONLY: &str = "BEGIN READ ONLY; SELECT 1";

impl Engaged for Lent {
    async fn query(&mut self, text: &str, parameters: Vec<SqlValue>) -> Result<SqlPage, SqlError> {
        self.enter().await?;
        match Rows::ask(self, text, &parameters).await {
            Ok(rows) => self.page(rows).await,
            Err(error) => self.close(Err(error)).await,
        }
    }

    async fn next(&mut self) -> Result<SqlPage, SqlError> {
        let rows = self.rows.take().ok_or_else(no_more)?;
        self.page(rows).await
    }

    async fn execute(&mut self, text: &str, parameters: Vec<SqlValue>) -> Result<u64, SqlError> {
        self.enter().await?;
        let changed = query::execute(self.wire(), text, &parameters).await;
        self.close(changed).await
    }

    async fn begin(&mut self) -> Result<(), SqlError> {
        self.leave().await?;
        let text = match self.shared.read_only {
            true => BEGIN_READ_ONLY,
            false => "BEGIN",
        };
        self.open(text, Scope::Transaction).await
    }

    async fn commit(&mut self) -> Result<(), SqlError> {
        let left = self.leave().await;
        if left.is_err() || self.wire().status != Status::Transaction {
            self.rollback().await?;
            return Err(left.err().unwrap_or_else(failed_transaction));
        }
        let committed = self.wire().run("COMMIT").await;
        if self.wire().is_over {
            return Err(unknown_outcome(committed.err()));
        }
        // Where it fails, as for a constraint that was deferred, nothing is open any more.
        self.scope = Scope::Statement;
        match committed?.as_str() {
            "COMMIT" => Ok(()),
            _ => Err(failed_transaction()),
        }
    }

    async fn rollback(&mut self) -> Result<(), SqlError> {
        // A statement of it that failed is undone as all others.
        if let Err(error) = self.leave().await
            && self.wire().is_over
        {
            return Err(error);
        }
        self.wire().run("ROLLBACK").await?;
        self.scope = Scope::Statement;
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some((wire, permit)), Ok(runtime)) = (self.held.take(), Handle::try_current()) else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        if wire.is_over || self.is_asking {
            runtime.spawn(async move {
                wire.end(&shared.target).await;
                // Only now: a statement that cannot be ended has the place of its connection.
                drop(permit);
            });
            return;
        }
        let left = Self {
            shared,
            held: Some((wire, permit)),
            rows: self.rows.take(),
            scope: self.scope,
            is_asking: true,
        };
        runtime.spawn(left.discard());
    }
}

impl Lent {
    /// Keeps the connection for the next call, once nothing of this one is in it. What does
    /// not come to its end in time is given up, by the destructor.
    async fn discard(mut self) {
        let discarded = async {
            // What it says is of no use to anyone any more.
            let _ = self.leave().await;
            if self.wire().status != Status::Idle {
                self.wire().run("ROLLBACK").await?;
            }
            self.wire().run("DISCARD ALL").await
        };
        if matches!(timeout(DISCARD_MAX, discarded).await, Ok(Ok(_)))
            && let Some((wire, permit)) = self.held.take()
        {
            self.shared.keep(wire);
            drop(permit);
        }
    }
}
