//! Owns the page of the schedules: when each is due, what it last did, and pausing,
//! resuming and running it now.

use axum::{
    body::Bytes,
    extract::{Path, State as Extracted},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};

use super::{
    SharedUi,
    commands::queue_off,
    filters,
    frame::{Failed, Page, Place},
    parts::{Query, Shape, Text, Tone, badge, empty, snippet, time},
    viewer::{Form, Viewer},
};
use crate::{
    access::Role,
    http::{parameters::Parameters, queue_of},
    queue::{ScheduleChange, ScheduleView},
};

/// Schedules of one page.
const PAGE: usize = 100;
/// Times to come that are shown.
const NEXT_SHOWN: usize = 3;

pub(super) async fn list(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let Some(queue) = ui.host.queue() else {
        let page = Page::new(Place::Schedules, "Schedules", queue_off());
        return Ok(page.answer(&ui, &viewer, &headers));
    };
    parameters.drop_empty();
    let after: Option<String> = parameters.take("after")?;
    let schedules = queue.schedules(after.as_deref(), PAGE).await?;
    let last = schedules.last().map(|schedule| schedule.name.clone());
    let next = last.filter(|_| schedules.len() >= PAGE);
    let content = html! {
        @if schedules.is_empty() { (nothing()) } @else {
            div class="cards" { @for schedule in &schedules { (card(&viewer, schedule)) } }
        }
        (filters::pages("/ui/schedules", &Query::default(), after.is_some(), next.as_ref()))
    };
    Ok(Page::live(Place::Schedules, "Schedules", content).answer(&ui, &viewer, &headers))
}

fn nothing() -> Markup {
    empty(
        "No schedules yet",
        &html! {
            p { "A schedule enqueues a command at set times. Write one into a rule file:" }
            (snippet("{\"rules\": [], \"schedules\": [\n  { \"name\": \"nightly\", \"cron\": \"0 2 * * *\", \"timezone\": \"Europe/Berlin\",\n    \"command\": { \"requestType\": \"Report\" } }\n]}"))
        },
    )
}

fn card(viewer: &Viewer, schedule: &ScheduleView) -> Markup {
    html! {
        article class="card" id={ "schedule:" (Text(&schedule.name)) } data-row {
            h2 {
                @if schedule.paused { (badge(Tone::Warn, Shape::Pause, "paused")) } @else { (badge(Tone::Good, Shape::Clock, "active")) }
                a href={ "#schedule:" (Text(&schedule.name)) } { (Text(&schedule.name)) }
                code class="muted" { (Text(&schedule.file)) ":" (schedule.line) }
            }
            @if let Some(description) = &schedule.description { p { (Text(description)) } }
            dl class="facts" {
                div { dt { "When" } dd { (Text(&schedule.when)) } }
                div {
                    dt { "Next" }
                    dd {
                        @for at in schedule.next.iter().take(NEXT_SHOWN) { (time(*at)) " " }
                        @if schedule.next.is_empty() { span class="muted" { "not while it is paused" } }
                    }
                }
                div { dt { "Last" } dd { @match schedule.fired_at { Some(at) => (time(at)), None => span class="muted" { "never" } } } }
                @if let Some(id) = schedule.command_id { div { dt { "Its command" } dd { a href={ "/ui/commands/" (id) } { code { (id) } } } } }
                div { dt { "Missed times" } dd { (Text(&schedule.missed)) } }
                @if let Some(since) = schedule.paused_since { div { dt { "Paused" } dd { (time(since)) } } }
            }
            @if viewer.may(Role::Admin) { div class="actions" {
                (button(viewer, schedule, "run", "Run now"))
                // One that its file pauses is resumed there.
                @if schedule.paused_since.is_some() { (button(viewer, schedule, "resume", "Resume")) }
                @else if !schedule.paused { (button(viewer, schedule, "pause", "Pause")) }
            } }
        }
    }
}

fn button(viewer: &Viewer, schedule: &ScheduleView, action: &str, label: &str) -> Markup {
    let name: String = form_urlencoded::byte_serialize(schedule.name.as_bytes()).collect();
    // A path has no `+` for a space.
    let name = name.replace('+', "%20");
    html! {
        form method="post" action={ "/ui/schedules/" (name) "/" (action) } {
            (viewer.field())
            button type="submit" class="quiet" { (label) span class="hidden" { " " (Text(&schedule.name)) } }
        }
    }
}

pub(super) async fn pause(
    ui: Extracted<SharedUi>,
    viewer: Viewer,
    name: Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    Form::read(&viewer, &headers, &body)?;
    change(&ui, &name, ScheduleChange::Pause).await
}

pub(super) async fn resume(
    ui: Extracted<SharedUi>,
    viewer: Viewer,
    name: Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    Form::read(&viewer, &headers, &body)?;
    change(&ui, &name, ScheduleChange::Resume).await
}

async fn change(ui: &SharedUi, name: &str, change: ScheduleChange) -> Result<Response, Failed> {
    queue_of(&ui.host)?.change_schedule(name, change).await?;
    Ok(Redirect::to("/ui/schedules").into_response())
}

pub(super) async fn run(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    Form::read(&viewer, &headers, &body)?;
    let accepted = queue_of(&ui.host)?.run_schedule(&name).await?;
    ui.figures.forget().await;
    Ok(Redirect::to(&format!("/ui/commands/{}", accepted.id)).into_response())
}
