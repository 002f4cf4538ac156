//! Puts the lanes of keys in line, and holds them.

use super::super::{fault::Fault, tx::Tx};
use crate::{
    Holds,
    model::SettlementRow,
    pause::{PAUSES_MAX, RETRY_AFTER},
    policy::Placed,
    state::State,
};
use pointsman_core::name::HandlerName;

/// Puts the lanes in line that new deliveries are about to enter, in one order: the
/// trigger would do so in theirs.
pub(in super::super) async fn enter(tx: &Tx<'_>, placed: &[Placed<'_>]) -> Result<(), Fault> {
    let entering = placed.iter().filter_map(|one| {
        let key = one.delivery.key.as_deref()?;
        let handler = one.delivery.handler.as_str();
        (one.state == State::Available).then_some((handler, key, one.command.priority))
    });
    let entering: Vec<(&str, &str, i32)> = entering.collect();
    if entering.len() < 2 {
        return Ok(());
    }
    let handlers: Vec<&str> = entering.iter().map(|one| one.0).collect();
    let keys: Vec<&str> = entering.iter().map(|one| one.1).collect();
    let priorities: Vec<i32> = entering.iter().map(|one| one.2).collect();
    let place = tx.schema().table("place");
    let sql = include_str!("../sql/enter_lanes.sql");
    tx.execute(sql, &[&handlers, &keys, &priorities, &place])
        .await
        .map(drop)
}

/// Lets what waits with a retried delivery, which has this key, wait as long.
pub(in super::super) async fn hold(
    tx: &mut Tx<'_>,
    handler: &HandlerName,
    key: Option<String>,
    row: &SettlementRow,
) -> Result<(), Fault> {
    let until = tx.now.after(row.delay).as_millis();
    match row.holds {
        Holds::Delivery => Ok(()),
        Holds::Key => {
            let place = tx.schema().table("place");
            let (sql, key) = (
                include_str!("../sql/hold_lane.sql"),
                key.unwrap_or_default(),
            );
            tx.execute(sql, &[&handler.as_str(), &key, &until, &place])
                .await
                .map(drop)
        }
        Holds::Handler => {
            let sql = "SELECT count(*) FROM @.pause WHERE handler <> $1";
            let others = tx.query_opt(sql, &[&handler.as_str()]).await?;
            let others = others.map_or(0, |row| row.get::<_, i64>(0).cast_unsigned());
            if others >= PAUSES_MAX {
                return Ok(());
            }
            let (by, reason) = RETRY_AFTER;
            let sql = include_str!("../sql/hold_handler.sql");
            let now = tx.now.as_millis();
            tx.execute(sql, &[&handler.as_str(), &now, &until, &by, &reason])
                .await
                .map(drop)
        }
    }
}
