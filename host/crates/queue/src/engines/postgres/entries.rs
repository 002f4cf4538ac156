//! Keeps what handlers remember, as SQLite does. The row of a space is its lock.

use pointsman_core::state::{
    Change, LIST_MAX_BYTES, Space, SpaceUsage, StateAnswer, StateError, StateRequest, Until, decide,
};
use tokio_postgres::Row;

use super::{fault::Fault, session::Scope, tx::Tx};
use crate::{Timestamp, policy::prefix_end};

/// Answers a request that changes nothing.
pub(super) async fn read(
    tx: &Scope<'_>,
    space: &Space,
    request: &StateRequest,
    now: Timestamp,
) -> Result<StateAnswer, Fault> {
    match request {
        StateRequest::List {
            prefix,
            after,
            limit,
        } => {
            let rows = tx
                .query(
                    include_str!("sql/list_entries.sql"),
                    &[
                        &space.name.as_str(),
                        &prefix.as_str(),
                        &after.as_deref(),
                        &prefix_end(prefix).as_deref(),
                        &i64::from(*limit),
                        &now.as_millis(),
                    ],
                )
                .await?;
            Ok(StateAnswer::Entries(list(&rows)))
        }
        other => {
            let found = find(tx, space, other.key().unwrap_or_default(), now).await?;
            Ok(StateAnswer::Value(found.map(|found| found.0)))
        }
    }
}

fn list(rows: &[Row]) -> Vec<(String, String)> {
    let (mut list, mut bytes) = (Vec::new(), 0);
    for row in rows {
        let (key, value): (String, String) = (row.get(0), row.get(1));
        bytes += key.len() + value.len();
        list.push((key, value));
        if bytes >= LIST_MAX_BYTES {
            break;
        }
    }
    list
}

/// Answers a request about one key that may change it.
pub(super) async fn change(
    tx: &Tx<'_>,
    space: &Space,
    request: &StateRequest,
) -> Result<Result<StateAnswer, StateError>, Fault> {
    let key = request.key().unwrap_or_default();
    let mut held = lock(tx, &space.name).await?;
    // One that is over counts until it is removed.
    let over = tx
        .query_opt(
            include_str!("sql/remove_if_over.sql"),
            &[&space.name.as_str(), &key, &tx.now.as_millis()],
        )
        .await?;
    if let Some(over) = over {
        held.keys = held.keys.saturating_sub(1);
        held.bytes = held
            .bytes
            .saturating_sub(over.get::<_, i64>(0).cast_unsigned());
    }
    let found = find(tx, space, key, tx.now).await?;
    let value = found.as_ref().map(|found| found.0.as_str());
    let mut decided = decide(space, request.clone(), value, held);
    if matches!(decided, Err(StateError::Full(_))) {
        set_held(tx, space, held).await?;
        // As many as it has.
        remove_over(tx, std::slice::from_ref(&space.name), i64::MAX).await?;
        held = lock(tx, &space.name).await?;
        decided = decide(space, request.clone(), value, held);
    }
    let (answer, change) = match decided {
        Ok(decided) => decided,
        Err(error) => {
            set_held(tx, space, held).await?;
            return Ok(Err(error));
        }
    };
    let after = match change {
        Change::Nothing => held,
        Change::Remove => {
            tx.execute(
                "DELETE FROM @.entry WHERE space = $1 AND key = $2",
                &[&space.name.as_str(), &key],
            )
            .await?;
            held.after(key.len(), value, None)
        }
        Change::Put { value: new, until } => {
            let until_ms = match until {
                Until::Removed => None,
                Until::Over(ttl) => Some(tx.now.after(ttl).as_millis()),
                Until::AsBefore => found.as_ref().and_then(|found| found.1),
            };
            tx.execute(
                include_str!("sql/put_entry.sql"),
                &[&space.name.as_str(), &key, &new.as_str(), &until_ms],
            )
            .await?;
            held.after(key.len(), value, Some(&new))
        }
    };
    set_held(tx, space, after).await?;
    Ok(Ok(answer))
}

async fn set_held(tx: &Scope<'_>, space: &Space, held: SpaceUsage) -> Result<(), Fault> {
    tx.execute(
        "UPDATE @.space SET keys = $2, bytes = $3 WHERE name = $1",
        &[
            &space.name.as_str(),
            &held.keys.cast_signed(),
            &held.bytes.cast_signed(),
        ],
    )
    .await
    .map(drop)
}

/// What a space holds; no other transaction changes it until this one ends.
async fn lock(tx: &Scope<'_>, space: &str) -> Result<SpaceUsage, Fault> {
    tx.execute(
        "INSERT INTO @.space (name, keys, bytes) VALUES ($1, 0, 0) ON CONFLICT (name) DO NOTHING",
        &[&space],
    )
    .await?;
    let row = tx
        .query_opt(
            "SELECT keys, bytes FROM @.space WHERE name = $1 FOR UPDATE",
            &[&space],
        )
        .await?;
    let held = row.map(|row| SpaceUsage {
        keys: row.get::<_, i64>(0).cast_unsigned(),
        bytes: row.get::<_, i64>(1).cast_unsigned(),
    });
    Ok(held.unwrap_or_default())
}

async fn find(
    tx: &Scope<'_>,
    space: &Space,
    key: &str,
    now: Timestamp,
) -> Result<Option<(String, Option<i64>)>, Fault> {
    let row = tx
        .query_opt(
            "SELECT value, until_ms FROM @.entry WHERE space = $1 AND key = $2",
            &[&space.name.as_str(), &key],
        )
        .await?;
    let found: Option<(String, Option<i64>)> = row.map(|row| (row.get(0), row.get(1)));
    Ok(found.filter(|(_, until)| until.is_none_or(|until| until > now.as_millis())))
}

/// Entries that one transaction of a sweep removes at most.
const SWEEP_STEP: i64 = 1_000;

/// Removes the first entries that are over, in all spaces: how many, and whether there may
/// be more.
pub(super) async fn sweep(tx: &Tx<'_>) -> Result<(u64, bool), Fault> {
    let now = tx.now.as_millis();
    let locked = tx
        .query(include_str!("sql/lock_spaces.sql"), &[&now, &SWEEP_STEP])
        .await?;
    let spaces: Vec<String> = locked.iter().map(|row| row.get(0)).collect();
    let removed = remove_over(tx, &spaces, SWEEP_STEP).await?;
    Ok((removed.cast_unsigned(), removed >= SWEEP_STEP))
}

/// Removes so many entries that are over in spaces that are locked; how many.
async fn remove_over(tx: &Tx<'_>, spaces: &[String], limit: i64) -> Result<i64, Fault> {
    let now = tx.now.as_millis();
    let row = tx
        .query_opt(
            include_str!("sql/remove_over.sql"),
            &[&now, &spaces, &limit],
        )
        .await?;
    Ok(row.map_or(0, |row| row.get(0)))
}
