//! The host over HTTP.

mod access;
mod bounds;
mod connections;
mod frames;
mod http2;
mod slow;
pub(crate) mod tls;

use std::sync::Arc;

use expect_test::{Expect, expect};
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::host::{Folders, serve, serve_with, until};

async fn post(url: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
    let request = Client::new().post(format!("{url}/commands/execute"));
    let response = request
        .header("Content-Type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_of_the_original_is_answered_with_a_report() {
    let (_app, url) = serve(&Folders::shipped()).await;
    let (status, report) = post(
        &url,
        r#"{"requestType": "CreatePolicy", "productType": "HighRisk"}"#,
    )
    .await;
    assert_eq!(
        (status, &report["status"]),
        (StatusCode::OK, &"succeeded".into())
    );
    assert_eq!(report["handlers"][1]["output"]["notified"], "underwriter");
}

#[tokio::test(flavor = "multi_thread")]
async fn some_failures_are_200_partial_and_nothing_but_failures_502() {
    let folders = Folders::probes(&["probe"]);
    folders.rules(
        "missing.json",
        r#"{"rules":[{"name":"m","match":{"with":["missing"]},"handlers":["missing"]}]}"#,
    );
    let (_app, url) = serve(&folders).await;
    let (status, report) = post(&url, r#"{"to":"probe","do":"nothing","with":"missing"}"#).await;
    assert_eq!(
        (status, report["status"].as_str()),
        (StatusCode::OK, Some("partial"))
    );
    let (status, report) = post(&url, r#"{"to":"probe","do":"reject"}"#).await;
    assert_eq!(
        (status, report["status"].as_str()),
        (StatusCode::BAD_GATEWAY, Some("failed"))
    );
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn what_is_wrong_with_a_request_is_a_problem_document() {
    let folders = Folders::shipped();
    let (_app, url) = serve(&folders).await;
    let check = async |request: reqwest::RequestBuilder, wanted: Expect| {
        let response = request.send().await.unwrap();
        let status = response.status();
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["status"], status.as_u16());
        let text = format!(
            "{status} {}: {}",
            problem["code"].as_str().unwrap(),
            problem["detail"].as_str().unwrap()
        );
        wanted.assert_eq(&match problem["hint"].as_str() {
            Some(hint) => folders.without_path(&format!("{text}\nhint: {hint}")),
            None => text,
        });
    };
    let execute = |body: Vec<u8>| {
        let request = Client::new().post(format!("{url}/commands/execute"));
        request
            .header("Content-Type", "application/json; charset=utf-8")
            .body(body)
    };
    check(execute(b"hello".into()), expect!["400 Bad Request invalid-json: the command is not valid JSON: expected a JSON value, found `h` at line 1, column 1"]).await;
    check(execute(b"[]".into()), expect![[r#"400 Bad Request not-an-object: the command is an array: send one JSON object, such as {"requestType":"CreatePolicy"}"#]]).await;
    check(execute(br#"{"a":1,"a":2}"#.into()), expect!["400 Bad Request duplicate-key: the command has a duplicate key `a` at line 1, column 8: keep one of the two"]).await;
    check(
        execute(vec![b' '; (1 << 20) + 1]),
        expect![[r#"
        413 Payload Too Large command-too-large: the command has more than 1048576 bytes
        hint: `host.command_max_bytes` in pointsman.toml sets the limit"#]],
    )
    .await;
    check(
        Client::new()
            .post(format!("{url}/commands/execute"))
            .body("{}"),
        expect![[r#"
        415 Unsupported Media Type unsupported-media-type: the body has no content type
        hint: send `Content-Type: application/json`, and the command in UTF-8"#]],
    )
    .await;
    check(
        Client::new()
            .post(format!("{url}/commands/execute"))
            .header("Content-Type", "application/json; charset=utf-16")
            .body("{}"),
        expect![[r#"
        415 Unsupported Media Type unsupported-media-type: the body has the content type `application/json; charset=utf-16`
        hint: send `Content-Type: application/json`, and the command in UTF-8"#]],
    )
    .await;
    check(
        execute(br#"{"requestType":"Nothing"}"#.into()),
        expect![[r#"
            404 Not Found no-matching-handler: no matching handler found
            hint: the nearest is rule `any-policy` (rules/policy.json:16): `requestType` is "Nothing", expected "CreatePolicy""#]],
    )
    .await;
    check(
        Client::new().get(format!("{url}/nothing")),
        expect![[r#"
        404 Not Found no-such-path: no such path
        hint: `GET /` lists all paths"#]],
    )
    .await;
    check(
        Client::new().get(format!("{url}/commands/execute")),
        expect![[r#"
        405 Method Not Allowed method-not-allowed: this path does not support the method
        hint: the `Allow` header lists the supported methods"#]],
    )
    .await;
    assert_eq!(
        post(&url, r#"{"requestType":"CreatePolicy"}"#).await.0,
        StatusCode::OK
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_and_rules_are_shown() {
    let folders = Folders::shipped();
    folders.plugin("broken", "nonsense");
    let (_app, url) = serve(&folders).await;
    let plugins: Value = reqwest::get(format!("{url}/plugins"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let states: Vec<_> = plugins["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| {
            format!(
                "{} {} {}",
                plugin["handler"], plugin["state"], plugin["rules"]
            )
        })
        .collect();
    expect![[r#"
        "broken" "failed" []
        "create-policy" "loaded" ["web-policy"]
        "default-create-policy" "loaded" ["any-policy"]
        "notify-underwriter" "loaded" ["high-risk"]"#]]
    .assert_eq(&states.join("\n"));
    assert_eq!(
        plugins["plugins"][0]["error"]["reason"],
        "is no WebAssembly"
    );
    let rules: Value = reqwest::get(format!("{url}/rules"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(rules["files"][0]["rules"][0]["name"], "high-risk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_ready_until_it_drains_and_healthy_throughout() {
    let folders = Folders::shipped();
    let (app, url) = serve(&folders).await;
    let get = async |client: &Client, path: &str| {
        client
            .get(format!("{url}{path}"))
            .send()
            .await
            .unwrap()
            .status()
    };
    let client = Client::new();
    assert_eq!(get(&client, "/healthz").await, StatusCode::OK);
    assert_eq!(get(&client, "/readyz").await, StatusCode::OK);

    // While a command is in flight, it says that it drains, on a new connection too.
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    app.shutdown().tasks.spawn(ended);
    let stopping = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.stop().await }
    });
    app.shutdown().draining.cancelled().await;
    let refused = Client::new().get(format!("{url}/readyz")).send().await;
    let refused = refused.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.text().await.unwrap().contains("draining"));
    assert_eq!(get(&client, "/healthz").await, StatusCode::OK);
    drop(end);
    assert!(stopping.await.unwrap());
    // The server closes its port in a task of its own.
    for _ in 0..1_000 {
        if client.get(format!("{url}/readyz")).send().await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("still listening");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_commands_at_once_are_all_answered() {
    let folders = Folders::probes(&["probe"]);
    let mut config = folders.config();
    config.host.sandbox.instances_max = 1_000;
    let (_app, url) = serve_with(config).await;
    let client = Client::new();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let request = client
            .post(format!("{url}/commands/execute"))
            .header("Content-Type", "application/json")
            .body(r#"{"to":"probe","do":"sleep","amount":500}"#);
        requests.spawn(async move { request.send().await.unwrap().status() });
    }
    let statuses = requests.join_all().await;
    assert!(statuses.iter().all(|status| *status == StatusCode::OK));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_is_answered_over_http_too() {
    let (_app, url) = serve(&Folders::shipped()).await;
    let request = Client::new().post(format!("{url}/rules/explain"));
    let body = r#"{"requestType":"CreatePolicy","productType":"Low"}"#;
    let request = request
        .header("Content-Type", "application/json")
        .body(body);
    let explanation: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(explanation["fired"][0]["rule"], "any-policy");
    assert_eq!(
        explanation["misses"][0]["failed"][0]["field"],
        "productType"
    );
    assert_eq!(explanation["misses"][0]["failed"][0]["seen"][0], "\"Low\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_full_of_computing_handlers_still_says_that_it_is_healthy() {
    let folders = Folders::probes(&["probe"]);
    let (app, url) = serve(&folders).await;
    let before = app.shutdown().tasks.len();
    let mut spinning = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        spinning.spawn(async move { post(&url, r#"{"to":"probe","do":"loop"}"#).await });
    }
    until("all compute", || app.shutdown().tasks.len() == before + 8).await;
    let healthy = reqwest::get(format!("{url}/healthz")).await.unwrap();
    assert_eq!(healthy.status(), StatusCode::OK);
    assert!(spinning.try_join_next().is_none(), "they were still at it");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_commands_and_calls_by_how_they_ended() {
    let folders = Folders::probes(&["probe"]);
    let (_app, url) = serve(&folders).await;
    for body in [
        r#"{"to":"probe","do":"nothing"}"#,
        r#"{"to":"probe","do":"nothing"}"#,
        r#"{"to":"probe","do":"reject"}"#,
        r#"{"to":"nobody"}"#,
    ] {
        post(&url, body).await;
    }
    let response = reqwest::get(format!("{url}/metrics")).await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = response.text().await.unwrap();
    let mut counts: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_seconds"))
        .filter(|line| !line.starts_with("pointsman_budget"))
        .collect();
    counts.sort_unstable();
    expect![[r#"
        pointsman_calls_running 0
        pointsman_calls_total{handler="probe",status="rejected"} 1
        pointsman_calls_total{handler="probe",status="succeeded"} 2
        pointsman_commands_refused_total{code="no-matching-handler"} 1
        pointsman_commands_routed_aside_total 0
        pointsman_commands_total{status="failed"} 1
        pointsman_commands_total{status="succeeded"} 2
        pointsman_generation 1
        pointsman_guard_faults_total 0
        pointsman_host_log_lines_lost_total 0
        pointsman_task_restarts_total{task="reload"} 0"#]]
    .assert_eq(&counts.join("\n"));
    for measured in [
        "pointsman_command_duration_seconds_count 3",
        r#"pointsman_call_duration_seconds_count{handler="probe"} 3"#,
        r#"pointsman_call_cpu_seconds_total{handler="probe"}"#,
        r#"pointsman_budget_used{setting="http.connections_max"}"#,
        r#"pointsman_budget_limit{setting="host.blocking_max"} 128"#,
        r#"pointsman_budget_refused_total{setting="host.memory_max_bytes"} 0"#,
    ] {
        assert!(text.contains(measured), "{measured}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_task_that_keeps_failing_turns_readyz_red_and_is_counted() {
    let (app, url) = serve(&Folders::new()).await;
    let get = async |path: &str| reqwest::get(format!("{url}{path}")).await.unwrap();
    assert_eq!(get("/readyz").await.status(), StatusCode::OK);
    let shutdown = app.shutdown();
    let stop = shutdown.draining.clone();
    shutdown
        .supervisor
        .spawn(&shutdown.tasks, "doomed", stop, async || panic!("always"));
    while get("/readyz").await.status() == StatusCode::OK {
        tokio::task::yield_now().await;
    }
    let problem: Value = get("/readyz").await.json().await.unwrap();
    assert_eq!(problem["code"], "task-failed");
    assert!(problem["detail"].as_str().unwrap().contains("`doomed`"));
    // It may come back by itself: the process need not be restarted yet.
    assert_eq!(get("/healthz").await.status(), StatusCode::OK);
    let metrics = get("/metrics").await.text().await.unwrap();
    let restarts = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"pointsman_task_restarts_total{task="doomed"} "#));
    assert!(restarts.unwrap().parse::<u64>().unwrap() >= 3, "{metrics}");
}
