//! Commands through the library: routing, and every way to end.

mod together;

use std::{sync::Arc, time::Duration};

use expect_test::{Expect, expect};
use pointsman::{
    command::Command,
    dispatcher::{DispatchError, DispatchOptions},
    outcome::{HandlerReport, ReportStatus, Status},
};
use serde_json::{Value, json};

use crate::host::{Folders, dispatch, only, statuses, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_high_risk_policy_goes_to_the_underwriter_and_to_the_default_handler_at_once() {
    let folders = Folders::shipped();
    // 100 and 300 ms: long enough to overlap on a machine that is busy.
    for handler in ["default-create-policy", "notify-underwriter"] {
        folders.settings(handler, "[config]\ndelay-scale = 0.1");
    }
    let app = folders.start().await;
    let report = dispatch(
        &app,
        r#"{"requestType":"CreatePolicy","productType":"HighRisk"}"#,
    )
    .await;
    assert_eq!(
        statuses(&report),
        [
            "default-create-policy succeeded",
            "notify-underwriter succeeded"
        ]
    );
    assert_eq!(report.status, ReportStatus::Succeeded);
    let [default, notify] = &report.handlers[..] else {
        unreachable!()
    };
    let end = |handler: &HandlerReport| handler.started_after + handler.duration;
    assert!(default.started_after < end(notify) && notify.started_after < end(default));
    let lines: Vec<_> = notify
        .outcome
        .logs
        .lines
        .iter()
        .map(|line| line.message.as_str())
        .collect();
    assert_eq!(
        lines,
        [
            "Notifying underwriter for HighRisk policy...",
            "Underwriter notified"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_from_the_web_goes_to_its_own_handler_in_place_of_the_default_one() {
    let app = Folders::shipped().start().await;
    let report = dispatch(
        &app,
        r#"{"requestType":"CreatePolicy","productType":"HighRisk","source":"web"}"#,
    )
    .await;
    assert_eq!(
        statuses(&report),
        ["create-policy succeeded", "notify-underwriter succeeded"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_the_documented_shape() {
    let app = Folders::shipped().start().await;
    let report = dispatch(
        &app,
        r#"{"requestType":"CreatePolicy","productType":"Low"}"#,
    )
    .await;
    let mut json = serde_json::to_value(&report).unwrap();
    let handler = &mut json["handlers"][0];
    for key in ["digest", "durationMs", "startedAfterMs", "spent"] {
        assert!(!handler[key].take().is_null(), "{key}");
    }
    for line in handler["logs"].as_array_mut().unwrap() {
        assert!(line["afterMs"].take().is_number());
    }
    for key in ["commandId", "startedAt", "durationMs"] {
        assert!(!json[key].take().is_null(), "{key}");
    }
    let wanted = json!({
        "commandId": null, "status": "succeeded", "generation": 1, "startedAt": null, "durationMs": null,
        "handlers": [{
            "handler": "default-create-policy", "version": "0.1.0", "digest": null,
            "rules": ["any-policy"], "status": "succeeded",
            "output": { "policy": "default", "productType": "Low" },
            "logs": [
                { "afterMs": null, "level": "info", "message": "Creating default policy..." },
                { "afterMs": null, "level": "info", "message": "Default policy created" },
            ],
            "startedAfterMs": null, "durationMs": null, "spent": null,
        }],
    });
    assert_eq!(json, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_match_names_the_nearest_rule() {
    let app = Folders::shipped().start().await;
    let command =
        Command::parse(r#"{"requestType":"CreatPolicy","productType":"HighRisk"}"#).unwrap();
    let error = app
        .dispatch(command, DispatchOptions::default())
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DispatchError::NoMatchingHandler { .. }));
    assert!(
        text.starts_with("no matching handler found\n  hint: the nearest is rule `high-risk`"),
        "{text}"
    );
    assert!(
        text.contains("CreatPolicy") && text.contains("CreatePolicy"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_gets_the_command_as_it_was_sent() {
    let folders = Folders::probes(&["probe"]);
    let app = folders.start().await;
    let text = r#"{ "to":"probe", "do":"echo", "n": 9007199254740993.10 }"#;
    let mut command = Command::parse(text).unwrap();
    command.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    let id = command.id.to_string();
    let report = app
        .dispatch(command, DispatchOptions::default())
        .await
        .unwrap();
    let output = report.handlers[0]
        .outcome
        .result
        .as_ref()
        .unwrap()
        .as_ref()
        .unwrap();
    let output: Value = serde_json::from_str(output.get()).unwrap();
    let wanted = json!({
        "id": id, "attributes": text, "attempt": 1, "deliveryId": format!("{id}.probe"),
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    });
    assert_eq!(output, wanted);
}

async fn check_failure(command: &str, settings: &str, wanted: Expect) {
    let folders = Folders::probes(&["probe"]);
    folders.settings("probe", settings);
    let app = folders.start().await;
    let report = only(&app, command).await;
    let failure = report.outcome.result.unwrap_err();
    wanted.assert_eq(&format!("{}: {}", failure.code.as_str(), failure.message));
    // The host is as it was: the next call is fine.
    let next = only(&app, r#"{"to":"probe","do":"nothing"}"#).await;
    assert_eq!(next.outcome.status(), Status::Succeeded);
}

macro_rules! ends {
    ($($name:ident: $command:literal, $settings:literal, $wanted:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            check_failure($command, $settings, $wanted).await;
        }
    )*};
}

ends! {
    a_rejection_keeps_its_reason: r#"{"to":"probe","do":"reject"}"#, "", expect!["rejected: not today"];
    a_panic_keeps_its_text: r#"{"to":"probe","do":"panic"}"#, "",
        expect!["trapped: `probe`: panicked at host/tests/guests/examples/probe.rs:66:24: the probe was told to"];
    a_panic_keeps_its_text_past_the_log_limits: r#"{"to":"probe","do":"flood-and-panic","amount":9}"#, "[limits]\nlog_lines_max = 2",
        expect!["trapped: `probe`: panicked at host/tests/guests/examples/probe.rs:77:17: at the end of it"];
    a_trap_is_an_outcome: r#"{"to":"probe","do":"trap"}"#, "",
        expect!["trapped: `probe`: reached an `unreachable` instruction"];
    endless_recursion_ends: r#"{"to":"probe","do":"recurse"}"#, "",
        expect!["trapped: `probe`: the call stack is exhausted; `limits.stack_max_bytes` in plugins/probe.toml sets the limit"];
    recursion_that_uses_up_the_stack_in_memory_names_it: r#"{"to":"probe","do":"recurse-in-memory"}"#, "[limits]\nstack_max_bytes = 16777216",
        expect!["trapped: `probe`: wasm trap: out of bounds memory access deep in a recursion: probably the stack in its own memory is used up, whose size its linker sets (`-zstack-size`)"];
    giving_up_for_want_of_memory_says_so: r#"{"to":"probe","do":"give-up","amount":100000000}"#, "",
        expect!["rejected: no room; before that, `probe`: needed more than 67108864 bytes of memory; `limits.memory_max_bytes` in plugins/probe.toml sets the limit"];
    an_endless_loop_ends_at_the_cpu_limit: r#"{"to":"probe","do":"loop"}"#, "[limits]\ncpu_max = '50ms'",
        expect!["cpu-exceeded: `probe`: computed for more than 50ms; `limits.cpu_max` in plugins/probe.toml sets the limit"];
    an_endless_loop_ends_at_the_wall_clock_limit: r#"{"to":"probe","do":"loop"}"#, "[limits]\ntimeout = '50ms'",
        expect!["timed-out: `probe`: no response after 50ms; `limits.timeout` in plugins/probe.toml sets the limit"];
    a_long_sleep_ends_at_the_wall_clock_limit: r#"{"to":"probe","do":"sleep","amount":3600000}"#, "[limits]\ntimeout = '50ms'",
        expect!["timed-out: `probe`: no response after 50ms; `limits.timeout` in plugins/probe.toml sets the limit"];
    a_memory_bomb_ends_at_the_memory_limit: r#"{"to":"probe","do":"memory"}"#, "[limits]\nmemory_max_bytes = 8388608",
        expect!["out-of-memory: `probe`: needed more than 8388608 bytes of memory; `limits.memory_max_bytes` in plugins/probe.toml sets the limit"];
    an_output_flood_is_refused: r#"{"to":"probe","do":"output-flood","amount":2000}"#, "[limits]\noutput_max_bytes = 1000",
        expect!["output-too-large: `probe`: the answer has 2002 bytes, more than 1000; `limits.output_max_bytes` in plugins/probe.toml sets the limit"];
    more_random_bytes_than_allowed_trap: r#"{"to":"probe","do":"too-many-random-bytes"}"#, "",
        expect!["trapped: `probe`: `random.bytes` returns at most 65536 at once, not 65537"];
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_keeps_its_retry_time() {
    let folders = Folders::probes(&["probe"]);
    let report = only(
        folders.start().await.host(),
        r#"{"to":"probe","do":"unavailable"}"#,
    )
    .await;
    let failure = report.outcome.result.unwrap_err();
    assert_eq!(
        (failure.code, failure.message.as_str()),
        (Status::Unavailable, "come back")
    );
    assert_eq!(failure.retry_after, Some(Duration::from_millis(1_500)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_carries_a_backtrace_with_function_names() {
    let folders = Folders::probes(&["probe"]);
    let report = only(
        folders.start().await.host(),
        r#"{"to":"probe","do":"trap"}"#,
    )
    .await;
    let backtrace = report.outcome.result.unwrap_err().backtrace.join("\n");
    assert!(
        backtrace.contains("command-handler@0.2.0#handle"),
        "{backtrace}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_handler_has_the_call_stack_that_its_settings_give_it() {
    let folders = Folders::probes(&["small", "usual", "large"]);
    folders.settings("small", "[limits]\nstack_max_bytes = 65536");
    folders.settings("large", "[limits]\nstack_max_bytes = 4194304");
    let loaded = folders.start().await;
    let app = Arc::clone(loaded.host());
    let end = async |name: &str, depth: u64| {
        let command = format!(r#"{{"to":"{name}","do":"recurse","amount":{depth}}}"#);
        let outcome = only(&app, &command).await.outcome;
        match outcome.result {
            Ok(output) => output.unwrap().to_string(),
            Err(failure) => failure.code.as_str().to_owned(),
        }
    };
    for (name, ends) in [
        ("small", ["100", "trapped", "trapped"]),
        ("usual", ["100", "5000", "trapped"]),
        ("large", ["100", "5000", "50000"]),
    ] {
        for (depth, wanted) in [100, 5_000, 50_000].into_iter().zip(ends) {
            assert_eq!(end(name, depth).await, wanted, "{name}, {depth} calls deep");
        }
    }
    // New settings give a new stack, and nothing else changed.
    loaded.watch(|_| {});
    folders.settings("small", "[limits]\nstack_max_bytes = 524288");
    until("the new settings", || app.snapshot().generation == 2).await;
    assert_eq!(end("small", 5_000).await, "5000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_takes_the_deepest_command_there_is() {
    let folders = Folders::probes(&["probe"]);
    let app = folders.start().await;
    // The command itself is the first of 120 levels, and `echo` adds another.
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
        let levels = if open.len() > 5 { 59 } else { 118 };
        let deep = format!("{}1{}", open.repeat(levels), close.repeat(levels));
        let command = format!(r#"{{"to":"probe","do":"echo","deep":{deep}}}"#);
        let outcome = only(&app, &command).await.outcome;
        let output = outcome.result.unwrap().unwrap().to_string();
        // As text inside of the answer.
        let deep = deep.replace('"', r#"\""#);
        assert!(output.contains(&deep), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_flood_is_cut_and_counted() {
    let folders = Folders::probes(&["probe"]);
    folders.settings("probe", "[limits]\nlog_lines_max = 10");
    let report = only(
        folders.start().await.host(),
        r#"{"to":"probe","do":"log-flood","amount":1000}"#,
    )
    .await;
    assert_eq!(report.outcome.logs.lines.len(), 10);
    assert_eq!(report.outcome.logs.dropped, 990);
}

#[tokio::test(flavor = "multi_thread")]
async fn sleeping_costs_no_cpu_time() {
    let folders = Folders::probes(&["probe"]);
    folders.settings("probe", "[limits]\ncpu_max = '100ms'");
    // 200 naps see 200 ticks of the clock, and use next to nothing.
    let report = only(
        folders.start().await.host(),
        r#"{"to":"probe","do":"naps","amount":200}"#,
    )
    .await;
    assert_eq!(report.outcome.status(), Status::Succeeded);
    assert!(report.outcome.spent.cpu < report.outcome.spent.wall);
}
