//! Puts the deliveries of a command in the place of the one that routed it.

use super::{
    fault::Fault,
    lines::{self, InLine},
    tx::Tx,
    write,
};
use crate::{
    Lease, NewCommand, Settlement, State,
    model::{RoutedTo, SettlementRow},
};

/// The new state; none where the lease is lost.
pub(super) async fn route(
    tx: &mut Tx<'_>,
    lease: &Lease,
    routed: &RoutedTo,
) -> Result<Option<State>, Fault> {
    let found = include_str!("sql/to_route.sql");
    let found = tx.query_opt(found, &[&lease.row, &lease.token]).await?;
    let Some(found) = found else { return Ok(None) };
    if found.get(0) {
        // It ends as cancelled then.
        let released = SettlementRow::from(Settlement::Release);
        return write::settle(tx, lease, &released).await;
    }
    let command = NewCommand {
        id: lease.delivery.command,
        priority: found.get(1),
        ordering_key: found.get(4),
        deliveries: routed.deliveries.clone(),
        ..NewCommand::new("", Vec::new())
    };
    let own = InLine::read(&found, 2);
    let lines = command.deliveries.iter().filter_map(|one| {
        let key = command.ordering_key.as_deref()?;
        Some(lines::name(one.handler.as_str(), key))
    });
    let lines = lines.chain(own.iter().map(InLine::name));
    lines::lock_all(tx, lines.collect()).await?;
    let ended = "UPDATE @.delivery SET state = 'cancelled' WHERE seq = $1";
    tx.execute(ended, &[&lease.row]).await?;
    lines::free(tx, own.as_slice()).await?;
    for sql in [
        "DELETE FROM @.failure WHERE delivery = $1",
        "DELETE FROM @.delivery WHERE seq = $1",
    ] {
        tx.execute(sql, &[&lease.row]).await?;
    }
    let sql = "UPDATE @.command SET rules_generation = $2 WHERE id = $1";
    let generation = routed.rules_generation.cast_signed();
    tx.execute(sql, &[&command.id.0, &generation]).await?;
    write::insert_deliveries(tx, &[&command]).await?;
    tx.news.work = true;
    tx.news.changed.push(command.id);
    Ok(Some(State::Completed))
}
