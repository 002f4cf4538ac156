//! Owns accepted commands until they are finished: "202" means stored, and
//! stored means every delivery runs at least once and ends completed,
//! dead-lettered, or cancelled.
//!
//! [`Store`] is the one meaning of the queue; [`sqlite`] keeps it in a folder
//! of this machine, [`postgres`] on a server that several hosts share, and
//! `tests/it/conformance.rs` holds both to it. [`worker`] takes deliveries
//! from a store and runs them through whatever implements
//! [`Runner`](worker::Runner).
//!
//! ```
//! use pointsman_queue::{NewCommand, NewDelivery, Store, sqlite::{Sqlite, SqliteConfig}};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("pointsman-queue-doc-{}", std::process::id()));
//! let store = Sqlite::open(SqliteConfig::new(&folder))?;
//! let delivery = NewDelivery {
//!     handler: "greet".to_owned().try_into()?,
//!     digest: String::new(),
//!     rules: vec!["all".to_owned()],
//! };
//! let command = NewCommand::new(r#"{"name":"Ada"}"#, vec![delivery]);
//! let stored = store.enqueue(vec![command]).await?;
//! assert!(!store.get(stored[0].id).await?.is_final());
//! # store.close().await?; std::fs::remove_dir_all(folder)?;
//! # Ok(()) }
//! ```

mod clock;
mod error;
mod intake;
mod json;
mod model;
mod policy;
#[cfg(feature = "postgres")]
pub mod postgres;
mod query;
mod settings;
mod signals;
pub mod sqlite;
pub mod worker;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::QueueError;
pub use intake::{Accepted, EnqueueOptions, accept};
pub use model::{
    AttemptError, Capacity, ClaimRequest, Claimed, Claims, Enqueued, Failures, Held,
    IDEMPOTENCY_KEPT, KEY_MAX_BYTES, Lease, LogLine, NewCommand, NewDelivery, Renewal, Settlement,
    State, UnknownState,
};
pub use pointsman_core::{command::CommandId, delivery::DeliveryId, settings::RetrySettings};
pub use policy::{Ending, FailureClass, RunResult};
pub use query::{
    Cancellation, CommandFilter, CommandView, DeadCursor, DeadFilter, DeadLetter, DeliveryDetail,
    DeliveryView, Depth, Failure, LastFailure, PAGE_MAX, PAGE_MAX_BYTES, PAYLOAD_SHORT_MAX_BYTES,
    Page, Swept,
};
pub use settings::{Engine, Pooler, QueueSettings, RetentionSettings, open};
pub use signals::{Changes, REREAD, Signals, Trouble};
use tokio::time::{Instant, timeout_at};

/// What a store returns, on its way.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, QueueError>> + Send + 'a>>;

/// Unfinished deliveries a store takes unless told otherwise: at a kilobyte
/// each it is a gigabyte of disk, and a day's work at ten a second.
pub const DEPTH_MAX: u64 = 1_000_000;
/// Lost hosts after which a delivery is taken to be the cause.
pub const HOSTS_LOST_MAX: u32 = 3;

/// Where commands are kept. Every method that changes something answers after
/// the change is durable; where it answers an error, nothing was changed (but
/// see [`QueueError::Unavailable`]).
pub trait Store: Send + Sync + fmt::Debug {
    /// Stores commands, all or none, in order.
    ///
    /// # Errors
    /// [`QueueError::Conflict`], [`QueueError::Full`], [`QueueError::Invalid`], or the engine's.
    fn enqueue(&self, commands: Vec<NewCommand>) -> StoreFuture<'_, Vec<Enqueued>>;

    /// Takes the most urgent deliveries: by priority, then in the order stored.
    /// First ends the leases that ran out: such a delivery is available again,
    /// and dead-lettered after [`HOSTS_LOST_MAX`] times.
    ///
    /// # Errors
    /// The engine's.
    fn claim(&self, request: ClaimRequest) -> StoreFuture<'_, Claims>;

    /// Lengthens leases; answers in the order given.
    ///
    /// # Errors
    /// The engine's.
    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> StoreFuture<'_, Vec<Renewal>>;

    /// Ends the attempt. Where the command was cancelled meanwhile, anything
    /// but [`Settlement::Complete`] makes it cancelled. Answers the new state.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`] where the attempt is no longer the caller's, or the engine's.
    fn settle(&self, lease: Lease, settlement: Settlement) -> StoreFuture<'_, State>;

    /// Calls off what has not ended; a running delivery is asked to stop.
    ///
    /// # Errors
    /// [`QueueError::UnknownCommand`], or the engine's.
    fn cancel(&self, command: CommandId) -> StoreFuture<'_, Cancellation>;

    /// One command.
    ///
    /// # Errors
    /// [`QueueError::UnknownCommand`], or the engine's.
    fn get(&self, command: CommandId) -> StoreFuture<'_, CommandView>;

    /// The same without what is long: attributes and outputs over
    /// [`PAYLOAD_SHORT_MAX_BYTES`] are left out. For those who follow it.
    ///
    /// # Errors
    /// [`QueueError::UnknownCommand`], or the engine's.
    fn glance(&self, command: CommandId) -> StoreFuture<'_, CommandView>;

    /// Commands, newest first, as [`Store::glance`] shows them. The page ends
    /// early where its [weight](CommandView::weight) comes to [`PAGE_MAX_BYTES`].
    ///
    /// # Errors
    /// The engine's.
    fn list(
        &self,
        filter: CommandFilter,
        page: Page<CommandId>,
    ) -> StoreFuture<'_, Vec<CommandView>>;

    /// One delivery, with the error of every attempt.
    ///
    /// # Errors
    /// [`QueueError::UnknownDelivery`], or the engine's.
    fn inspect(&self, delivery: DeliveryId) -> StoreFuture<'_, DeliveryDetail>;

    /// Dead-lettered deliveries, newest command first; pages as [`Store::list`].
    ///
    /// # Errors
    /// The engine's.
    fn dead(&self, filter: DeadFilter, page: Page<DeadCursor>) -> StoreFuture<'_, Vec<DeadLetter>>;

    /// Puts dead-lettered deliveries back in the queue, behind those that wait, with a fresh
    /// budget of retries. Attempts go on counting. Answers how many.
    ///
    /// # Errors
    /// Where the filter names one delivery: [`QueueError::UnknownDelivery`],
    /// [`QueueError::NotDead`]. The engine's.
    fn retry_dead(&self, filter: DeadFilter) -> StoreFuture<'_, u64>;

    /// Gives up dead-lettered deliveries: they become cancelled, and are kept as such for
    /// their retention. Answers how many.
    ///
    /// # Errors
    /// As [`Store::retry_dead`].
    fn discard_dead(&self, filter: DeadFilter) -> StoreFuture<'_, u64>;

    /// Removes what the policy no longer keeps.
    ///
    /// # Errors
    /// The engine's.
    fn sweep(&self, policy: RetentionSettings) -> StoreFuture<'_, Swept>;

    /// How many deliveries there are, by handler and state.
    ///
    /// # Errors
    /// The engine's.
    fn depth(&self) -> StoreFuture<'_, Vec<Depth>>;

    /// Whether the store answers and can write.
    ///
    /// # Errors
    /// Why not.
    fn check(&self) -> StoreFuture<'_, ()>;

    /// Ends what the store does in the background and gives up what it holds;
    /// what was asked before is answered first. From then on all else is
    /// [`QueueError::Closed`].
    fn close(&self) -> StoreFuture<'_, ()>;

    /// Its news.
    fn signals(&self) -> &Arc<Signals>;
}

/// Waits until `done` holds for the command or `wait` is over, and answers the
/// command as it is then.
///
/// # Errors
/// As [`Store::get`].
pub async fn wait_for(
    store: &dyn Store,
    command: CommandId,
    wait: Duration,
    done: impl Fn(&CommandView) -> bool + Send,
) -> Result<CommandView, QueueError> {
    let deadline = Instant::now() + wait;
    // Listens before it reads: a change in between is heard.
    let mut changes = store.signals().changes(command);
    loop {
        // Waiters are many: they hold nothing large meanwhile.
        let view = store.glance(command).await?;
        if done(&view) || timeout_at(deadline, changes.next()).await.is_err() {
            return store.get(command).await;
        }
    }
}
