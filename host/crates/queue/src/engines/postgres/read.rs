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
    query::{DELIVERY_COLUMNS, Payloads},
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
    let sql = format!(
        "SELECT id, {}, idempotency_key, rules_generation, created_ms, octet_length(attributes)
         FROM @.command WHERE id = ANY ($1) ORDER BY id DESC",
        payloads.column("attributes")
    );
    let found = client.query(&sql, &[&ids]).await.map_err(to(DOING))?;
    let mut views: Vec<CommandView> = found
        .iter()
        .map(|row| CommandView {
            id: CommandId(row.get(0)),
            attributes: row.get::<_, Option<String>>(1).unwrap_or_default(),
            attributes_bytes: row::bytes(row, 5),
            idempotency_key: row.get(2),
            rules_generation: row.get::<_, i64>(3).cast_unsigned(),
            created: Timestamp::from_millis(row.get(4)),
            deliveries: Vec::new(),
        })
        .collect();
    let sql = format!(
        "{} WHERE d.command_id = ANY ($1) ORDER BY d.handler",
        deliveries(payloads, "")
    );
    for found in client.query(&sql, &[&ids]).await.map_err(to(DOING))? {
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
    // The conditions are fixed texts; what the caller gave is bound.
    let by_delivery = match filter.state {
        // Named outright, so that the partial index of ended deliveries serves.
        Some(State::Discarded) => {
            "id IN (SELECT command_id FROM @.delivery WHERE state = 'discarded' AND $4::text IS NOT NULL
                 AND ($5::text IS NULL OR handler = $5))"
        }
        _ => {
            "(($4::text IS NULL AND $5::text IS NULL) OR EXISTS (SELECT 1 FROM @.delivery d
                 WHERE d.command_id = command.id AND ($4 IS NULL OR d.state = $4)
                 AND ($5 IS NULL OR d.handler = $5)))"
        }
    };
    let sql = format!(
        "SELECT id FROM @.command WHERE id < $1 AND created_ms >= $2 AND created_ms < $3 AND {by_delivery}
         ORDER BY id DESC LIMIT $6"
    );
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
        .query(&sql, parameters)
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
    let sql = format!(
        "{} JOIN @.command c ON c.id = d.command_id WHERE d.command_id = $1 AND d.handler = $2",
        deliveries(Payloads::Whole, ", d.seq, c.attributes")
    );
    let found = client
        .query_opt(&sql, &[&id.command.0, &id.handler.as_str()])
        .await
        .map_err(to(DOING))?
        .ok_or_else(|| QueueError::UnknownDelivery(id.clone()))?;
    let failures = client
        .query(
            "SELECT attempt, at_ms, error FROM @.failure WHERE delivery = $1 ORDER BY ordinal",
            &[&found.get::<_, i64>(DELIVERY_COLUMNS)],
        )
        .await
        .map_err(to(DOING))?;
    Ok(DeliveryDetail {
        delivery: row::delivery(&found)?,
        attributes: found.get(DELIVERY_COLUMNS + 1),
        failures: failures
            .iter()
            .map(|row| row::failure(row, 0))
            .collect::<Result<_, _>>()?,
    })
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
            "SELECT d.seq FROM @.delivery d WHERE d.state = 'discarded'
                 AND ($1::uuid IS NULL OR d.command_id = $1) AND ($2::text IS NULL OR d.handler = $2)
                 AND ($3::text IS NULL OR d.handler = $3)
                 AND ($4::text IS NULL OR $4 = (SELECT status FROM @.failure f WHERE f.delivery = d.seq
                     ORDER BY ordinal DESC LIMIT 1))
                 AND d.finished_ms >= $5 AND d.finished_ms < $6 AND d.seq < $7
             ORDER BY d.seq DESC LIMIT $8",
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
    let sql = format!(
        "{} WHERE d.seq = ANY ($1) ORDER BY d.seq DESC",
        deliveries(Payloads::Short, ", d.seq")
    );
    let (mut letters, mut weight) = (Vec::new(), 0);
    for some in rows.chunks(LIST_STEP) {
        let found = client.query(&sql, &[&some]).await.map_err(to(DOING))?;
        for row in &found {
            let delivery = row::delivery(row)?;
            weight += delivery.weight();
            letters.push(DeadLetter {
                delivery,
                row: row.get(DELIVERY_COLUMNS),
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
        .query(
            // Each part has its partial index: what is finished is not read.
            "SELECT handler, state, count(*) FROM (
                 SELECT handler, state FROM @.delivery WHERE state = 'available' AND NOT blocked
                 UNION ALL SELECT handler, state FROM @.delivery WHERE state = 'available' AND blocked
                     AND ordering_key IS NOT NULL
                 UNION ALL SELECT handler, state FROM @.delivery WHERE state IN ('scheduled', 'retryable')
                 UNION ALL SELECT handler, state FROM @.delivery WHERE state = 'running'
                 UNION ALL SELECT handler, state FROM @.delivery WHERE state = 'discarded') open
             GROUP BY 1, 2 ORDER BY 1, 2",
            &[],
        )
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
