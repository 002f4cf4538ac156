//! Puts the deliveries of a command in the place of the one that routed it.

use rusqlite::{OptionalExtension, params};

use super::{enqueue::insert_deliveries, fault::to, settle, tx::Tx};
use crate::{
    Lease, NewCommand, QueueError, Settlement, State,
    model::{RoutedTo, SettlementRow},
};

pub(super) fn route(
    tx: &mut Tx<'_>,
    lease: &Lease,
    routed: &RoutedTo,
) -> Result<State, QueueError> {
    const ROUTE: &str = "route a command";
    let found: Option<(bool, i32, Option<String>)> = tx
        .connection
        .prepare_cached(include_str!("sql/to_route.sql"))
        .and_then(|mut find| {
            find.query_row(params![lease.row, lease.token.into_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
        })
        .map_err(to(ROUTE))?;
    let Some((is_cancelled, priority, ordering_key)) = found else {
        return Err(QueueError::LeaseLost(lease.delivery.clone()));
    };
    if is_cancelled {
        // It ends as cancelled then.
        return settle::settle(tx, lease, &SettlementRow::from(Settlement::Release));
    }
    let command = NewCommand {
        id: lease.delivery.command,
        priority,
        ordering_key,
        deliveries: routed.deliveries.clone(),
        ..NewCommand::new("", Vec::new())
    };
    replace(tx, lease, routed.rules_generation, &command).map_err(to(ROUTE))?;
    Ok(State::Completed)
}

fn replace(
    tx: &mut Tx<'_>,
    lease: &Lease,
    generation: u64,
    command: &NewCommand,
) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(include_str!("sql/cancel.sql"))?
        .execute([lease.row, tx.now.as_millis()])?;
    let (handler, row) = (&lease.delivery.handler, lease.row);
    tx.moves.change(handler, State::Running, State::Cancelled);
    settle::ended(tx, row)?;
    for sql in [
        "DELETE FROM failure WHERE delivery = ?1",
        "DELETE FROM delivery WHERE seq = ?1",
    ] {
        tx.connection.prepare_cached(sql)?.execute([row])?;
    }
    tx.connection
        .prepare_cached("UPDATE command SET rules_generation = ?2 WHERE id = ?1")?
        .execute(params![command.id.0.into_bytes(), generation.cast_signed()])?;
    let added = command.deliveries.len() as u64;
    tx.counts.depth = tx.counts.depth.saturating_add(added);
    insert_deliveries(tx, &[command])?;
    tx.changed(command.id.0);
    Ok(())
}
