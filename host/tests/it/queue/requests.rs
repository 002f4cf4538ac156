//! Requests to the queue that are repeated after their command is gone, or that
//! say what cannot be meant.

use pointsman::config::Config;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli,
    host::Folders,
    queue::host::{Serving, config, echo, serve, sqlite},
};

const MIB: u64 = 1 << 20;

/// Finishes large commands until the one at `place` has given way to them.
async fn until_gone(host: &Serving, place: &str) {
    let large = json!({ "to": "probe", "do": "echo", "pad": "x".repeat(60_000) });
    for _ in 0..200 {
        let next = host.accepted(large.clone()).await;
        host.finished(&next).await;
        if host.ask(Method::GET, place).await.0 == StatusCode::NOT_FOUND {
            return;
        }
    }
    panic!("the first command is still kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_answers_the_first_id_also_once_its_command_gave_way() {
    let folders = Folders::probes(&["probe"]);
    let mut small: Config = config(&folders);
    small.queue.engine = sqlite(&folders, Some(MIB));
    let host = serve(small, true).await;
    let (_, place, first) = host.send(&echo(), Some("k")).await;
    host.finished(&place).await;
    until_gone(&host, &place).await;
    let (status, again, body) = host.send(&echo(), Some("k")).await;
    assert_eq!((status, &again), (StatusCode::ACCEPTED, &place), "{body}");
    let id = first["commandId"].as_str().unwrap();
    assert_eq!(
        body,
        json!({ "commandId": id, "repeated": true, "deliveries": [], "removed": true })
    );
    let other = json!({ "to": "probe", "do": "nothing" });
    let (status, _, problem) = host.send(&other, Some("k")).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::CONFLICT, &json!("idempotency-conflict"))
    );
    // The same from the command line, through the host and without it.
    let text = echo().to_string();
    let said = format!("{id}  stored earlier; it has ended and been deleted\n");
    let said = (Some(0), said, String::new());
    let local = ["enqueue", &text, "--idempotency-key", "k"];
    let remote = [&local[..], &["--url", &host.url]].concat();
    assert_eq!(cli::said(&folders, &remote), said);
    host.stop().await;
    assert_eq!(cli::said(&folders, &local), said);

    let large = json!({ "to": "probe", "pad": "x".repeat(400_000) });
    std::fs::write(folders.path().join("large.json"), large.to_string()).unwrap();
    let size = format!("queue.size_max_bytes={MIB}");
    let (code, _, log) = cli::said(&folders, &["enqueue", "@large.json", "--set", &size]);
    assert_eq!(code, Some(0), "{log}");
    let told = "finished commands were deleted before the end of their retention";
    assert_eq!(log.matches(told).count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_answers_the_first_id_also_where_the_rules_take_the_command_no_more() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let (_, place, first) = host.send(&echo(), Some("k")).await;
    host.stop().await;
    let elsewhere = r#"{"rules":[{"name":"a","match":{"to":["b"]},"handlers":["probe"]}]}"#;
    folders.rules("probes.json", elsewhere);
    let host = serve(config(&folders), true).await;
    let (status, again, body) = host.send(&echo(), Some("k")).await;
    assert_eq!((status, &again), (StatusCode::ACCEPTED, &place), "{body}");
    assert_eq!(body["repeated"], true);
    assert_eq!(body["deliveries"], first["deliveries"]);
    let other = json!({ "to": "nobody" });
    for (command, key, wanted) in [
        (
            &other,
            Some("k"),
            (StatusCode::CONFLICT, "idempotency-conflict"),
        ),
        (
            &echo(),
            Some("new"),
            (StatusCode::NOT_FOUND, "no-matching-handler"),
        ),
        (
            &echo(),
            None,
            (StatusCode::NOT_FOUND, "no-matching-handler"),
        ),
    ] {
        let (status, _, problem) = host.send(command, key).await;
        let code = problem["code"].as_str().unwrap();
        assert_eq!((status, code), wanted, "{key:?}");
    }
    let kept = host.get("/commands").await;
    assert_eq!(kept["commands"].as_array().unwrap().len(), 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_idempotency_key_is_refused() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let request = Client::new().post(format!("{}/commands", host.url));
    let request = request.header("Idempotency-Key", "a").json(&echo());
    let response = request.header("Idempotency-Key", "b").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(
        problem["detail"],
        "`Idempotency-Key`: is given twice: keep one"
    );
    assert_eq!(host.get("/commands").await["commands"], json!([]));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_cannot_be_meant_is_refused_with_what_is_wanted() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let place = host.accepted(echo()).await;
    let (get, post) = (Method::GET, Method::POST);
    let page = "is not a whole number from 1 to 500";
    let time =
        "is not a time: write it as RFC 3339, such as 2026-11-25T00:00:00Z, with `+` as `%2B`";
    let wait = "is not a time of up to 60 s: write it as `10s` or `500ms`";
    let encoded = "is not UTF-8 once its `%` escapes are decoded";
    for (method, path, wanted) in [
        (&get, "/commands?limit=0", page),
        (&get, "/commands?limit=501", page),
        (&get, "/queue/dead?limit=-1", page),
        (&get, "/queue/dead?limit=many", page),
        (&get, "/commands?from=yesterday", time),
        (&get, "/queue/dead?until=2026-11-25T00:00:00+01:00", time),
        (&get, &format!("{place}?wait=61s"), wait),
        (&get, &format!("{place}?wait=60001ms"), wait),
        (&get, &format!("{place}?wait=soon"), wait),
        (&get, &format!("{place}?wait=%2B5s"), wait),
        (&get, "/commands?limit=%2B5", page),
        (&get, "/commands?after=%ff", encoded),
        (&post, "/commands?orderingKey=%ff", encoded),
        (
            &post,
            "/commands?priority=high",
            "from -2147483648 to 2147483647",
        ),
        (&post, "/commands?runAt=later", time),
        (
            &post,
            "/queue/dead/retry?all=yes",
            "`yes` is not `true` or `false`",
        ),
        (&post, "/queue/dead/discard?handler=%c3%28", encoded),
    ] {
        let request = Client::new().request(method.clone(), format!("{}{path}", host.url));
        let response = request.json(&echo()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "invalid-parameter", "{path}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(wanted), "{path}: {detail}");
    }
    for path in ["/commands?limit=500", "/queue/dead?limit=1"] {
        host.get(path).await;
    }
    let offset = "/commands?from=2026-11-25T00:00:00%2B01:00";
    host.get(offset).await;
    host.stop().await;
}
