//! Owns the end: who still works, who is told to stop, and how long they are
//! waited for. Every task that the host spawns is counted here.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by all parts of one host; clones are the same shutdown.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Set first: nothing new is taken up.
    pub draining: CancellationToken,
    /// Set last: what still runs is cancelled.
    pub killing: CancellationToken,
    /// Every task of the host.
    pub tasks: TaskTracker,
}

impl Shutdown {
    /// Takes up nothing new, waits up to `grace` for what runs, then cancels
    /// it. Says whether everything ended within the grace.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.draining.cancel();
        self.tasks.close();
        let in_time = tokio::time::timeout(grace, self.tasks.wait()).await.is_ok();
        self.killing.cancel();
        self.tasks.wait().await;
        in_time
    }
}
