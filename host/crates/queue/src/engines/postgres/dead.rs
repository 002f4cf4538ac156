//! Empties the dead letter and applies the retention, in steps.

use uuid::Uuid;

use super::{
    fault::{Fault, to},
    read, row,
    session::Scope,
    tx::Tx,
    write,
};
use crate::{
    CommandId, DeadFilter, QueueError, RetentionSettings, State,
    policy::Cutoffs,
    query::{DEAD_STEP, SWEEP_STEP},
};

/// One step of a bulk change; as for SQLite.
pub(super) async fn step(
    tx: &mut Tx<'_>,
    filter: &DeadFilter,
    retry: bool,
    below: i64,
) -> Result<(u64, Option<i64>), QueueError> {
    const CHANGE: &str = "change the dead letter";
    let rows = read::dead_rows(tx, filter, below, DEAD_STEP)
        .await
        .map_err(to(CHANGE))?;
    let mut changed = 0;
    for seq in rows.iter().rev() {
        let done = change(tx, *seq, retry).await.map_err(to(CHANGE))?;
        changed += u64::from(done.is_some());
        tx.news.changed.extend(done);
    }
    tx.news.work = retry && changed > 0;
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
        match state.transpose()? {
            None => return Err(QueueError::UnknownDelivery(id.clone())),
            Some(State::Discarded) => {}
            Some(state) => {
                return Err(QueueError::NotDead {
                    id: id.clone(),
                    state,
                });
            }
        }
    }
    let more = (rows.len() as i64 == DEAD_STEP)
        .then(|| rows.last().copied())
        .flatten();
    Ok((changed, more))
}

/// Changes one, unless another host was first; its command.
async fn change(tx: &Tx<'_>, seq: i64, retry: bool) -> Result<Option<CommandId>, Fault> {
    if !retry {
        let sql = "UPDATE @.delivery SET state = 'cancelled' WHERE seq = $1 AND state = 'discarded'
                   RETURNING command_id";
        let found = tx.query_opt(sql, &[&seq]).await?;
        return Ok(found.map(|found| CommandId(found.get(0))));
    }
    let found = tx
        .query_opt(
            "UPDATE @.delivery SET state = 'available', position = nextval($3::text::regclass), run_at_ms = $2,
                 transient = 0, trap = 0, timeout = 0, memory = 0, hosts_lost = 0,
                 finished_ms = NULL, blocked = ordering_key IS NOT NULL
             WHERE seq = $1 AND state = 'discarded' RETURNING handler, ordering_key, command_id",
            &[&seq, &tx.now.as_millis(), &tx.schema().table("place")],
        )
        .await?;
    let Some(found) = found else { return Ok(None) };
    // Free again at once where nothing of its ordering key is before it.
    write::ended(tx, seq, found.get(0), found.get(1)).await?;
    Ok(Some(CommandId(found.get(2))))
}

/// Where a sweep begins.
pub(super) const START: (i64, Uuid) = (i64::MIN, Uuid::nil());

/// Removes finished commands stored after `after` that ended early enough:
/// how many, and where the next step begins, where there is one.
pub(super) async fn sweep(
    tx: &Scope<'_>,
    cutoffs: Cutoffs,
    after: (i64, Uuid),
) -> Result<(u64, Option<(i64, Uuid)>), Fault> {
    let old = tx
        .query(
            "SELECT created_ms, id FROM @.command WHERE (created_ms, id) > ($1, $2) AND created_ms <= $3
             ORDER BY created_ms, id LIMIT $4",
            &[&after.0, &after.1, &cutoffs.latest().as_millis(), &SWEEP_STEP],
        )
        .await?;
    let Some(last) = old.last() else {
        return Ok((0, None));
    };
    let ids: Vec<Uuid> = old.iter().map(|row| row.get(1)).collect();
    let removed = tx
        .execute(
            "WITH gone AS (
                 SELECT id FROM @.command c WHERE id = ANY ($1) AND NOT EXISTS (
                     SELECT 1 FROM @.delivery d WHERE d.command_id = c.id AND (d.finished_ms IS NULL
                         OR d.finished_ms > CASE WHEN d.state = 'discarded' THEN $3::int8 ELSE $2::int8 END))
                 FOR UPDATE SKIP LOCKED),
             deliveries AS (DELETE FROM @.delivery WHERE command_id IN (SELECT id FROM gone) RETURNING seq),
             failures AS (DELETE FROM @.failure WHERE delivery IN (SELECT seq FROM deliveries))
             DELETE FROM @.command WHERE id IN (SELECT id FROM gone)",
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
            "SELECT pg_total_relation_size($1::text::regclass) + pg_total_relation_size($2::text::regclass)",
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
        .query_opt(
            "SELECT (coalesce((SELECT sum(pg_column_size(c.*)) FROM @.command c), 0)
                 + coalesce((SELECT sum(pg_column_size(d.*)) FROM @.delivery d), 0))::int8",
            &[],
        )
        .await?
        .map_or(0, |row| row.get(0));
    Ok(rows > max)
}
