//! Keeps what handlers remember; what a request means is decided by
//! [`pointsman_core::state`].

use std::collections::BTreeMap;

use pointsman_core::state::{
    Change, LIST_MAX_BYTES, Space, SpaceUsage, StateAnswer, StateError, StateRequest, Until, decide,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{fault::to, relief, tx::Tx};
use crate::{QueueError, Timestamp, policy::prefix_end};

const CHANGE: &str = "change an entry";
const READ: &str = "read an entry";
/// What a row takes at most, besides its texts.
const ROW_BYTES: u64 = 256;

/// An entry that is there.
struct Found {
    value: String,
    until_ms: Option<i64>,
}

/// Answers a request that changes nothing.
pub(super) fn read(
    connection: &Connection,
    space: &Space,
    request: &StateRequest,
    now: Timestamp,
) -> Result<Result<StateAnswer, StateError>, QueueError> {
    match request {
        StateRequest::List {
            prefix,
            after,
            limit,
        } => {
            let after = after.as_deref();
            let entries = list(connection, &space.name, (prefix, after, *limit), now);
            Ok(Ok(StateAnswer::Entries(entries.map_err(to(READ))?)))
        }
        other => {
            let key = other.key().unwrap_or_default();
            let found = find(connection, &space.name, key, now).map_err(to(READ))?;
            Ok(Ok(StateAnswer::Value(found.map(|found| found.value))))
        }
    }
}

/// Answers a request about one key that may change it.
pub(super) fn change(
    tx: &mut Tx<'_>,
    space: &Space,
    request: &StateRequest,
) -> Result<Result<StateAnswer, StateError>, QueueError> {
    let (name, now) = (&space.name, tx.now);
    let key = request.key().unwrap_or_default();
    // One that is over counts until it is removed.
    remove_if_over(tx.connection, name, key, now).map_err(to(CHANGE))?;
    let found = find(tx.connection, name, key, now).map_err(to(CHANGE))?;
    let value = found.as_ref().map(|found| found.value.as_str());
    let mut held = held(tx.connection, name).map_err(to(CHANGE))?;
    let mut decided = decide(space, request.clone(), value, held);
    if matches!(decided, Err(StateError::Full(_))) {
        let in_space = include_str!("sql/remove_over_in.sql");
        let removed = remove_over(tx.connection, in_space, params![name, now.as_millis()]);
        removed.map_err(to(CHANGE))?;
        held = self::held(tx.connection, name).map_err(to(CHANGE))?;
        decided = decide(space, request.clone(), value, held);
    }
    let (answer, change) = match decided {
        Ok(decided) => decided,
        Err(error) => return Ok(Err(error)),
    };
    let after = match &change {
        Change::Nothing => return Ok(Ok(answer)),
        Change::Remove => None,
        Change::Put { value, .. } => Some(value.as_str()),
    };
    if let Some(value) = after {
        let bytes = ROW_BYTES + (key.len() + value.len()) as u64 * 9 / 8;
        if !relief::admit(tx, bytes).map_err(to(CHANGE))? {
            let full = "the store is out of space: its disk is full or its limit is reached";
            return Ok(Err(StateError::Unavailable(full.to_owned())));
        }
    }
    let held = held.after(key.len(), value, after);
    apply(tx, (name, key), change, found.as_ref(), held).map_err(to(CHANGE))?;
    Ok(Ok(answer))
}

fn apply(
    tx: &Tx<'_>,
    (space, key): (&str, &str),
    change: Change,
    found: Option<&Found>,
    held: SpaceUsage,
) -> rusqlite::Result<()> {
    match change {
        Change::Nothing => {}
        Change::Remove => {
            tx.connection
                .prepare_cached("DELETE FROM entry WHERE space = ?1 AND key = ?2")?
                .execute([space, key])?;
        }
        Change::Put { value, until } => {
            let until_ms = match until {
                Until::Removed => None,
                Until::Over(ttl) => Some(tx.now.after(ttl).as_millis()),
                Until::AsBefore => found.and_then(|found| found.until_ms),
            };
            tx.connection
                .prepare_cached(include_str!("sql/put_entry.sql"))?
                .execute(params![space, key, value, until_ms])?;
        }
    }
    set_held(tx.connection, space, held)
}

/// One that is over is found by nobody.
fn find(
    connection: &Connection,
    space: &str,
    key: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<Found>> {
    let found = connection
        .prepare_cached("SELECT value, until_ms FROM entry WHERE space = ?1 AND key = ?2")?
        .query_row([space, key], |row| {
            Ok(Found {
                value: row.get(0)?,
                until_ms: row.get(1)?,
            })
        })
        .optional()?;
    Ok(found.filter(|found| found.until_ms.is_none_or(|until| until > now.as_millis())))
}

fn held(connection: &Connection, space: &str) -> rusqlite::Result<SpaceUsage> {
    let held = connection
        .prepare_cached("SELECT keys, bytes FROM space WHERE name = ?1")?
        .query_row([space], |row| {
            Ok(SpaceUsage {
                keys: row.get(0)?,
                bytes: row.get(1)?,
            })
        })
        .optional()?;
    Ok(held.unwrap_or_default())
}

fn set_held(connection: &Connection, space: &str, held: SpaceUsage) -> rusqlite::Result<()> {
    connection
        .prepare_cached(include_str!("sql/set_space.sql"))?
        .execute(params![space, held.keys, held.bytes])
        .map(drop)
}

fn list(
    connection: &Connection,
    space: &str,
    (prefix, after, limit): (&str, Option<&str>, u32),
    now: Timestamp,
) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = connection.prepare_cached(include_str!("sql/list_entries.sql"))?;
    let end = prefix_end(prefix);
    let mut rows = statement.query(params![space, prefix, after, end, limit, now.as_millis()])?;
    let (mut list, mut bytes) = (Vec::new(), 0);
    while bytes < LIST_MAX_BYTES
        && let Some(row) = rows.next()?
    {
        let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
        bytes += key.len() + value.len();
        list.push((key, value));
    }
    Ok(list)
}

fn remove_if_over(
    connection: &Connection,
    space: &str,
    key: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let bytes: Option<u64> = connection
        .prepare_cached(include_str!("sql/remove_if_over.sql"))?
        .query_row(params![space, key, now.as_millis()], |row| row.get(0))
        .optional()?;
    let Some(bytes) = bytes else { return Ok(()) };
    let held = held(connection, space)?;
    let left = SpaceUsage {
        keys: held.keys.saturating_sub(1),
        bytes: held.bytes.saturating_sub(bytes),
    };
    set_held(connection, space, left)
}

/// Entries that one transaction of a sweep removes at most.
const SWEEP_STEP: u64 = 1_000;

/// Removes the first entries that are over, in every space: how many, and whether there may
/// be more.
pub(super) fn sweep(tx: &mut Tx<'_>) -> Result<(u64, bool), QueueError> {
    let removed = remove_over(
        tx.connection,
        include_str!("sql/remove_over.sql"),
        params![tx.now.as_millis(), SWEEP_STEP],
    );
    let removed = removed.map_err(to("remove entries that are over"))?;
    Ok((removed, removed >= SWEEP_STEP))
}

/// Runs a statement that removes entries; how many.
fn remove_over(
    connection: &Connection,
    text: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(text)?;
    let mut gone: BTreeMap<String, SpaceUsage> = BTreeMap::new();
    let mut removed = 0;
    let mut rows = statement.query(values)?;
    while let Some(row) = rows.next()? {
        let space = gone.entry(row.get(0)?).or_default();
        space.keys += 1;
        space.bytes += row.get::<_, u64>(1)?;
        removed += 1;
    }
    for (space, gone) in gone {
        let held = held(connection, &space)?;
        let left = SpaceUsage {
            keys: held.keys.saturating_sub(gone.keys),
            bytes: held.bytes.saturating_sub(gone.bytes),
        };
        set_held(connection, &space, left)?;
    }
    Ok(removed)
}
