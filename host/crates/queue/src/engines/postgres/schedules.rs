//! Keeps up to which of its times each schedule was dealt with. A row is changed under
//! the lock of its name, held until the transaction ends.

use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    Postgres,
    fault::{Fault, to},
    row,
    session::Scope,
    tx::Tx,
    write,
};
use crate::{
    CommandId, Firing, FiringResult, QueueError, ScheduleChange, ScheduleRow, Schedules, Timestamp,
};
use pointsman_core::name::RuleName;

impl Postgres {
    pub(super) async fn try_schedules(&self, names: &[RuleName]) -> Result<Schedules, QueueError> {
        const READ: &str = "read schedules";
        let names: Vec<&str> = names.iter().map(RuleName::as_str).collect();
        let mut lent = self.sessions.get().await?;
        let tx = self.begin(&mut lent).await?;
        let now = tx.now;
        tx.execute(
            include_str!("sql/add_schedules.sql"),
            &[&names, &now.as_millis()],
        )
        .await
        .map_err(to(READ))?;
        let found = tx
            .query(include_str!("sql/schedules.sql"), &[&names])
            .await
            .map_err(to(READ))?;
        self.commit(tx).await?;
        let rows = found.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Schedules { rows, now })
    }

    pub(super) async fn try_fire(&self, firing: &Firing) -> Result<FiringResult, QueueError> {
        const FIRE: &str = "fire a schedule";
        let mut lent = self.sessions.get().await?;
        let mut tx = self.begin(&mut lent).await?;
        let now = tx.now;
        let mut row = locked(&tx, &firing.name, now).await?;
        let fired = row.admits(firing, now);
        if fired {
            write::recognise(&tx, &firing.commands).await?;
            let commands: Vec<_> = firing.commands.iter().collect();
            let added: usize = commands.iter().map(|one| one.deliveries.len()).sum();
            if added > 0 {
                self.admission.admit(&tx, added as u64).await?;
                tx.news.work = true;
            }
            if !commands.is_empty() {
                write::insert(&tx, &commands).await.map_err(to(FIRE))?;
            }
            row.fire(firing, now);
            put(&tx, &row).await.map_err(to(FIRE))?;
        }
        self.commit(tx).await?;
        Ok(FiringResult { fired, row, now })
    }

    pub(super) async fn try_change_schedule(
        &self,
        name: &RuleName,
        change: ScheduleChange,
    ) -> Result<ScheduleRow, QueueError> {
        let mut lent = self.sessions.get().await?;
        let tx = self.begin(&mut lent).await?;
        let mut row = locked(&tx, name, tx.now).await?;
        row.change(change, tx.now);
        put(&tx, &row).await.map_err(to("change a schedule"))?;
        self.commit(tx).await?;
        Ok(row)
    }
}

/// The schedule, under its lock; one that is new where there is none.
async fn locked(tx: &Tx<'_>, name: &RuleName, now: Timestamp) -> Result<ScheduleRow, QueueError> {
    const READ: &str = "read a schedule";
    tx.lock(&format!("/schedule/{name}"))
        .await
        .map_err(to(READ))?;
    let names = vec![name.as_str()];
    let found = tx
        .query_opt(include_str!("sql/schedules.sql"), &[&names])
        .await
        .map_err(to(READ))?;
    match found {
        Some(found) => read(&found),
        None => Ok(ScheduleRow::new(name.clone(), now)),
    }
}

async fn put(tx: &Scope<'_>, row: &ScheduleRow) -> Result<(), Fault> {
    tx.execute(
        include_str!("sql/put_schedule.sql"),
        &[
            &row.name.as_str(),
            &row.last.as_millis(),
            &row.paused.map(Timestamp::as_millis),
            &row.fired.map(Timestamp::as_millis),
            &row.command.map(|id| id.0),
        ],
    )
    .await
    .map(drop)
}

fn read(found: &Row) -> Result<ScheduleRow, QueueError> {
    let time = |column: usize| {
        let time: Option<i64> = found.get(column);
        time.map(Timestamp::from_millis)
    };
    let name: &str = found.get(0);
    Ok(ScheduleRow {
        name: RuleName::parse(name).ok_or_else(|| row::foreign(std::fmt::Error))?,
        last: Timestamp::from_millis(found.get(1)),
        paused: time(2),
        fired: time(3),
        command: found.get::<_, Option<Uuid>>(4).map(CommandId),
    })
}
