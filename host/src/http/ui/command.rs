//! Owns the page of one command: its timeline, and for each handler what it was
//! given, what it answered, and why it failed.

use axum::{
    body::Bytes,
    extract::{Path, State as Extracted},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};

use super::{
    SharedUi,
    frame::{Failed, Page, Place},
    gantt::{Track, gantt},
    parts::{self, Lines, Shape, Text, Tone, badge, bytes, count, state, time},
    viewer::{Form, Viewer},
};
use crate::{
    access::Role,
    command::CommandId,
    http::{parameters::parse, problem::Problem, queue_of},
    outcome::Level,
    queue::{
        AttemptLog, CommandView, DeliveryView, EnqueueOptions, FailedAttempt, QueueError, State,
        Store, Timestamp,
    },
};

/// Deliveries of one command that are shown; the JSON has all.
const DELIVERIES_MAX: usize = 100;
/// Those of them whose failures are shown with their logs.
const DETAILS_MAX: usize = 20;
/// Failed attempts of one delivery that are shown, the latest of them.
const FAILURES_MAX: usize = 25;
/// Of the log of one failed attempt, the end of it.
const LOG_LINES_MAX: usize = 100;
const LOG_LINE_MAX_BYTES: usize = 2 << 10;

pub(super) async fn show(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let store = queue_of(&ui.host)?.store();
    let id: CommandId = parse("id", &id)?;
    let command = store.glance(id).await?;
    let _share = ui
        .host
        .budgets()
        .answers
        .take(command.weight() as u64 * 2)?;
    let failures = failures(store, &command).await?;
    let content = content(&viewer, &command, &failures, parts::now());
    let title = "Command";
    let page = match command.is_final() {
        true => Page::new(Place::Commands, title, content),
        false => Page::live(Place::Commands, title, content),
    };
    Ok(page.answer(&ui, &viewer, &headers))
}

/// The failed attempts of each delivery that has some, in the order of deliveries.
async fn failures(
    store: &dyn Store,
    command: &CommandView,
) -> Result<Vec<Vec<FailedAttempt>>, QueueError> {
    let (mut all, mut details) = (Vec::new(), 0);
    for delivery in command.deliveries.iter().take(DELIVERIES_MAX) {
        let mut failures = Vec::new();
        if delivery.last_failure.is_some() && details < DETAILS_MAX {
            details += 1;
            match store.inspect(delivery.id.clone()).await {
                Ok(detail) => failures = detail.failures,
                // It has just been removed.
                Err(QueueError::UnknownDelivery(_)) => {}
                Err(error) => return Err(error),
            }
            failures.drain(..failures.len().saturating_sub(FAILURES_MAX));
        }
        all.push(failures);
    }
    Ok(all)
}

fn content(
    viewer: &Viewer,
    command: &CommandView,
    failures: &[Vec<FailedAttempt>],
    now: Timestamp,
) -> Markup {
    let deliveries = command.deliveries.iter().zip(failures);
    let tracks: Vec<_> = deliveries
        .clone()
        .map(|(delivery, failures)| track(command, delivery, failures))
        .collect();
    html! {
        (head(viewer, command))
        @if tracks.is_empty() {
            (parts::empty("No handler", &html! {
                p { "No rule matched this command when it was stored. " a href={ "/ui/explain?command=" (command.id) } { "Explain" } " says which came nearest." }
            }))
        } @else {
            section aria-label="Timeline" { (gantt(&tracks, command.created, now)) }
        }
        section aria-labelledby="attributes" {
            h2 id="attributes" { "Attributes" }
            (payload("attributes", "attributes", command.attributes.as_deref(), command.attributes_bytes, command.id))
        }
        @for (delivery, failures) in deliveries { (delivered(command, delivery, failures)) }
        @if command.deliveries.len() > failures.len() {
            p class="muted" {
                (count((command.deliveries.len() - failures.len()) as u64)) " more handlers are in "
                a href={ "/commands/" (command.id) } { "the JSON of the command" } "."
            }
        }
    }
}

fn track<'a>(
    command: &CommandView,
    delivery: &'a DeliveryView,
    failures: &'a [FailedAttempt],
) -> Track<'a> {
    // The time of its next run moves with each retry; before the first it is when it may begin.
    let is_first = failures.is_empty() && delivery.last_failure.is_none();
    let ready = match is_first {
        true => delivery.run_at.max(command.created),
        false => command.created,
    };
    Track {
        handler: &delivery.id.handler,
        state: delivery.state,
        attempt: delivery.attempt,
        ready,
        started: delivery.started,
        finished: delivery.finished,
        failures,
    }
}

fn head(viewer: &Viewer, command: &CommandView) -> Markup {
    html! {
        section class="panel head" aria-label="Command" {
            p class="head-state" { (state(command.state())) code class="id" { (command.id) } }
            dl class="facts" {
                div { dt { "Stored" } dd { (time(command.created)) } }
                div { dt { "Rules of generation" } dd { (command.rules_generation) } }
                @if let Some(key) = &command.idempotency_key { div { dt { "Idempotency key" } dd { code { (Text(key)) } } } }
                @if let Some(first) = command.rerun_of {
                    div { dt { "Repeats" } dd { a href={ "/ui/commands/" (first) } { code { (first) } } } }
                }
                @if let Some(causation) = &command.causation {
                    div { dt { "Emitted by" } dd { a href={ "/ui/commands?q=" (Text(causation)) } { code { (Text(causation)) } } } }
                }
            }
            div class="actions" {
                a class="button quiet" href={ "/ui/explain?command=" (command.id) } { "Explain its routing" }
                a class="button quiet" href={ "/commands/" (command.id) } { "JSON" }
                @if viewer.may(Role::Execute) {
                    form method="post" action={ "/ui/commands/" (command.id) "/rerun" } {
                        (viewer.field())
                        button type="submit" class="quiet" data-confirm="Run it again, as a new command?" { "Run again" }
                    }
                }
                @if !command.is_final() && viewer.may(Role::Admin) {
                    form method="post" action={ "/ui/commands/" (command.id) "/cancel" } {
                        (viewer.field())
                        button type="submit" class="danger" data-confirm="Cancel this command? What runs is interrupted." { "Cancel command" }
                    }
                }
            }
        }
    }
}

/// Attributes or an output, or where the whole of it is.
fn payload(
    key: &str,
    label: &str,
    text: Option<&str>,
    length: Option<u64>,
    id: CommandId,
) -> Markup {
    html! {
        @match (text, length) {
            (Some(text), _) => (parts::json(key, label, text)),
            (None, Some(length)) => p class="muted" {
                (bytes(length)) " are too long to show here: " a href={ "/commands/" (id) } { "the JSON of the command" } " has them."
            },
            (None, None) => {},
        }
    }
}

fn delivered(command: &CommandView, delivery: &DeliveryView, failures: &[FailedAttempt]) -> Markup {
    let handler = &delivery.id.handler;
    html! {
        section class="delivery" id={ "handler:" (Text(handler)) } aria-label=(Text(handler)) {
            h2 { (state(delivery.state)) a href={ "/ui/handlers#handler:" (Text(handler)) } { (Text(handler)) } }
            dl class="facts" {
                div { dt { "Attempts" } dd { (delivery.attempt) } }
                div {
                    dt { "Chosen by" }
                    dd { @for rule in &delivery.rules { a href=(parts::rule_link(rule)) { (Text(rule)) } " " } }
                }
                @if delivery.priority != 0 { div { dt { "Priority" } dd { (delivery.priority) } } }
                @if let Some(key) = &delivery.ordering_key { div { dt { "Ordering key" } dd { code { (Text(key)) } } } }
                @match (delivery.finished, delivery.state) {
                    (Some(finished), _) => div { dt { "Ended" } dd { (time(finished)) } },
                    (None, State::Scheduled | State::Retryable) => div { dt { "Next run" } dd { (time(delivery.run_at)) } },
                    _ => {},
                }
                div { dt { "Component" } dd { code title=(Text(&delivery.digest)) { (Text(delivery.digest.chars().take(12).collect::<String>())) } } }
            }
            @if delivery.cancel_requested { p { (badge(Tone::Warn, Shape::Slash, "cancellation requested")) } }
            (payload(&format!("output-{handler}"), "output", delivery.output.as_deref(), delivery.output_bytes, command.id))
            @for failure in failures.iter().rev() { (attempt(delivery, failure)) }
            @if failures.is_empty() && let Some(last) = &delivery.last_failure {
                p { (badge(Tone::Bad, Shape::Cross, last.status.as_str())) " " (Text(parts::headline(&last.message))) }
            }
        }
    }
}

fn attempt(delivery: &DeliveryView, failure: &FailedAttempt) -> Markup {
    let is_last = failure.attempt == delivery.attempt;
    let key = format!("attempt-{}-{}", delivery.id.handler, failure.attempt);
    let logs = &failure.error.logs;
    let skipped = logs.len().saturating_sub(LOG_LINES_MAX);
    html! {
        details class="attempt" open[is_last] data-key=(Text(key)) {
            summary {
                "Attempt " (failure.attempt) " "
                (badge(Tone::Bad, Shape::Cross, failure.error.status.as_str()))
                span class="grow" { (Text(parts::headline(&failure.error.message))) }
                (time(failure.at))
            }
            div class="snippet" { pre { code { (Lines(&failure.error.message)) } } }
            @if skipped > 0 {
                p class="muted" {
                    (count(skipped as u64)) " earlier lines are in " a href={ "/queue/deliveries/" (Text(&delivery.id)) } { "the JSON of the delivery" } "."
                }
            }
            @if !logs.is_empty() { ol class="log" { @for line in &logs[skipped..] { (logged(line)) } } }
        }
    }
}

fn logged(line: &AttemptLog) -> Markup {
    let is_loud = [Level::Error, Level::Warn]
        .iter()
        .any(|level| level.as_str() == line.level);
    html! {
        li class=[is_loud.then_some("loud")] {
            span class="level" { (Text(&line.level)) }
            code { (Text(crate::text::cut(line.message.clone(), LOG_LINE_MAX_BYTES))) }
        }
    }
}

pub(super) async fn cancel(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    Form::read(&viewer, &headers, &body)?;
    let id: CommandId = parse("id", &id)?;
    let cancelled: Result<_, Problem> = queue_of(&ui.host)?
        .store()
        .cancel(id)
        .await
        .map_err(Into::into);
    cancelled?;
    ui.figures.forget().await;
    Ok(Redirect::to(&format!("/ui/commands/{id}")).into_response())
}

/// Stores the same attributes as a new command, which goes where the rules send it now.
pub(super) async fn rerun(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    Form::read(&viewer, &headers, &body)?;
    let queue = queue_of(&ui.host)?;
    let id: CommandId = parse("id", &id)?;
    let attributes = queue.store().get(id).await?.attributes.unwrap_or_default();
    let command = ui.host.dispatcher().parse(attributes).await??;
    let options = EnqueueOptions {
        rerun_of: Some(id),
        ..EnqueueOptions::default()
    };
    let accepted = queue.enqueue(&command, options).await?;
    ui.figures.forget().await;
    Ok(Redirect::to(&format!("/ui/commands/{}", accepted.id)).into_response())
}
