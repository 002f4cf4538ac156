//! Owns the connections of one store: how many, who waits for one, and which
//! are used again.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool::{
    Runtime,
    managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult, TimeoutType},
};
use pointsman_database::url::CONNECT_MAX;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};
use tracing::warn;

use super::{
    connect::Connector,
    fault::{Fault, to},
    session::{Condition, Scope, Session, Terms},
};
use crate::QueueError;

const GET: &str = "get a connection";
/// How long a caller waits for a connection before it is told that there is none.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a connection whose last call was given up may take to answer.
const PING_MAX: Duration = Duration::from_secs(2);
/// After the server had no room for one more connection, it is not asked for so long.
const FULL_FOR: Duration = Duration::from_secs(1);
/// How long to wait, with none of ours to be given back, before looking again.
const FULL_LOOK: Duration = Duration::from_millis(50);

/// The connections of one store.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    pool: managed::Pool<Maker>,
    terms: Arc<Terms>,
    returned: Arc<Notify>,
}

/// A connection, given back when dropped, and the time by which its calls end.
pub(super) struct Lent {
    // None only while it is dropped.
    session: Option<Object<Maker>>,
    deadline: Instant,
    returned: Arc<Notify>,
}

impl Sessions {
    pub(super) fn new(connector: Connector, max: usize) -> Result<Self, QueueError> {
        let terms = Arc::clone(&connector.terms);
        let maker = Maker {
            connector,
            full_until: Mutex::new(None),
            warned: AtomicBool::new(false),
        };
        let pool = managed::Pool::builder(maker)
            .max_size(max.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT_MAX))
            .create_timeout(Some(CONNECT_MAX * 2))
            .recycle_timeout(Some(PING_MAX))
            .build()
            .map_err(|error| QueueError::config(error.to_string()))?;
        Ok(Self {
            pool,
            terms,
            returned: Arc::default(),
        })
    }

    /// A connection for calls that together take no longer than the limit.
    pub(super) async fn get(&self) -> Result<Lent, QueueError> {
        self.get_for(self.terms.limit).await
    }

    /// As [`Sessions::get`], with a limit that may be shorter.
    pub(super) async fn get_within(&self, limit: Duration) -> Result<Lent, QueueError> {
        self.get_for(self.terms.limit.min(limit)).await
    }

    /// As [`Sessions::get`], with another limit.
    pub(super) async fn get_for(&self, limit: Duration) -> Result<Lent, QueueError> {
        let started = Instant::now();
        let deadline = started + limit;
        let wait_until = deadline.min(started + WAIT_MAX);
        loop {
            let returned = self.returned.notified();
            let got = timeout_at(deadline, self.pool.get()).await;
            match got.unwrap_or(Err(PoolError::Timeout(TimeoutType::Wait))) {
                Ok(session) => {
                    return Ok(Lent {
                        session: Some(session),
                        deadline,
                        returned: Arc::clone(&self.returned),
                    });
                }
                // The ones there are will be given back.
                Err(PoolError::Backend(fault))
                    if fault.is_full() && Instant::now() < wait_until =>
                {
                    tokio::select! {
                        () = returned => {}
                        () = sleep(FULL_LOOK) => {}
                    }
                }
                Err(error) => return Err(self.refused(error)),
            }
        }
    }

    fn refused(&self, error: PoolError<Fault>) -> QueueError {
        match error {
            PoolError::Backend(fault) => to(GET)(fault),
            PoolError::Closed => QueueError::Closed,
            PoolError::Timeout(_)
            | PoolError::PostCreateHook(_)
            | PoolError::NoRuntimeSpecified => to(GET)(Fault::Silent(self.terms.limit)),
        }
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

impl Lent {
    /// A transaction, which is undone unless it is committed.
    pub(super) async fn begin(&mut self) -> Result<Scope<'_>, QueueError> {
        let deadline = self.deadline;
        let session = self.session.as_mut().ok_or(QueueError::Closed)?;
        session.begin(deadline).await.map_err(to("begin"))
    }

    /// For single statements; see [`Session::single`].
    pub(super) async fn single(&mut self) -> Result<Scope<'_>, QueueError> {
        let deadline = self.deadline;
        let session = self.session.as_mut().ok_or(QueueError::Closed)?;
        session.single(deadline).await.map_err(to("begin"))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // First into the pool, then the news of it.
        drop(self.session.take());
        self.returned.notify_one();
    }
}

/// Makes connections, and says which are used again.
struct Maker {
    connector: Connector,
    /// Until then the server is not asked for another one.
    full_until: Mutex<Option<Instant>>,
    warned: AtomicBool,
}

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maker").finish_non_exhaustive()
    }
}

impl Maker {
    fn full(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.full_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl managed::Manager for Maker {
    type Type = Session;
    type Error = Fault;

    async fn create(&self) -> Result<Session, Fault> {
        if self.full().is_some_and(|until| Instant::now() < until) {
            return Err(Fault::Full);
        }
        match self.connector.connect(|_| ()).await {
            Ok((session, _)) => Ok(session),
            Err(fault) => {
                if fault.is_full() {
                    *self.full() = Some(Instant::now() + FULL_FOR);
                    if !self.warned.swap(true, Ordering::Relaxed) {
                        warn!(
                            "the database takes fewer connections than `queue.connections`: calls wait for those there are"
                        );
                    }
                }
                Err(fault)
            }
        }
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Fault> {
        match session.condition() {
            Condition::Good => Ok(()),
            Condition::Useless => Err(RecycleError::message("no longer usable")),
            Condition::Unsure => Ok(session.ping(Instant::now() + PING_MAX).await?),
        }
    }
}
