//! Reads commands, deliveries and the dead letter.

use uuid::Uuid;

use super::{
    fault::{Fault, to},
    param::Param,
    row::{self, deliveries},
    session::Scope,
};
use crate::{
    CommandFilter, CommandId, CommandView, DeadCursor, DeadFilter, DeadLetter, DeliveryDetail,
    DeliveryId, Depth, PAGE_MAX_BYTES, Page, QueueError, State, Timestamp,
    query::{Payloads, left_out},
};

/// Entries of a page that are read at once.
const LIST_STEP: usize = 50;

/// These commands, in the order given; one that is gone is left out.
pub(super) async fn commands(
    client: &Scope<'_>,
    ids: &[Uuid],
    payloads: Payloads,
) -> Result<Vec<CommandView>, QueueError> {
    const DOING: &str = "read commands";
    let sql = include_str!("sql/commands.sql");
    let found = client
        .query(sql, &[&ids, &payloads.payload_max()])
        .await
        .map_err(to(DOING))?;
    let mut views: Vec<CommandView> = found
        .iter()
        .map(|row| {
            let attributes: Option<String> = row.get(1);
            CommandView {
                id: CommandId(row.get(0)),
                attributes_bytes: left_out(attributes.as_ref(), row::bytes(row, 5)),
                attributes,
                idempotency_key: row.get(2),
                rules_generation: row.get::<_, i64>(3).cast_unsigned(),
                created: Timestamp::from_millis(row.get(4)),
                causation: row.get(6),
                rerun_of: row.get::<_, Option<Uuid>>(7).map(CommandId),
                deliveries: Vec::new(),
            }
        })
        .collect();
    let sql = deliveries!("WHERE d.command_id = ANY ($3) ORDER BY d.handler");
    let found = client
        .query(
            sql,
            &[&payloads.payload_max(), &payloads.failure_max(), &ids],
        )
        .await
        .map_err(to(DOING))?;
    for found in found {
        let delivery = row::delivery(&found)?;
        if let Some(view) = views.iter_mut().find(|view| view.id == delivery.id.command) {
            view.deliveries.push(delivery);
        }
    }
    Ok(views)
}

pub(super) async fn list(
    client: &Scope<'_>,
    filter: &CommandFilter,
    page: Page<CommandId>,
) -> Result<Vec<CommandView>, QueueError> {
    let sql = match (filter.state, &filter.handler) {
        (None, None) => include_str!("sql/list.sql"),
        (Some(State::Discarded), _) => include_str!("sql/list_discarded.sql"),
        _ => include_str!("sql/list_by_delivery.sql"),
    };
    let after = page.after.map_or(Uuid::max(), |id| id.0);
    let parameters: &[&dyn Param] = &[
        &after,
        &filter.created_from.map_or(i64::MIN, Timestamp::as_millis),
        &filter.created_until.map_or(i64::MAX, Timestamp::as_millis),
        &filter.state.map(State::as_str),
        &filter.handler.as_ref().map(|name| name.as_str()),
        &page.rows(),
    ];
    let found = client
        .query(sql, parameters)
        .await
        .map_err(to("list commands"))?;
    let ids: Vec<Uuid> = found.iter().map(|row| row.get(0)).collect();
    let (mut listed, mut weight) = (Vec::new(), 0);
    // A few at a time: a page may end long before its last id.
    for some in ids.chunks(LIST_STEP) {
        for command in commands(client, some, Payloads::Short).await? {
            weight += command.weight();
            listed.push(command);
            if weight >= PAGE_MAX_BYTES {
                return Ok(listed);
            }
        }
    }
    Ok(listed)
}

pub(super) async fn inspect(
    client: &Scope<'_>,
    id: &DeliveryId,
) -> Result<DeliveryDetail, QueueError> {
    const DOING: &str = "read a delivery";
    let (all, command, handler) = (Payloads::Whole, id.command.0, id.handler.as_str());
    let attributes = client
        .query_opt(
            "SELECT attributes FROM @.command WHERE id = $1",
            &[&command],
        )
        .await
        .map_err(to(DOING))?;
    let found = client
        .query_opt(
            deliveries!("WHERE d.command_id = $3 AND d.handler = $4"),
            &[&all.payload_max(), &all.failure_max(), &command, &handler],
        )
        .await
        .map_err(to(DOING))?;
    let (Some(attributes), Some(found)) = (attributes, found) else {
        return Err(QueueError::UnknownDelivery(id.clone()));
    };
    let failures = client
        .query(
            "SELECT attempt, at_ms, error FROM @.failure WHERE delivery = $1 ORDER BY ordinal",
            &[&found.get::<_, i64>(row::ROW)],
        )
        .await
        .map_err(to(DOING))?;
    let failures = failures.iter().map(|row| row::failure(row, 0));
    Ok(DeliveryDetail::new(
        row::delivery(&found)?,
        attributes.get(0),
        failures.collect::<Result<_, _>>()?,
    ))
}

/// The rows of dead letters below `below`, newest first.
pub(super) async fn dead_rows(
    client: &Scope<'_>,
    filter: &DeadFilter,
    below: i64,
    limit: i64,
) -> Result<Vec<i64>, Fault> {
    let found = client
        .query(
            include_str!("sql/dead_rows.sql"),
            &[
                &filter.delivery.as_ref().map(|id| id.command.0),
                &filter.delivery.as_ref().map(|id| id.handler.as_str()),
                &filter.handler.as_ref().map(|name| name.as_str()),
                &filter.status.map(|status| status.as_str()),
                &filter.finished_from.map_or(i64::MIN, Timestamp::as_millis),
                &filter.finished_until.map_or(i64::MAX, Timestamp::as_millis),
                &below,
                &limit,
            ],
        )
        .await?;
    Ok(found.iter().map(|row| row.get(0)).collect())
}

pub(super) async fn dead(
    client: &Scope<'_>,
    filter: &DeadFilter,
    page: Page<DeadCursor>,
) -> Result<Vec<DeadLetter>, QueueError> {
    const DOING: &str = "list the dead letter";
    let below = page.after.map_or(i64::MAX, |cursor| cursor.0);
    let rows = dead_rows(client, filter, below, page.rows())
        .await
        .map_err(to(DOING))?;
    let sql = deliveries!("WHERE d.seq = ANY ($3) ORDER BY d.seq DESC");
    let (payload_max, failure_max) = (Payloads::Short.payload_max(), Payloads::Short.failure_max());
    let (mut letters, mut weight) = (Vec::new(), 0);
    for some in rows.chunks(LIST_STEP) {
        let found = client
            .query(sql, &[&payload_max, &failure_max, &some])
            .await
            .map_err(to(DOING))?;
        for letter in &found {
            let delivery = row::delivery(letter)?;
            weight += delivery.weight();
            letters.push(DeadLetter {
                delivery,
                row: letter.get(row::ROW),
            });
            if weight >= PAGE_MAX_BYTES {
                return Ok(letters);
            }
        }
    }
    Ok(letters)
}

pub(super) async fn depth(client: &Scope<'_>) -> Result<Vec<Depth>, QueueError> {
    let found = client
        .query(include_str!("sql/depth.sql"), &[])
        .await
        .map_err(to("count the queue"))?;
    found
        .iter()
        .map(|found| {
            Ok(Depth {
                handler: row::handler(found.get(0))?,
                state: row::state(found, 1).map_err(to(row::FOREIGN))?,
                count: found.get::<_, i64>(2).cast_unsigned(),
            })
        })
        .collect()
}
