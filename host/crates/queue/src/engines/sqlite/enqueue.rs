//! Stores commands with their deliveries.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::{fault::to, relief, tx::Tx};
use crate::{
    CommandId, Enqueued, NewCommand, QueueError, State,
    policy::{BodyDigest, admit, body_digest, recognise},
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
    let answers = recognise(commands, &stored)?;
    let fresh = || {
        commands
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| !answer.repeated)
    };
    let added: usize = fresh().map(|(command, _)| command.deliveries.len()).sum();
    admit(tx.counts.depth, added as u64, tx.depth_max)?;
    let bytes = fresh().map(|(command, _)| size(command)).sum();
    if bytes > 0 && !relief::admit(tx, bytes).map_err(to(STORE))? {
        return Ok(Err(QueueError::NoRoom));
    }
    tx.counts.depth = tx.counts.depth.saturating_add(added as u64);
    for (command, _) in fresh() {
        insert(tx, command).map_err(to(STORE))?;
    }
    Ok(Ok(answers))
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

fn insert(tx: &mut Tx<'_>, command: &NewCommand) -> rusqlite::Result<()> {
    let now = tx.now.as_millis();
    let id = command.id.0.into_bytes();
    tx.connection
        .prepare_cached(include_str!("sql/insert_command.sql"))?
        .execute(params![
            id,
            command.attributes,
            command.idempotency_key,
            command.rules_generation.cast_signed(),
            command.traceparent,
            now
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
    let run_at = command.run_at.map_or(now, |at| at.as_millis());
    let state = if run_at > now {
        State::Scheduled
    } else {
        State::Available
    };
    for delivery in &command.deliveries {
        let blocked = match &command.ordering_key {
            // One that is scheduled enters the order when it is due.
            Some(key) if state == State::Available => tx
                .connection
                .prepare_cached(include_str!("sql/has_line.sql"))?
                .query_row(params![delivery.handler.as_str(), key], |row| row.get(0))?,
            _ => false,
        };
        let position = tx.next_position()?;
        tx.connection
            .prepare_cached(include_str!("sql/insert_delivery.sql"))?
            .execute(params![
                position,
                id,
                delivery.handler.as_str(),
                delivery.digest,
                rules_text(&delivery.rules),
                state.as_str(),
                command.priority,
                run_at,
                command.ordering_key,
                blocked
            ])?;
        tx.news.work = true;
    }
    Ok(())
}

/// The names of rules as JSON text.
fn rules_text(rules: &[String]) -> String {
    serde_json::Value::from(rules.to_vec()).to_string()
}
