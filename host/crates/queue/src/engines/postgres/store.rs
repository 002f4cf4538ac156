//! What a [`Store`] is asked, as transactions of [`Postgres`].

use std::{sync::Arc, time::Duration};

use pointsman_core::{
    name::{HandlerName, RuleName},
    state::{Space, StateAnswer, StateError, StateRequest},
};
use tokio::time::timeout;
use tracing::warn;

use super::{
    Postgres,
    fault::{is_conflict, to},
    read,
};
use crate::{
    Cancellation, ClaimRequest, Claims, CommandFilter, CommandId, CommandView, DeadCursor,
    DeadFilter, DeadLetter, DeliveryDetail, DeliveryId, Depth, Enqueued, Firing, FiringResult,
    HistoryFilter, HistoryPoint, Lease, NewCommand, NewPause, Page, Pause, QueueError, Renewal,
    RetentionSettings, ScheduleChange, ScheduleRow, Schedules, Settlement, Signals, State, Store,
    StoreFuture, Swept,
    model::{SettlementRow, validate_all},
    policy::{Fate, Sweep},
    query::Payloads,
};

/// How long the end of the background tasks may take.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// How often a transaction that met another one is tried.
const TRIES: usize = 4;

/// Runs a transaction again where it met another one (a deadlock, or a server
/// that serialises): nothing of it was done.
/// A macro, as no bound says that an async closure's future is `Send`.
macro_rules! retried {
    ($attempt:expr) => {{
        let mut tries = 1;
        loop {
            match $attempt.await {
                Err(error) if tries < TRIES && is_conflict(&error) => tries += 1,
                answer => break answer,
            }
        }
    }};
}

impl Postgres {
    async fn change_dead(&self, filter: &DeadFilter, fate: Fate) -> Result<u64, QueueError> {
        let (mut total, mut below) = (0, Some(i64::MAX));
        while let Some(from) = below {
            let (changed, next) = retried!(self.try_change_dead(filter, fate, from))?;
            total += changed;
            below = next;
        }
        Ok(total)
    }

    async fn sweep_all(&self, policy: &RetentionSettings) -> Result<Swept, QueueError> {
        let (mut total, mut next) = (Swept::default(), Some(Sweep::FIRST));
        let mut rest = true;
        while rest {
            let removed;
            (removed, rest) = retried!(self.try_sweep_entries())?;
            total.entries += removed;
        }
        let mut rest = true;
        while rest {
            let removed;
            (removed, rest) = retried!(self.try_sweep_dedup())?;
            total.keys += removed;
        }
        while let Some(step) = next {
            let (swept, rest) = retried!(self.try_sweep(policy, step))?;
            total.commands += swept.commands;
            total.keys += swept.keys;
            next = rest;
        }
        Ok(total)
    }
}

impl Store for Postgres {
    fn enqueue(&self, commands: Vec<NewCommand>) -> StoreFuture<'_, Vec<Enqueued>> {
        Box::pin(async move {
            validate_all(&commands)?;
            retried!(self.try_enqueue(&commands))
        })
    }

    fn claim(&self, request: ClaimRequest) -> StoreFuture<'_, Claims> {
        Box::pin(async move { retried!(self.try_claim(&request)) })
    }

    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> StoreFuture<'_, Vec<Renewal>> {
        Box::pin(async move { retried!(self.try_renew(&leases, lease)) })
    }

    fn settle(&self, lease: Lease, settlement: Settlement) -> StoreFuture<'_, State> {
        let row = SettlementRow::from(settlement);
        Box::pin(async move { retried!(self.try_settle(&lease, &row)) })
    }

    fn cancel(&self, command: CommandId) -> StoreFuture<'_, Cancellation> {
        Box::pin(async move { retried!(self.try_cancel(command)) })
    }

    fn get(&self, command: CommandId) -> StoreFuture<'_, CommandView> {
        Box::pin(self.one(command, Payloads::Whole))
    }

    fn glance(&self, command: CommandId) -> StoreFuture<'_, CommandView> {
        Box::pin(self.one(command, Payloads::Short))
    }

    fn list(
        &self,
        filter: CommandFilter,
        page: Page<CommandId>,
    ) -> StoreFuture<'_, Vec<CommandView>> {
        Box::pin(async move {
            read::list(&self.sessions.get().await?.single().await?, &filter, page).await
        })
    }

    fn inspect(&self, delivery: DeliveryId) -> StoreFuture<'_, DeliveryDetail> {
        Box::pin(async move {
            read::inspect(&self.sessions.get().await?.single().await?, &delivery).await
        })
    }

    fn dead(&self, filter: DeadFilter, page: Page<DeadCursor>) -> StoreFuture<'_, Vec<DeadLetter>> {
        Box::pin(async move {
            read::dead(&self.sessions.get().await?.single().await?, &filter, page).await
        })
    }

    fn retry_dead(&self, filter: DeadFilter) -> StoreFuture<'_, u64> {
        Box::pin(async move { self.change_dead(&filter, Fate::Retry).await })
    }

    fn discard_dead(&self, filter: DeadFilter) -> StoreFuture<'_, u64> {
        Box::pin(async move { self.change_dead(&filter, Fate::GiveUp).await })
    }

    fn pause(&self, pause: NewPause) -> StoreFuture<'_, Pause> {
        Box::pin(async move {
            pause.validate()?;
            retried!(self.try_pause(&pause))
        })
    }

    fn resume(&self, handler: Option<HandlerName>) -> StoreFuture<'_, Vec<Pause>> {
        Box::pin(async move { retried!(self.try_resume(handler.as_ref())) })
    }

    fn pauses(&self) -> StoreFuture<'_, Vec<Pause>> {
        Box::pin(self.try_pauses())
    }

    fn sweep(&self, policy: RetentionSettings) -> StoreFuture<'_, Swept> {
        Box::pin(async move { self.sweep_all(&policy).await })
    }

    fn state(
        &self,
        space: Space,
        request: StateRequest,
    ) -> StoreFuture<'_, Result<StateAnswer, StateError>> {
        Box::pin(async move { retried!(self.try_state(&space, &request)) })
    }

    fn schedules(&self, names: Vec<RuleName>) -> StoreFuture<'_, Schedules> {
        Box::pin(async move { retried!(self.try_schedules(&names)) })
    }

    fn fire(&self, firing: Firing) -> StoreFuture<'_, FiringResult> {
        Box::pin(async move {
            firing.commands.iter().try_for_each(NewCommand::validate)?;
            retried!(self.try_fire(&firing))
        })
    }

    fn change_schedule(
        &self,
        name: RuleName,
        change: ScheduleChange,
    ) -> StoreFuture<'_, ScheduleRow> {
        Box::pin(async move { retried!(self.try_change_schedule(&name, change)) })
    }

    fn history(&self, filter: HistoryFilter) -> StoreFuture<'_, Vec<HistoryPoint>> {
        Box::pin(async move { self.history.read(&filter).await })
    }

    fn depth(&self) -> StoreFuture<'_, Vec<Depth>> {
        Box::pin(async move { read::depth(&self.sessions.get().await?.single().await?).await })
    }

    fn check(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            // A transaction that may write: a standby refuses it.
            let mut lent = self.sessions.get().await?;
            let tx = lent.begin().await?;
            tx.now().await.map_err(to("answer"))?;
            tx.commit().await.map_err(to("answer"))
        })
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.stop.cancel();
            match timeout(CLOSE_MAX, self.history.store()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    warn!(code = error.code(), error = ?error, "the history of the last second is lost");
                }
                Err(_) => {
                    warn!("the history of the last second is lost: the database does not answer")
                }
            }
            self.sessions.close();
            // Both end at once; neither is waited for where it does not.
            if timeout(CLOSE_MAX, self.tasks.wait()).await.is_err() {
                warn!("could not close the connection for notifications in time");
            }
            Ok(())
        })
    }

    fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }
}
