//! Pauses as operators meet them: over HTTP, from the command line and in metrics.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli,
    host::Folders,
    queue::host::{config, echo, serve},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_handler_waits_until_it_is_resumed() {
    let folders = Folders::probes(&["probe", "other"]);
    let host = serve(config(&folders), true).await;
    let pause = "/queue/pause?handler=probe&reason=a+b%C3%A9&by=ada&for=10m";
    let (status, paused) = host.ask(Method::POST, pause).await;
    assert_eq!(status, StatusCode::OK, "{paused}");
    let told = |key: &str| paused[key].as_str().unwrap();
    assert_eq!(
        (told("handler"), told("reason"), told("by")),
        ("probe", "a bé", "ada")
    );
    let at = |key: &str| told(key).parse::<jiff::Timestamp>().unwrap();
    assert_eq!(at("until").duration_since(at("since")).as_secs(), 600);
    let place = host.accepted(echo()).await;
    // The other one is enqueued later and ends: the first is left out, not late.
    let other = host.accepted(json!({ "to": "other", "do": "echo" })).await;
    assert_eq!(host.finished(&other).await["state"], "completed");
    assert_eq!(host.get(&place).await["state"], "available");
    assert_eq!(host.get("/queue").await["pauses"], json!([paused]));
    let metrics = reqwest::get(format!("{}/metrics", host.url)).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let gauge = "pointsman_queue_paused{handler=\"probe\"} 1\n";
    assert!(metrics.contains(gauge), "{metrics}");
    let resume = "/queue/resume?handler=probe";
    let (status, resumed) = host.ask(Method::POST, resume).await;
    assert_eq!(status, StatusCode::OK, "{resumed}");
    assert_eq!(resumed, json!({ "resumed": [paused] }));
    assert_eq!(host.finished(&place).await["state"], "completed");
    let (_, resumed) = host.ask(Method::POST, resume).await;
    assert_eq!(resumed, json!({ "resumed": [] }));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_says_whose_it_is_and_within_bounds() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let chosen = "name a `handler`, or say `all=true`";
    let bounds = "use 1 to 1000 bytes without control characters";
    let long = format!("/queue/pause?all=true&reason={}", "x".repeat(1001));
    for (path, detail) in [
        ("/queue/pause", chosen),
        ("/queue/resume", chosen),
        ("/queue/pause?all=true&handler=probe", chosen),
        ("/queue/pause?all=true&for=0s", "`0s` is not a duration"),
        ("/queue/pause?all=true&for=soon", "`soon` is not a duration"),
        ("/queue/pause?all=true&reason=a%0Ab", bounds),
        (&long, bounds),
    ] {
        let (status, problem) = host.ask(Method::POST, path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        let told = problem["detail"].as_str().unwrap();
        assert!(told.contains(detail), "{path}: {told}");
    }
    assert_eq!(host.get("/queue").await["pauses"], json!([]));
    host.stop().await;
}

/// Whatever is the time in it.
fn without_times(text: &str) -> String {
    let time = regex::Regex::new(r"\d{4}-\d\d-\d\dT[\d:.]+Z").unwrap();
    time.replace_all(text, "TIME").into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_pauses_through_a_host_and_without_one() {
    let folders = Folders::probes(&["probe", "other"]);
    let host = serve(config(&folders), false).await;
    host.accepted(echo()).await;
    let url = host.url.clone();
    let url = ["--url", url.as_str()];
    let told = |url: &[&str]| {
        let mut told = String::new();
        for words in [
            "queue pause --handler probe --by ada --reason maintenance --for 2h",
            "queue pause --all --by bob",
            "queue status",
            "queue resume --handler probe",
            "queue resume --handler probe",
            "queue resume --all",
            "queue status",
        ] {
            let words: Vec<_> = words.split(' ').collect();
            let (code, shown, said) = cli::said(&folders, &[&words[..], url].concat());
            assert_eq!((code, said.as_str()), (Some(0), ""), "{words:?}");
            told += &without_times(&shown);
        }
        told
    };
    let through = told(&url);
    let expected = "\
paused  probe  since TIME, until TIME, by ada: maintenance
paused  all handlers  since TIME, by bob
paused  all handlers  since TIME, by bob
paused  probe  since TIME, until TIME, by ada: maintenance
probe  1 available
resumed  probe
all handlers are still paused: `pointsman queue resume --all`
nothing was paused
all handlers are still paused: `pointsman queue resume --all`
resumed  all handlers
probe  1 available
";
    assert_eq!(through, expected);
    let (_, status, _) = cli::said(
        &folders,
        &[&["queue", "status", "--json"], &url[..]].concat(),
    );
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        status,
        json!({
            "pauses": [],
            "depth": [{ "handler": "probe", "state": "available", "count": 1 }],
        })
    );
    host.stop().await;
    assert_eq!(told(&[]), expected);
}
