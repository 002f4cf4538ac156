//! What the host adds to wasmtime: dispatch, HTTP in and out, databases, state, reload, start-up and
//! sleeping handlers, each beside [raw wasmtime](raw) doing the same, in one run:
//! `cargo bench --bench dispatch -- [MEASURE…] [large]`.
//!
//! `ratio` is ours over raw. Raw wasmtime makes its calls one after another, and
//! for dispatch once more as the host has to, each in a task of its own. `large`
//! puts 10,000 handlers to sleep beside the 1,000. Times are the best of some
//! short windows in which both take turns: other work on the machine only ever
//! slows one down.

mod asleep;
mod egress;
mod guests;
mod http;
mod raw;
mod services;

// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pointsman::{
    budget::Budgets,
    command::Command,
    config::Config,
    dispatcher::DispatchOptions,
    host::{Host, Loaded},
    outcome::ReportStatus,
    reload::Reloader,
    sandbox::{Call, Runtime, Services},
    snapshot::Snapshots,
};
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use guests::{Folders, REACH, changed, nothing, probe};
use raw::Raw;

const WINDOW: Duration = Duration::from_millis(25);
const WINDOWS: usize = 30;
/// Instances that both engines have room for: the host's default.
const INSTANCES: u32 = 4_096;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(child) = asleep::Child::from_arguments(&arguments) {
        return child.run();
    }
    // cargo itself passes `--bench`.
    let chosen: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with('-') && *argument != "large")
        .collect();
    let wanted = |measure: &str| chosen.is_empty() || chosen.contains(&measure);
    let large = arguments.iter().any(|argument| argument == "large");

    let probe = probe();
    println!("the probe has {} KiB", probe.len() / 1024);
    println!(
        "{:<44} {:>10} {:>10}        {:>6}",
        "measure", "ours", "raw", "ratio"
    );
    if wanted("dispatch") {
        dispatch(&probe);
    }
    if wanted("http") {
        http::measure(&probe);
    }
    if wanted("egress") {
        egress::measure();
    }
    if wanted("sql") {
        services::sql();
    }
    if wanted("state") {
        services::state();
    }
    if wanted("reload") {
        reload(&probe);
    }
    if wanted("start") {
        start(&probe);
    }
    if wanted("asleep") {
        asleep::measure(1_000);
        if large {
            asleep::measure(10_000);
        }
    }
}

/// One line of the table.
fn row(measure: &str, ours: f64, raw: f64, unit: &str) {
    println!(
        "{measure:<44} {ours:>10.2} {raw:>10.2} {unit:<6} {:>6.2}",
        ours / raw
    );
}

/// One thread: then a time is a CPU time.
fn one_thread() -> runtime::Runtime {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a tokio runtime")
}

/// Microseconds of one, at best, for two that take turns.
fn turns(
    runtime: &runtime::Runtime,
    mut ours: impl AsyncFnMut(),
    mut raw: impl AsyncFnMut(),
) -> (f64, f64) {
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..WINDOWS {
        best.0 = best.0.min(window(runtime, &mut ours));
        best.1 = best.1.min(window(runtime, &mut raw));
    }
    best
}

fn window(runtime: &runtime::Runtime, once: &mut impl AsyncFnMut()) -> f64 {
    runtime.block_on(async {
        let mut count = 0_u32;
        let start = Instant::now();
        while start.elapsed() < WINDOW {
            for _ in 0..8 {
                once().await;
            }
            count += 8;
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(count)
    })
}

/// A host over `folders`, and one command to show that it works.
async fn started(config: Config) -> Loaded {
    let app = Host::load(config).await.expect("a machine that runs wasm");
    answer(&app, &nothing("one")).await;
    app
}

/// Parses and dispatches one command, as the HTTP server does.
async fn answer(app: &Host, text: &str) {
    let command = Command::parse(text).expect("a command");
    let options = DispatchOptions {
        in_place: true,
        ..DispatchOptions::default()
    };
    let report = app.dispatch(command, options).await;
    let report = report.expect("a handler for it");
    assert_eq!(report.status, ReportStatus::Succeeded, "{report:?}");
}

fn dispatch(probe: &[u8]) {
    let runtime = one_thread();
    let folders = Folders::new(probe, 10);
    let app = runtime.block_on(started(folders.config()));
    let mut raw = Raw::new(INSTANCES, true);
    (0..10).for_each(|_| raw.load(probe));
    let raw = Arc::new(raw);

    let text = nothing("one");
    let command = Command::parse(&text).expect("a command");
    let snapshot = app.snapshot();
    let handler = &snapshot.handlers["probe-p0"];
    let cancel = CancellationToken::new();
    let alone = async || {
        let call = Call {
            attempt: 1,
            started: Instant::now(),
            on_line: None,
            cancel: &cancel,
            simulation: None,
            services: &Services::NONE,
            depth: 0,
        };
        assert!(handler.call(&command, call).await.outcome.result.is_ok());
    };
    let raw_alone = async || assert_eq!(raw.call(0, &text).await, None);
    let (ours, theirs) = turns(&runtime, alone, raw_alone);
    row("call of a handler, without dispatch", ours, theirs, "µs");
    for (to, reach) in REACH {
        let text = nothing(to);
        let shared: Arc<str> = text.as_str().into();
        let ours = async || answer(&app, &text).await;
        let theirs = async || {
            for handler in 0..reach {
                assert_eq!(raw.call(handler, &text).await, None);
            }
        };
        let (ours, theirs) = turns(&runtime, ours, theirs);
        let measure = format!("dispatch to {reach}, fresh instances");
        row(&measure, ours, theirs, "µs");
        let ours = async || answer(&app, &text).await;
        let theirs = async || {
            let calls = (0..reach).map(|handler| {
                let (raw, text) = (Arc::clone(&raw), Arc::clone(&shared));
                tokio::spawn(async move { raw.call(handler, &text).await })
            });
            for call in calls.collect::<Vec<_>>() {
                assert_eq!(call.await.expect("no panic"), None);
            }
        };
        let (ours, theirs) = turns(&runtime, ours, theirs);
        row("  raw in a task for each", ours, theirs, "µs");
    }
}

/// A changed handler among three. Raw wasmtime only compiles and links it.
fn reload(probe: &[u8]) {
    let runtime = one_thread();
    for (cache, rounds, what) in [
        (false, 5, "reload of a handler, new to the host"),
        (true, 50, "reload of a handler, compiled before"),
    ] {
        let folders = Folders::new(probe, 3);
        let mut config = folders.config();
        config.host.sandbox.compile_cache = cache;
        let host = Runtime::new(
            &config.host.sandbox,
            &config.limits,
            &Budgets::here(&config.budgets()),
        )
        .expect("a machine that runs wasm");
        let snapshots = Arc::new(Snapshots::default());
        let reloader = Reloader::new(config, host, Arc::clone(&snapshots));
        runtime.block_on(reloader.reload());
        let raw = Raw::new(INSTANCES, cache);
        let mut best = (f64::INFINITY, f64::INFINITY);
        for round in 0..rounds {
            // Two contents that take turns are both in the cache after the first.
            let content = if cache { round % 2 } else { round };
            let component = changed(probe, content);
            let start = Instant::now();
            raw.compile(&component);
            best.1 = best.1.min(start.elapsed().as_secs_f64() * 1e3);
            folders.plugin(0, &component);
            let start = Instant::now();
            let reload = runtime.block_on(reloader.reload());
            best.0 = best.0.min(start.elapsed().as_secs_f64() * 1e3);
            let [changed] = &reload.changed[..] else {
                panic!("{:?}", reload.changed)
            };
            assert_eq!(changed.to_string(), "~probe-p0.wasm");
            assert!(reload.problems.is_empty(), "{:?}", reload.problems);
        }
        row(what, best.0, best.1, "ms");
    }
}

/// Three plugins, compiled before, to the first answer.
fn start(probe: &[u8]) {
    let folders = Folders::new(probe, 3);
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..20 {
        let runtime = one_thread();
        let start = Instant::now();
        let app = runtime.block_on(started(folders.config()));
        best.0 = best.0.min(start.elapsed().as_secs_f64() * 1e3);
        drop(app);
        let start = Instant::now();
        let mut raw = Raw::new(INSTANCES, true);
        (0..3).for_each(|_| raw.load(probe));
        assert_eq!(runtime.block_on(raw.call(0, &nothing("one"))), None);
        best.1 = best.1.min(start.elapsed().as_secs_f64() * 1e3);
    }
    row("start to the first answer, 3 plugins", best.0, best.1, "ms");
    let process = (0..20).map(|_| {
        let start = Instant::now();
        let output = http::pointsman(&folders)
            .args(["run", &nothing("one"), "--json"])
            .output();
        let output = output.expect("the program starts");
        assert!(output.status.success(), "{output:?}");
        start.elapsed().as_secs_f64() * 1e3
    });
    let process = process.fold(f64::INFINITY, f64::min);
    row(
        "the same, as a process: `pointsman run`",
        process,
        best.1,
        "ms",
    );
}
