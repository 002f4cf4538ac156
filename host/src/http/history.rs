//! Owns the history of attempts over HTTP.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use pointsman_core::settings::duration;
use serde_json::json;

use super::{
    parameters::{Parameters, not},
    problem::Problem,
    queue_of,
};
use crate::{
    host::Host,
    queue::{HISTORY_BOUNDS_MS, HistoryFilter, QueueError, Timestamp},
};

/// How far back it begins where `from` is not given.
const BACK: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn history(
    State(host): State<Arc<Host>>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let step: Option<String> = parameters.take("step")?;
    let step = step.map(|text| {
        let wanted = "a duration: write it as `1m` or `1h`";
        duration::parse(&text).ok_or_else(|| not(&text, "step", wanted))
    });
    let until = parameters.time("until")?;
    let until = until.unwrap_or_else(|| Timestamp::now().after(MINUTE));
    let filter = HistoryFilter {
        handler: parameters.handler()?,
        from: parameters.time("from")?.unwrap_or(until.before(BACK)),
        until,
        step: step.transpose()?.unwrap_or(MINUTE),
    };
    match queue_of(&host)?.store().history(filter).await {
        Ok(history) => {
            let body = json!({ "history": history, "boundsMs": HISTORY_BOUNDS_MS });
            Ok(Json(body).into_response())
        }
        Err(QueueError::Invalid { field, reason }) => Err(Problem::parameter(field, reason)),
        Err(error) => Err(error.into()),
    }
}
