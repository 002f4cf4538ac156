//! Owns the threads that read beside the writer. They are the queue's own:
//! handlers that keep the host's shared blocking threads busy do not hold up
//! who asks for a command.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::{files::Files, schema};
use crate::{QueueError, error::panicked};

/// Reads at once: more would only fight for the same disk.
const READERS: usize = 4;

/// Does its work with a connection, where one could be opened.
type Job = Box<dyn FnOnce(Result<&Connection, QueueError>) -> Keep + Send>;

/// Whether a connection serves the next read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

/// Connections that only read, a thread each.
#[derive(Debug)]
pub(super) struct Readers {
    // None once closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    permits: Semaphore,
}

impl Readers {
    /// Starts the threads; each opens its connection when it is first asked.
    pub(super) fn start(files: &Arc<Files>) -> Result<Self, QueueError> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |_| {
            let (waiting, files) = (Arc::clone(&waiting), Arc::clone(files));
            let thread = thread::Builder::new().name("queue-reader".to_owned());
            thread.spawn(move || serve(&waiting, &files))
        };
        let threads = (0..READERS).map(start).collect::<Result<_, _>>();
        Ok(Self {
            jobs: Mutex::new(Some(jobs)),
            threads: Mutex::new(threads.map_err(|error| QueueError::Storage {
                doing: "start its readers",
                source: error.into(),
            })?),
            permits: Semaphore::new(READERS),
        })
    }

    /// Runs `work` on a thread of the queue and answers what it found.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let permit = self.permits.acquire().await;
        let _permit = permit.map_err(|_| QueueError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            // A caught panic leaves nothing behind: the connection is dropped.
            let work = || reader.and_then(work);
            let found = catch_unwind(AssertUnwindSafe(work))
                .unwrap_or_else(|panic| Err(panicked("read", &*panic)));
            // One that failed may be broken: the next read opens another.
            let keep = match &found {
                Err(error) if error.is_engine() => Keep::No,
                _ => Keep::Yes,
            };
            // Fails only where the caller no longer waits.
            let _ = reply.send(found);
            keep
        });
        let jobs = self
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let sent = jobs.and_then(|jobs| jobs.send(job).ok());
        sent.ok_or(QueueError::Closed)?;
        answer.await.map_err(|_| QueueError::Closed)?
    }

    /// Lets the reads under way end, and ends the threads. Blocks on the disk.
    pub(super) fn close(&self) {
        self.permits.close();
        drop(
            self.jobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader of the queue panicked");
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.close();
    }
}

fn serve(waiting: &Mutex<mpsc::Receiver<Job>>, files: &Files) {
    let mut connection: Option<Connection> = None;
    loop {
        // One waits for the next job, the others for their turn to wait.
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(job) = next else { return };
        let opened = match connection.take() {
            Some(open) => Ok(open),
            None => schema::open_reader(files),
        };
        match opened {
            Ok(open) => {
                if job(Ok(&open)) == Keep::Yes {
                    connection = Some(open);
                }
            }
            Err(error) => drop(job(Err(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_that_panics_harms_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let files = Arc::new(Files::open(folder.path()).unwrap());
        let readers = Readers::start(&files).unwrap();
        for _ in 0..2 * READERS {
            let failed = readers.read(|_| -> Result<(), _> { panic!("on purpose") });
            let failed = failed.await.unwrap_err();
            assert_eq!(failed.code(), "queue-failed");
        }
        assert_eq!(readers.read(|_| Ok(1)).await.unwrap(), 1);
        readers.close();
        assert_eq!(
            readers.read(|_| Ok(1)).await.unwrap_err().code(),
            "queue-closed"
        );
    }
}
