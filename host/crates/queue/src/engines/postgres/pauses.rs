//! Pauses handlers and lets them go on.

use tokio_postgres::Row;

use super::{Postgres, fault::to, row, session::Scope, tx::Tx};
use crate::{
    NewPause, Pause, QueueError, Timestamp,
    pause::{ALL, PAUSES_MAX, key, too_many},
};
use pointsman_core::name::HandlerName;

impl Postgres {
    pub(super) async fn try_pause(&self, new: &NewPause) -> Result<Pause, QueueError> {
        let mut lent = self.sessions.get().await?;
        let mut tx = self.begin(&mut lent).await?;
        let pause = pause(&mut tx, new).await?;
        self.commit(tx).await?;
        Ok(pause)
    }

    pub(super) async fn try_resume(
        &self,
        handler: Option<&HandlerName>,
    ) -> Result<Vec<Pause>, QueueError> {
        let mut lent = self.sessions.get().await?;
        let mut tx = self.begin(&mut lent).await?;
        let ended = tx
            .query(
                include_str!("sql/resume.sql"),
                &[&handler.map(HandlerName::as_str)],
            )
            .await
            .map_err(to("end a pause"))?;
        let now = tx.now;
        tx.news.work = true;
        self.commit(tx).await?;
        let mut ended = ended.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        ended.retain(|pause| pause.until.is_none_or(|until| until > now));
        ended.sort_by(|a, b| key(a.handler.as_ref()).cmp(key(b.handler.as_ref())));
        Ok(ended)
    }

    pub(super) async fn try_pauses(&self) -> Result<Vec<Pause>, QueueError> {
        let mut lent = self.sessions.get().await?;
        let tx = self.begin(&mut lent).await?;
        in_force(&tx, tx.now).await
    }
}

async fn pause(tx: &mut Tx<'_>, new: &NewPause) -> Result<Pause, QueueError> {
    const PAUSE: &str = "pause a handler";
    let others = tx
        .query_opt(
            "SELECT count(*) FROM @.pause WHERE handler <> $1",
            &[&new.key()],
        )
        .await
        .map_err(to(PAUSE))?;
    let others = others.map_or(0, |row| row.get::<_, i64>(0).cast_unsigned());
    if others >= PAUSES_MAX {
        return Err(too_many());
    }
    let begun = new.begun(tx.now, tx.now);
    let since = tx
        .query_opt(
            include_str!("sql/pause.sql"),
            &[
                &new.key(),
                &tx.now.as_millis(),
                &begun.until.map(Timestamp::as_millis),
                &new.by.as_deref(),
                &new.reason.as_deref(),
            ],
        )
        .await
        .map_err(to(PAUSE))?;
    // Whoever waits for the next delivery has to see when the pause ends.
    tx.news.work = true;
    let since = since.map_or(tx.now, |row| Timestamp::from_millis(row.get(0)));
    Ok(new.begun(since, tx.now))
}

/// The pauses in force at this time.
async fn in_force(tx: &Scope<'_>, now: Timestamp) -> Result<Vec<Pause>, QueueError> {
    let found = tx
        .query(include_str!("sql/pauses.sql"), &[&now.as_millis()])
        .await
        .map_err(to("read the pauses"))?;
    found.iter().map(read).collect()
}

fn read(found: &Row) -> Result<Pause, QueueError> {
    let handler: &str = found.get(0);
    Ok(Pause {
        handler: match handler {
            ALL => None,
            name => Some(row::handler(name)?),
        },
        since: Timestamp::from_millis(found.get(1)),
        until: found.get::<_, Option<i64>>(2).map(Timestamp::from_millis),
        by: found.get(3),
        reason: found.get(4),
    })
}
