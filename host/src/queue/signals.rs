//! Owns the news of a store: that there may be work, that a command changed,
//! that one was cancelled. News only says "look": whoever hears it reads the
//! store, so a message lost or doubled does no harm.

use tokio::sync::{broadcast, watch};

use crate::command::CommandId;

/// Messages a slow listener may lag behind before it loses the oldest: it then
/// reads the store anew.
const NEWS_MAX: usize = 1024;

/// The news of one store.
#[derive(Debug)]
pub struct Signals {
    work: watch::Sender<()>,
    changes: broadcast::Sender<CommandId>,
    cancellations: broadcast::Sender<CommandId>,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            work: watch::Sender::new(()),
            changes: broadcast::Sender::new(NEWS_MAX),
            cancellations: broadcast::Sender::new(NEWS_MAX),
        }
    }
}

impl Signals {
    /// Changes when a claim may find more than before.
    #[must_use]
    pub fn work(&self) -> watch::Receiver<()> {
        self.work.subscribe()
    }

    /// Commands of which a delivery changed. A receiver that lagged reads what
    /// it waits for anew.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<CommandId> {
        self.changes.subscribe()
    }

    /// Commands that were cancelled while a delivery ran.
    #[must_use]
    pub fn cancellations(&self) -> broadcast::Receiver<CommandId> {
        self.cancellations.subscribe()
    }

    pub(super) fn send_work(&self) {
        self.work.send_replace(());
    }

    pub(super) fn send_change(&self, command: CommandId) {
        // Fails only where no one listens.
        let _ = self.changes.send(command);
    }

    pub(super) fn send_cancellation(&self, command: CommandId) {
        let _ = self.cancellations.send(command);
    }
}
