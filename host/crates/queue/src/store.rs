//! Owns [`Store`]: what an engine does for the queue.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use pointsman_core::{
    command::CommandId,
    delivery::DeliveryId,
    name::{HandlerName, RuleName},
    state::{Space, StateAnswer, StateError, StateRequest},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    error::QueueError,
    history::{HistoryFilter, HistoryPoint},
    model::{ClaimRequest, Claims, Enqueued, Lease, NewCommand, Renewal, Settlement},
    pause::{NewPause, Pause},
    query::{
        Cancellation, CommandFilter, CommandView, DeadCursor, DeadFilter, DeadLetter,
        DeliveryDetail, Depth, Page, Swept,
    },
    schedule::{Firing, FiringResult, ScheduleChange, ScheduleRow, Schedules},
    settings::RetentionSettings,
    signals::Signals,
    state::State,
};

/// What a store returns, on its way.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, QueueError>> + Send + 'a>>;

/// Unfinished deliveries a store takes unless told otherwise: at a kilobyte
/// each it is a gigabyte of disk, and a day's work at ten a second.
pub const DEPTH_MAX: u64 = 1_000_000;

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
    /// and dead-lettered after [`HOSTS_LOST_MAX`](crate::HOSTS_LOST_MAX) times.
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
    /// [`PAYLOAD_SHORT_MAX_BYTES`](crate::PAYLOAD_SHORT_MAX_BYTES) are left out. For those who follow it.
    ///
    /// # Errors
    /// [`QueueError::UnknownCommand`], or the engine's.
    fn glance(&self, command: CommandId) -> StoreFuture<'_, CommandView>;

    /// Commands, newest first, as [`Store::glance`] shows them. The page ends
    /// early where its [weight](CommandView::weight) comes to [`PAGE_MAX_BYTES`](crate::PAGE_MAX_BYTES).
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

    /// Leaves deliveries to a handler, or to all, where they are from now on. What runs
    /// goes on. A handler that is paused gets the new reason, and stays paused since it was.
    ///
    /// # Errors
    /// [`QueueError::Invalid`], or the engine's.
    fn pause(&self, pause: NewPause) -> StoreFuture<'_, Pause>;

    /// Ends the pause of a handler, or every pause where none is named; answers those that
    /// it ended. While all are paused, no handler goes on by itself.
    ///
    /// # Errors
    /// The engine's.
    fn resume(&self, handler: Option<HandlerName>) -> StoreFuture<'_, Vec<Pause>>;

    /// The pauses in force: the one of all handlers first, then by handler.
    ///
    /// # Errors
    /// The engine's.
    fn pauses(&self) -> StoreFuture<'_, Vec<Pause>>;

    /// Removes what the policy no longer keeps.
    ///
    /// # Errors
    /// The engine's.
    fn sweep(&self, policy: RetentionSettings) -> StoreFuture<'_, Swept>;

    /// Does what a handler asks of the entries that it keeps, or says why not.
    ///
    /// # Errors
    /// The engine's.
    fn state(
        &self,
        space: Space,
        request: StateRequest,
    ) -> StoreFuture<'_, Result<StateAnswer, StateError>>;

    /// These schedules, [`SCHEDULES_STEP`](crate::SCHEDULES_STEP) at most. One that is new
    /// begins now.
    ///
    /// # Errors
    /// The engine's.
    fn schedules(&self, names: Vec<RuleName>) -> StoreFuture<'_, Schedules>;

    /// Enqueues what a schedule has for times that came up, and notes up to which it was
    /// dealt with: both or nothing, and once however many ask.
    ///
    /// # Errors
    /// As [`Store::enqueue`].
    fn fire(&self, firing: Firing) -> StoreFuture<'_, FiringResult>;

    /// Pauses a schedule or lets it go on.
    ///
    /// # Errors
    /// The engine's.
    fn change_schedule(
        &self,
        name: RuleName,
        change: ScheduleChange,
    ) -> StoreFuture<'_, ScheduleRow>;

    /// How many attempts ended how, in steps of time: by time, handler and ending.
    ///
    /// # Errors
    /// [`QueueError::Invalid`] for the step, or the engine's.
    fn history(&self, filter: HistoryFilter) -> StoreFuture<'_, Vec<HistoryPoint>>;

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
