//! Those who wait for a command or follow it over HTTP.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::host::{config, echo, serve};
use crate::host::Folders;

/// The events of a stream up to its end: their names with their data.
async fn events(response: reqwest::Response) -> Vec<(String, Value)> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    let named = text.split("\n\n").filter_map(|event| {
        let (name, data) = event.trim().split_once('\n')?;
        let data = serde_json::from_str(data.strip_prefix("data: ")?).unwrap();
        Some((name.strip_prefix("event: ")?.to_owned(), data))
    });
    named.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_progress_of_a_command_is_followed_to_its_end() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let place = host
        .accepted(json!({ "to": "probe", "do": "unavailable" }))
        .await;
    let response = host.follow(&place).await;
    host.app.work();
    let followed = events(response).await;
    let told: Vec<_> = followed
        .iter()
        .map(|(name, data)| (name.as_str(), data["state"].as_str().unwrap()))
        .collect();
    assert_eq!(told.first(), Some(&("delivery", "available")));
    let end = [("delivery", "discarded"), ("end", "discarded")];
    assert_eq!(told[told.len() - 2..], end, "{told:?}");
    assert_eq!(followed.last().unwrap().1, host.get(&place).await);
    // Who comes late sees how it ended.
    let late = events(host.follow(&place).await).await;
    assert_eq!(late, followed[followed.len() - 2..]);
    let (status, problem) = host
        .ask(
            Method::GET,
            "/commands/01980a5c-7d3e-7f40-8000-0123456789ab/events",
        )
        .await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::NOT_FOUND, &json!("unknown-command"))
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_stream_of_a_command_that_waits() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let place = host.accepted(echo()).await;
    let response = host.follow(&place).await;
    host.stop().await;
    let followed = events(response).await;
    assert!(followed.iter().all(|(name, _)| name == "delivery"));
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_and_what_they_are_answered_are_bounded() {
    let folders = Folders::probes(&["probe"]);
    let mut config = config(&folders);
    config.http.listeners_max = Some(1);
    config.http.answers_max_bytes = Some(100_000);
    let host = serve(config, false).await;
    let place = host.accepted(echo()).await;
    let first = host.follow(&place).await;
    assert_eq!(first.status(), StatusCode::OK);
    for path in [format!("{place}/events"), format!("{place}?wait=10s")] {
        let (status, problem) = host.ask(Method::GET, &path).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("busy"))
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("`http.listeners_max` of 1"), "{detail}");
    }
    drop(first);
    // Whoever only asks needs no place; a large answer needs room.
    host.get(&place).await;
    let large = json!({ "to": "probe", "do": "echo", "pad": "x".repeat(60_000) });
    let place = host.accepted(large).await;
    let (status, problem) = host.ask(Method::GET, &place).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`http.answers_max_bytes`"), "{detail}");
    // A list shows its size instead.
    let page = host.get("/commands").await;
    assert_eq!(page["commands"][0]["attributes"], Value::Null);
    assert!(page["commands"][0]["attributesBytes"].as_u64().unwrap() > 60_000);
    host.stop().await;
}
