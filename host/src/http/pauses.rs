//! Owns pauses over HTTP: whose deliveries wait, and why.

use std::sync::Arc;

use axum::{
    Extension, Json,
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
    access::Caller,
    host::Host,
    name::HandlerName,
    queue::{NewPause, QueueError},
};

pub(super) async fn pause(
    State(host): State<Arc<Host>>,
    caller: Option<Extension<Caller>>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let who = caller.and_then(|Extension(caller)| caller.name);
    let lasts: Option<String> = parameters.take("for")?;
    let lasts = lasts.map(|text| {
        let parsed = duration::parse(&text).filter(|duration| !duration.is_zero());
        parsed.ok_or_else(|| not(&text, "for", "a duration: write it as `90s`, `10m` or `2h`"))
    });
    let pause = NewPause {
        reason: parameters.take("reason")?,
        by: parameters
            .take("by")?
            .or_else(|| who.as_deref().map(str::to_owned)),
        lasts: lasts.transpose()?,
        handler: chosen(&mut parameters)?,
    };
    if let Err(QueueError::Invalid { field, reason }) = pause.validate() {
        return Err(Problem::parameter(field, reason));
    }
    let pause = queue_of(&host)?.store().pause(pause).await?;
    tracing::info!(
        handler = pause.handler.as_ref().map(tracing::field::display),
        "paused"
    );
    Ok(Json(pause).into_response())
}

pub(super) async fn resume(
    State(host): State<Arc<Host>>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let handler = chosen(&mut parameters)?;
    let resumed = queue_of(&host)?.store().resume(handler).await?;
    tracing::info!(pauses = resumed.len(), "resumed");
    Ok(Json(json!({ "resumed": resumed })).into_response())
}

/// The handler that is meant; none for all, where that is said.
fn chosen(parameters: &mut Parameters) -> Result<Option<HandlerName>, Problem> {
    let all = parameters.flag("all")?;
    let handler = parameters.handler()?;
    if all == handler.is_some() {
        let wanted = "name a `handler`, or say `all=true`";
        return Err(Problem::parameter("all", wanted));
    }
    Ok(handler)
}
