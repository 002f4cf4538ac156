//! Reads beside the writer: what is committed, without waiting for it.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    fault::to,
    row::{self, deliveries},
};
use crate::{
    CommandFilter, CommandId, CommandView, DeadCursor, DeadFilter, DeadLetter, DeliveryDetail,
    DeliveryId, DeliveryView, Depth, PAGE_MAX_BYTES, Page, QueueError, State, Timestamp,
    query::{DELIVERY_COLUMNS, Payloads},
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
        .prepare_cached(&format!(
            "SELECT {}, octet_length(attributes), idempotency_key, rules_generation, created_ms
             FROM command WHERE id = ?1",
            payloads.column("attributes")
        ))?
        .query_row([id.0.into_bytes()], |row| {
            Ok(CommandView {
                id,
                attributes: row.get::<_, Option<String>>(0)?.unwrap_or_default(),
                attributes_bytes: row.get(1)?,
                idempotency_key: row.get(2)?,
                rules_generation: row.get::<_, i64>(3)?.cast_unsigned(),
                created: Timestamp::from_millis(row.get(4)?),
                deliveries: Vec::new(),
            })
        })
        .optional()?;
    let Some(mut view) = found else {
        return Ok(None);
    };
    view.deliveries = reader
        .prepare_cached(&format!(
            "{} WHERE d.command_id = ?1 ORDER BY d.handler",
            deliveries(payloads, "")
        ))?
        .query_map([id.0.into_bytes()], row::delivery)?
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

fn list_ids(
    reader: &Connection,
    filter: &CommandFilter,
    page: Page<CommandId>,
) -> rusqlite::Result<Vec<CommandId>> {
    // The conditions are fixed texts; what the caller gave is bound.
    let by_delivery = match (filter.state, &filter.handler) {
        (None, None) => "",
        // Named outright, so that the partial index of ended deliveries serves.
        (Some(State::Discarded), _) => {
            "AND id IN (SELECT command_id FROM delivery WHERE state = 'discarded' AND ?4 = ?4
                 AND (?5 IS NULL OR handler = ?5))"
        }
        _ => {
            "AND EXISTS (SELECT 1 FROM delivery d WHERE d.command_id = command.id
                 AND (?4 IS NULL OR d.state = ?4) AND (?5 IS NULL OR d.handler = ?5))"
        }
    };
    let by_delivery = if by_delivery.is_empty() {
        "AND ?4 IS ?4 AND ?5 IS ?5"
    } else {
        by_delivery
    };
    let after = page.after.map_or([0xff; 16], |id| id.0.into_bytes());
    reader
        .prepare_cached(&format!(
            "SELECT id FROM command WHERE id < ?1 AND created_ms >= ?2 AND created_ms < ?3 {by_delivery}
             ORDER BY id DESC LIMIT ?6"
        ))?
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
    let found: Option<(DeliveryView, i64, String)> = reader
        .prepare_cached(&format!(
            "{} JOIN command c ON c.id = d.command_id WHERE d.command_id = ?1 AND d.handler = ?2",
            deliveries(Payloads::Whole, ", d.seq, c.attributes")
        ))?
        .query_row(
            params![id.command.0.into_bytes(), id.handler.as_str()],
            |row| {
                Ok((
                    row::delivery(row)?,
                    row.get(DELIVERY_COLUMNS)?,
                    row.get(DELIVERY_COLUMNS + 1)?,
                ))
            },
        )
        .optional()?;
    let Some((delivery, seq, attributes)) = found else {
        return Ok(None);
    };
    let failures = reader
        .prepare_cached(
            "SELECT attempt, at_ms, error FROM failure WHERE delivery = ?1 ORDER BY ordinal",
        )?
        .query_map([seq], |row| row::failure(row, 0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(DeliveryDetail {
        delivery,
        attributes,
        failures,
    }))
}

/// The conditions of a [`DeadFilter`], for parameters ?1 to ?6 and a table `d`.
const DEAD: &str = "d.state = 'discarded'
    AND (?1 IS NULL OR d.command_id = ?1) AND (?2 IS NULL OR d.handler = ?2)
    AND (?3 IS NULL OR ?3 = (SELECT status FROM failure f WHERE f.delivery = d.seq
         ORDER BY ordinal DESC LIMIT 1))
    AND d.finished_ms >= ?4 AND d.finished_ms < ?5 AND d.seq < ?6";

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
        .prepare_cached(&format!(
            "SELECT d.seq FROM delivery d WHERE {DEAD} ORDER BY d.seq DESC LIMIT ?7"
        ))?
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
    let delivery = reader
        .prepare_cached(&format!(
            "{} WHERE d.seq = ?1",
            deliveries(Payloads::Short, "")
        ))?
        .query_row([seq], row::delivery)?;
    Ok(DeadLetter { delivery, row: seq })
}

/// The handler and state of every unfinished delivery: each part is answered
/// from one partial index alone.
pub(super) const OPEN: &str = "SELECT handler, 'available' AS state FROM delivery
        WHERE state = 'available' AND blocked = 0
    UNION ALL SELECT handler, state FROM delivery WHERE ordering_key IS NOT NULL AND blocked = 1
        AND state IN ('available', 'running', 'scheduled', 'retryable') AND state = 'available'
    UNION ALL SELECT handler, state FROM delivery WHERE state IN ('scheduled', 'retryable')
    UNION ALL SELECT handler, 'running' FROM delivery WHERE state = 'running'";

pub(super) fn depth(reader: &Connection) -> Result<Vec<Depth>, QueueError> {
    reader
        .prepare_cached(&format!(
            "SELECT handler, state, count(*) FROM ({OPEN}
                 UNION ALL SELECT handler, 'discarded' FROM delivery WHERE state = 'discarded')
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
