//! Owns a connection and its thread.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use rusqlite::{Connection, InterruptHandle};
use tokio::sync::oneshot;

use super::{
    Shared,
    fault::said,
    job::{Job, Place, answer},
    memory,
    open::{FORGET, own},
    statement::{execute, query},
};
use crate::{
    engine::no_more,
    error::{SqlError, SqlFault},
};

/// How long a connection is kept that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Instructions of SQLite's between two looks whether anybody still waits, and whether
/// there is memory left: each instruction can make a value of 16 MiB.
const LOOK_AFTER: i32 = 50;

/// A connection and its thread.
pub(super) struct Worker {
    jobs: mpsc::Sender<(Job, Place)>,
    interrupt: InterruptHandle,
    given_up: Arc<AtomicBool>,
}

impl Worker {
    pub(super) async fn start(shared: &Arc<Shared>, place: Place) -> Result<Self, SqlError> {
        let (jobs, inbox) = mpsc::channel();
        let (opened, started) = oneshot::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&given_up);
        let shared = Arc::clone(shared);
        let spawned = thread::Builder::new()
            .name("database".to_owned())
            .spawn(move || {
                // What a statement computes is beside the CPU time of the call.
                #[cfg(target_os = "linux")]
                let _ = rustix::process::nice(10);
                let connection = connect(&shared, &flag);
                // Not kept alive by an idle connection.
                let kept = Arc::downgrade(&shared);
                let in_memory = shared.opening.in_memory();
                let bytes_max = shared.opening.bytes_max;
                drop((shared, place));
                match connection {
                    Ok(connection) => {
                        if opened.send(Ok(connection.get_interrupt_handle())).is_ok() {
                            let retires = || !in_memory && retire(&kept, &flag);
                            let left = serve(&connection, &inbox, bytes_max, retires);
                            flag.store(left.is_err(), Ordering::Relaxed);
                        }
                    }
                    Err(error) => drop(opened.send(Err(said(&error)))),
                }
            });
        if let Err(error) = spawned {
            return Err(SqlError::unavailable(format!("no thread: {error}")));
        }
        match started.await {
            Ok(Ok(interrupt)) => Ok(Self {
                jobs,
                interrupt,
                given_up,
            }),
            // Also where the file cannot be opened now: that may change.
            Ok(Err(error)) => Err(SqlError {
                fault: SqlFault::Unavailable,
                ..error
            }),
            Err(_) => Err(SqlError::unavailable("the database could not be opened")),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed)
    }

    /// Whether the thread will do it.
    pub(super) fn ask(&self, job: Job, place: Place) -> bool {
        self.jobs.send((job, place)).is_ok()
    }

    /// Ends whatever it does, also what it only begins now.
    pub(super) fn give_up(self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.interrupt.interrupt();
    }
}

fn connect(shared: &Shared, given_up: &Arc<AtomicBool>) -> rusqlite::Result<Connection> {
    let mut connection = shared.opening.open()?;
    let given_up = Arc::clone(given_up);
    let stops = move || given_up.load(Ordering::Relaxed) || memory::is_used_up();
    connection.progress_handler(LOOK_AFTER, Some(stops))?;
    Ok(connection)
}

/// Takes the connection out of those that wait for a session. It stays where a session has
/// it, which may have taken it just now.
fn retire(shared: &Weak<Shared>, own: &Arc<AtomicBool>) -> bool {
    let Some(shared) = shared.upgrade() else {
        return true;
    };
    let mut idle = shared.idle();
    let at = idle
        .iter()
        .position(|worker| Arc::ptr_eq(&worker.given_up, own));
    at.map(|at| idle.remove(at)).is_some()
}

/// Does what is asked until nobody can ask any more.
///
/// # Errors
/// Where something of a session stays in the connection, which nobody must have next.
fn serve(
    connection: &Connection,
    inbox: &mpsc::Receiver<(Job, Place)>,
    bytes_max: u64,
    retires: impl Fn() -> bool,
) -> rusqlite::Result<()> {
    let next = || loop {
        match inbox.recv_timeout(IDLE_MAX) {
            Ok(job) => return Some(job),
            Err(RecvTimeoutError::Timeout) if !retires() => {}
            Err(_) => return None,
        }
    };
    let mut forgotten = connection.total_changes();
    let mut job = next();
    while let Some((asked, place)) = job.take() {
        memory::begin();
        job = match asked {
            Job::Query(text, parameters, reply) => {
                let asked = (text.as_str(), parameters.as_slice(), bytes_max);
                query(connection, asked, reply, inbox)
            }
            Job::Next(reply) => {
                answer(connection, reply, Err(no_more()));
                None
            }
            Job::Execute(text, parameters, reply) => {
                let changed = execute(connection, &text, &parameters);
                answer(connection, reply, changed);
                None
            }
            Job::Own(text, reply) => {
                let done = own(connection, text);
                answer(connection, reply, done.map_err(|error| said(&error)));
                None
            }
            Job::Leave => {
                if !connection.is_autocommit() {
                    own(connection, "ROLLBACK")?;
                }
                if connection.total_changes() != forgotten {
                    own(connection, FORGET)?;
                    forgotten = connection.total_changes();
                }
                None
            }
        };
        drop(place);
        job = job.or_else(next);
    }
    Ok(())
}
