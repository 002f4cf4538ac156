//! Empties the dead letter and applies the retention, in steps.

use uuid::Uuid;

use super::{
    fault::{Fault, to},
    lines::{self, InLine},
    read, row,
    session::Scope,
    tx::Tx,
};
use crate::{
    CommandId, DeadFilter, QueueError, RetentionSettings,
    policy::{Cutoffs, DEAD_STEP, Fate, SWEEP_STEP, next_step, refuse_one},
};

/// One step of a bulk change; as for SQLite.
pub(super) async fn step(
    tx: &mut Tx<'_>,
    filter: &DeadFilter,
    fate: Fate,
    below: i64,
) -> Result<(u64, Option<i64>), QueueError> {
    const CHANGE: &str = "change the dead letter";
    let rows = read::dead_rows(tx, filter, below, DEAD_STEP)
        .await
        .map_err(to(CHANGE))?;
    let changed = change(tx, &rows, fate).await.map_err(to(CHANGE))?;
    if changed == 0
        && below == i64::MAX
        && let Some(id) = &filter.delivery
    {
        let found = tx
            .query_opt(
                "SELECT state FROM @.delivery WHERE command_id = $1 AND handler = $2",
                &[&id.command.0, &id.handler.as_str()],
            )
            .await
            .map_err(to("find a delivery"))?;
        let state = found.map(|found| row::state(&found, 0).map_err(to(row::FOREIGN)));
        refuse_one(id, state.transpose()?)?;
    }
    Ok((changed, next_step(&rows)))
}

/// Changes those that no other host changed first; how many.
async fn change(tx: &mut Tx<'_>, rows: &[i64], fate: Fate) -> Result<u64, Fault> {
    let mut entering = Vec::new();
    if fate == Fate::Retry {
        let found = tx.query(include_str!("sql/lines.sql"), &[&rows]).await?;
        entering.extend(found.iter().filter_map(|row| InLine::read(row, 0)));
        lines::lock(tx, &entering).await?;
    }
    let mut changed = 0;
    // Oldest first, so that they keep their order at the end of the queue.
    for seq in rows.iter().rev() {
        let found = match fate {
            Fate::Retry => {
                let place = tx.schema().table("place");
                let sql = include_str!("sql/retry_dead.sql");
                let now = tx.now.as_millis();
                tx.query_opt(sql, &[seq, &now, &place]).await?
            }
            Fate::GiveUp => {
                let sql = include_str!("sql/give_up.sql");
                tx.query_opt(sql, &[seq]).await?
            }
        };
        changed += u64::from(found.is_some());
        tx.news
            .changed
            .extend(found.map(|row| CommandId(row.get(0))));
    }
    // Free again at once where nothing of its ordering key is before it.
    lines::free(tx, &entering).await?;
    tx.news.work |= fate == Fate::Retry && changed > 0;
    Ok(changed)
}

/// When a command was stored, and which it is of those stored then.
pub(super) type Place = (i64, Uuid);

/// Removes finished commands stored after `after` that ended early enough: how many,
/// and the last it looked at, where there was one.
pub(super) async fn sweep(
    tx: &Scope<'_>,
    cutoffs: Cutoffs,
    after: Option<Place>,
) -> Result<(u64, Option<Place>), Fault> {
    let after = after.unwrap_or((i64::MIN, Uuid::nil()));
    let old = tx
        .query(
            include_str!("sql/old_commands.sql"),
            &[
                &after.0,
                &after.1,
                &cutoffs.latest().as_millis(),
                &SWEEP_STEP,
            ],
        )
        .await?;
    let Some(last) = old.last() else {
        return Ok((0, None));
    };
    let ids: Vec<Uuid> = old.iter().map(|row| row.get(1)).collect();
    let removed = tx
        .execute(
            include_str!("sql/remove_ended.sql"),
            &[&ids, &cutoffs.ended.as_millis(), &cutoffs.dead.as_millis()],
        )
        .await?;
    Ok((removed, Some((last.get(0), last.get(1)))))
}

pub(super) async fn sweep_keys(tx: &Tx<'_>) -> Result<u64, Fault> {
    tx.execute(
        "DELETE FROM @.idempotency WHERE expires_ms <= $1",
        &[&tx.now.as_millis()],
    )
    .await
}

/// Whether the rows hold more than the policy wants. The files are asked first:
/// they are never smaller than the rows, and cost nothing to ask.
pub(super) async fn too_large(tx: &Scope<'_>, policy: &RetentionSettings) -> Result<bool, Fault> {
    let max = i64::try_from(policy.bytes_max).unwrap_or(i64::MAX);
    let files: i64 = tx
        .query_opt(
            include_str!("sql/file_bytes.sql"),
            &[
                &tx.schema().table("command"),
                &tx.schema().table("delivery"),
            ],
        )
        .await?
        .map_or(0, |row| row.get(0));
    if files <= max {
        return Ok(false);
    }
    let rows: i64 = tx
        .query_opt(include_str!("sql/row_bytes.sql"), &[])
        .await?
        .map_or(0, |row| row.get(0));
    Ok(rows > max)
}
