//! Graceful shutdown: every task that a host spawns is counted here, told to stop, and
//! awaited for a limited time. Tasks that the host cannot do without are
//! [supervised](Supervisor).

mod supervisor;

use std::time::Duration;

pub use supervisor::{Health, Supervisor};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long cancelled tasks may take to end. A task that blocks a thread does not notice
/// its cancellation and is abandoned, so that a shutdown always ends.
pub const KILL_MAX: Duration = Duration::from_secs(2);

/// Shared by all parts of one host; clones are the same shutdown.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Set first: nothing new is accepted.
    pub draining: CancellationToken,
    /// Set last: running tasks are cancelled.
    pub abort: CancellationToken,
    /// Every task of the host.
    pub tasks: TaskTracker,
    /// The tasks that must not end before the host does.
    pub supervisor: Supervisor,
}

impl Shutdown {
    /// Accepts nothing new, waits up to `grace` for running tasks, then cancels them and
    /// waits for [`KILL_MAX`] more. Returns whether everything ended within the grace
    /// period.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.draining.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_ok() {
            self.abort.cancel();
            return true;
        }
        self.abort.cancel();
        if tokio::time::timeout(KILL_MAX, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                tasks = self.tasks.len(),
                "tasks did not end {KILL_MAX:?} after they were cancelled and are left behind"
            );
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_hears_of_nothing_does_not_hold_up_the_end() {
        let shutdown = Shutdown::default();
        shutdown.tasks.spawn(std::future::pending::<()>());
        assert!(!shutdown.drain(Duration::from_millis(1)).await);
        assert!(shutdown.abort.is_cancelled());
    }
}
