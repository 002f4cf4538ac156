//! Owns the HTTP surface: routes, wire shapes and the server's life. Errors are
//! RFC 9457 problem documents (`http/problem.rs`).
//!
//! A report is `200` where at least one handler succeeded and `502` where none
//! did; its `status` says `succeeded`, `partial` or `failed`.

mod access;
mod answer;
pub(crate) mod audit;
mod body;
mod connections;
mod events;
mod frames;
mod framing;
mod gate;
mod handshake;
mod history;
mod incoming;
mod media;
mod parameters;
mod pauses;
mod problem;
mod queue;
mod routes;
mod schedules;
mod sending;
mod server;
mod socket;
mod stream;
mod traces;
mod ui;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde_json::json;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    access::Access,
    budget::Budget,
    command::Command,
    dispatcher::{DispatchError, DispatchOptions, Event, Observer},
    host::Host,
    metrics::{self, Now},
    outcome::{Report, ReportStatus},
    queue::{Depth, Pause, Queue, QueueError},
    shutdown::Health,
    telemetry::trace_id,
};
use answer::done;
use connections::Connections;
use problem::Problem;
use server::Served;

/// How long `/metrics` waits for the queue's figures: whoever asks has a timeout too.
const COUNTING_MAX: Duration = Duration::from_secs(2);

/// Connections at once on `http.metrics_listen`: a few of Prometheus and of supervisors.
const METRICS_CONNECTIONS_MAX: u64 = 64;

/// The routes over one host.
pub fn router(host: Arc<Host>) -> Router {
    let body_limit = host.config().host.command_max_bytes;
    Router::new()
        .route("/", get(index))
        .route("/commands/execute", post(execute))
        .merge(queue::routes())
        .route("/rules/explain", post(explain))
        .route("/plugins", get(handlers))
        .route("/rules", get(rules))
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(ui::routes(&host))
        .route_layer(parameters::Reading::layer())
        .route_layer(traces::Traced::layer(
            host.dispatcher().telemetry().cloned(),
        ))
        .route_layer(access::Guard::layer(Arc::clone(host.access())))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(CatchPanicLayer::custom(|_| {
            Problem::internal().into_response()
        }))
        .with_state(host)
}

/// What is served on `http.metrics_listen`.
fn metrics_router(host: Arc<Host>) -> Router {
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(async || Problem::metrics_alone())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(CatchPanicLayer::custom(|_| {
            Problem::internal().into_response()
        }))
        .with_state(host)
}

/// Where a host takes connections.
#[derive(Debug)]
pub struct Listeners {
    commands: TcpListener,
    metrics: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    /// Everything on one address.
    fn from(commands: TcpListener) -> Self {
        Self {
            commands,
            metrics: None,
        }
    }
}

impl Listeners {
    /// The same with another address for `/metrics` and the probes alone, without TLS and
    /// without a token.
    #[must_use]
    pub fn with_metrics(self, metrics: Option<TcpListener>) -> Self {
        Self { metrics, ..self }
    }

    /// The address of each, that of commands first.
    ///
    /// # Errors
    /// The system's.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, Option<SocketAddr>)> {
        let metrics = self.metrics.as_ref().map(TcpListener::local_addr);
        Ok((self.commands.local_addr()?, metrics.transpose()?))
    }
}

/// Serves until the host has drained. While it does, what asks for more is
/// refused as `draining`, and `/readyz` says so; then connections close.
///
/// # Errors
/// When the listener fails, or `http.tokens_file` or the files of `http.tls` cannot be used.
pub async fn serve(host: Arc<Host>, listeners: impl Into<Listeners>) -> std::io::Result<()> {
    let Listeners { commands, metrics } = listeners.into();
    let routes = router(Arc::clone(&host));
    let access = Arc::clone(host.access());
    access.reload().await.map_err(std::io::Error::other)?;
    let (reload, shutdown) = (&host.config().reload, host.shutdown());
    let (every, quiet) = (reload.poll, reload.quiet);
    let stop = shutdown.draining.clone();
    if let Some(tls) = host.tls() {
        // Whoever has to say what is wrong before it serves has loaded it.
        if tls.valid_until().is_none() {
            tls.load().await.map_err(std::io::Error::other)?;
        }
        let (tls, stop) = (Arc::clone(tls), stop.clone());
        shutdown
            .supervisor
            .spawn(&shutdown.tasks, "certificate", stop.clone(), move || {
                let (tls, stop) = (Arc::clone(&tls), stop.clone());
                async move { tls.follow(every, quiet, stop).await }
            });
    }
    if access.is_followed() {
        shutdown
            .supervisor
            .spawn(&shutdown.tasks, "tokens", stop.clone(), move || {
                let (access, stop) = (Arc::clone(&access), stop.clone());
                async move { access.follow(every, stop).await }
            });
    }
    let config = &host.config().http;
    let served = Served {
        listener: commands,
        routes,
        access: Arc::clone(host.access()),
        tls: host.tls().cloned(),
        connections: Connections::new(
            Arc::clone(&host.budgets().connections),
            config.connections_per_address_max,
        ),
    };
    let beside = async {
        let Some(listener) = metrics else {
            return Ok(());
        };
        let budget = Budget::new("http.metrics_listen", METRICS_CONNECTIONS_MAX);
        let served = Served {
            listener,
            routes: metrics_router(Arc::clone(&host)),
            access: Arc::new(Access::new(Vec::new(), None)),
            tls: None,
            connections: Connections::new(budget, Some(METRICS_CONNECTIONS_MAX)),
        };
        server::serve(&host, served).await
    };
    tokio::try_join!(server::serve(&host, served), beside)?;
    Ok(())
}

/// What there is, for whoever comes without knowing; people are led to the dashboard.
async fn index(headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT);
    let accepted = accepted.and_then(|accepted| accepted.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        return Redirect::to("/ui").into_response();
    }
    // Pages lead from one to the other.
    let paths = routes::ROUTES.iter().skip(1);
    let paths = paths.filter(|route| !route.path.starts_with("/ui"));
    let paths: Vec<_> = paths
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    Json(json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "paths": paths,
    }))
    .into_response()
}

async fn execute(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let command = incoming::one(&host, &headers, body).await?.command;
    let command_id = command.id;
    let options = DispatchOptions {
        cancel_on_drop: host.config().http.cancel_on_disconnect,
        in_place: true,
        observer: log_observer(&command),
        ..DispatchOptions::default()
    };
    let report = host.dispatch(command, options).await?;
    // A handler without logs or output has some 350 bytes.
    let weight = 512 * (1 + report.handlers.len());
    let mut response = (status_of(&report), done(&host, weight, &report)?).into_response();
    if host.access().is_required() {
        // The audit log tells of it.
        response.extensions_mut().insert(audit::Subject(command_id));
    }
    Ok(response)
}

async fn explain(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let command = incoming::one(&host, &headers, body).await?.command;
    let explanation = host.dispatcher().explain(command).await?;
    Ok(Json(explanation).into_response())
}

fn status_of(report: &Report) -> StatusCode {
    match report.status {
        ReportStatus::Succeeded | ReportStatus::Partial => StatusCode::OK,
        ReportStatus::Failed => StatusCode::BAD_GATEWAY,
    }
}

/// What handlers write goes to the host's log at `debug`, since the report
/// carries it; how they end when they fail goes there at `warn`.
fn log_observer(command: &Command) -> Option<Observer> {
    if !tracing::enabled!(tracing::Level::WARN) {
        return None;
    }
    let (command, traceparent) = (command.id, command.traceparent.clone());
    Some(Arc::new(move |event| match event {
        Event::Started(_) => {}
        Event::Log(handler, line) => {
            let trace = traceparent.as_deref().map(trace_id);
            tracing::debug!(%command, trace, %handler, level = line.level.as_str(), "{}", line.message);
        }
        Event::Finished(report) => {
            if let Err(failure) = &report.outcome.result {
                let trace = traceparent.as_deref().map(trace_id);
                tracing::warn!(%command, trace, handler = %report.handler, status = failure.code.as_str(), "{}", failure.message);
            }
        }
    }))
}

/// The queue of the host, or the problem that there is none.
fn queue_of(host: &Host) -> Result<&Queue, Problem> {
    host.queue().ok_or_else(Problem::queue_off)
}

async fn handlers(State(host): State<Arc<Host>>) -> impl IntoResponse {
    Json(host.snapshot().handlers_view())
}

async fn rules(State(host): State<Arc<Host>>) -> impl IntoResponse {
    Json(host.snapshot().rules_view()).into_response()
}

/// What is in the queue; nothing where that cannot be told in time: the rest of
/// `/metrics` is worth having while the queue's database is away.
async fn figures(host: &Host) -> (Vec<Depth>, Vec<Pause>) {
    let Some(queue) = host.queue() else {
        return Default::default();
    };
    let store = queue.store();
    let figures = async { Ok::<_, QueueError>((store.depth().await?, store.pauses().await?)) };
    match tokio::time::timeout(COUNTING_MAX, figures).await {
        Ok(Ok(figures)) => return figures,
        Ok(Err(error)) => {
            tracing::warn!(code = error.code(), error = ?error, "could not count the queue for /metrics");
        }
        Err(_) => tracing::warn!("counting the queue for /metrics took more than {COUNTING_MAX:?}"),
    }
    Default::default()
}

async fn metrics_text(State(host): State<Arc<Host>>) -> impl IntoResponse {
    let (depths, pauses) = figures(&host).await;
    let deliveries = depths
        .into_iter()
        .map(|depth| (depth.handler, depth.state.as_str(), depth.count));
    let now = Now {
        generation: host.snapshot().generation,
        restarts: host.shutdown().supervisor.restarts(),
        budgets: host.budgets(),
        paused: pauses.into_iter().map(|pause| pause.handler).collect(),
        tls: host.tls().map(|tls| &**tls),
    };
    let text = host.dispatcher().metrics().text(&now, deliveries);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text)
}

/// Alive: the process answers, and no background task failed for good.
async fn healthz(State(host): State<Arc<Host>>) -> Result<Response, Problem> {
    match host.shutdown().supervisor.health() {
        Health::Failed(task) => Err(Problem::task_failed(task)),
        Health::Good | Health::Failing(_) => Ok(Json(json!({ "status": "ok" })).into_response()),
    }
}

/// Ready: files are loaded, commands are taken, and those in the queue are worked on.
async fn readyz(State(host): State<Arc<Host>>) -> Result<Response, Problem> {
    if host.shutdown().draining.is_cancelled() {
        return Err(DispatchError::Draining.into());
    }
    if let Some(queue) = host.queue().filter(|queue| !queue.healthy()) {
        return Err(Problem::queue_stalled(queue.trouble()));
    }
    if let Health::Failing(task) | Health::Failed(task) = host.shutdown().supervisor.health() {
        return Err(Problem::task_failed(task));
    }
    let snapshot = host.snapshot();
    if snapshot.generation == 0 {
        return Err(DispatchError::Starting.into());
    }
    let body = json!({
        "status": "ready",
        "queue": host.queue().is_some(),
        // Without news of other hosts, work is found by looking.
        "queueNews": host.queue().is_some_and(|queue| queue.store().signals().listening()),
        "generation": snapshot.generation,
        "plugins": snapshot.handlers.len(),
        "rules": snapshot.rules.len(),
    });
    Ok(Json(body).into_response())
}
