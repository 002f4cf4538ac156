//! Owns the page that answers: is it well? What it reads of the queue is read once
//! a second at most, however many look.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{extract::State as Extracted, http::HeaderMap, response::Response};
use maud::{Markup, html};
use tokio::{sync::Mutex, time::timeout};

use super::{
    SharedUi,
    frame::{Failed, Page, Place},
    history::Span,
    parts::{
        Query, Shape, Text, Tone, badge, count, counted, diagnostic, duration, empty, headline,
        snippet, state, time,
    },
    viewer::Viewer,
};
use crate::{
    diagnostic::Diagnostic,
    host::Host,
    http::parameters::Parameters,
    name::HandlerName,
    queue::{DeadFilter, DeadLetter, Depth, Page as StorePage, Pause, Queue, QueueError, State},
    shutdown::Health,
    snapshot::Snapshot,
};

/// How long the figures of the queue are shown before they are read again.
const FRESH: Duration = Duration::from_secs(1);
/// How long a page waits for the queue: it is worth having while its database is away.
const COUNTING_MAX: Duration = Duration::from_secs(2);
/// Dead letters on the overview.
const LATEST: usize = 8;
/// Problems on the overview; the pages of handlers and rules have them all.
const PROBLEMS_MAX: usize = 10;

/// The figures of the queue, as many pages show them.
#[derive(Default)]
pub(super) struct Figures(Mutex<Option<(Instant, Arc<Standing>)>>);

/// How the queue stood when it was last asked.
#[derive(Default)]
pub(super) struct Standing {
    pub(super) depths: Vec<Depth>,
    latest: Vec<DeadLetter>,
    pub(super) pauses: Vec<Pause>,
    // Why the above is not known.
    pub(super) trouble: Option<Diagnostic>,
}

impl Standing {
    pub(super) fn sum(&self, state: State) -> u64 {
        let depths = self.depths.iter().filter(|depth| depth.state == state);
        depths.map(|depth| depth.count).sum()
    }

    /// The pause that holds up the deliveries of a handler, if one does.
    pub(super) fn pause(&self, handler: &HandlerName) -> Option<&Pause> {
        let holds = |pause: &&Pause| {
            pause
                .handler
                .as_ref()
                .is_none_or(|paused| paused == handler)
        };
        self.pauses.iter().find(holds)
    }

    pub(super) fn of(&self, handler: &HandlerName, state: State) -> u64 {
        let mut depths = self.depths.iter();
        let found = depths.find(|depth| depth.handler == *handler && depth.state == state);
        found.map_or(0, |depth| depth.count)
    }
}

impl Figures {
    pub(super) async fn of(&self, queue: &Queue) -> Arc<Standing> {
        // Whoever comes meanwhile waits for this answer, and does not ask again.
        let mut known = self.0.lock().await;
        if let Some((at, standing)) = &*known
            && at.elapsed() < FRESH
        {
            return Arc::clone(standing);
        }
        let standing = Arc::new(read(queue).await);
        *known = Some((Instant::now(), Arc::clone(&standing)));
        standing
    }

    /// Has the next page read them anew: something was changed from a page.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

async fn read(queue: &Queue) -> Standing {
    let store = queue.store();
    let figures = async {
        let depths = store.depth().await?;
        let latest = store.dead(DeadFilter::default(), StorePage::first(LATEST));
        Ok::<_, QueueError>((depths, latest.await?, store.pauses().await?))
    };
    match timeout(COUNTING_MAX, figures).await {
        Ok(Ok((depths, latest, pauses))) => Standing {
            depths,
            latest,
            pauses,
            trouble: None,
        },
        Ok(Err(error)) => Standing {
            trouble: Some(error.diagnostic()),
            ..Standing::default()
        },
        Err(_) => Standing {
            trouble: Some(Diagnostic::error(
                "queue-slow",
                format!(
                    "the queue did not answer within {} s",
                    COUNTING_MAX.as_secs()
                ),
            )),
            ..Standing::default()
        },
    }
}

pub(super) async fn overview(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let span: Option<Span> = parameters.take("span")?;
    let standing = match ui.host.queue() {
        Some(queue) => Some(ui.figures.of(queue).await),
        None => None,
    };
    let snapshot = ui.host.snapshot();
    let content = html! {
        (health(&ui.host, &snapshot, standing.as_deref()))
        (figures(&ui.host, standing.as_deref()))
        (ui.history.chart(&ui.host, span.unwrap_or_default()).await)
        (handlers(&snapshot, standing.as_deref()))
        @if let Some(standing) = &standing { (latest(&standing.latest)) }
    };
    Ok(Page::live(Place::Overview, "Overview", content).answer(&ui, &viewer, &headers))
}

/// What is not well, the worst first.
fn problems(host: &Host, snapshot: &Snapshot, standing: Option<&Standing>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    if host.shutdown().draining.is_cancelled() {
        problems.push(Diagnostic::warning(
            "draining",
            "the host is shutting down: it takes nothing new",
        ));
    } else if snapshot.generation == 0 {
        problems.push(Diagnostic::warning(
            "starting",
            "handlers and rules are being loaded",
        ));
    }
    if let Health::Failing(task) | Health::Failed(task) = host.shutdown().supervisor.health() {
        let message =
            format!("the background task `{task}` keeps failing; the log has the details");
        problems.push(Diagnostic::error("task-failed", message));
    }
    if let Some(queue) = host.queue() {
        if let Some(trouble) = queue.trouble() {
            problems.push(trouble.diagnostic);
        } else if let Some(trouble) = standing.and_then(|standing| standing.trouble.clone()) {
            problems.push(trouble);
        } else if !queue.healthy() {
            problems.push(Diagnostic::error(
                "queue-stalled",
                "no worker of this host takes deliveries from the queue; the log says why",
            ));
        }
    }
    for (name, handler) in &snapshot.handlers {
        if let Some(left) = handler.quarantined() {
            let message = format!(
                "`{name}` failed too often and is left alone for {}",
                duration(left)
            );
            problems.push(Diagnostic::error("quarantined", message));
        }
    }
    problems.extend(snapshot.problems.iter().cloned());
    problems
}

fn health(host: &Host, snapshot: &Snapshot, standing: Option<&Standing>) -> Markup {
    let problems = problems(host, snapshot, standing);
    html! {
        section class="panel" aria-label="Health" {
            @if problems.is_empty() {
                p { (badge(Tone::Good, Shape::Tick, "All is well")) }
                p class="muted" {
                    (counted(snapshot.handlers.len() as u64, "handler", "handlers")) " and "
                    (counted(snapshot.rules.len() as u64, "rule", "rules")) " of generation " (snapshot.generation)
                }
            } @else {
                h2 { (counted(problems.len() as u64, "problem", "problems")) }
                ul class="plain" { @for problem in problems.iter().take(PROBLEMS_MAX) { (diagnostic(problem)) } }
                @if problems.len() > PROBLEMS_MAX {
                    p class="muted" { "More on the pages of " a href="/ui/handlers" { "handlers" } " and " a href="/ui/rules" { "rules" } "." }
                }
            }
        }
    }
}

fn figures(host: &Host, standing: Option<&Standing>) -> Markup {
    let last = host.dispatcher().metrics().recent().last();
    let calls: u64 = last
        .counts
        .iter()
        .map(|minute| minute.succeeded + minute.failed)
        .sum();
    let failed: u64 = last.counts.iter().map(|minute| minute.failed).sum();
    let took = |duration_of: Option<Duration>| duration_of.map_or_else(|| "–".into(), duration);
    html! {
        dl class="figures" {
            @if let Some(standing) = standing.filter(|standing| standing.trouble.is_none()) {
                (queued("Waiting", standing, State::Available))
                (queued("Running", standing, State::Running))
                (queued("Retrying", standing, State::Retryable))
                (queued("Scheduled", standing, State::Scheduled))
                (queued("Dead-lettered", standing, State::Discarded))
            }
            div { dt { "Calls, last hour" } dd { (count(calls)) } }
            div { dt { "Failed, last hour" } dd class=[(failed > 0).then_some("warn")] { (count(failed)) } }
            div { dt { "Median, p99" } dd { (took(last.median)) small { (took(last.p99)) } } }
        }
    }
}

fn queued(name: &str, standing: &Standing, state: State) -> Markup {
    let sum = standing.sum(state);
    let link = match state {
        State::Discarded => "/ui/dead".to_owned(),
        state => Query::default()
            .with("state", Some(state))
            .link("/ui/commands"),
    };
    let is_bad = state == State::Discarded && sum > 0;
    html! {
        div { dt { (name) } dd { a href=(link) class=[is_bad.then_some("bad")] { (count(sum)) } } }
    }
}

/// The handlers with something in the queue, and those that are loaded.
pub(super) fn names(snapshot: &Snapshot, standing: Option<&Standing>) -> Vec<HandlerName> {
    let queued = standing.into_iter().flat_map(|standing| &standing.depths);
    let mut names: Vec<_> = queued.map(|depth| depth.handler.clone()).collect();
    names.extend(snapshot.handlers.keys().cloned());
    names.sort_unstable();
    names.dedup();
    names
}

/// Handlers in the table of the overview; the page of the queue has them all.
const HANDLERS_MAX: usize = 20;

fn handlers(snapshot: &Snapshot, standing: Option<&Standing>) -> Markup {
    let mut names = names(snapshot, standing);
    if names.is_empty() {
        return empty(
            "No handlers yet",
            &html! {
                p { "A handler is a WebAssembly component in the plugins folder. Make one:" }
                (snippet("pointsman new greet && pointsman build greet"))
            },
        );
    }
    let all = names.len();
    let waits = |name: &HandlerName| {
        let standing = standing?;
        let states = [
            State::Discarded,
            State::Retryable,
            State::Available,
            State::Running,
        ];
        Some(states.map(|state| standing.of(name, state)))
    };
    names.sort_by_key(|name| std::cmp::Reverse(waits(name)));
    names.truncate(HANDLERS_MAX);
    html! {
        section aria-labelledby="handlers" {
            h2 id="handlers" { "Handlers" }
            (table(snapshot, standing, &names))
            @if all > HANDLERS_MAX { p { a href="/ui/queue" { "All " (all) " handlers" } } }
        }
    }
}

/// Handlers with what of theirs is in the queue.
pub(super) fn table(
    snapshot: &Snapshot,
    standing: Option<&Standing>,
    names: &[HandlerName],
) -> Markup {
    const STATES: [State; 5] = [
        State::Available,
        State::Running,
        State::Retryable,
        State::Scheduled,
        State::Discarded,
    ];
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Handlers and their deliveries" {
            table {
                thead {
                    tr {
                        th scope="col" { "Handler" } th scope="col" { "State" }
                        @if standing.is_some() {
                            @for state in STATES { th scope="col" class="number" { (super::parts::word(state)) } }
                        }
                    }
                }
                tbody {
                    @for name in names {
                        tr data-row {
                            th scope="row" { a href={ "/ui/handlers#handler:" (Text(name)) } { (Text(name)) } }
                            td {
                                (handler_state(snapshot, name))
                                @if standing.is_some_and(|standing| standing.pause(name).is_some()) { " " (badge(Tone::Warn, Shape::Pause, "paused")) }
                            }
                            @if let Some(standing) = standing {
                                @for state in STATES { td class="number" { (cell(name, state, standing.of(name, state))) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(handler: &HandlerName, state: State, number: u64) -> Markup {
    let query = Query::default().with("handler", Some(handler));
    let link = match state {
        State::Discarded => query.link("/ui/dead"),
        state => query.with("state", Some(state)).link("/ui/commands"),
    };
    html! {
        @if number == 0 { span class="muted" { "0" } } @else { a href=(link) { (count(number)) } }
    }
}

/// Whether a handler can be called.
pub(super) fn handler_state(snapshot: &Snapshot, name: &HandlerName) -> Markup {
    match snapshot
        .handlers
        .get(name)
        .map(|handler| handler.quarantined())
    {
        Some(None) => badge(Tone::Good, Shape::Tick, "loaded"),
        Some(Some(left)) => badge(
            Tone::Bad,
            Shape::Slash,
            format!("quarantined for {}", duration(left)),
        ),
        None => badge(Tone::Bad, Shape::Cross, "not loaded"),
    }
}

fn latest(letters: &[DeadLetter]) -> Markup {
    html! {
        section aria-labelledby="latest" {
            h2 id="latest" { "Latest dead letters" }
            @if letters.is_empty() {
                (empty("No dead letters", &html! { p { "A delivery that fails permanently, or more often than its handler's retries allow, shows up here." } }))
            } @else {
                ul class="plain rows" {
                    @for letter in letters {
                        @let delivery = &letter.delivery;
                        li data-row {
                            (state(delivery.state))
                            a href={ "/ui/commands/" (delivery.id.command) "#handler:" (Text(&delivery.id.handler)) } { (Text(&delivery.id.handler)) }
                            @if let Some(failure) = &delivery.last_failure {
                                span class="grow" { (failure.status.as_str()) ": " (Text(headline(&failure.message))) }
                            }
                            @if let Some(at) = delivery.finished { (time(at)) }
                        }
                    }
                }
                p { a href="/ui/dead" { "All dead letters" } }
            }
        }
    }
}
