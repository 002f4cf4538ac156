//! Pauses handlers and lets them go on.

use rusqlite::{Connection, Row, params};

use super::{
    fault::to,
    row::{handler, sound},
    tx::Tx,
};
use crate::{
    NewPause, Pause, QueueError, Timestamp,
    pause::{ALL, PAUSES_MAX, key, too_many},
};
use pointsman_core::name::HandlerName;

pub(super) fn pause(tx: &mut Tx<'_>, new: &NewPause) -> Result<Pause, QueueError> {
    const PAUSE: &str = "pause a handler";
    let others: u64 = tx
        .connection
        .prepare_cached("SELECT count(*) FROM pause WHERE handler <> ?1")
        .and_then(|mut count| count.query_row([new.key()], |row| row.get(0)))
        .map_err(to(PAUSE))?;
    if others >= PAUSES_MAX {
        return Err(too_many());
    }
    let begun = new.begun(tx.now, tx.now);
    let since = tx
        .connection
        .prepare_cached(include_str!("sql/pause.sql"))
        .and_then(|mut statement| {
            statement.query_row(
                params![
                    new.key(),
                    tx.now.as_millis(),
                    begun.until.map(Timestamp::as_millis),
                    new.by,
                    new.reason
                ],
                |row| row.get(0),
            )
        })
        .map_err(to(PAUSE))?;
    // Whoever waits for the next delivery has to see when the pause ends.
    tx.news.work = true;
    Ok(new.begun(Timestamp::from_millis(since), tx.now))
}

pub(super) fn resume(
    tx: &mut Tx<'_>,
    handler: Option<&HandlerName>,
) -> Result<Vec<Pause>, QueueError> {
    let ended = resume_rows(tx, handler).map_err(to("end a pause"))?;
    tx.news.work = true;
    let now = tx.now;
    let in_force = |pause: &Pause| pause.until.is_none_or(|until| until > now);
    let mut ended: Vec<_> = ended.into_iter().filter(in_force).collect();
    ended.sort_by(|a, b| key(a.handler.as_ref()).cmp(key(b.handler.as_ref())));
    Ok(ended)
}

fn resume_rows(tx: &Tx<'_>, handler: Option<&HandlerName>) -> rusqlite::Result<Vec<Pause>> {
    tx.connection
        .prepare_cached(include_str!("sql/resume.sql"))?
        .query_map([handler.map(HandlerName::as_str)], |row| Ok(read(row)))?
        .filter_map(|row| row.and_then(sound).transpose())
        .collect()
}

/// The pauses in force at this time.
pub(super) fn in_force(connection: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Pause>> {
    connection
        .prepare_cached(include_str!("sql/pauses.sql"))?
        .query_map([now.as_millis()], |row| Ok(read(row)))?
        .filter_map(|row| row.and_then(sound).transpose())
        .collect()
}

/// Removes the pauses that are over.
pub(super) fn remove_over(tx: &Tx<'_>) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached("DELETE FROM pause WHERE until_ms <= ?1")?
        .execute([tx.now.as_millis()])
        .map(drop)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Pause> {
    let is_all = row.get_ref(0)?.as_str()? == ALL;
    Ok(Pause {
        handler: if is_all { None } else { Some(handler(row, 0)?) },
        since: Timestamp::from_millis(row.get(1)?),
        until: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis),
        by: row.get(3)?,
        reason: row.get(4)?,
    })
}
