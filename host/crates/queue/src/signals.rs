//! Owns the news of a store: that there may be work, that a command changed,
//! that one was cancelled. News only says "look": whoever hears it reads the
//! store, so a message lost or doubled does no harm. And what keeps the store
//! from its work, which is logged when it begins and when it ends, not each time;
//! and that history gave way to new commands, which is logged once a minute.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{broadcast, watch},
    time::timeout,
};
use tracing::{error, info, warn};

use super::{QueueError, history::Attempts};
use pointsman_core::{command::CommandId, diagnostic::Diagnostic};

/// Cancellations that a slow listener may lag behind before it loses the
/// oldest: it then waits for the next renewal to tell it.
const NEWS_MAX: usize = 1024;
/// How long a refusal of commands counts after it was last seen: without new
/// commands nobody would see that it is over.
const INTAKE_TROUBLE_MAX: Duration = Duration::from_secs(10);
/// How often the log says that finished commands were removed before their time.
const GAVE_WAY_EVERY: Duration = Duration::from_secs(60);
/// How long a waiter trusts that no news is no change, unless told otherwise: it
/// hears nothing of what another host changes.
pub const REREAD: Duration = Duration::from_millis(500);

/// The news of one store.
#[derive(Debug)]
pub struct Signals {
    work: watch::Sender<()>,
    // Only of commands that someone waits for, so that the others cost nothing.
    watched: Mutex<HashMap<CommandId, watch::Sender<()>>>,
    cancellations: broadcast::Sender<CommandId>,
    // Whether news of other hosts is heard. True where there are none.
    listening: AtomicBool,
    // Of `Part::Intake`, of `Part::Work`.
    troubles: Mutex<[Option<Trouble>; 2]>,
    gave_way: Mutex<GaveWay>,
    reread: Duration,
}

/// What a transaction changed, to be told once it is committed. Engines collect
/// it where they change something, and tell it in one place: after the commit.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// A claim may find more than before.
    pub(crate) work: bool,
    /// Commands with a delivery that changed.
    pub(crate) changed: Vec<CommandId>,
    /// Commands that were cancelled while a delivery ran.
    pub(crate) cancelled: Vec<CommandId>,
    /// Finished commands that were removed before their time.
    pub(crate) gave_way: u64,
    /// Attempts that ended.
    pub(crate) attempts: Attempts,
}

/// Finished commands that were removed before their time.
#[derive(Debug, Default)]
struct GaveWay {
    /// Those of which the log does not know yet.
    untold: u64,
    told: Option<Instant>,
}

/// What a store does, as far as it fails by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Takes commands.
    Intake,
    /// Hands deliveries out, and all else.
    Work,
}

/// Why a store does not do its work.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// The stable code of the error.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub diagnostic: Diagnostic,
    /// Whether it lasts until somebody does something: no room, no files. The
    /// rest may be over before anybody hears of it.
    pub lasts: bool,
    seen: Instant,
}

impl Signals {
    /// Whose waiters look again after `reread` without news.
    #[must_use]
    pub fn new(reread: Duration) -> Self {
        Self {
            work: watch::Sender::new(()),
            watched: Mutex::default(),
            cancellations: broadcast::Sender::new(NEWS_MAX),
            listening: AtomicBool::new(true),
            troubles: Mutex::default(),
            gave_way: Mutex::default(),
            reread,
        }
    }

    /// Changes when a claim may find more than before.
    #[must_use]
    pub fn work(&self) -> watch::Receiver<()> {
        self.work.subscribe()
    }

    /// Listens, from now on, for changes of a command's deliveries.
    #[must_use]
    pub fn changes(self: &Arc<Self>, command: CommandId) -> Changes {
        let heard = self.watched().entry(command).or_default().subscribe();
        Changes {
            signals: Arc::clone(self),
            command,
            heard,
        }
    }

    /// Commands that were cancelled while a delivery ran.
    #[must_use]
    pub fn cancellations(&self) -> broadcast::Receiver<CommandId> {
        self.cancellations.subscribe()
    }

    /// Whether the news of other hosts is heard; where not, work is found by looking.
    #[must_use]
    pub fn listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    /// Says whether that changed.
    #[cfg(feature = "postgres")]
    pub(super) fn set_listening(&self, listening: bool) -> bool {
        self.listening.swap(listening, Ordering::Relaxed) != listening
    }

    /// Why the store does not do its work; none where it does.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        let [intake, work] = &*self.troubles();
        let intake = intake.as_ref();
        let fresh = intake.filter(|trouble| trouble.seen.elapsed() < INTAKE_TROUBLE_MAX);
        work.as_ref().or(fresh).cloned()
    }

    /// Notes an error of the store, and logs it where it is not the same as before.
    pub(super) fn failed(&self, part: Part, error: &QueueError) {
        let code = error.code();
        let trouble = Trouble {
            code,
            diagnostic: error.diagnostic(),
            lasts: matches!(error, QueueError::NoRoom | QueueError::Replaced(_)),
            seen: Instant::now(),
        };
        let before = self.troubles()[part as usize].replace(trouble);
        if before.is_none_or(|before| before.code != code) {
            error!(code, error = ?error, "{}", match part {
                Part::Intake => "the queue accepts no commands",
                Part::Work => "the queue's store fails",
            });
        }
    }

    /// Notes that it does its work, and logs that where it did not.
    pub(super) fn recovered(&self, part: Part) {
        let before = self.troubles()[part as usize].take();
        if let Some(before) = before {
            info!(
                code = before.code,
                "{}",
                match part {
                    Part::Intake => "the queue takes commands again",
                    Part::Work => "the queue's store works again",
                }
            );
        }
    }

    /// As [`Signals::recovered`], after a command was taken. Where room was short,
    /// one that fits says nothing of the next.
    pub(super) fn accepted(&self) {
        let room_is_short = self.troubles()[Part::Intake as usize]
            .as_ref()
            .is_some_and(|trouble| trouble.code == QueueError::NoRoom.code());
        if !room_is_short {
            self.recovered(Part::Intake);
        }
    }

    /// Notes that so many finished commands were removed before their time.
    pub(super) fn gave_way(&self, commands: u64) {
        // A panic between the assignments loses a count, or a pause, and no more.
        let mut state = self.gave_way.lock().unwrap_or_else(PoisonError::into_inner);
        state.untold = state.untold.saturating_add(commands);
        let pauses = state.told.is_some_and(|at| at.elapsed() < GAVE_WAY_EVERY);
        if state.untold == 0 || pauses {
            return;
        }
        state.told = Some(Instant::now());
        let commands = std::mem::take(&mut state.untold);
        drop(state);
        warn!(
            commands,
            "finished commands were deleted before the end of their retention, to free space: raise `queue.size_max_bytes` or `queue.retention.bytes_max`, or free some space on the disk, to keep them longer"
        );
    }

    fn troubles(&self) -> MutexGuard<'_, [Option<Trouble>; 2]> {
        // Every change is one assignment: a panic leaves it whole.
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what a transaction changed, after its commit.
    pub(crate) fn tell(&self, news: News) {
        for command in news.changed {
            self.send_change(command);
        }
        for command in news.cancelled {
            self.send_cancellation(command);
        }
        self.gave_way(news.gave_way);
        if news.work {
            self.send_work();
        }
    }

    pub(super) fn send_work(&self) {
        self.work.send_replace(());
    }

    pub(super) fn send_change(&self, command: CommandId) {
        if let Some(watched) = self.watched().get(&command) {
            watched.send_replace(());
        }
    }

    pub(super) fn send_cancellation(&self, command: CommandId) {
        // Fails only where no one listens.
        let _ = self.cancellations.send(command);
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<CommandId, watch::Sender<()>>> {
        // Every change is one call of the map: a panic leaves it whole.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens for changes of one command.
#[derive(Debug)]
pub struct Changes {
    signals: Arc<Signals>,
    command: CommandId,
    heard: watch::Receiver<()>,
}

impl Changes {
    /// Waits until the command may have changed since the last call, or since
    /// the listening began. It may be that nothing did.
    pub async fn next(&mut self) {
        // The sender lives as long as this receiver: only the time can run out.
        let _ = timeout(self.signals.reread, self.heard.changed()).await;
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let mut watched = self.signals.watched();
        if watched
            .get(&self.command)
            .is_some_and(|sender| sender.receiver_count() == 1)
        {
            watched.remove(&self.command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_waited_for_is_kept() {
        let signals = Arc::new(Signals::new(REREAD));
        let command = CommandId::generate();
        let (mut first, second) = (signals.changes(command), signals.changes(command));
        signals.send_change(command);
        signals.send_change(CommandId::generate());
        timeout(Duration::from_secs(60), first.heard.changed())
            .await
            .expect("it hears")
            .expect("the sender lives");
        drop(first);
        assert_eq!(signals.watched().len(), 1);
        drop(second);
        assert!(signals.watched().is_empty());
    }
}
