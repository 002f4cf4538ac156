//! Keeps the history of attempts. What ended is counted in this process first, and
//! stored together a little later: were it stored with each settlement, all of them
//! would wait for the row of their minute. A host that is killed loses the counts of
//! its last second, and nothing else.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::sleep;
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    fault::{Fault, to},
    pool::Sessions,
    row,
    session::Scope,
    tx::Tx,
};
use crate::{
    Ending, HISTORY_KEPT, HISTORY_POINTS_MAX, HistoryFilter, HistoryPoint, QueueError, Timestamp,
    history::{Attempts, begin, minute},
};
use pointsman_core::name::HandlerName;

/// How often what ended is stored.
const STORE_EVERY: Duration = Duration::from_secs(1);

/// The attempts that ended and are not yet stored.
#[derive(Debug)]
pub(super) struct History {
    sessions: Sessions,
    ended: Mutex<Attempts>,
}

impl History {
    pub(super) fn new(sessions: Sessions) -> Self {
        Self {
            sessions,
            ended: Mutex::default(),
        }
    }

    /// Counts an attempt, after the commit that ended it.
    pub(super) fn attempted(
        &self,
        handler: &HandlerName,
        status: Ending,
        started: Option<Timestamp>,
        ended: Timestamp,
    ) {
        self.ended().add(handler, status, started, ended);
    }

    /// The same of several.
    pub(super) fn add(&self, attempts: Attempts) {
        self.ended().merge(attempts);
    }

    /// Stores what ended every now and then, until `stop`.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        while stop.run_until_cancelled(sleep(STORE_EVERY)).await.is_some() {
            if let Err(error) = self.store().await {
                debug!(code = error.code(), error = ?error, "could not store the history yet");
            }
        }
    }

    /// Stores what ended so far. Where it fails, that is kept for the next time.
    pub(super) async fn store(&self) -> Result<(), QueueError> {
        let attempts = mem::take(&mut *self.ended());
        if attempts.rows().is_empty() {
            return Ok(());
        }
        let stored = self.try_store(&attempts).await;
        if stored.is_err() {
            self.add(attempts);
        }
        stored
    }

    async fn try_store(&self, attempts: &Attempts) -> Result<(), QueueError> {
        let mut lent = self.sessions.get().await?;
        let scope = lent.single().await?;
        store(&scope, attempts)
            .await
            .map_err(to("count attempts"))?;
        scope.commit().await.map_err(to("count attempts"))
    }

    pub(super) async fn read(
        &self,
        filter: &HistoryFilter,
    ) -> Result<Vec<HistoryPoint>, QueueError> {
        let (from, until, step) = filter.minutes()?;
        self.store().await?;
        let handler = filter.handler.as_ref().map(HandlerName::as_str);
        let limit = i64::try_from(HISTORY_POINTS_MAX + 1).unwrap_or(i64::MAX);
        let mut lent = self.sessions.get().await?;
        let found = lent
            .single()
            .await?
            .query(
                include_str!("sql/history.sql"),
                &[&handler, &from, &until, &step, &limit],
            )
            .await
            .map_err(to("read the history"))?;
        if found.len() > HISTORY_POINTS_MAX {
            return Err(HistoryFilter::too_many());
        }
        found.iter().map(point).collect()
    }

    fn ended(&self) -> MutexGuard<'_, Attempts> {
        // A panic between two counts leaves one off.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what is no longer kept.
pub(super) async fn remove(tx: &Tx<'_>) -> Result<(), Fault> {
    let before = minute(tx.now.before(HISTORY_KEPT));
    let sql = "DELETE FROM @.history WHERE minute < $1";
    tx.execute(sql, &[&before]).await.map(drop)
}

async fn store(scope: &Scope<'_>, attempts: &Attempts) -> Result<(), Fault> {
    let rows = attempts.rows();
    let minutes: Vec<i64> = rows.iter().map(|row| row.0).collect();
    let handlers: Vec<&str> = rows.iter().map(|row| row.1).collect();
    let statuses: Vec<&str> = rows.iter().map(|row| row.2.as_str()).collect();
    let counts: Vec<i64> = rows.iter().map(|row| row.3.count).collect();
    let totals: Vec<i64> = rows.iter().map(|row| row.3.total_ms).collect();
    let [a, b, c, d, e, f]: [Vec<i64>; 6] =
        std::array::from_fn(|at| rows.iter().map(|row| row.3.durations[at]).collect());
    scope
        .execute(
            include_str!("sql/add_history.sql"),
            &[
                &minutes, &handlers, &statuses, &counts, &totals, &a, &b, &c, &d, &e, &f,
            ],
        )
        .await
        .map(drop)
}

fn point(found: &Row) -> Result<HistoryPoint, QueueError> {
    let count = |column: usize| found.get::<_, i64>(column).cast_unsigned();
    Ok(HistoryPoint {
        at: begin(found.get(0)),
        handler: row::handler(found.get(1))?,
        status: found.get::<_, &str>(2).parse().map_err(row::foreign)?,
        count: count(3),
        total_ms: count(4),
        durations: std::array::from_fn(|at| count(5 + at)),
    })
}
