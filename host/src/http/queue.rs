//! Owns the queue over HTTP: commands that are kept, and the dead letter.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use pointsman_core::settings::duration;
use serde::Serialize;
use serde_json::json;

use super::{
    answer::{answer, done},
    events::events,
    history,
    incoming::{self, Body, Incoming},
    parameters::{Parameters, not, parse},
    pauses,
    problem::Problem,
    queue_of, schedules,
};
use crate::{
    command::CommandId,
    host::Host,
    queue::{
        BulkEntry, BulkItem, CommandFilter, CommandView, DeadFilter, DeadLetter, Dedup, DeliveryId,
        EnqueueOptions, Numbered, Queue, QueueError, key_of_line, wait_for,
    },
};

/// The longest `wait`: proxies cut silent connections at a minute.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The routes of the queue.
pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/commands", post(enqueue).get(list))
        .route("/commands/{id}", get(show).delete(cancel))
        .route("/commands/{id}/events", get(events))
        .route("/queue", get(depth))
        .route("/queue/history", get(history::history))
        .route("/queue/pause", post(pauses::pause))
        .route("/queue/resume", post(pauses::resume))
        .route("/schedules", get(schedules::list))
        .route("/schedules/{name}/pause", post(schedules::pause))
        .route("/schedules/{name}/resume", post(schedules::resume))
        .route("/schedules/{name}/run", post(schedules::run))
        .route("/queue/dead", get(dead))
        .route("/queue/dead/retry", post(retry))
        .route("/queue/dead/discard", post(discard))
        .route("/queue/deliveries/{id}", get(inspect))
}

async fn enqueue(
    State(host): State<Arc<Host>>,
    mut parameters: Parameters,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let queue = queue_of(&host)?;
    let body = incoming::any(&host, &headers, body).await?;
    let options = EnqueueOptions {
        idempotency_key: idempotency_key(&headers)?,
        same_by_key: false,
        dedup: dedup(&mut parameters)?,
        priority: parameters
            .number("priority", i32::MIN..=i32::MAX)?
            .unwrap_or(0),
        run_at: parameters.time("runAt")?,
        ordering_key: parameters.take("orderingKey")?,
        rerun_of: parameters.take("rerunOf")?,
    };
    let one = match body {
        Body::One(one) => *one,
        Body::Many(all) => return enqueue_all(&host, queue, all, &options).await,
    };
    let options = of_event(&one, options)?;
    let accepted = queue.enqueue(&one.command, options).await?;
    tracing::info!(
        command = %accepted.id,
        deliveries = accepted.deliveries.len(),
        repeated = accepted.repeated,
        "accepted"
    );
    let location = format!("/commands/{}", accepted.id);
    let headers = [(header::LOCATION, location)];
    Ok((StatusCode::ACCEPTED, headers, Json(accepted)).into_response())
}

fn dedup(parameters: &mut Parameters) -> Result<Option<Dedup>, Problem> {
    let ttl = parameters.take::<String>("ttl")?;
    let ttl = ttl.map(|text| {
        let wanted = "a time: write it as `10s`, `5m` or `2h`";
        duration::parse(&text).ok_or_else(|| not(&text, "ttl", wanted))
    });
    let (key, mode) = (
        parameters.take("dedup")?,
        parameters.take::<String>("mode")?,
    );
    Dedup::of(key, mode.as_deref(), ttl.transpose()?).map_err(|error| match error {
        QueueError::Invalid { field, reason } => Problem::parameter(field, reason),
        error => error.into(),
    })
}

async fn enqueue_all(
    host: &Host,
    queue: &Queue,
    all: Vec<Numbered<Incoming>>,
    options: &EnqueueOptions,
) -> Result<Response, Problem> {
    let items = all.into_iter().map(|(line, one)| {
        let key = options.idempotency_key.as_deref();
        let options = EnqueueOptions {
            // Of an event, which has its own, it is refused below.
            idempotency_key: key.map(|key| match &one.idempotency_key {
                None => key_of_line(key, line),
                Some(_) => key.to_owned(),
            }),
            ..options.clone()
        };
        let options = of_event(&one, options)?;
        let command = one.command;
        Ok::<_, Problem>(BulkItem {
            line,
            command,
            options,
        })
    });
    let stored = queue.enqueue_all(items.collect::<Result<_, _>>()?).await?;
    let repeated = stored.iter().filter(|one| one.repeated).count();
    tracing::info!(commands = stored.len(), repeated, "accepted");
    let answer = done(host, 100 * stored.len(), &BulkAnswer { commands: stored })?;
    Ok((StatusCode::ACCEPTED, answer).into_response())
}

/// What became of the commands of a bulk, in their order.
#[derive(Serialize)]
struct BulkAnswer {
    commands: Vec<BulkEntry>,
}

/// The options with the keys of an event. A parameter comes before its partition key.
fn of_event(one: &Incoming, options: EnqueueOptions) -> Result<EnqueueOptions, Problem> {
    let Some(key) = &one.idempotency_key else {
        return Ok(options);
    };
    if options.idempotency_key.is_some() {
        let reason = "is not for events, which their `source` and `id` tell apart: leave it out";
        return Err(Problem::parameter("Idempotency-Key", reason));
    }
    Ok(EnqueueOptions {
        idempotency_key: Some(key.clone()),
        same_by_key: true,
        ordering_key: options.ordering_key.or_else(|| one.ordering_key.clone()),
        ..options
    })
}

/// The one key of a request: of two, neither says which command is meant.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    const NAME: &str = "Idempotency-Key";
    let mut keys = headers.get_all(NAME).iter();
    let key = keys.next();
    if keys.next().is_some() {
        return Err(Problem::parameter(NAME, "is given twice: keep one"));
    }
    let text = key.map(|key| key.to_str().map(str::to_owned)).transpose();
    text.map_err(|_| Problem::parameter(NAME, "use visible ASCII characters"))
}

async fn show(
    State(host): State<Arc<Host>>,
    Path(id): Path<String>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let queue = queue_of(&host)?;
    let id: CommandId = parse("id", &id)?;
    let wait = match parameters.take::<String>("wait")? {
        Some(text) => wait_of(&text)?,
        None => Duration::ZERO,
    };
    let waits = (!wait.is_zero()).then(|| host.budgets().listeners.take(1));
    let _waits = waits.transpose()?;
    // A client that waits does not hold up the end of the host.
    let waited = host.shutdown().draining.run_until_cancelled(wait_for(
        queue.store(),
        id,
        wait,
        CommandView::is_final,
    ));
    let view = match waited.await {
        Some(view) => view?,
        None => queue.store().get(id).await?,
    };
    answer(&host, view.weight(), &view)
}

async fn list(
    State(host): State<Arc<Host>>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let queue = queue_of(&host)?;
    let filter = CommandFilter {
        state: parameters.take("state")?,
        handler: parameters.handler()?,
        created_from: parameters.time("from")?,
        created_until: parameters.time("until")?,
    };
    let page = parameters.page()?;
    let commands = queue.store().list(filter, page).await?;
    let weight = commands.iter().map(CommandView::weight).sum();
    let last = commands.last().map(|command| command.id.to_string());
    let page = CommandPage {
        next: last.filter(|_| page.goes_on(commands.len(), weight)),
        commands,
    };
    answer(&host, weight, &page)
}

/// A page of commands; `next` goes into `after` for the one behind it.
#[derive(Serialize)]
struct CommandPage {
    commands: Vec<CommandView>,
    next: Option<String>,
}

async fn cancel(
    State(host): State<Arc<Host>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parse("id", &id)?;
    let cancellation = queue_of(&host)?.store().cancel(id).await?;
    Ok(Json(cancellation).into_response())
}

async fn depth(State(host): State<Arc<Host>>) -> Result<Response, Problem> {
    let queue = queue_of(&host)?;
    let depth = queue.store().depth().await?;
    let pauses = queue.store().pauses().await?;
    let body = json!({
        "depth": depth,
        "running": queue.running(),
        "healthy": queue.healthy(),
        "pauses": pauses,
    });
    Ok(Json(body).into_response())
}

/// The same of dead letters.
#[derive(Serialize)]
struct DeadPage {
    dead: Vec<DeadLetter>,
    next: Option<String>,
}

async fn dead(
    State(host): State<Arc<Host>>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let queue = queue_of(&host)?;
    let filter = parameters.dead()?;
    let page = parameters.page()?;
    let dead = queue.store().dead(filter, page).await?;
    let weight = dead.iter().map(|letter| letter.delivery.weight()).sum();
    let last = dead.last().map(|letter| letter.cursor().to_string());
    let next = last.filter(|_| page.goes_on(dead.len(), weight));
    answer(&host, weight, &DeadPage { dead, next })
}

async fn retry(State(host): State<Arc<Host>>, parameters: Parameters) -> Result<Response, Problem> {
    let filter = chosen(parameters)?;
    let retried = queue_of(&host)?.store().retry_dead(filter).await?;
    Ok(Json(json!({ "retried": retried })).into_response())
}

async fn discard(
    State(host): State<Arc<Host>>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let filter = chosen(parameters)?;
    let discarded = queue_of(&host)?.store().discard_dead(filter).await?;
    Ok(Json(json!({ "discarded": discarded })).into_response())
}

/// The dead letters that a change is for: all of them only where that is said.
fn chosen(mut parameters: Parameters) -> Result<DeadFilter, Problem> {
    let all = parameters.flag("all")?;
    if !all && parameters.is_empty() {
        return Err(Problem::parameter(
            "all",
            "name `delivery`, `handler`, `status`, `from` or `until`, or say `all=true`",
        ));
    }
    parameters.dead()
}

async fn inspect(
    State(host): State<Arc<Host>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: DeliveryId = parse("id", &id)?;
    let detail = queue_of(&host)?.store().inspect(id).await?;
    answer(&host, detail.weight(), &detail)
}

/// How long a client waits: `10s` or `500ms`.
fn wait_of(text: &str) -> Result<Duration, Problem> {
    let wanted = "a time of up to 60 s: write it as `10s` or `500ms`";
    duration::parse(text)
        .filter(|duration| *duration <= WAIT_MAX)
        .ok_or_else(|| not(text, "wait", wanted))
}
