//! Owns connections to one SQLite file for one handler. Each has a thread of its
//! own, since SQLite waits and computes in the caller's.

mod fault;
mod job;
mod memory;
mod open;
mod statement;
mod worker;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Semaphore, oneshot};

use self::{
    job::{Answer, Job, Place, Reply},
    open::{Opening, Source},
    worker::Worker,
};
use crate::{
    engine::{Engaged, failed_transaction, unknown_outcome},
    error::SqlError,
    settings::DatabaseLimits,
    value::{SqlPage, SqlValue},
};

/// Connections to one file.
#[derive(Debug)]
pub(crate) struct Sqlite(Arc<Shared>);

struct Shared {
    opening: Opening,
    places: Arc<Semaphore>,
    // A thread retires only under this lock: whoever takes its connection has it.
    idle: Mutex<Vec<Worker>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Sqlite {
    pub(crate) fn new(path: PathBuf, limits: &DatabaseLimits) -> Self {
        Self::of(Source::File(path), limits.connections_max, limits)
    }

    /// One connection, which is the database, for as long as this is there.
    pub(crate) fn in_memory(fixture: &str, limits: &DatabaseLimits) -> Self {
        Self::of(Source::Memory(fixture.to_owned()), 1, limits)
    }

    fn of(source: Source, connections: usize, limits: &DatabaseLimits) -> Self {
        Self(Arc::new(Shared {
            opening: Opening::new(source, limits),
            places: Arc::new(Semaphore::new(connections)),
            idle: Mutex::default(),
        }))
    }

    /// A connection, once there is a place for one.
    pub(crate) async fn take(&self) -> Result<Lent, SqlError> {
        let shared = &self.0;
        let place = Arc::clone(&shared.places).acquire_owned().await;
        let place = place.map_err(|_| SqlError::unavailable("the host is shutting down"))?;
        let place = Arc::new(place);
        let worker = match shared.waiting() {
            Some(worker) => worker,
            None => Worker::start(shared, Arc::clone(&place)).await?,
        };
        Ok(Lent {
            shared: Arc::clone(shared),
            worker: Some(worker),
            place,
            phase: Phase::Clean,
        })
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> Option<Worker> {
        let mut idle = self.idle();
        std::iter::from_fn(|| idle.pop()).find(Worker::is_there)
    }
}

/// A connection that one session has.
pub(crate) struct Lent {
    shared: Arc<Shared>,
    // None only while it is dropped.
    worker: Option<Worker>,
    place: Place,
    phase: Phase,
}

/// What the connection is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Clean,
    Transaction,
    /// The handler's transaction, which SQLite ended by itself.
    Ended,
    /// In the middle of something whose end nobody saw.
    Asking,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Lent {
    pub(crate) fn in_transaction(&self) -> bool {
        matches!(self.phase, Phase::Transaction | Phase::Ended)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.phase == Phase::Asking
    }

    async fn ask<T>(&mut self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, SqlError> {
        let gone = || SqlError::unavailable("the connection to the database ended");
        let before = std::mem::replace(&mut self.phase, Phase::Asking);
        let (reply, answer) = oneshot::channel();
        let worker = self.worker.as_ref().ok_or_else(gone)?;
        if !worker.ask(job(reply), Arc::clone(&self.place)) {
            return Err(gone());
        }
        let Answer {
            said,
            in_transaction,
        } = answer.await.map_err(|_| gone())?;
        self.phase = match before {
            Phase::Transaction if !in_transaction => Phase::Ended,
            before => before,
        };
        said
    }

    fn enter(&self) -> Result<(), SqlError> {
        match self.phase {
            Phase::Ended => Err(failed_transaction()),
            _ => Ok(()),
        }
    }
}

impl Engaged for Lent {
    async fn query(&mut self, text: &str, parameters: Vec<SqlValue>) -> Result<SqlPage, SqlError> {
        self.enter()?;
        self.ask(|reply| Job::Query(text.to_owned(), parameters, reply))
            .await
    }

    async fn next(&mut self) -> Result<SqlPage, SqlError> {
        self.enter()?;
        self.ask(Job::Next).await
    }

    async fn execute(&mut self, text: &str, parameters: Vec<SqlValue>) -> Result<u64, SqlError> {
        self.enter()?;
        self.ask(|reply| Job::Execute(text.to_owned(), parameters, reply))
            .await
    }

    async fn begin(&mut self) -> Result<(), SqlError> {
        // A writer waits for the lock here, not in the middle.
        let text = match self.shared.opening.read_only {
            true => "BEGIN",
            false => "BEGIN IMMEDIATE",
        };
        self.ask(|reply| Job::Own(text, reply)).await?;
        self.phase = Phase::Transaction;
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), SqlError> {
        if self.phase == Phase::Ended {
            self.phase = Phase::Clean;
            return Err(failed_transaction());
        }
        let done = self.ask(|reply| Job::Own("COMMIT", reply)).await;
        match (&done, self.phase) {
            (Err(_), Phase::Asking) => return Err(unknown_outcome(done.err())),
            // As in PostgreSQL, what cannot be kept is undone. Why it cannot is what is said.
            (Err(_), Phase::Transaction) => self.rollback().await?,
            _ => self.phase = Phase::Clean,
        }
        done
    }

    async fn rollback(&mut self) -> Result<(), SqlError> {
        if self.phase == Phase::Transaction {
            self.ask(|reply| Job::Own("ROLLBACK", reply)).await?;
        }
        self.phase = Phase::Clean;
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(worker) = self.worker.take() else {
            return;
        };
        match self.phase {
            Phase::Asking => worker.give_up(),
            _ => {
                if worker.ask(Job::Leave, Arc::clone(&self.place)) {
                    self.shared.idle().push(worker);
                }
            }
        }
    }
}
