//! Signals that end the program, heard in a thread of their own: also while
//! the program starts, blocks or computes, and as the first process of a
//! container, where the system ends nothing by itself.

use std::{fmt, io, thread, time::Duration};

use anyhow::Context;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::Exit;
use crate::diagnostic::Diagnostic;

/// What asks the program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// `docker stop`, `systemctl stop`, Kubernetes.
    Terminate,
    /// The terminal was closed.
    HangUp,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        })
    }
}

impl From<Signal> for Exit {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Self::Interrupted,
            Signal::Terminate => Self::Terminated,
            Signal::HangUp => Self::HungUp,
        }
    }
}

/// The signals since the program listens.
pub(super) struct Signals {
    heard: mpsc::Receiver<Signal>,
}

impl Signals {
    /// Listens from now on. `ends_within` after the first signal the process
    /// ends by itself, whatever it still does.
    pub(super) fn listen(ends_within: Duration) -> anyhow::Result<Self> {
        // A third and a fourth signal say nothing new.
        let (tell, heard) = mpsc::channel(2);
        let (ready, is_ready) = std::sync::mpsc::channel();
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || listen(&tell, ends_within, &ready))
            .map_err(no_thread)?;
        is_ready
            .recv()
            .context("the thread for signals ended")?
            .context("cannot listen for signals")?;
        Ok(Self { heard })
    }

    pub(super) async fn next(&mut self) -> Signal {
        match self.heard.recv().await {
            Some(signal) => signal,
            // The thread ends with the process.
            None => std::future::pending().await,
        }
    }
}

/// Why the program has no threads, and what helps.
pub(super) fn no_thread(error: io::Error) -> anyhow::Error {
    let message = format!("cannot start a thread: {error}");
    let hint = "raise the limit of processes (`ulimit -u`, `--pids-limit`); Docker before 20.10.10 refuses the system call `clone3`: update it, or run with `--security-opt seccomp=unconfined`";
    Diagnostic::error("no-thread", message).hint(hint).into()
}

fn listen(
    tell: &mpsc::Sender<Signal>,
    ends_within: Duration,
    ready: &std::sync::mpsc::Sender<io::Result<()>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody waits for it any more where that fails.
            let _ = ready.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let mut sources = match Sources::new() {
            Ok(sources) => sources,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        let first = sources.next().await;
        // A full channel has said it already.
        let _ = tell.try_send(first);
        let end = Instant::now() + ends_within;
        loop {
            tokio::select! {
                signal = sources.next() => drop(tell.try_send(signal)),
                () = sleep_until(end) => {
                    tracing::error!("did not end within {ends_within:?} after {first}: ends now");
                    crate::sandbox::forget_unfinished();
                    // The log's thread may be the one that hangs.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    std::process::exit(Exit::from(first) as i32);
                }
            }
        }
    });
}

#[cfg(unix)]
struct Sources {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    // None under `nohup`, which has it ignored.
    hang_up: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Sources {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: match is_hang_up_ignored() {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
        })
    }

    async fn next(&mut self) -> Signal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = hang_up => Signal::HangUp,
        }
    }
}

/// Whether whoever started the program wants it to outlive the terminal.
#[cfg(unix)]
fn is_hang_up_ignored() -> bool {
    // Where there is no such file, it is not known.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGHUP is number 1: the lowest bit.
    ignored.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
struct Sources;

#[cfg(not(unix))]
impl Sources {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}
