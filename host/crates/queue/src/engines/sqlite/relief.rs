//! Makes room for new commands where finished ones can give way.

use std::time::Instant;

use rusqlite::params;

use super::{
    dead::remove,
    history,
    room::{Free, Relief},
    tx::Tx,
};
use crate::{clock::Timestamp, history::HISTORY_SHORT, policy::SWEEP_STEP};

/// Steps of a sweep in one call: it keeps the writer from other work for some
/// ten milliseconds.
const STEPS: usize = 8;

/// Takes room for new commands from what is not kept for work under way,
/// and makes it where finished commands can give way. Says whether there was
/// enough.
pub(super) fn admit(tx: &mut Tx<'_>, bytes: u64) -> rusqlite::Result<bool> {
    let (free, mut left) = match tx.free {
        Some(known) => known,
        None => tx.measure()?,
    };
    if left < bytes {
        let want = bytes.saturating_add(tx.room.spare_bytes());
        let mut relief = std::mem::take(tx.relief);
        let made = make_room(&mut relief, tx, free, want);
        *tx.relief = relief;
        made?;
        left = free.left(tx.connection)?;
    }
    tx.free = Some((free, left.saturating_sub(bytes)));
    if left < bytes {
        tx.refused = Some(bytes);
    }
    Ok(left >= bytes)
}

/// Removes finished commands, the oldest first, dead letters last, until
/// `free` has `want` bytes; some of them in each call. Says whether it has.
fn make_room(
    relief: &mut Relief,
    tx: &mut Tx<'_>,
    free: Free,
    want: u64,
) -> rusqlite::Result<bool> {
    if relief
        .rests_until
        .is_some_and(|until| Instant::now() < until)
    {
        return Ok(false);
    }
    relief.rests_until = None;
    history::remove(tx, tx.now.before(HISTORY_SHORT))?;
    for _ in 0..STEPS {
        let old = tx
            .connection
            .prepare_cached("SELECT seq, id FROM command WHERE seq > ?1 ORDER BY seq LIMIT ?2")?
            .query_map(params![relief.after, SWEEP_STEP], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<Vec<(i64, [u8; 16])>>>()?;
        let cutoffs = relief.pass.for_size(Timestamp::from_millis(i64::MAX));
        for (seq, id) in &old {
            relief.after = *seq;
            if remove(tx, *seq, *id, cutoffs)? {
                tx.news.gave_way += 1;
                if free.left(tx.connection)? >= want {
                    return Ok(true);
                }
            }
        }
        if old.is_empty() && !relief.next_pass() {
            return Ok(false);
        }
    }
    Ok(false)
}
