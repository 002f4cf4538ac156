//! Reads beside the writer: what is committed, without waiting for it.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{
    fault::to,
    row::{self, deliveries},
};
use crate::{
    CommandFilter, CommandId, CommandView, DeadCursor, DeadFilter, DeadLetter, DeliveryDetail,
    DeliveryId, DeliveryView, Depth, PAGE_MAX_BYTES, Page, QueueError, State, Timestamp,
    query::{Payloads, left_out},
};

pub(super) fn get(
    reader: &Connection,
    id: CommandId,
    payloads: Payloads,
) -> Result<CommandView, QueueError> {
    let found = command(reader, id, payloads).map_err(to("read a command"))?;
    found.ok_or(QueueError::UnknownCommand(id))
}

fn command(
    reader: &Connection,
    id: CommandId,
    payloads: Payloads,
) -> rusqlite::Result<Option<CommandView>> {
    let found = reader
        .prepare_cached(include_str!("sql/command.sql"))?
        .query_row(params![id.0.into_bytes(), payloads.payload_max()], |row| {
            let attributes: Option<String> = row.get(0)?;
            Ok(CommandView {
                id,
                attributes_bytes: left_out(attributes.as_ref(), row.get(1)?),
                attributes,
                idempotency_key: row.get(2)?,
                rules_generation: row.get::<_, i64>(3)?.cast_unsigned(),
                created: Timestamp::from_millis(row.get(4)?),
                causation: row.get(5)?,
                rerun_of: row
                    .get::<_, Option<_>>(6)?
                    .map(Uuid::from_bytes)
                    .map(CommandId),
                deliveries: Vec::new(),
            })
        })
        .optional()?;
    let Some(mut view) = found else {
        return Ok(None);
    };
    view.deliveries = reader
        .prepare_cached(deliveries!("WHERE d.command_id = ?3 ORDER BY d.handler"))?
        .query_map(
            params![
                payloads.payload_max(),
                payloads.failure_max(),
                id.0.into_bytes()
            ],
            row::delivery,
        )?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(view))
}

pub(super) fn list(
    reader: &Connection,
    filter: &CommandFilter,
    page: Page<CommandId>,
) -> Result<Vec<CommandView>, QueueError> {
    let ids = list_ids(reader, filter, page).map_err(to("list commands"))?;
    let (mut commands, mut weight) = (Vec::new(), 0);
    for id in ids {
        let found = row::sound(command(reader, id, Payloads::Short));
        if let Some(found) = found.map_err(to("list commands"))?.flatten() {
            weight += found.weight();
            commands.push(found);
        }
        if weight >= PAGE_MAX_BYTES {
            break;
        }
    }
    Ok(commands)
}

/// Deliveries that wait for their time that are sorted for a page: some milliseconds.
/// Of more, many of the newest commands have one, and a page of them is soon found.
const DUE_SORTED_MAX: i64 = 20_000;

fn few_are_due(reader: &Connection) -> rusqlite::Result<bool> {
    reader
        .prepare_cached(
            "SELECT count(*) <= ?1 FROM (SELECT 1 FROM delivery INDEXED BY delivery_due
            WHERE state IN ('scheduled', 'retryable') LIMIT ?1 + 1)",
        )?
        .query_row([DUE_SORTED_MAX], |row| row.get(0))
}

fn list_ids(
    reader: &Connection,
    filter: &CommandFilter,
    page: Page<CommandId>,
) -> rusqlite::Result<Vec<CommandId>> {
    let sql = match (filter.state, &filter.handler) {
        (None, None) => include_str!("sql/list.sql"),
        (Some(State::Discarded | State::Cancelled), _) => include_str!("sql/list_ended.sql"),
        (Some(State::Scheduled | State::Retryable), _) if few_are_due(reader)? => {
            include_str!("sql/list_due.sql")
        }
        (Some(State::Running), _) => include_str!("sql/list_running.sql"),
        _ => include_str!("sql/list_by_delivery.sql"),
    };
    let after = page.after.map_or([0xff; 16], |id| id.0.into_bytes());
    reader
        .prepare_cached(sql)?
        .query_map(
            params![
                after,
                filter.created_from.map_or(i64::MIN, Timestamp::as_millis),
                filter.created_until.map_or(i64::MAX, Timestamp::as_millis),
                filter.state.map(State::as_str),
                filter.handler.as_ref().map(|name| name.as_str()),
                page.rows()
            ],
            |row| row::command_id(row, 0),
        )?
        .collect()
}

pub(super) fn inspect(reader: &Connection, id: &DeliveryId) -> Result<DeliveryDetail, QueueError> {
    let found = detail(reader, id).map_err(to("read a delivery"))?;
    found.ok_or_else(|| QueueError::UnknownDelivery(id.clone()))
}

fn detail(reader: &Connection, id: &DeliveryId) -> rusqlite::Result<Option<DeliveryDetail>> {
    let (all, command) = (Payloads::Whole, id.command.0.into_bytes());
    let attributes: Option<String> = reader
        .prepare_cached("SELECT attributes FROM command WHERE id = ?1")?
        .query_row([command], |row| row.get(0))
        .optional()?;
    let found: Option<(DeliveryView, i64)> = reader
        .prepare_cached(deliveries!("WHERE d.command_id = ?3 AND d.handler = ?4"))?
        .query_row(
            params![
                all.payload_max(),
                all.failure_max(),
                command,
                id.handler.as_str()
            ],
            |row| Ok((row::delivery(row)?, row.get(row::ROW)?)),
        )
        .optional()?;
    let (Some(attributes), Some((delivery, seq))) = (attributes, found) else {
        return Ok(None);
    };
    let failures = reader
        .prepare_cached(
            "SELECT attempt, at_ms, error FROM failure WHERE delivery = ?1 ORDER BY ordinal",
        )?
        .query_map([seq], |row| row::failure(row, 0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(DeliveryDetail::new(delivery, attributes, failures)))
}

/// The rows of dead letters below `below`, newest first.
pub(super) fn dead_rows(
    connection: &Connection,
    filter: &DeadFilter,
    below: i64,
    limit: i64,
) -> rusqlite::Result<Vec<i64>> {
    let command = filter.delivery.as_ref().map(|id| id.command.0.into_bytes());
    let one = filter.delivery.as_ref().map(|id| &id.handler);
    // A filter that names a delivery to one handler and asks for another means none.
    if one.is_some() && filter.handler.is_some() && one != filter.handler.as_ref() {
        return Ok(Vec::new());
    }
    connection
        .prepare_cached(include_str!("sql/dead_rows.sql"))?
        .query_map(
            params![
                command,
                one.or(filter.handler.as_ref()).map(|name| name.as_str()),
                filter.status.map(|status| status.as_str()),
                filter.finished_from.map_or(i64::MIN, Timestamp::as_millis),
                filter.finished_until.map_or(i64::MAX, Timestamp::as_millis),
                below,
                limit
            ],
            |row| row.get(0),
        )?
        .collect()
}

pub(super) fn dead(
    reader: &Connection,
    filter: &DeadFilter,
    page: Page<DeadCursor>,
) -> Result<Vec<DeadLetter>, QueueError> {
    let below = page.after.map_or(i64::MAX, |cursor| cursor.0);
    const LIST: &str = "list the dead letter";
    let rows = dead_rows(reader, filter, below, page.rows()).map_err(to(LIST))?;
    let (mut letters, mut weight) = (Vec::new(), 0);
    for row in rows {
        let letter = row::sound(dead_letter(reader, row)).map_err(to(LIST))?;
        weight += letter.as_ref().map_or(0, |letter| letter.delivery.weight());
        letters.extend(letter);
        if weight >= PAGE_MAX_BYTES {
            break;
        }
    }
    Ok(letters)
}

fn dead_letter(reader: &Connection, seq: i64) -> rusqlite::Result<DeadLetter> {
    let short = Payloads::Short;
    let delivery = reader
        .prepare_cached(deliveries!("WHERE d.seq = ?3"))?
        .query_row(
            params![short.payload_max(), short.failure_max(), seq],
            row::delivery,
        )?;
    Ok(DeadLetter { delivery, row: seq })
}

pub(super) fn depth(reader: &Connection) -> Result<Vec<Depth>, QueueError> {
    reader
        .prepare_cached(concat!(
            "SELECT handler, state, count(*) FROM (",
            include_str!("sql/unfinished.sql"),
            "UNION ALL SELECT handler, 'discarded' FROM delivery WHERE state = 'discarded')
            GROUP BY 1, 2 ORDER BY 1, 2"
        ))
        .and_then(|mut statement| {
            statement
                .query_map([], |row| {
                    let state = row.get_ref(1)?.as_str()?.parse();
                    let (Ok(handler), Ok(state)) = (row::handler(row, 0), state) else {
                        return Ok(None);
                    };
                    Ok(Some(Depth {
                        handler,
                        state,
                        count: row.get(2)?,
                    }))
                })?
                .filter_map(Result::transpose)
                .collect()
        })
        .map_err(to("count the queue"))
}
