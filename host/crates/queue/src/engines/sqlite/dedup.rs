//! Tells commands from repetitions by their deduplication keys.

use rusqlite::{OptionalExtension, params};

use super::{fault::to, row::command_id, tx::Tx};
use crate::{
    CommandId, Dedup, NewCommand, QueueError, Timestamp,
    policy::{DEDUP_CHECK, DEDUP_STEP, Earlier, Verdict, dedup_until, judge},
};

/// What becomes of a command with this key.
pub(super) fn verdict(tx: &Tx<'_>, dedup: &Dedup) -> rusqlite::Result<Verdict> {
    let earlier = tx
        .connection
        .prepare_cached(include_str!("sql/find_dedup.sql"))?
        .query_row(params![dedup.mode(), dedup.key], |row| {
            Ok(Earlier {
                command: command_id(row, 0)?,
                until: Timestamp::from_millis(row.get(1)?),
                deliveries: row.get(2)?,
                unfinished: row.get(3)?,
                untouched: row.get(4)?,
            })
        })
        .optional()?;
    Ok(judge(dedup, earlier, tx.now))
}

/// Lets the key of the command name `id`.
pub(super) fn remember(tx: &Tx<'_>, command: &NewCommand, id: CommandId) -> rusqlite::Result<()> {
    let Some(dedup) = &command.dedup else {
        return Ok(());
    };
    let until = dedup_until(dedup, command.run_at, tx.now).as_millis();
    tx.connection
        .prepare_cached(include_str!("sql/put_dedup.sql"))?
        .execute(params![dedup.mode(), dedup.key, id.0.into_bytes(), until])
        .map(drop)
}

/// Forgets some keys that are over: how many, and whether there may be more.
pub(super) fn sweep(tx: &mut Tx<'_>) -> Result<(u64, bool), QueueError> {
    let (now, next) = (tx.now.as_millis(), tx.now.after(DEDUP_CHECK).as_millis());
    let kept = tx
        .connection
        .prepare_cached(include_str!("sql/keep_dedup.sql"))
        .and_then(|mut keep| keep.execute(params![now, next, DEDUP_STEP]));
    let removed = tx
        .connection
        .prepare_cached(include_str!("sql/remove_dedup.sql"))
        .and_then(|mut remove| remove.execute(params![now, DEDUP_STEP]));
    let both = kept.and_then(|kept| Ok((kept, removed?)));
    let (kept, removed) = both.map_err(to("forget deduplication keys"))?;
    let is_full = i64::try_from(kept + removed).is_ok_and(|seen| seen >= DEDUP_STEP);
    Ok((removed as u64, is_full))
}
