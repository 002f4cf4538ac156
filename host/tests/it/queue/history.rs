//! The history of attempts as operators meet it, and commands that are run again.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli,
    host::Folders,
    queue::host::{config, echo, serve},
};

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_over_http_and_on_the_command_line() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    for command in [echo(), echo(), json!({ "to": "probe", "do": "reject" })] {
        let place = host.accepted(command).await;
        let view = host.finished(&place).await;
        let delivery = &view["deliveries"][0];
        let at = |key: &str| delivery[key].as_str().unwrap().parse::<jiff::Timestamp>();
        assert!(at("startedAt").unwrap() <= at("finishedAt").unwrap());
    }
    let body = host.get("/queue/history?step=24h&handler=probe").await;
    assert_eq!(body["boundsMs"], json!([10, 100, 1_000, 10_000, 100_000]));
    let of = |status: &str| {
        let points = body["history"].as_array().unwrap().iter();
        let points = points.filter(|point| point["status"] == status);
        let counts = points.map(|point| point["count"].as_u64().unwrap());
        counts.sum::<u64>()
    };
    assert_eq!((of("succeeded"), of("rejected")), (2, 1), "{body}");
    let none = host.get("/queue/history?handler=other").await;
    assert_eq!(none["history"], json!([]));
    for (path, detail) in [
        ("/queue/history?step=90s", "step: use whole minutes"),
        ("/queue/history?step=x", "step: `x` is not a duration"),
        ("/queue/history?from=x", "from: `x` is not a time"),
    ] {
        let (status, problem) = host.ask(Method::GET, path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        let told = problem["detail"]
            .as_str()
            .unwrap()
            .replace("parameter ", "");
        let (name, what) = detail.split_once(": ").unwrap();
        assert!(told.contains(name) && told.contains(what), "{told}");
    }
    let stats = |args: &[&str]| {
        let args = [&["queue", "stats"], args].concat();
        let (code, shown, said) = cli::said(&folders, &args);
        assert_eq!((code, said.as_str()), (Some(0), ""));
        shown
    };
    let through = stats(&["--url", &host.url]);
    let lines: Vec<_> = through.lines().collect();
    assert_eq!(lines.len(), 2, "{through}");
    assert!(
        lines[0].starts_with("probe  rejected  1  mean "),
        "{through}"
    );
    assert!(
        lines[1].starts_with("probe  succeeded  2  mean "),
        "{through}"
    );
    host.stop().await;
    assert_eq!(stats(&[]), through);
    let none = "no attempts ended in this time\n";
    assert_eq!(stats(&["--handler", "other", "--last", "1h"]), none);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_run_again_and_says_of_which_it_is_a_rerun() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let first = host.accepted(echo()).await;
    host.finished(&first).await;
    let id = first.strip_prefix("/commands/").unwrap();
    let args = ["queue", "rerun", id, "--json", "--url", &host.url];
    let (code, shown, said) = cli::said(&folders, &args);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let accepted: Value = serde_json::from_str(&shown).unwrap();
    let again = format!("/commands/{}", accepted["commandId"].as_str().unwrap());
    let view = host.finished(&again).await;
    assert_eq!(view["rerunOf"], id);
    assert_eq!(view["attributes"], echo());
    assert_eq!(view["state"], "completed");
    assert_eq!(host.get(&first).await["rerunOf"], Value::Null);
    let request = Client::new().post(format!("{}/commands?rerunOf=x", host.url));
    let response = request.json(&echo()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    host.stop().await;
}
