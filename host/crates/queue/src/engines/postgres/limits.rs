//! How many more of a handler may run, over all hosts.

use std::collections::HashMap;

use super::{fault::Fault, lines, session::Scope};
use crate::ClaimRequest;

/// How many more of each limited handler may run. Under a lock each, so that two
/// hosts do not both take the last place; and one for each of the handlers `keyed`.
pub(super) async fn room<'r>(
    tx: &Scope<'_>,
    request: &'r ClaimRequest,
    keyed: &[&str],
) -> Result<HashMap<&'r str, i64>, Fault> {
    let limits = request.capacity.limits.keys();
    let names = limits
        .map(|name| name.as_str())
        .chain(keyed.iter().copied());
    let names = names.map(|name| format!("/limit/{name}"));
    lines::lock_all(tx, names.collect()).await?;
    if request.capacity.limits.is_empty() {
        return Ok(HashMap::new());
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
