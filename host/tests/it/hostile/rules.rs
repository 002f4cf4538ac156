//! Rules and commands that ask for too much work, on a host.

use std::{
    pin::pin,
    task::{Context, Waker},
};

use pointsman::{command::Command, dispatcher::DispatchError};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::host::{Folders, serve};

async fn post(url: &str, path: &str, body: String) -> (StatusCode, Value) {
    let request = Client::new().post(format!("{url}{path}"));
    let request = request
        .header("Content-Type", "application/json")
        .body(body);
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

/// The value of one of the host's counters.
async fn counter(url: &str, name: &str) -> String {
    let text = reqwest::get(format!("{url}/metrics")).await.unwrap();
    let text = text.text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned()
}

const RULES: &str = r#"{"rules":[
    {"name":"pairs","match":{"to":["pairs"]},"handlers":["probe"],
     "guard":"command.x.all(a, command.x.exists(b, a == b))"},
    {"name":"product","match":{"to":["product"]},"handlers":["probe"],
     "guard":"command.x.map(a, command.x.map(b, command.x)).size() > 0"},
    {"name":"number","match":{"to":["number"]},"handlers":["probe"],"guard":"command.n > 1"}
]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn too_much_work_is_a_problem_that_names_the_rule() {
    let folders = Folders::probes(&["probe"]);
    folders.rules("guards.json", RULES);
    let (_app, url) = serve(&folders).await;
    let numbers: Vec<usize> = (0..6_000).collect();
    for (rule, line) in [("pairs", 2), ("product", 4)] {
        let command = json!({"to": rule, "x": numbers}).to_string();
        for path in ["/commands/execute", "/rules/explain"] {
            let (status, problem) = post(&url, path, command.clone()).await;
            assert_eq!(
                (status, problem["code"].as_str()),
                (StatusCode::UNPROCESSABLE_ENTITY, Some("guard-limit")),
                "{problem}"
            );
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.contains(&format!("rule `{rule}` ("))
                    && detail.contains(&format!("guards.json:{line})")),
                "{detail}"
            );
            assert!(problem["hint"].is_string(), "{problem}");
        }
    }
    let refused = "pointsman_commands_refused_total{code=\"guard-limit\"}";
    assert_eq!(counter(&url, refused).await, "2");
    // With less, the same rules hold.
    let (status, _) = post(
        &url,
        "/commands/execute",
        json!({"to": "pairs", "do": "nothing", "x": [1, 2]}).to_string(),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_cannot_be_evaluated_is_counted_and_explained() {
    let folders = Folders::probes(&["probe"]);
    folders.rules("guards.json", RULES);
    let (_app, url) = serve(&folders).await;
    let send = async |n: Value| {
        post(
            &url,
            "/commands/execute",
            json!({"to": "number", "do": "nothing", "n": n}).to_string(),
        )
        .await
        .0
    };
    assert_eq!(send(json!(2.0)).await, StatusCode::OK);
    assert_eq!(send(json!(1)).await, StatusCode::NOT_FOUND);
    assert_eq!(counter(&url, "pointsman_guard_faults_total").await, "0");
    assert_eq!(send(json!("two")).await, StatusCode::NOT_FOUND);
    assert_eq!(counter(&url, "pointsman_guard_faults_total").await, "1");
    let (_, explained) = post(
        &url,
        "/rules/explain",
        json!({"to": "number", "n": "two"}).to_string(),
    )
    .await;
    assert_eq!(
        explained["misses"][0]["reason"],
        "the guard is false: `>` of a string and a number"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn depth_and_encoding_of_a_command_have_an_answer_of_their_own() {
    let (_app, url) = serve(&Folders::probes(&["probe"])).await;
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"to":"probe","do":"nothing","a":{open}{close}}}"#)
    };
    for path in ["/commands/execute", "/rules/explain"] {
        let (status, _) = post(&url, path, nested(120)).await;
        assert_eq!(status, StatusCode::OK);
        for levels in [121, 100_000] {
            let (status, problem) = post(&url, path, nested(levels)).await;
            assert_eq!(
                (status, problem["code"].as_str()),
                (StatusCode::BAD_REQUEST, Some("too-deep"))
            );
        }
        let (status, _) = post(&url, path, format!("\u{feff}{}", nested(2))).await;
        assert_eq!(status, StatusCode::OK);
    }
    // The deepest output there is: `echo` puts a level around the command. Strict readers,
    // as the one here, take the report around it.
    let echo = nested(119).replace("nothing", "echo");
    let (status, report) = post(&url, "/commands/execute", echo).await;
    assert_eq!(
        (status, report["status"].as_str()),
        (StatusCode::OK, Some("succeeded"))
    );
}

#[tokio::test]
async fn what_may_compute_for_long_leaves_the_async_threads() {
    let folders = Folders::probes(&["probe"]);
    folders.rules("guards.json", RULES);
    let (app, url) = serve(&folders).await;
    let numbers: Vec<usize> = (0..300).collect();
    // Small, with a guard that takes long; and large.
    let long = json!({"to": "pairs", "x": numbers}).to_string();
    let large = json!({"to": "probe", "pad": "x".repeat(1 << 20)}).to_string();
    for (aside, text) in [(1, long), (2, large)] {
        let command = Command::parse(text).unwrap();
        let routed = app.dispatcher().route(&command).await;
        assert_eq!(routed.unwrap().matches.len(), 1);
        let seen = counter(&url, "pointsman_commands_routed_aside_total").await;
        assert_eq!(seen, aside.to_string());
    }
    // What is small is decided on the spot.
    let command = Command::parse(r#"{"to":"nobody"}"#).unwrap();
    let mut routing = pin!(app.dispatcher().route(&command));
    let first = routing
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    match first.map(|routed| routed.unwrap().matched()) {
        std::task::Poll::Ready(Err(DispatchError::NoMatchingHandler { hint: Some(_) })) => {}
        _ => panic!("not decided at once"),
    }
}
