//! Owns schedules over HTTP.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{parameters::Parameters, problem::Problem, queue_of};
use crate::{
    host::Host,
    queue::{Page, ScheduleChange},
};

pub(super) async fn list(
    State(host): State<Arc<Host>>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let page: Page<String> = parameters.page()?;
    let queue = queue_of(&host)?;
    let schedules = queue.schedules(page.after.as_deref(), page.limit).await?;
    let last = schedules.last().map(|schedule| schedule.name.clone());
    let next = last.filter(|_| schedules.len() >= page.limit);
    Ok(Json(json!({ "schedules": schedules, "next": next })).into_response())
}

pub(super) async fn pause(host: State<Arc<Host>>, name: Path<String>) -> Result<Response, Problem> {
    change(&host, &name, ScheduleChange::Pause).await
}

pub(super) async fn resume(
    host: State<Arc<Host>>,
    name: Path<String>,
) -> Result<Response, Problem> {
    change(&host, &name, ScheduleChange::Resume).await
}

async fn change(host: &Host, name: &str, change: ScheduleChange) -> Result<Response, Problem> {
    let schedule = queue_of(host)?.change_schedule(name, change).await?;
    tracing::info!(
        schedule = schedule.name,
        paused = schedule.paused,
        "changed"
    );
    Ok(Json(schedule).into_response())
}

pub(super) async fn run(
    State(host): State<Arc<Host>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let accepted = queue_of(&host)?.run_schedule(&name).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
}
