//! Schedules of rule files as operators meet them: fired by hosts that serve, shown and
//! changed over HTTP and from the command line.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli,
    host::Folders,
    queue::{
        host::{config, serve},
        program::Program,
    },
};

/// The rules of the probes with these schedules.
fn schedules(folders: &Folders, schedules: &Value) {
    let rules = json!({ "rules": [], "schedules": schedules });
    folders.rules("schedules.json", &rules.to_string());
}

fn echo_each_second() -> Value {
    json!({ "name": "pulse", "every": "1s", "command": { "to": "probe", "do": "echo" } })
}

/// Waits until the first schedule has enqueued another command than this one.
async fn fires(url: &str, before: &Value) -> Value {
    loop {
        let listed = reqwest::get(format!("{url}/schedules")).await.unwrap();
        let listed: Value = listed.json().await.unwrap();
        let last = &listed["schedules"][0]["commandId"];
        if last.is_string() && last != before {
            return last.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_fires_time_after_time_until_it_is_paused() {
    let folders = Folders::probes(&["probe"]);
    schedules(&folders, &json!([echo_each_second()]));
    let host = serve(config(&folders), true).await;
    let first = fires(&host.url, &Value::Null).await;
    let second = fires(&host.url, &first).await;
    for command in [first, second] {
        let place = format!("/commands/{}", command.as_str().unwrap());
        assert_eq!(host.finished(&place).await["state"], "completed");
    }
    let (status, paused) = host.ask(Method::POST, "/schedules/pulse/pause").await;
    assert_eq!(status, StatusCode::OK, "{paused}");
    assert_eq!(
        (&paused["paused"], &paused["next"]),
        (&json!(true), &json!([]))
    );
    let before = host.get("/schedules").await["schedules"][0].clone();
    // Over two of its times.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(host.get("/schedules").await["schedules"][0], before);
    let (_, resumed) = host.ask(Method::POST, "/schedules/pulse/resume").await;
    assert_eq!(resumed["next"].as_array().unwrap().len(), 5);
    fires(&host.url, &before["commandId"]).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_listed_run_and_changed_from_the_command_line() {
    let folders = Folders::probes(&["probe"]);
    let nightly = json!({
        "name": "nightly report", "cron": "30 2 * * *", "timezone": "Europe/Berlin",
        "jitter": "30s", "missed": "all", "description": "for the bank",
        "command": { "to": "probe", "do": "echo" },
    });
    let off = json!({
        "name": "off", "every": "1s", "paused": true, "command": { "to": "probe", "do": "echo" },
    });
    schedules(&folders, &json!([off, nightly]));
    let host = serve(config(&folders), true).await;
    let url = host.url.clone();
    let said = |words: &[&str], url: &[&str]| {
        let (code, shown, said) = cli::said(&folders, &[words, url].concat());
        assert_eq!((code, said.as_str()), (Some(0), ""), "{words:?}");
        shown
    };
    let remote = ["--url", url.as_str()];
    let listed = said(&["schedule", "list"], &remote);
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines[0], "nightly report  30 2 * * * (Europe/Berlin)");
    assert_eq!(
        (lines.len(), lines[6]),
        (7, "off  every 1s  paused by its file")
    );
    let run = said(&["schedule", "run", "nightly report", "--json"], &remote);
    let accepted: Value = serde_json::from_str(&run).unwrap();
    let place = format!("/commands/{}", accepted["commandId"].as_str().unwrap());
    assert_eq!(host.finished(&place).await["state"], "completed");
    let paused = said(&["schedule", "pause", "nightly report"], &remote);
    assert!(paused.contains("  paused since 20"), "{paused}");
    let body = host.get("/schedules?limit=1").await;
    let one = &body["schedules"][0];
    assert_eq!(body["next"], "nightly report");
    assert_eq!(
        (&one["missed"], &one["jitterMs"]),
        (&json!("all"), &json!(30_000))
    );
    assert_eq!(
        (&one["description"], &one["line"]),
        (&json!("for the bank"), &json!(1))
    );
    let second = host.get("/schedules?limit=1&after=nightly%20report").await;
    assert_eq!(second["schedules"][0]["name"], "off");
    let (status, problem) = host.ask(Method::POST, "/schedules/none/run").await;
    let code = (status, problem["code"].as_str());
    assert_eq!(code, (StatusCode::NOT_FOUND, Some("unknown-schedule")));
    // What its file pauses fires nothing.
    let commands = host.get("/commands").await;
    assert_eq!(commands["commands"].as_array().unwrap().len(), 1);
    host.stop().await;
    let resumed = said(&["schedule", "resume", "nightly report"], &[]);
    assert_eq!(resumed.lines().count(), 6, "{resumed}");
    let (code, _, said) = cli::said(&folders, &["schedule", "run", "none"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("no schedule `none` in the rule files"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_is_added_while_a_host_serves_fires() {
    let folders = Folders::probes(&["probe"]);
    let host = Program::start(&folders);
    schedules(&folders, &json!([echo_each_second()]));
    let first = fires(&host.url, &Value::Null).await;
    fires(&host.url, &first).await;
}
