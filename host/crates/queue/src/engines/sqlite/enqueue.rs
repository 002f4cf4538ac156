//! Stores commands with their deliveries.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::{dedup, fault::to, relief, settle, tx::Tx};
use crate::{
    CommandId, Enqueued, NewCommand, QueueError,
    policy::{BodyDigest, Entry, Placed, Verdict, admit, body_digest, place, recognise},
};

const STORE: &str = "store a command";

/// What a row and its entries in the indexes take at most, besides long texts.
const ROW_BYTES: usize = 1024;

/// About how many bytes of the store a command takes: a long text has pages of
/// its own.
fn size(command: &NewCommand) -> u64 {
    let rows = ROW_BYTES * (1 + command.deliveries.len());
    let rules: usize = command
        .deliveries
        .iter()
        .flat_map(|delivery| &delivery.rules)
        .map(String::len)
        .sum();
    (rows + rules + command.attributes.len() * 9 / 8) as u64
}

/// Stores all of `commands` or none. Every refusal comes before the first write
/// of theirs: it is the inner error.
pub(super) fn enqueue(
    tx: &mut Tx<'_>,
    commands: &[NewCommand],
) -> Result<Result<Vec<Enqueued>, QueueError>, QueueError> {
    let stored = stored_keys(tx, commands).map_err(to(STORE))?;
    let mut answers = recognise(commands, &stored)?;
    if let [command] = commands
        && let Some(dedup) = &command.dedup
    {
        match dedup::verdict(tx, dedup).map_err(to(STORE))? {
            Verdict::New => {}
            Verdict::Repeats(id) => {
                return Ok(Ok(vec![Enqueued {
                    id,
                    repeated: true,
                    replaced: false,
                }]));
            }
            Verdict::Replaces(id) => {
                let added = command.deliveries.len() as u64;
                admit(tx.counts.depth, added, tx.depth_max)?;
                if !relief::admit(tx, size(command)).map_err(to(STORE))? {
                    return Ok(Err(QueueError::NoRoom));
                }
                replace(tx, id, command)?;
                (answers[0].id, answers[0].replaced) = (id, true);
                return Ok(Ok(answers));
            }
        }
    }
    let both = commands.iter().zip(&answers);
    let fresh = both.filter(|(_, answer)| !answer.repeated);
    let fresh: Vec<&NewCommand> = fresh.map(|(command, _)| command).collect();
    let added: usize = fresh.iter().map(|command| command.deliveries.len()).sum();
    admit(tx.counts.depth, added as u64, tx.depth_max)?;
    let bytes = fresh.iter().map(|command| size(command)).sum();
    if bytes > 0 && !relief::admit(tx, bytes).map_err(to(STORE))? {
        return Ok(Err(QueueError::NoRoom));
    }
    tx.counts.depth = tx.counts.depth.saturating_add(added as u64);
    insert(tx, &fresh).map_err(to(STORE))?;
    Ok(Ok(answers))
}

/// Puts the command in the place of `id`, which has not begun.
fn replace(tx: &mut Tx<'_>, id: CommandId, by: &NewCommand) -> Result<(), QueueError> {
    const REPLACE: &str = "replace a command";
    settle::cancel(tx, id)?;
    let by = NewCommand { id, ..by.clone() };
    let bytes = id.0.into_bytes();
    tx.connection
        .execute("DELETE FROM delivery WHERE command_id = ?1", [bytes])
        .map_err(to(REPLACE))?;
    tx.connection
        .prepare_cached("UPDATE command SET attributes = ?2, traceparent = ?3, rules_generation = ?4 WHERE id = ?1")
        .and_then(|mut statement| {
            statement.execute(params![
                bytes,
                by.attributes,
                by.traceparent,
                by.rules_generation.cast_signed()
            ])
        })
        .map_err(to(REPLACE))?;
    tx.counts.depth = tx.counts.depth.saturating_add(by.deliveries.len() as u64);
    insert_deliveries(tx, &[&by]).map_err(to(REPLACE))?;
    dedup::remember(tx, &by, id).map_err(to(REPLACE))
}

/// Stores what a delivery emitted, in the transaction that ends it. The depth of the
/// queue is no reason to refuse it: work that is done must be able to end.
///
/// # Errors
/// [`QueueError::NoRoom`], the engine's: then the delivery has not ended either.
pub(super) fn follow_up(tx: &mut Tx<'_>, commands: &[NewCommand]) -> Result<(), QueueError> {
    const FOLLOW_UP: &str = "store a follow-up command";
    let bytes = commands.iter().map(size).sum();
    if bytes > 0 && !relief::admit(tx, bytes).map_err(to(FOLLOW_UP))? {
        return Err(QueueError::NoRoom);
    }
    let added: usize = commands.iter().map(|one| one.deliveries.len()).sum();
    tx.counts.depth = tx.counts.depth.saturating_add(added as u64);
    insert(tx, &commands.iter().collect::<Vec<_>>()).map_err(to(FOLLOW_UP))
}

/// The keys of these commands that the store remembers.
fn stored_keys(
    tx: &Tx<'_>,
    commands: &[NewCommand],
) -> rusqlite::Result<HashMap<String, (CommandId, BodyDigest)>> {
    let mut stored = HashMap::new();
    for key in commands
        .iter()
        .filter_map(|one| one.idempotency_key.as_deref())
    {
        let found = tx
            .connection
            .prepare_cached(include_str!("sql/stored_key.sql"))?
            .query_row(params![key, tx.now.as_millis()], |row| {
                Ok((CommandId(Uuid::from_bytes(row.get(0)?)), row.get(1)?))
            })
            .optional()?;
        stored.extend(found.map(|found| (key.to_owned(), found)));
    }
    Ok(stored)
}

fn insert(tx: &mut Tx<'_>, commands: &[&NewCommand]) -> rusqlite::Result<()> {
    for command in commands {
        insert_command(tx, command)?;
        dedup::remember(tx, command, command.id)?;
    }
    insert_deliveries(tx, commands)
}

/// Stores the deliveries of commands that are there.
pub(super) fn insert_deliveries(tx: &mut Tx<'_>, commands: &[&NewCommand]) -> rusqlite::Result<()> {
    for placed in place(commands.iter().copied(), tx.now) {
        insert_delivery(tx, &placed)?;
    }
    Ok(())
}

fn insert_command(tx: &Tx<'_>, command: &NewCommand) -> rusqlite::Result<()> {
    let id = command.id.0.into_bytes();
    tx.connection
        .prepare_cached(include_str!("sql/insert_command.sql"))?
        .execute(params![
            id,
            command.attributes,
            command.idempotency_key,
            command.rules_generation.cast_signed(),
            command.traceparent,
            tx.now.as_millis(),
            command.causation.as_ref().map(ToString::to_string),
            command.depth,
            command.rerun_of.map(|of| of.0.into_bytes())
        ])?;
    if let Some(key) = &command.idempotency_key {
        let body = body_digest(&command.attributes);
        tx.connection
            .prepare_cached(include_str!("sql/remember_key.sql"))?
            .execute(params![
                key,
                id,
                body,
                tx.now.after(command.idempotency_kept).as_millis()
            ])?;
    }
    Ok(())
}

fn insert_delivery(tx: &mut Tx<'_>, placed: &Placed<'_>) -> rusqlite::Result<()> {
    let Placed {
        command, delivery, ..
    } = placed;
    let handler = delivery.handler.as_str();
    let blocked = match placed.entry {
        Entry::None => false,
        Entry::Behind => true,
        Entry::AtEnd => tx
            .connection
            .prepare_cached(include_str!("sql/has_line.sql"))?
            .query_row(params![handler, command.ordering_key], |row| row.get(0))?,
    };
    let position = tx.next_position()?;
    tx.connection
        .prepare_cached(include_str!("sql/insert_delivery.sql"))?
        .execute(params![
            position,
            command.id.0.into_bytes(),
            handler,
            delivery.digest,
            delivery.rules_json(),
            placed.state.as_str(),
            command.priority,
            placed.run_at.as_millis(),
            command.ordering_key,
            blocked,
            delivery.key
        ])?;
    tx.moves.add(&delivery.handler, placed.state);
    tx.news.work = true;
    Ok(())
}
