//! Hands deliveries to the workers of all hosts: ends leases that ran out,
//! wakes what is due, takes the most urgent past the locks of others, renews.

use std::collections::HashMap;

use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    fault::{Fault, to},
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
    let rows = async {
        wake(tx).await?;
        take(tx, request).await
    }
    .await
    .map_err(to("claim deliveries"))?;
    let mut claimed = rows
        .iter()
        .map(read_claimed)
        .collect::<Result<Vec<_>, _>>()?;
    claimed.sort_by_key(|(urgency, _)| *urgency);
    let due = due(tx, leases).await.map_err(to("claim deliveries"))?;
    let commands = claimed.iter().map(|(_, one)| one.lease.delivery.command);
    tx.news.changed.extend(commands);
    Ok(Claims {
        deliveries: claimed.into_iter().map(|(_, claimed)| claimed).collect(),
        next_due: due.within(tx.now, tx.now),
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

async fn due(tx: &Tx<'_>, leases: Leases) -> Result<Due, Fault> {
    let row = tx
        .query_opt(include_str!("sql/next_due.sql"), &[&tx.now.as_millis()])
        .await?;
    Ok(row.map_or_else(Due::default, |row| Due {
        delay_ends_ms: row.get(0),
        lease_ends_ms: row
            .get::<_, Option<i64>>(1)
            .filter(|_| leases == Leases::End),
        pause_ends_ms: row.get(2),
    }))
}

async fn take(tx: &Tx<'_>, request: &ClaimRequest) -> Result<Vec<Row>, Fault> {
    if request.max == 0 {
        return Ok(Vec::new());
    }
    let max = i64::try_from(request.max).unwrap_or(i64::MAX);
    let room = room(tx, request).await?;
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

/// How many more of each limited handler may run. Under a lock each, so that two
/// hosts do not both take the last place.
async fn room<'r>(
    tx: &Scope<'_>,
    request: &'r ClaimRequest,
) -> Result<HashMap<&'r str, i64>, Fault> {
    if request.capacity.limits.is_empty() {
        return Ok(HashMap::new());
    }
    let mut names: Vec<&str> = request
        .capacity
        .limits
        .keys()
        .map(|name| name.as_str())
        .collect();
    names.sort_unstable();
    for name in names {
        tx.lock(&format!("/limit/{name}")).await?;
    }
    let running: HashMap<String, i64> = tx
        .query(include_str!("sql/running.sql"), &[])
        .await?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let left = |(name, limit): (&'r pointsman_core::name::HandlerName, &usize)| {
        let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
        (
            name.as_str(),
            (limit - running.get(name.as_str()).copied().unwrap_or(0)).max(0),
        )
    };
    Ok(request.capacity.limits.iter().map(left).collect())
}

/// A delivery with what it is ordered by: urgency, then place.
fn read_claimed(found: &Row) -> Result<((i32, i64), Claimed), QueueError> {
    let delivery = DeliveryId::new(CommandId(found.get(2)), row::handler(found.get(3))?);
    let claimed = Claimed {
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
    };
    let priority: i32 = found.get(11);
    Ok(((priority.saturating_neg(), found.get(12)), claimed))
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
