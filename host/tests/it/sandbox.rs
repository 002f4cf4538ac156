//! Handlers that misbehave, alone and all together: each ends as its own
//! outcome, and the host is as it was.

mod compile;
mod exhaustion;
pub(crate) mod fuzzed_plugins;
mod gc;
mod grants;
mod grants_bounds;
mod guest_text;
mod instances;
mod left_out;
mod swap;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use pointsman::{host::Host, outcome::HandlerReport};
use serde_json::Value;

use crate::{
    cli,
    components::{
        answering, assert_flat, beside, handler, is_alone, open_files, resident_bytes, rounds,
    },
    host::{Folders, dispatch, guest, only, serve_with, until},
};

/// Every guest with how it ends. Those with `do` are the probe, told by its configuration.
const GUESTS: &[(&str, &str, &str)] = &[
    ("good", "do = \"nothing\"", "succeeded"),
    ("endless-loop", "do = \"loop\"", "cpu-exceeded"),
    ("loop-in-start", "", "cpu-exceeded"),
    ("hostcall-flood", "do = \"hostcall-flood\"", "cpu-exceeded"),
    ("recursion", "do = \"recurse\"", "trapped"),
    ("recursion-in-a-small-stack", "do = \"recurse\"", "trapped"),
    ("panic", "do = \"panic\"", "trapped"),
    ("trap", "do = \"trap\"", "trapped"),
    ("divide", "do = \"divide\"", "trapped"),
    ("resource-leak", "", "trapped"),
    ("memory-bomb", "do = \"memory\"", "out-of-memory"),
    ("many-memories", "", "out-of-memory"),
    ("growing-memories", "", "out-of-memory"),
    ("table-bomb", "", "out-of-memory"),
    (
        "output-flood",
        "do = \"output-flood\"\namount = 1_100_000",
        "output-too-large",
    ),
    (
        "log-flood",
        "do = \"log-flood\"\namount = 2_000",
        "succeeded",
    ),
    (
        "log-lines",
        "do = \"log-lines\"\namount = 500_000",
        "succeeded",
    ),
    (
        "sleep-forever",
        "do = \"sleep\"\namount = 3_600_000",
        "timed-out",
    ),
    ("no-json", "", "invalid-output"),
    ("reject", "do = \"reject\"", "rejected"),
    ("unavailable", "do = \"unavailable\"", "unavailable"),
    ("missing", "", "unavailable"),
];

/// Small, so that thousands of calls fit into a test.
const LIMITS: &str =
    "[limits]\nmemory_max_bytes = 8_388_608\nlog_lines_max = 100\nresources_max = 100\n";

/// Every guest, reached by `{"to":"<its name>"}` and together by `{"to":"all"}`.
fn folders() -> Folders {
    let folders = Folders::new();
    let mut rules = Vec::new();
    for (name, config, _) in GUESTS {
        rules.push(format!(
            r#"{{"name":"{name}","match":{{"to":["{name}","all"]}},"handlers":["{name}"]}}"#
        ));
        let bytes = match *name {
            "missing" => continue,
            _ if !config.is_empty() => guest("probe"),
            name => component(name),
        };
        folders.plugin(name, bytes);
        let limits = match *name {
            "endless-loop" | "loop-in-start" | "hostcall-flood" => "cpu_max = '1ms'",
            "sleep-forever" => "timeout = '50ms'",
            "recursion-in-a-small-stack" => "stack_max_bytes = 65_536",
            // The others come to their own end, however slow the machine is.
            _ => "",
        };
        let limits = format!("{LIMITS}{limits}\n");
        folders.settings(name, &format!("{limits}[config]\n{config}"));
    }
    folders.rules("all.json", &format!(r#"{{"rules":[{}]}}"#, rules.join(",")));
    folders
}

fn component(name: &str) -> Vec<u8> {
    match name {
        "loop-in-start" => handler("(func $s (loop $l (br $l))) (start $s)", "i32.const 0"),
        // 16 times 1 MiB: each alone is within the limit.
        "many-memories" => beside(handler("", "i32.const 0"), "(module (memory 16))", 16),
        "growing-memories" => {
            let grow = "(module (memory 0) (start $s)
                (func $s (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))))";
            beside(handler("", "i32.const 0"), grow, 16)
        }
        "table-bomb" => handler(
            "(table $t 0 funcref)",
            "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable",
        ),
        "resource-leak" => handler(
            r#"(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $leak (param i64) (result i32)))"#,
            "(loop $l (drop (call $leak (i64.const 1000000000000))) (br $l)) unreachable",
        ),
        "no-json" => answering("{"),
        name => panic!("no guest `{name}`"),
    }
}

/// How each guest ends, by name.
type Ends = BTreeMap<String, String>;

fn wanted() -> Ends {
    let end = |(name, _, status): &(&str, &str, &str)| ((*name).into(), (*status).into());
    GUESTS.iter().map(end).collect()
}

async fn together(app: &Host) -> Ends {
    let report = dispatch(app, r#"{"to":"all"}"#).await;
    let end = |handler: &HandlerReport| {
        (
            handler.handler.to_string(),
            handler.outcome.status().as_str().to_owned(),
        )
    };
    report.handlers.iter().map(end).collect()
}

/// The ends in the JSON of a report.
fn ends_of(report: &Value) -> Ends {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let handlers = report["handlers"].as_array().unwrap();
    let end = |handler: &Value| (text(&handler["handler"]), text(&handler["status"]));
    handlers.iter().map(end).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_misbehaving_guest_ends_as_its_own_outcome() {
    let folders = folders();
    let app = folders.start().await;
    let mut seen = Ends::new();
    assert_eq!(app.snapshot().handlers.len(), GUESTS.len() - 1);
    for (name, ..) in GUESTS {
        let report = only(&app, &format!(r#"{{"to":"{name}"}}"#)).await;
        let status = report.outcome.status().as_str().to_owned();
        seen.insert((*name).into(), status);
    }
    assert_eq!(seen, wanted());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcomes_are_the_same_in_the_library_over_http_and_on_the_command_line() {
    let folders = folders();
    let (app, url) = serve_with(folders.config()).await;
    assert_eq!(together(&app).await, wanted(), "library");

    let response = reqwest::Client::new()
        .post(format!("{url}/commands/execute"))
        .header("Content-Type", "application/json")
        .body(r#"{"to":"all"}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(ends_of(&response.json().await.unwrap()), wanted(), "HTTP");

    let mut run = cli::pointsman(&folders, &["run", "--json", r#"{"to":"all"}"#]);
    let output = tokio::task::spawn_blocking(move || run.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ends_of(&report), wanted(), "command line");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_misbehaving_calls_leave_nothing_behind() {
    if !is_alone("sandbox::thousands_of_misbehaving_calls_leave_nothing_behind") {
        return;
    }
    let folders = folders();
    let app = Arc::clone(folders.start().await.host());
    // Every round calls each guest once.
    let rounds = rounds(1_000, 10_000) / GUESTS.len() + 1;
    // Until the pool has warmed as many of its slots as it keeps warm.
    storm(&app, 60.max(rounds / 4)).await;
    let (memory, files) = (resident_bytes(), open_files());
    storm(&app, rounds).await;
    until("all tasks are done", || app.shutdown().tasks.is_empty()).await;
    eprintln!(
        "{} calls: {memory} bytes before, {} after",
        rounds * GUESTS.len(),
        resident_bytes()
    );
    assert_flat(memory, resident_bytes());
    assert_eq!(open_files(), files);
    assert_eq!(
        only(&app, r#"{"to":"good"}"#)
            .await
            .outcome
            .status()
            .as_str(),
        "succeeded"
    );
    assert!(app.stop().await);
}

/// Runs all guests together, again and again, four commands at a time.
async fn storm(app: &Arc<Host>, rounds: usize) {
    let left = Arc::new(AtomicUsize::new(rounds));
    let client = || {
        let (app, left) = (Arc::clone(app), Arc::clone(&left));
        async move {
            let next = || left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
            while next().is_ok() {
                assert_eq!(together(&app).await, wanted());
            }
        }
    };
    let clients: tokio::task::JoinSet<()> = (0..4).map(|_| client()).collect();
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_of_many_lines_is_cut_and_counted_as_many_messages_are() {
    let folders = Folders::probes(&["probe"]);
    folders.settings("probe", "[limits]\nlog_lines_max = 10");
    let app = folders.start().await;
    let report = only(&app, r#"{"to":"probe","do":"log-lines","amount":1000}"#).await;
    let logs = report.outcome.logs;
    assert_eq!((logs.lines.len(), logs.dropped), (10, 990));
}
