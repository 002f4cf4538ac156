//! Tells commands from repetitions by their deduplication keys. A key is read and written
//! under its lock, which `write::recognise` has taken.

use uuid::Uuid;

use super::{fault::Fault, tx::Tx};
use crate::{
    CommandId, Dedup, NewCommand, Timestamp,
    policy::{DEDUP_CHECK, DEDUP_STEP, Earlier, Verdict, dedup_until, judge},
};

/// The name of the lock of a key.
pub(super) fn lock(dedup: &Dedup) -> String {
    format!("d/{}/{}", dedup.mode(), dedup.key)
}

/// What becomes of a command with this key. The command that it named keeps its state until
/// the transaction ends.
pub(super) async fn verdict(tx: &Tx<'_>, dedup: &Dedup) -> Result<Verdict, Fault> {
    let lock = "SELECT 1 FROM @.delivery WHERE command_id = (
            SELECT command_id FROM @.dedup WHERE mode = $1 AND key = $2)
        ORDER BY seq FOR UPDATE";
    let mode = dedup.mode();
    tx.query(lock, &[&mode, &dedup.key]).await?;
    let found = include_str!("sql/find_dedup.sql");
    let found = tx.query_opt(found, &[&mode, &dedup.key]).await?;
    let earlier = found.map(|row| Earlier {
        command: CommandId(row.get::<_, Uuid>(0)),
        until: Timestamp::from_millis(row.get(1)),
        deliveries: row.get(2),
        unfinished: row.get(3),
        untouched: row.get(4),
    });
    Ok(judge(dedup, earlier, tx.now))
}

/// Lets the key of the command name `id`.
pub(super) async fn remember(
    tx: &Tx<'_>,
    command: &NewCommand,
    id: CommandId,
) -> Result<(), Fault> {
    let Some(dedup) = &command.dedup else {
        return Ok(());
    };
    let until = dedup_until(dedup, command.run_at, tx.now).as_millis();
    let sql = include_str!("sql/put_dedup.sql");
    tx.execute(sql, &[&dedup.mode(), &dedup.key, &id.0, &until])
        .await
        .map(drop)
}

/// Forgets some keys that are over: how many, and whether there may be more.
pub(super) async fn sweep(tx: &Tx<'_>) -> Result<(u64, bool), Fault> {
    let (now, next) = (tx.now.as_millis(), tx.now.after(DEDUP_CHECK).as_millis());
    let keep = include_str!("sql/keep_dedup.sql");
    let kept = tx.execute(keep, &[&now, &next, &DEDUP_STEP]).await?;
    let remove = include_str!("sql/remove_dedup.sql");
    let removed = tx.execute(remove, &[&now, &DEDUP_STEP]).await?;
    Ok((removed, kept + removed >= DEDUP_STEP.cast_unsigned()))
}
