//! Hands deliveries to the workers of all hosts: ends leases that ran out,
//! wakes what is due, takes the most urgent past the locks of others, renews.

use std::collections::HashMap;

use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    fault::{Fault, to},
    lanes,
    limits::room,
    lines::{self, InLine},
    row,
    session::Scope,
    tx::Tx,
    write,
};
use crate::{
    ClaimRequest, Claimed, Claims, CommandId, DeliveryId, Failures, Lease, QueueError, Renewal,
    Timestamp,
    policy::{DUE_STEP, Due, Entrant, LeaseEnd, LostLease},
};

/// What is done about leases that ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leases {
    End,
    /// The server's clock is in doubt.
    Leave,
}

pub(super) async fn claim(
    tx: &mut Tx<'_>,
    request: &ClaimRequest,
    leases: Leases,
) -> Result<Claims, QueueError> {
    if leases == Leases::End {
        end_leases(tx)
            .await
            .map_err(to("end the leases of lost hosts"))?;
    }
    const CLAIM: &str = "claim deliveries";
    wake(tx).await.map_err(to(CLAIM))?;
    let (due, lanes) = due(tx, request, leases).await.map_err(to(CLAIM))?;
    let (rows, lanes_due) = take(tx, request, lanes).await.map_err(to(CLAIM))?;
    let deliveries = rows
        .iter()
        .map(read_claimed)
        .collect::<Result<Vec<_>, _>>()?;
    let commands = deliveries.iter().map(|one| one.lease.delivery.command);
    tx.news.changed.extend(commands);
    let leased = (leases == Leases::End && !deliveries.is_empty()).then_some(request.lease);
    let lanes_due = lanes_due.map(|at| Timestamp::from_millis(at).since(tx.now));
    let due = due.within(tx.now, tx.now).into_iter();
    Ok(Claims {
        deliveries,
        next_due: due.chain(leased).chain(lanes_due).min(),
    })
}

async fn end_leases(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let found = tx
        .query(
            include_str!("sql/lost_leases.sql"),
            &[&tx.now.as_millis(), &DUE_STEP],
        )
        .await?;
    if found.is_empty() {
        return Ok(());
    }
    let ends: Vec<(&Row, LeaseEnd)> = found
        .iter()
        .map(|row| {
            let lost = LostLease {
                attempt: row::count(row.get(4)),
                hosts_lost: row::count(row.get(5)),
                cancel_requested: row.get(6),
            };
            (row, lost.end())
        })
        .collect();
    let rows: Vec<i64> = ends.iter().map(|(row, _)| row.get(0)).collect();
    let states: Vec<&str> = ends.iter().map(|(_, end)| end.state.as_str()).collect();
    let lost: Vec<i64> = ends.iter().map(|(_, end)| end.hosts_lost.into()).collect();
    tx.execute(
        include_str!("sql/end_leases.sql"),
        &[&rows, &states, &lost, &tx.now.as_millis()],
    )
    .await?;
    for (row, end) in &ends {
        write::add_failure(tx, row.get(0), row.get(4), &end.error).await?;
        // What is no name is no handler that anyone has.
        if let Ok(handler) = row::handler(row.get(1)) {
            let started = row.get::<_, Option<i64>>(7).map(Timestamp::from_millis);
            let (status, now) = (end.error.status, tx.now);
            tx.news.attempts.add(&handler, status, started, now);
        }
    }
    let ended = ends.iter().filter(|(_, end)| end.state.is_final());
    let ended: Vec<_> = ended.filter_map(|(row, _)| InLine::read(row, 0)).collect();
    lines::leave(tx, &ended).await?;
    let commands = ends.iter().map(|(row, _)| CommandId(row.get(3)));
    tx.news.changed.extend(commands);
    Ok(())
}

async fn wake(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let woken = tx
        .query(
            include_str!("sql/wake.sql"),
            &[&tx.now.as_millis(), &DUE_STEP],
        )
        .await?;
    let entering = woken.iter().filter(|row| row.get(5)).filter_map(|row| {
        let entrant = Entrant {
            run_at_ms: row.get(3),
            position: row.get(4),
            row: row.get(0),
        };
        Some((entrant, InLine::read(row, 0)?))
    });
    let mut entering: Vec<_> = entering.collect();
    entering.sort_unstable_by_key(|(entrant, _)| *entrant);
    let entering: Vec<InLine> = entering.into_iter().map(|(_, line)| line).collect();
    lines::lock(tx, &entering).await?;
    let place = tx.schema().table("place");
    for line in &entering {
        let sql = "UPDATE @.delivery SET position = nextval($2::text::regclass) WHERE seq = $1";
        tx.execute(sql, &[&line.row, &place]).await?;
    }
    // Only then, as the first of a line goes by its position.
    lines::free(tx, &entering).await.map(drop)
}

/// What is known of the lanes of keys before a claim.
#[derive(Clone, Copy, Debug, Default)]
struct Lanes {
    /// When the next one is no longer held.
    held_until_ms: Option<i64>,
    /// Whether there is something to take from one.
    are_ready: bool,
}

async fn due(tx: &Tx<'_>, request: &ClaimRequest, leases: Leases) -> Result<(Due, Lanes), Fault> {
    let flows = request.capacity.flows.keys();
    let flows: Vec<&str> = flows.map(|name| name.as_str()).collect();
    let sql = include_str!("sql/next_due.sql");
    let row = tx.query_opt(sql, &[&tx.now.as_millis(), &flows]).await?;
    let Some(row) = row else {
        return Ok((Due::default(), Lanes::default()));
    };
    let due = Due {
        delay_ends_ms: row.get(0),
        lease_ends_ms: row
            .get::<_, Option<i64>>(1)
            .filter(|_| leases == Leases::End),
        pause_ends_ms: row.get(2),
    };
    let lanes = Lanes {
        held_until_ms: row.get(3),
        are_ready: row.get(4),
    };
    Ok((due, lanes))
}

/// Takes the most urgent; and when lanes that are held now can be taken from.
async fn take(
    tx: &Tx<'_>,
    request: &ClaimRequest,
    lanes: Lanes,
) -> Result<(Vec<Row>, Option<i64>), Fault> {
    if request.max == 0 {
        return Ok((Vec::new(), None));
    }
    let is_over = |until: i64| until <= tx.now.as_millis();
    if lanes.are_ready || request.flows_changed || lanes.held_until_ms.is_some_and(is_over) {
        return lanes::take(tx, request).await;
    }
    let mut rows = take_plain(tx, request).await?;
    rows.sort_by_key(|row| {
        (
            row.get::<_, i32>(11).saturating_neg(),
            row.get::<_, i64>(12),
        )
    });
    Ok((rows, lanes.held_until_ms))
}

/// Takes the most urgent where none has a key: in one statement.
async fn take_plain(tx: &Tx<'_>, request: &ClaimRequest) -> Result<Vec<Row>, Fault> {
    let max = i64::try_from(request.max).unwrap_or(i64::MAX);
    let mut room = room(tx, request, &[]).await?;
    // What came of these since it was looked for waits for the next claim.
    let flows = request.capacity.flows.keys();
    room.extend(flows.map(|name| (name.as_str(), 0)));
    let limited: Vec<&str> = room.keys().copied().collect();
    let rooms: Vec<i64> = room.values().copied().collect();
    let only: Option<Vec<&str>> = request
        .capacity
        .handlers
        .as_ref()
        .map(|names| names.iter().map(|name| name.as_str()).collect());
    let until = tx.now.after(request.lease).as_millis();
    tx.query(
        include_str!("sql/claim.sql"),
        &[
            &max,
            &limited,
            &rooms,
            &only,
            &until,
            &Uuid::now_v7(),
            &tx.now.as_millis(),
        ],
    )
    .await
}

fn read_claimed(found: &Row) -> Result<Claimed, QueueError> {
    let delivery = DeliveryId::new(CommandId(found.get(2)), row::handler(found.get(3))?);
    Ok(Claimed {
        lease: Lease {
            delivery,
            row: found.get(0),
            token: found.get(1),
        },
        attempt: row::count(found.get(4)),
        failures: Failures {
            transient: row::count(found.get(5)),
            trap: row::count(found.get(6)),
            timeout: row::count(found.get(7)),
            memory: row::count(found.get(8)),
        },
        attributes: found.get(9),
        traceparent: found.get(10),
        depth: u32::try_from(found.get::<_, i32>(13)).unwrap_or(0),
    })
}

pub(super) async fn renew(
    tx: &Scope<'_>,
    leases: &[Lease],
    until: Timestamp,
) -> Result<Vec<Renewal>, Fault> {
    let rows: Vec<i64> = leases.iter().map(|lease| lease.row).collect();
    let tokens: Vec<Uuid> = leases.iter().map(|lease| lease.token).collect();
    let renewed: HashMap<i64, bool> = tx
        .query(
            include_str!("sql/renew.sql"),
            &[&rows, &tokens, &until.as_millis()],
        )
        .await?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    // A row may be asked for twice, under a stale token and the live one.
    let live = |lease: &Lease| {
        !leases
            .iter()
            .any(|other| other.row == lease.row && other.token > lease.token)
    };
    Ok(leases
        .iter()
        .map(|lease| match renewed.get(&lease.row) {
            Some(false) if live(lease) => Renewal::Renewed,
            Some(true) if live(lease) => Renewal::CancelRequested,
            _ => Renewal::Lost,
        })
        .collect())
}
