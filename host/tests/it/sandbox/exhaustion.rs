//! What the host has not got: memory of its budget, places for components of
//! many parts, address space. It is nobody's fault but the host's, and harms no
//! other handler.

use std::{
    process::{Command, Stdio},
    sync::Arc,
};

use pointsman::{
    host::Host,
    outcome::{HandlerReport, Status},
};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    components::{answering, beside, handler},
    host::{Folders, guest, only, until, without_settings},
};

const MIB: u64 = 1 << 20;

/// Handlers of these components, each reached by `{"to":"<name>"}`.
fn folders(components: &[(&str, Vec<u8>)]) -> Folders {
    let folders = Folders::new();
    let rules: Vec<_> = components
        .iter()
        .map(|(name, component)| {
            folders.plugin(name, component);
            format!(r#"{{"name":"{name}","match":{{"to":["{name}"]}},"handlers":["{name}"]}}"#)
        })
        .collect();
    folders.rules("all.json", &format!(r#"{{"rules":[{}]}}"#, rules.join(",")));
    folders
}

/// A handler that sleeps for so long, in a component without shims.
fn sleeping(fields: &str, ms: u32) -> Vec<u8> {
    let import = r#"(import "pointsman:handler/clock@0.2.0" "sleep" (func $sleep (param i64)))"#;
    handler(
        &format!("{import} {fields}"),
        &format!("(call $sleep (i64.const {ms})) i32.const 0"),
    )
}

/// `count` commands to `to` at once.
fn at_once(app: &Arc<Host>, to: &'static str, count: usize) -> JoinSet<HandlerReport> {
    let call = |_| {
        let app = Arc::clone(app);
        async move { only(&app, &format!(r#"{{"to":"{to}"}}"#)).await }
    };
    (0..count).map(call).collect()
}

fn failure(report: HandlerReport) -> (Status, String) {
    let failure = report.outcome.result.unwrap_err();
    (failure.code, failure.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_handlers_together_have_one_memory_budget() {
    // Grows to 40 MiB, or traps.
    let grow = "(if (i32.eq (memory.grow (i32.const 639)) (i32.const -1)) (then unreachable))";
    let import = r#"(import "pointsman:handler/clock@0.2.0" "sleep" (func $sleep (param i64)))"#;
    let holding = handler(
        import,
        &format!("{grow} (call $sleep (i64.const 600000)) i32.const 0"),
    );
    let folders = folders(&[
        ("holding", holding),
        ("growing", handler("", &format!("{grow} i32.const 0"))),
        ("large", handler("(memory $own 480)", "i32.const 0")),
        (
            "table",
            beside(answering("1"), "(module (table 90000 funcref))", 40),
        ),
        ("small", answering("1")),
    ]);
    let mut config = folders.config();
    config.host.memory_max_bytes = Some(64 * MIB);
    let app = Arc::clone(Host::load(config).await.unwrap().host());
    let memory = Arc::clone(&app.budgets().memory);
    let holding = at_once(&app, "holding", 1);
    until("it holds its memory", || memory.used() >= 40 * MIB).await;

    let (status, message) = failure(only(&app, r#"{"to":"growing"}"#).await);
    assert_eq!(status, Status::OutOfMemory, "{message}");
    assert!(message.contains("`host.memory_max_bytes`"), "{message}");
    for cannot_start in ["large", "table"] {
        let (status, message) = failure(only(&app, &format!(r#"{{"to":"{cannot_start}"}}"#)).await);
        assert_eq!(status, Status::Busy, "{cannot_start}: {message}");
        assert!(message.contains("`host.memory_max_bytes`"), "{message}");
    }
    let small = only(&app, r#"{"to":"small"}"#).await;
    assert_eq!(small.outcome.status(), Status::Succeeded);
    assert!(memory.refused() >= 3);

    drop(holding);
    app.shutdown().abort.cancel();
    until("all of it is given back", || memory.used() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_wait_leave_half_of_the_memory_to_calls() {
    let folders = folders(&[("kept", handler("(memory $own 320)", "i32.const 0"))]);
    folders.settings("kept", "[instances]\nmode = \"reuse\"\n");
    let mut config = folders.config();
    // Enough for one of 20 MiB to wait, and not for two.
    config.host.memory_max_bytes = Some(48 * MIB);
    let app = Arc::clone(Host::load(config).await.unwrap().host());
    let memory = Arc::clone(&app.budgets().memory);
    let calls = at_once(&app, "kept", 2).join_all().await;
    let succeeded = |report: &HandlerReport| report.outcome.status() == Status::Succeeded;
    assert!(calls.iter().all(succeeded));
    assert!(memory.used() <= 24 * MIB, "{} bytes wait", memory.used());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_many_parts_leaves_room_for_others() {
    for (what, module, count) in [
        ("memories", "(module (memory 0))", 61),
        ("tables", "(module (table 1 funcref))", 62),
        ("core instances", "(module)", 120),
    ] {
        let folders = folders(&[
            ("many", beside(sleeping("", 600_000), module, count)),
            ("other", guest("probe")),
        ]);
        let app = Arc::clone(folders.start().await.host());
        let mut many = at_once(&app, "many", 20);
        // As soon as its share is taken, the next call is told so.
        let (status, message) = failure(many.join_next().await.unwrap().unwrap());
        assert_eq!(status, Status::Busy, "{what}: {message}");
        assert!(
            message.contains("`host.instances_max`"),
            "{what}: {message}"
        );
        let others = at_once(&app, "other", 60).join_all().await;
        for other in others {
            let status = other.outcome.status();
            // The probe does not know what to do, and says so.
            assert_eq!(status, Status::Rejected, "{what}: {other:?}");
        }
        app.shutdown().abort.cancel();
        many.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_component_runs_on_the_smallest_host() {
    let many = beside(answering("1"), "(module (memory 0) (table 1 funcref))", 63);
    let folders = folders(&[("many", many)]);
    let mut config = folders.config();
    config.host.sandbox.instances_max = 1;
    let app = Host::load(config).await.unwrap();
    for _ in 0..3 {
        let report = only(&app, r#"{"to":"many"}"#).await;
        assert_eq!(report.outcome.status(), Status::Succeeded, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rule_says_which_parts_a_component_may_have_with_a_pool_and_without() {
    let two = beside(
        answering("1"),
        "(module (memory 1) (memory 1) (table 1 funcref) (table 1 funcref))",
        1,
    );
    let shared = beside(answering("1"), "(module (memory 1 1 shared))", 1);
    let memories = beside(answering("1"), "(module (memory 0))", 64);
    let tables = beside(answering("1"), "(module (table 1 funcref))", 65);
    let instances = (0..3).fold(answering("1"), |one, _| beside(one, "(module)", 100));
    let folders = folders(&[
        ("two", two),
        ("shared", shared),
        ("memories", memories),
        ("tables", tables),
        ("instances", instances),
    ]);
    let pooled = folders.problems().await;
    for name in ["two", "shared", "memories", "tables", "instances"] {
        folders.settings(name, "[limits]\nstack_max_bytes = 65536\n");
    }
    let on_demand = folders.problems().await;
    assert_eq!(pooled, on_demand);
    expect_test::expect![[r#"
        plugins/instances.wasm: has 301 instances of core modules; the limit is 256
          hint: link its modules into fewer
        plugins/memories.wasm: has 65 linear memories; the limit is 64
          hint: compose it of fewer modules
        plugins/shared.wasm: has a shared memory: handlers have no threads
          hint: build it without threads: without `-pthread`, `+atomics` or `--shared-memory`
        plugins/tables.wasm: has 65 tables; the limit is 64
          hint: compose it of fewer modules"#]]
    .assert_eq(&on_demand);
    let app = folders.start().await;
    let report = only(&app, r#"{"to":"two"}"#).await;
    assert_eq!(report.outcome.status(), Status::Succeeded, "{report:?}");
}

/// The handlers of the report of `pointsman run`, which may map so many KiB.
#[cfg(target_os = "linux")]
fn run_within(kib: u32, folders: &Folders, command: &str) -> (Vec<Value>, String) {
    let program = env!("CARGO_BIN_EXE_pointsman");
    let output = without_settings(&mut Command::new("sh"))
        .args(["-c", "ulimit -v \"$0\"; exec \"$@\"", &kib.to_string()])
        .args([program, "run", "--json", command])
        .current_dir(folders.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let handlers = report["handlers"].as_array().cloned();
    (handlers.unwrap_or_else(|| panic!("{said}")), said)
}

#[cfg(target_os = "linux")]
#[test]
fn handlers_run_in_little_address_space() {
    let folders = Folders::new();
    let names: Vec<_> = (0..8).map(|number| format!("h{number}")).collect();
    for name in &names {
        folders.plugin(name, sleeping("", 300));
    }
    let rule = format!(
        r#"{{"name":"all","match":"*","handlers":["{}"]}}"#,
        names.join("\",\"")
    );
    folders.rules("all.json", &format!(r#"{{"rules":[{rule}]}}"#));
    let (handlers, said) = run_within(4_000_000, &folders, r#"{"to":"all"}"#);
    assert_eq!(handlers.len(), 8);
    for handler in handlers {
        assert_eq!(handler["status"], "succeeded", "{handler}");
    }
    assert!(said.contains("instances are made on demand"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_instance_that_the_machine_cannot_make_is_not_the_guests_fault() {
    let folders = folders(&[("good", answering("1"))]);
    let rule = r#"{"rules":[{"name":"all","match":"*","handlers":["good"]}]}"#;
    folders.rules("all.json", rule);
    // Each memory reserves what a handler may use: more than there is.
    let settings = "[limits]\nmemory_max_bytes = 4_294_967_296\n";
    std::fs::write(folders.path().join("pointsman.toml"), settings).unwrap();
    let (handlers, _) = run_within(3_000_000, &folders, r#"{"to":"good"}"#);
    assert_eq!(handlers[0]["status"], "unavailable", "{}", handlers[0]);
    let message = handlers[0]["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("the host could not create an instance: "),
        "{message}"
    );
}
