//! Follow-up commands, from a handler into the queue.

use std::{sync::Arc, time::Duration};

use pointsman::{dispatcher::DispatchOptions, outcome::Status};
use pointsman_core::state::{Space, StateAnswer, StateRequest};
use pointsman_queue::{CommandFilter, Page};
use serde_json::{Value, json};

use super::{
    sql::{answer, folders},
    state::{with_queue, with_queue_and},
};
use crate::{
    host::{Folders, dispatch, only},
    queue::host::{config, serve},
};

/// The handler emits, and what it emits goes to it again.
fn emitting(settings: &str) -> Folders {
    folders(settings)
}

fn emits(commands: &Value) -> Value {
    json!({ "do": "emit", "commands": commands })
}

const COUNT: &str = r#"{"do":"count"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_emits_is_stored_once_it_succeeded_and_runs() {
    let folders = emitting("[emit]\n[state]");
    let serving = serve(config(&folders), true).await;
    let command = emits(&json!([{"do": "count"}, {"do": "count", "again": true}]));
    let report = only(&serving.app, &command.to_string()).await;
    let ids: Vec<String> =
        serde_json::from_str(report.outcome.result.unwrap().unwrap().get()).unwrap();
    let emitted: Vec<_> = report
        .outcome
        .emitted
        .iter()
        .map(|one| one.id.to_string())
        .collect();
    assert_eq!(emitted, ids);
    for id in &ids {
        let view = serving.finished(&format!("/commands/{id}")).await;
        assert_eq!(view["state"], "completed", "{view}");
        let by = format!("{}.keeps", report_command(&view));
        assert_eq!(view["causationId"], by.as_str(), "{view}");
    }
    assert_eq!(answer(&serving.app, COUNT).await, Ok(json!(3)));
    serving.stop().await;
}

/// The command that the causation of another names.
fn report_command(view: &Value) -> String {
    let causation = view["causationId"].as_str().unwrap();
    causation.split_once('.').unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_fails_emits_nothing_and_one_that_is_tried_again_emits_once() {
    let folders = emitting("[emit]\n[state]");
    let serving = serve(config(&folders), true).await;
    let mut command = emits(&json!([{"do": "count"}]));
    command["fail-until"] = json!(3);
    let place = serving.accepted(command).await;
    let view = serving.finished(&place).await;
    assert_eq!(view["state"], "completed", "{view}");
    assert_eq!(view["deliveries"][0]["attempt"], 3);
    let id = view["deliveries"][0]["output"][0].as_str().unwrap();
    serving.finished(&format!("/commands/{id}")).await;
    // Three attempts, one command.
    assert_eq!(answer(&serving.app, COUNT).await, Ok(json!(2)));

    // It ends in the dead letter: nothing of it is there.
    let mut command = emits(&json!([{"do": "count"}]));
    command["fail-until"] = json!(1_000);
    let place = serving.accepted(command).await;
    assert_eq!(serving.finished(&place).await["state"], "discarded");
    let all = serving.get("/commands").await;
    assert_eq!(all["commands"].as_array().unwrap().len(), 3, "{all}");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_while_the_host_stops_emits_as_ever() {
    let folders = emitting("[emit]\n[state]");
    let serving = serve(config(&folders), true).await;
    let mut command = emits(&json!([{"do": "nothing"}]));
    command["after"] = json!("go");
    let place = serving.accepted(command.clone()).await;
    let host = Arc::clone(serving.app.host());
    let store = host.queue().unwrap().store();
    let executing = tokio::spawn({
        let host = Arc::clone(&host);
        async move { only(&host, &command.to_string()).await }
    });
    let space = Space {
        name: "keeps".to_owned(),
        keys_max: 10,
        bytes_max: 1_000,
    };
    let ask = |request| store.state(space.clone(), request);
    let waiting = || {
        let key = "waiting".to_owned();
        ask(StateRequest::Get { key })
    };
    while waiting().await.unwrap() != Ok(StateAnswer::Value(Some("2".to_owned()))) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stopping = tokio::spawn(serving.stop());
    host.shutdown().draining.cancelled().await;
    let go = StateRequest::Set {
        key: "go".to_owned(),
        value: "true".to_owned(),
        ttl: None,
    };
    ask(go).await.unwrap().unwrap();
    let outcome = executing.await.unwrap().outcome;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    stopping.await.unwrap();

    let app = with_queue(&folders).await;
    let store = app.queue().unwrap().store();
    let delivered = place.trim_start_matches("/commands/").parse().unwrap();
    let view = store.get(delivered).await.unwrap();
    assert_eq!(view.deliveries[0].state.as_str(), "completed", "{view:?}");
    let page = Page {
        after: None,
        limit: 10,
    };
    let all = store.list(CommandFilter::default(), page).await.unwrap();
    let caused = all.iter().filter(|view| view.causation.is_some());
    assert_eq!(caused.count(), 2, "{all:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_commands_comes_to_an_end() {
    let folders = emitting("[emit]");
    let serving = serve(config(&folders), true).await;
    // Twelve commands in each other; the ninth may not emit.
    let innermost = json!({"do": "nothing"});
    let nested = (0..12).fold(innermost, |inner, _| emits(&json!([inner])));
    let place = serving.accepted(nested).await;
    let (mut view, mut depth) = (serving.finished(&place).await, 0);
    while view["state"] == "completed" {
        let id = view["deliveries"][0]["output"][0]
            .as_str()
            .unwrap()
            .to_owned();
        view = serving.finished(&format!("/commands/{id}")).await;
        depth += 1;
    }
    assert_eq!(depth, 8);
    let failure = &view["deliveries"][0]["lastFailure"];
    assert!(
        failure["message"]
            .as_str()
            .unwrap()
            .contains("at most 8 long"),
        "{failure}"
    );
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_refused_where_it_is_emitted_and_no_more_than_granted() {
    let folders = emitting("[emit]\ncommands_max = 2");
    let app = with_queue(&folders).await;
    for (commands, wanted) in [
        (json!([{"to": "nobody"}]), "no matching handler"),
        (json!([[1]]), "no command"),
        (
            json!([{"do": "nothing"}, {"do": "nothing"}, {"do": "nothing"}]),
            "`emit.commands_max`",
        ),
        (
            json!([{"do": "x".repeat(5 << 20)}]),
            "4194304 bytes together",
        ),
    ] {
        let (status, message) = answer(&app, &emits(&commands).to_string())
            .await
            .unwrap_err();
        assert_eq!(status, Status::Rejected, "{message}");
        assert!(message.contains(wanted), "{message}");
    }
    let later = r#"{"do":"emit-later","command":{"do":"nothing"}}"#;
    let id = answer(&app, later).await.unwrap();
    let id = id.as_str().unwrap().parse().unwrap();
    let view = app.queue().unwrap().store().get(id).await.unwrap();
    let delivery = &view.deliveries[0];
    assert_eq!(delivery.state.as_str(), "scheduled");
    assert_eq!(
        (delivery.priority, delivery.ordering_key.as_deref()),
        (5, Some("k"))
    );
    app.stop().await;

    let denied = folders_without_grant().await;
    assert_eq!(denied.0, Status::Denied, "{}", denied.1);
    assert!(
        denied.1.contains("plugins/keeps.toml: [emit]"),
        "{}",
        denied.1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_emitted_has_the_limits_of_what_a_client_sends() {
    let folders = emitting("[emit]");
    let app = with_queue_and(&folders, |config| {
        config.host.command_max_bytes = 10_000;
        config.queue.run_at_max = Duration::from_secs(24 * 3_600);
    })
    .await;
    for (command, refused, wanted) in [
        (
            json!({"do": "emit-large", "bytes": 9_000, "count": 3}),
            0,
            "",
        ),
        (
            json!({"do": "emit-large", "bytes": 10_000, "count": 1}),
            1,
            "more than 10000; `host.command_max_bytes`",
        ),
        // Reading what is refused is work, too.
        (
            json!({"do": "emit-large", "bytes": 10_000, "count": 102}),
            102,
            "100 commands of this call were refused",
        ),
    ] {
        let answer = answer(&app, &command.to_string()).await.unwrap();
        assert_eq!(answer["refused"], refused, "{answer}");
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(wanted), "{answer}");
    }
    let later = r#"{"do":"emit-later","hours":23,"command":{"do":"nothing"}}"#;
    answer(&app, later).await.unwrap();
    let later = r#"{"do":"emit-later","hours":25,"command":{"do":"nothing"}}"#;
    let (_, message) = answer(&app, later).await.unwrap_err();
    assert!(message.contains("`queue.run_at_max`"), "{message}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_emitted_counts_as_memory_of_the_host_until_the_call_is_over() {
    let folders = emitting("[emit]");
    // A handler has a quarter of it for what is not in its own memory.
    let app = with_queue_and(&folders, |config| {
        config.host.memory_max_bytes = Some(12 << 20);
    })
    .await;
    let command = |count: u32| json!({"do": "emit-large", "bytes": 1_000_000, "count": count});
    for _ in 0..3 {
        let answer = answer(&app, &command(3).to_string()).await.unwrap();
        assert_eq!(answer["refused"], 0, "{answer}");
    }
    let (status, message) = answer(&app, &command(4).to_string()).await.unwrap_err();
    assert_eq!(status, Status::OutOfMemory, "{message}");
    assert!(message.contains("`host.memory_max_bytes`"), "{message}");
    assert_eq!(app.budgets().memory.used(), 0);
    app.stop().await;
}

async fn folders_without_grant() -> (Status, String) {
    let folders = emitting("");
    let app = with_queue(&folders).await;
    let command = emits(&json!([{"do": "nothing"}]));
    let denied = answer(&app, &command.to_string()).await.unwrap_err();
    app.stop().await;
    denied
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_names_what_was_emitted_and_a_failed_store_is_a_failed_handler() {
    let folders = emitting("[emit]");
    let app = with_queue(&folders).await;
    let command = emits(&json!([{"do": "nothing"}])).to_string();
    let report = dispatch(&app, &command).await;
    let json = serde_json::to_value(&report).unwrap();
    let emitted = json["handlers"][0]["emitted"].as_array().unwrap();
    assert_eq!(emitted.len(), 1);
    app.queue().unwrap().store().close().await.unwrap();
    let command = pointsman::command::Command::parse(&command).unwrap();
    let report = app
        .dispatch(command, DispatchOptions::default())
        .await
        .unwrap();
    let failure = report.handlers[0].outcome.result.as_ref().unwrap_err();
    assert_eq!(failure.code, Status::Unavailable);
    assert!(
        failure
            .message
            .contains("follow-up commands could not be stored")
    );
    assert!(report.handlers[0].outcome.emitted.is_empty());
    app.stop().await;
}
