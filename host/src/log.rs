//! Owns the way of log lines to standard error. Writing one never fails, and
//! never waits for whoever reads the log: a closed pipe, a full disk or a reader
//! that stopped loses lines, which are counted, and nothing else.

mod seldom;

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pointsman_core::panics;

pub(crate) use seldom::Seldom;

use crate::text;

/// Lines that wait for the reader at most: some seconds of a busy log.
const LINES_MAX: usize = 4_096;
/// Bytes of the lines that wait at most.
const BYTES_MAX: usize = 4 << 20;
/// What is longer is cut: some times the longest message that the host makes.
const LINE_MAX_BYTES: usize = 64 << 10;
/// A pipe that takes nothing without blocking is tried again that often.
const FULL_PIPE_PAUSE: Duration = Duration::from_millis(20);

/// Lines that were never written, since the process started.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many lines of the log were lost since the process started.
#[must_use]
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Where log lines go; clones are the same log.
#[derive(Clone, Debug)]
pub struct Log {
    // None where lines are written at once.
    queue: Option<Arc<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    // One line is on its way.
    writing: bool,
    // Lines lost since the log last said so, and why.
    lost: u64,
    reason: Option<String>,
}

impl Log {
    /// Writes each line at once: for a program that does one thing, whose
    /// other output should come in order.
    #[must_use]
    pub fn direct() -> Self {
        Self { queue: None }
    }

    /// Writes lines in a thread of its own.
    ///
    /// # Errors
    /// When there is no descriptor or no thread for it.
    pub fn queued() -> io::Result<Self> {
        Self::to(stderr()?)
    }

    fn to(target: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let of_thread = Arc::clone(&queue);
        thread::Builder::new()
            .name("log".into())
            .spawn(move || of_thread.run(target))?;
        Ok(Self { queue: Some(queue) })
    }

    /// Waits until all lines are written, up to `wait`. Says whether they were.
    pub fn flush(&self, wait: Duration) -> bool {
        let Some(queue) = &self.queue else {
            return true;
        };
        let deadline = Instant::now() + wait;
        let mut state = queue.state();
        while state.writing || !state.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = queue.emptied.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Panics are logged as errors, one line each, and not written past the log. Those
    /// that are caught and reported are left to whoever does that.
    pub fn log_panics(&self) {
        std::panic::set_hook(Box::new(|panic| {
            if panics::is_caught(panic) {
                return;
            }
            let thread = thread::current();
            let backtrace = std::backtrace::Backtrace::capture();
            let backtrace = match backtrace.status() {
                std::backtrace::BacktraceStatus::Captured => format!("\n{backtrace}"),
                _ => String::new(),
            };
            let said = text::bounded(format_args!("{panic}{backtrace}"), text::MESSAGE_MAX_BYTES);
            tracing::error!(
                thread = thread.name().unwrap_or("unnamed"),
                "{}",
                text::escaped(&said)
            );
        }));
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &self.queue {
            Some(queue) => queue.push(line),
            None => {
                if io::stderr().write_all(line).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let line = match line.get(..LINE_MAX_BYTES) {
            Some(cut) => [cut, "…\n".as_bytes()].concat(),
            None => line.to_vec(),
        };
        let mut state = self.state();
        if state.lines.len() >= LINES_MAX || state.bytes + line.len() > BYTES_MAX {
            state.lose("nobody read the log fast enough");
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.filled.notify_one();
    }

    /// Writes what comes, for as long as the process lives.
    fn run(&self, mut target: impl Write) {
        loop {
            let line = self.next();
            let written = write(&mut target, &line);
            let mut state = self.state();
            state.writing = false;
            let is_empty = state.lines.is_empty();
            match written {
                Err(error) => state.lose(&error.to_string()),
                // The log works, and has caught up: time to say what is missing.
                Ok(()) if is_empty && state.lost > 0 => {
                    let (lines, reason) = (state.lost, state.reason.take());
                    state.lost = 0;
                    drop(state);
                    let reason = reason.unwrap_or_default();
                    tracing::warn!(lines, "log lines were lost before this one: {reason}");
                }
                Ok(()) => {}
            }
            self.emptied.notify_all();
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.writing = true;
                return line;
            }
            let waited = self.filled.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn lose(&mut self, reason: &str) {
        LOST.fetch_add(1, Ordering::Relaxed);
        self.lost += 1;
        self.reason.get_or_insert_with(|| reason.to_owned());
    }
}

/// Writes a whole line, however long a pipe that does not block is full.
fn write(target: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match target.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_PIPE_PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Standard error without the lock of the standard library, which a thread that
/// waits for a full pipe would hold.
#[cfg(unix)]
fn stderr() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd as _;
    Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
}

#[cfg(not(unix))]
fn stderr() -> io::Result<io::Stderr> {
    Ok(io::stderr())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes a line whenever it is told how that goes, and hands it on.
    struct Target {
        told: mpsc::Receiver<io::Result<()>>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Target {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.told.recv().unwrap()?;
            self.written.send(line.to_vec()).unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log() -> (Log, mpsc::Sender<io::Result<()>>, mpsc::Receiver<Vec<u8>>) {
        let ((tell, told), (written, read)) = (mpsc::channel(), mpsc::channel());
        (Log::to(Target { told, written }).unwrap(), tell, read)
    }

    #[test]
    fn a_target_that_takes_nothing_holds_up_nobody_and_loses_what_is_too_much() {
        let (mut log, tell, read) = log();
        for _ in 0..LINES_MAX + 10 {
            log.write_all(b"line\n").unwrap();
        }
        assert!(!log.flush(Duration::from_millis(1)));
        // One is on its way, the queue is full, the rest is counted.
        let queue = Arc::clone(log.queue.as_ref().unwrap());
        let lost = queue.state().lost;
        assert!((9..=10).contains(&lost), "{lost}");
        for _ in 0..LINES_MAX + 1 {
            tell.send(Ok(())).unwrap();
        }
        assert!(log.flush(Duration::from_secs(60)));
        assert_eq!(read.try_iter().count() as u64, LINES_MAX as u64 + 10 - lost);
        assert_eq!(queue.state().lost, 0, "it was said");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_lost_and_the_next_one_is_not() {
        let (mut log, tell, read) = log();
        tell.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
        log.write_all(b"first\n").unwrap();
        assert!(log.flush(Duration::from_secs(60)));
        assert_eq!(log.queue.as_ref().unwrap().state().lost, 1);
        // Once more, since such a pipe may be full for a moment.
        tell.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        tell.send(Ok(())).unwrap();
        log.write_all(b"second\n").unwrap();
        assert_eq!(read.recv().unwrap(), b"second\n");
    }

    #[test]
    fn a_line_is_cut_rather_than_take_all_room() {
        let (mut log, tell, read) = log();
        tell.send(Ok(())).unwrap();
        log.write_all(&vec![b'x'; 2 * BYTES_MAX]).unwrap();
        let line = read.recv().unwrap();
        assert_eq!(line.len(), LINE_MAX_BYTES + "…\n".len());
    }
}
