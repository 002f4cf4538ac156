//! `pointsman serve`: commands over HTTP until a signal, then a graceful end.

use anyhow::Context;
use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;

use super::{
    Exit,
    notify::{State, service_manager},
    signals::Signals,
};
use crate::{
    config::{Config, parse_listen},
    diagnostic::{Diagnostic, Severity},
    host::{Loading, Unloaded},
    http::{self, Listeners},
    outcome::millis,
    reload::{ChangeKind, Reload, Wait},
    telemetry::Telemetry,
};

/// What to do where another process has the queue, or its folder cannot be written.
const QUEUE_HINT: &str =
    "set `queue.folder` to another folder, or `queue.engine=off` to run without a queue";

/// The two ways on for a host that would be open to other machines.
const OPEN_HINT: &str = "make a token with `pointsman token new`, or set `http.allow_unauthenticated=true` where a firewall, a network policy or a proxy lets only those through that may";

/// The same for its metrics.
const OPEN_METRICS_HINT: &str = "listen on 127.0.0.1, or set `http.allow_unauthenticated=true` where a firewall or a network policy lets only those through that may; commands need a token all the same, where there are tokens";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pointsman serve &
  curl -X POST http://localhost:3000/commands/execute -H 'Content-Type: application/json' \\
       -d '{\"requestType\": \"CreatePolicy\", \"productType\": \"HighRisk\"}'
  curl -X POST http://localhost:3000/commands -H 'Content-Type: application/json' \\
       -d '{\"requestType\": \"CreatePolicy\", \"productType\": \"HighRisk\"}'

The first command runs at once and its report is returned; the second is stored
in the queue, survives restarts and runs in the background.

SIGTERM, SIGHUP and Ctrl-C start a graceful shutdown: commands in flight may
finish within `host.shutdown_grace`, and the process exits at most 5 seconds
later. A second signal exits immediately.")]
pub(super) struct Args {
    /// Address and port to listen on [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    /// Cancel the handlers of a command when its client disconnects
    #[arg(long)]
    cancel_on_disconnect: bool,
    /// Accept commands for the queue that no rule matches; they complete at once
    #[arg(long)]
    accept_unmatched: bool,
}

impl Args {
    pub(super) fn apply(&self, config: &mut Config) {
        if let Some(listen) = self.listen {
            config.http.listen = listen;
        }
        config.http.cancel_on_disconnect |= self.cancel_on_disconnect;
        config.queue.accept_unmatched |= self.accept_unmatched;
    }
}

/// After the last command has ended, an open connection may take that long to
/// read its answer.
const LINGER: Duration = Duration::from_secs(1);
/// What a stop may take beyond the grace period; then the process ends, whatever
/// hangs. Under the 5 s between our grace period and the kill of Kubernetes.
const STOP_MAX: Duration = Duration::from_millis(4_500);

/// After a signal the process ends within that time.
pub(super) fn ends_within(config: &Config) -> Duration {
    config.host.shutdown_grace + STOP_MAX
}

pub(super) async fn run(config: Config, mut signals: Signals) -> anyhow::Result<Exit> {
    let (loading, listeners) = tokio::select! {
        opened = open(config) => opened?,
        signal = signals.next() => {
            tracing::info!("stopped by {signal} while starting");
            return Ok(Exit::Succeeded);
        }
    };
    let addresses = listeners.addresses()?;
    let host = Arc::clone(loading.host());
    // From now on it says that it lives, and that it is not ready.
    let mut server = tokio::spawn(http::serve(Arc::clone(&host), listeners));
    let work = async {
        begin(loading, addresses).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = &mut server => {
            served??;
            return Ok(Exit::Succeeded);
        }
        () = work => {}
        signal = signals.next() => {
            service_manager(State::Stopping);
            tracing::info!("stopping after {signal}: commands in flight may finish; a second signal exits immediately");
        }
    }
    let drain = async {
        let in_time = host.stop().await;
        if !in_time {
            tracing::warn!("the grace period ended: commands in flight were cancelled");
        }
        if let Some(telemetry) = host.dispatcher().telemetry() {
            telemetry.stop(LINGER).await;
        }
        // A client that never reads its answer does not hold up the end.
        if let Ok(served) = tokio::time::timeout(LINGER, &mut server).await {
            served??;
        }
        anyhow::Ok(in_time)
    };
    tokio::select! {
        in_time = drain => {
            let in_time = in_time?;
            tracing::info!("stopped");
            Ok(if in_time { Exit::Succeeded } else { Exit::Failed })
        }
        _ = signals.next() => {
            tracing::warn!("exiting with commands in flight");
            Ok(Exit::Failed)
        }
    }
}

/// The host before it has loaded anything, and where it is to take commands.
async fn open(config: Config) -> anyhow::Result<(Loading, Listeners)> {
    let address = config.http.listen;
    let is_open = config.http.is_open() && !config.http.allow_unauthenticated;
    if is_open && !address.ip().is_loopback() {
        let message = format!(
            "{address} can be reached from other machines, and without tokens whoever reaches it may run, read and discard commands"
        );
        let error = Diagnostic::error("unauthenticated", message);
        return Err(error.hint(OPEN_HINT).into());
    }
    let metrics = config.http.metrics_listen;
    if let Some(metrics) = metrics.filter(|it| !it.ip().is_loopback())
        && !config.http.allow_unauthenticated
    {
        let message = format!(
            "{metrics} can be reached from other machines, and whoever reaches it may read the metrics without a token"
        );
        let error = Diagnostic::error("unauthenticated", message);
        return Err(error.hint(OPEN_METRICS_HINT).into());
    }
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let message = format!("cannot listen on {address}: {error}");
        Diagnostic::error("cannot-listen", message)
            .hint("stop the other process, or choose another address with `--listen`")
    })?;
    let metrics = match metrics {
        Some(address) => Some(TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; choose another address with `http.metrics_listen`")
        })?),
        None => None,
    };
    let mut host = Unloaded::restarted(config)?;
    host.load_certificate().await?;
    if let Some(telemetry) = Telemetry::from_environment()? {
        host = host.traced(telemetry);
    }
    let host = super::open_queue(host, QUEUE_HINT).await?;
    Ok((
        host.share(),
        Listeners::from(listener).with_metrics(metrics),
    ))
}

/// Loads what loads quickly, and goes to work with that.
async fn begin(loading: Loading, (address, metrics): (SocketAddr, Option<SocketAddr>)) {
    let host = loading.load(Wait::WhileLoading).await;
    host.work();
    let snapshot = host.snapshot();
    let scheme = if host.tls().is_some() {
        "https"
    } else {
        "http"
    };
    log_problems(&snapshot.problems);
    if let Some(address) = metrics {
        tracing::info!("metrics and probes on http://{address}");
    }
    tracing::info!(
        generation = snapshot.generation,
        handlers = snapshot.handlers.len(),
        rules = snapshot.rules.len(),
        "listening on {scheme}://{address}"
    );
    host.watch(log_reload);
    service_manager(State::Ready);
}

fn log_reload(reload: &Reload) {
    let (mut taken, mut refused) = (String::new(), String::new());
    for file in &reload.changed {
        match file.kind {
            ChangeKind::Refused => refused.push_str(&format!(" {}", file.file_name())),
            ChangeKind::Added | ChangeKind::Modified | ChangeKind::Removed => {
                taken.push_str(&format!(" {file}"));
            }
        }
    }
    let said = match (taken.as_str(), refused.as_str()) {
        // Something else is wrong with the folders.
        ("", "") => String::new(),
        (taken, "") => format!("reloaded{taken}"),
        ("", refused) => format!("refused{refused}"),
        (taken, refused) => format!("reloaded{taken}, refused{refused}"),
    };
    if !said.is_empty() {
        tracing::info!(
            generation = reload.generation,
            ms = millis(reload.duration),
            "{said}"
        );
    }
    log_problems(&reload.problems);
}

fn log_problems(problems: &[Diagnostic]) {
    for problem in problems {
        match problem.severity() {
            Severity::Error => tracing::error!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
        }
    }
}
