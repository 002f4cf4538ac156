//! Owns the page of the queue: what waits for each handler, and what is paused.

use axum::{
    body::Bytes,
    extract::State as Extracted,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use pointsman_core::settings::duration;

use super::{
    SharedUi,
    commands::queue_off,
    frame::{Failed, Page, Place, said},
    overview::{Standing, names, table},
    parts::{Shape, Text, Tone, badge, counted, empty, time},
    viewer::{Form, Viewer},
};
use crate::{
    access::Role,
    http::{problem::Problem, queue_of},
    name::HandlerName,
    queue::{NewPause, PAUSE_REASON_MAX_BYTES, Pause, Queue},
};

pub(super) async fn show(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    headers: HeaderMap,
) -> Response {
    let Some(queue) = ui.host.queue() else {
        return Page::new(Place::Queue, "Queue", queue_off()).answer(&ui, &viewer, &headers);
    };
    let standing = ui.figures.of(queue).await;
    let snapshot = ui.host.snapshot();
    let names = names(&snapshot, Some(&standing));
    let live = html! {
        @if let Some(trouble) = &standing.trouble { (said(trouble)) }
        (worker(queue))
        (pauses(&viewer, &standing))
        section aria-labelledby="depths" {
            h2 id="depths" { "Deliveries by handler" }
            @if names.is_empty() {
                (empty("Nothing is queued", &html! { p { "A handler stands here once it is loaded, or a command was stored for it." } }))
            } @else { (table(&snapshot, Some(&standing), &names)) }
        }
    };
    let page = Page::live(Place::Queue, "Queue", live);
    let page = match viewer.may(Role::Admin) {
        true => Page {
            below: form(&viewer, &names),
            ..page
        },
        false => page,
    };
    page.answer(&ui, &viewer, &headers)
}

fn worker(queue: &Queue) -> Markup {
    html! {
        p {
            @if queue.healthy() { (badge(Tone::Good, Shape::Tick, "working")) } @else { (badge(Tone::Bad, Shape::Cross, "not working")) }
            " This host runs " (counted(queue.running() as u64, "delivery", "deliveries")) " now."
        }
    }
}

fn pauses(viewer: &Viewer, standing: &Standing) -> Markup {
    html! {
        @if !standing.pauses.is_empty() {
            section aria-labelledby="pauses" {
                h2 id="pauses" { "Paused" }
                ul class="plain rows" { @for pause in &standing.pauses { (paused(viewer, pause)) } }
            }
        }
    }
}

fn paused(viewer: &Viewer, pause: &Pause) -> Markup {
    html! {
        li {
            (badge(Tone::Warn, Shape::Pause, "paused"))
            @match &pause.handler { Some(handler) => strong { (Text(handler)) }, None => strong { "all handlers" } }
            span class="grow" {
                @if let Some(reason) = &pause.reason { (Text(reason)) " · " }
                span class="muted" {
                    "since " (time(pause.since))
                    @if let Some(by) = &pause.by { " by " (Text(by)) }
                    @if let Some(until) = pause.until { ", ends " (time(until)) }
                }
            }
            @if viewer.may(Role::Admin) { (resuming(viewer, pause)) }
        }
    }
}

fn resuming(viewer: &Viewer, pause: &Pause) -> Markup {
    html! {
        form method="post" action="/ui/queue/resume" {
            (viewer.field())
            @if let Some(handler) = &pause.handler { input type="hidden" name="handler" value=(Text(handler)); }
            button class="quiet" type="submit" {
                "Resume"
                @if let Some(handler) = &pause.handler { span class="hidden" { " " (Text(handler)) } } @else { " all" }
            }
        }
    }
}

fn form(viewer: &Viewer, names: &[HandlerName]) -> Markup {
    html! {
        section class="panel" aria-labelledby="pause" {
            h2 id="pause" { "Pause" }
            p class="muted" { "Commands are still accepted, and what runs goes on; nothing new begins until you resume." }
            form class="filters" method="post" action="/ui/queue/pause" {
                (viewer.field())
                label {
                    span { "Handler" }
                    select name="handler" {
                        option value="" { "all handlers" }
                        @for name in names { option value=(Text(name)) { (Text(name)) } }
                    }
                }
                label { span { "Reason" } input name="reason" maxlength=(PAUSE_REASON_MAX_BYTES / 4) autocomplete="off"; }
                label {
                    span { "For" }
                    select name="for" {
                        option value="" { "until it is resumed" }
                        @for (value, name) in [("15m", "15 minutes"), ("1h", "1 hour"), ("8h", "8 hours"), ("24h", "1 day")] { option value=(value) { (name) } }
                    }
                }
                button type="submit" { "Pause" }
            }
        }
    }
}

/// The handler that a form is for; none for all.
fn handler(form: &mut Form) -> Result<Option<HandlerName>, Problem> {
    let name = form.take("handler").filter(|name| !name.is_empty());
    let name = name.map(|name| HandlerName::parse(&name)).transpose();
    name.map_err(|error| Problem::parameter("handler", error))
}

pub(super) async fn pause(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    let mut form = Form::read(&viewer, &headers, &body)?;
    let handler = handler(&mut form)?;
    let lasts = form.take("for").filter(|lasts| !lasts.is_empty());
    let lasts = lasts.map(|text| {
        let parsed = duration::parse(&text);
        parsed.ok_or_else(|| Problem::parameter("for", "is not a duration, such as `15m`"))
    });
    let pause = NewPause {
        handler,
        reason: form.take("reason").filter(|reason| !reason.is_empty()),
        by: viewer.name.as_deref().map(str::to_owned),
        lasts: lasts.transpose()?,
    };
    queue_of(&ui.host)?.store().pause(pause).await?;
    ui.figures.forget().await;
    Ok(Redirect::to("/ui/queue").into_response())
}

pub(super) async fn resume(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    let mut form = Form::read(&viewer, &headers, &body)?;
    let handler = handler(&mut form)?;
    queue_of(&ui.host)?.store().resume(handler).await?;
    ui.figures.forget().await;
    Ok(Redirect::to("/ui/queue").into_response())
}
