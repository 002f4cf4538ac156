//! Handlers whose objects are collected: garbage costs nothing for long, and
//! what lives counts towards the handler's memory.

use pointsman::{host::Loaded, outcome::Status};

use crate::{
    components::handler,
    host::{Folders, only},
};

const TYPES: &str = "(type $bytes (array (mut i8)))
    (rec (type $node (struct (field (mut (ref null $node))) (field (ref $bytes)))))
    (global $kept (mut (ref null $node)) (ref.null $node))";

/// `count` times this body.
fn repeated(count: u32, body: &str) -> String {
    format!(
        "(local $i i32) (local $node (ref null $node))
         (loop $again {body}
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const {count}))))
         i32.const 0"
    )
}

/// A node that points to itself and is not kept.
const CYCLE: &str = "(local.set $node (struct.new $node (ref.null $node) (array.new_default $bytes (i32.const 1000))))
    (struct.set $node 0 (local.get $node) (local.get $node))";
/// A node that stays as long as its instance.
const KEPT: &str = "(global.set $kept (struct.new $node (global.get $kept) (array.new_default $bytes (i32.const 1000))))";
/// A caught exception that carries so many numbers.
const CARRIED: usize = 100;

fn thrown() -> String {
    let numbers = "(i64.const 0)".repeat(CARRIED);
    format!("(block $caught (try_table (catch_all $caught) {numbers} (throw $thrown)))")
}

async fn app(settings: &str, count: u32, body: &str) -> (Folders, Loaded) {
    let folders = Folders::new();
    let fields = format!("{TYPES} (tag $thrown (param {}))", "i64 ".repeat(CARRIED));
    folders.plugin("gc", handler(&fields, &repeated(count, body)));
    folders.settings("gc", settings);
    folders.rules(
        "gc.json",
        r#"{"rules":[{"name":"gc","match":"*","handlers":["gc"]}]}"#,
    );
    let app = folders.start().await;
    (folders, app)
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_collected_cycles_and_exceptions_too() {
    // Each several times as much as the handler may have.
    for (count, body) in [(10_000, CYCLE), (2_000, &thrown())] {
        for stack in ["", "stack_max_bytes = 65536\n"] {
            let settings = format!("[limits]\nmemory_max_bytes = 524288\n{stack}");
            let (_folders, app) = app(&settings, count, body).await;
            let report = only(&app, "{}").await;
            assert_eq!(report.outcome.status(), Status::Succeeded, "{report:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_reused_does_not_die_of_its_garbage() {
    for (count, body) in [(500, CYCLE), (200, &thrown())] {
        let settings = "[instances]\nmode = \"reuse\"\n[limits]\nmemory_max_bytes = 524288\n";
        let (_folders, app) = app(settings, count, body).await;
        for _ in 0..25 {
            let report = only(&app, "{}").await;
            assert_eq!(report.outcome.status(), Status::Succeeded, "{report:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lives_may_take_three_eighths_of_the_limit_and_not_all_of_it() {
    // The heap grows to three quarters, half of which objects are copied to.
    let (_folders, app) = app("", 20_000, KEPT).await;
    let report = only(&app, "{}").await;
    assert_eq!(report.outcome.status(), Status::Succeeded, "{report:?}");

    let (_folders, app) = self::app("", 200_000, KEPT).await;
    let failure = only(&app, "{}").await.outcome.result.unwrap_err();
    assert_eq!(failure.code, Status::OutOfMemory, "{}", failure.message);
    assert!(failure.message.contains("`limits.memory_max_bytes`"));
}
