//! Many commands at once, all of them stored or none, and commands that come as events.

use pointsman::queue::{NewCommand, NewDelivery, ROUTER};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli,
    host::Folders,
    queue::host::{Serving, config, echo, serve},
};

const LINES: &str = "application/x-ndjson";
const EVENT: &str = "application/cloudevents+json";
const EVENTS: &str = "application/cloudevents-batch+json";

fn post(host: &Serving, path: &str, media: &str) -> RequestBuilder {
    let request = Client::new().post(format!("{}{path}", host.url));
    request.header("Content-Type", media)
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

async fn lines(host: &Serving, key: &str, body: impl Into<String>) -> (StatusCode, Value) {
    let request = post(host, "/commands?priority=3", LINES);
    answer(request.header("Idempotency-Key", key).body(body.into())).await
}

/// The ids and the keys of all commands, the first that was stored first.
async fn stored(host: &Serving) -> Vec<(String, Value)> {
    let page = host.get("/commands?limit=500").await;
    let all = page["commands"].as_array().unwrap().iter().rev();
    let text = |one: &Value| one["commandId"].as_str().unwrap().to_owned();
    all.map(|one| (text(one), one["idempotencyKey"].clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_a_bulk_are_stored_together_or_not_at_all() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let (first, second) = (echo(), json!({ "to": "probe", "do": "nothing" }));
    // What is wrong in the middle, and what nobody takes.
    let wrong = format!("{first}\n{{\"to\":\n\n{second}\n{{\"to\":\"nobody\"}}\n[]\n");
    let (status, problem) = lines(&host, "k", wrong).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::BAD_REQUEST, &json!("invalid-lines"))
    );
    let faults = problem["lines"].as_array().unwrap();
    let faults: Vec<_> = faults
        .iter()
        .map(|one| (&one["line"], &one["code"]))
        .collect();
    let (json_, object) = (json!("invalid-json"), json!("not-an-object"));
    assert_eq!(faults, [(&json!(2), &json_), (&json!(6), &object)]);
    let (status, problem) = lines(&host, "k", format!("{first}\n{{\"to\":\"nobody\"}}")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let fault = &problem["lines"][0];
    assert_eq!(
        (&fault["line"], &fault["code"]),
        (&json!(2), &json!("no-matching-handler"))
    );
    assert!(
        fault["hint"].as_str().unwrap().contains("the nearest is"),
        "{fault}"
    );
    let (status, problem) = lines(&host, "k", format!("{first}\n").repeat(1_001)).await;
    let too_large = (StatusCode::PAYLOAD_TOO_LARGE, json!("bulk-too-large"));
    assert_eq!((status, problem["code"].clone()), too_large);
    let mebibyte = json!({ "to": "probe", "pad": "x".repeat(1 << 20) });
    let (status, problem) = lines(&host, "k", format!("{mebibyte}\n").repeat(3)).await;
    let too_large = (StatusCode::PAYLOAD_TOO_LARGE, json!("command-too-large"));
    assert_eq!((status, problem["code"].clone()), too_large);
    assert!(stored(&host).await.is_empty());

    let body = format!("{first}\r\n\n{second}\n");
    let (status, answer) = lines(&host, "k", &body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let kept = stored(&host).await;
    assert_eq!(kept[0].1, "k/1");
    assert_eq!(kept[1].1, "k/3");
    let said = |repeated: bool| {
        json!({ "commands": [
            { "line": 1, "commandId": kept[0].0, "repeated": repeated },
            { "line": 3, "commandId": kept[1].0, "repeated": repeated },
        ]})
    };
    assert_eq!(answer, said(false));
    assert_eq!(
        lines(&host, "k", &body).await,
        (StatusCode::ACCEPTED, said(true))
    );
    let (status, problem) = lines(&host, "k", format!("{second}\n")).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let (status, answer) = lines(&host, "empty", "\n").await;
    assert_eq!(
        (status, answer),
        (StatusCode::ACCEPTED, json!({ "commands": [] }))
    );
    let view = host.get(&format!("/commands/{}", kept[1].0)).await;
    assert_eq!(view["deliveries"][0]["priority"], 3);
    let request = post(&host, "/commands/execute", LINES).body(body);
    assert_eq!(
        self::answer(request).await.0,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told from its start to its end"
)]
async fn an_event_is_a_command_with_what_describes_it_once_however_often_it_comes() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let event = |id: &str| {
        json!({
            "specversion": "1.0", "id": id, "source": "/orders", "type": "order.placed",
            "partitionkey": "k", "data": { "to": "probe", "do": "echo", "with": 1.0 },
        })
    };
    let send =
        |media: &str, body: &Value| answer(post(&host, "/commands", media).body(body.to_string()));
    let (status, first) = send(EVENT, &event("1")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{first}");
    let view = host
        .get(&format!(
            "/commands/{}",
            first["commandId"].as_str().unwrap()
        ))
        .await;
    assert_eq!(view["idempotencyKey"], "event:/orders 1");
    assert_eq!(view["deliveries"][0]["orderingKey"], "k");
    assert_eq!(view["attributes"]["$event"]["type"], "order.placed");
    assert_eq!(view["attributes"]["with"], 1.0);
    // Again on another way, where something was added.
    let mut again = event("1");
    again["hops"] = json!(2);
    let (status, second) = send(EVENT, &again).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{second}");
    assert_eq!(
        (&second["commandId"], &second["repeated"]),
        (&first["commandId"], &json!(true))
    );
    // In headers.
    let headers = |id: &str| {
        let request = post(&host, "/commands", "application/json").body(echo().to_string());
        let request = request
            .header("ce-specversion", "1.0")
            .header("ce-type", "order.placed");
        request.header("ce-source", "%2Forders").header("ce-id", id)
    };
    let (status, third) = answer(headers("1")).await;
    assert_eq!(
        (status, &third["commandId"]),
        (StatusCode::ACCEPTED, &first["commandId"])
    );
    let (status, problem) = answer(headers("2%0d%0aHost: elsewhere")).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::BAD_REQUEST, &json!("invalid-event"))
    );
    let (_, problem) = answer(headers("2").header("Idempotency-Key", "k")).await;
    assert_eq!(problem["code"], "invalid-parameter");
    let alone = post(&host, "/commands", "application/json").header("ce-id", "2");
    let (_, problem) = answer(alone.body(echo().to_string())).await;
    assert_eq!(
        problem["detail"],
        "the event's attribute `specversion` is missing"
    );
    // Several, one of which came before and one twice.
    let batch = json!([event("1"), event("3"), event("3")]);
    let (status, all) = send(EVENTS, &batch).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{all}");
    let repeated: Vec<_> = (0..3)
        .map(|at| all["commands"][at]["repeated"] == true)
        .collect();
    assert_eq!(repeated, [true, false, true]);
    let mut old = event("4");
    old["specversion"] = json!("0.3");
    let (status, problem) = send(EVENTS, &json!([event("5"), old])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let fault = &problem["lines"][0];
    assert_eq!(
        (&fault["line"], &fault["code"]),
        (&json!(2), &json!("unsupported-event-version"))
    );
    assert_eq!(stored(&host).await.len(), 2);
    // It runs at once as well.
    let run = post(&host, "/commands/execute", EVENT).body(event("6").to_string());
    let (status, report) = answer(run).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_enqueues_the_lines_of_a_file_up_to_a_wrong_one() {
    let folders = Folders::probes(&["probe"]);
    let text = format!("{}\n", echo());
    let path = |name: &str| folders.path().join(name);
    std::fs::write(path("all.jsonl"), text.repeat(1_500)).unwrap();
    let wrong = format!("{}{{\"to\":\"nobody\"}}\n{text}", text.repeat(1_001));
    std::fs::write(path("wrong.jsonl"), wrong).unwrap();
    let host = serve(config(&folders), false).await;
    let remote = ["--url", &host.url];
    let asks = |args: &[&str], remote: &[&str]| cli::said(&folders, &[args, remote].concat());
    let all = ["enqueue", "--lines", "all.jsonl", "--idempotency-key", "k"];
    let (code, shown, log) = asks(&all, &remote);
    assert_eq!(
        (code, shown.as_str()),
        (Some(0), "1500 commands stored\n"),
        "{log}"
    );
    let wrong = ["enqueue", "--lines", "wrong.jsonl"];
    let (code, shown, log) = asks(&wrong, &remote);
    let told =
        "1000 commands stored\nstopped at wrong.jsonl:1001: nothing from this line on is stored\n";
    assert_eq!((code, shown.as_str()), (Some(2), told), "{log}");
    assert!(
        log.contains("wrong.jsonl:1002: no matching handler found"),
        "{log}"
    );
    let event =
        json!({ "specversion": "1.0", "id": "1", "source": "/o", "type": "t", "data": echo() });
    let event = ["enqueue", "--event", &event.to_string()].map(str::to_owned);
    let event: Vec<&str> = event.iter().map(String::as_str).collect();
    let (code, first, log) = asks(&event, &remote);
    assert_eq!(code, Some(0), "{log}");
    host.stop().await;
    // The same without the host.
    let (_, shown, _) = asks(&all, &[]);
    assert_eq!(shown, "0 commands stored, 1500 stored before\n");
    let (code, shown, here) = asks(&wrong, &[]);
    assert_eq!((code, shown.as_str()), (Some(2), told), "{here}");
    let (_, again, _) = asks(&event, &[]);
    assert_eq!(again, first.replace("stored", "stored before"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deduplication_key_is_asked_for_alike_over_http_and_on_the_command_line() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let send = |query: &str| {
        answer(
            post(&host, &format!("/commands?{query}"), "application/json").body(echo().to_string()),
        )
    };
    let (status, first) = send("dedup=a%20b&mode=until-done").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{first}");
    let (_, again) = send("dedup=a%20b&mode=until-done").await;
    assert_eq!(
        (&again["commandId"], &again["repeated"]),
        (&first["commandId"], &json!(true))
    );
    let (_, other) = send("dedup=a%20b&mode=throttle&ttl=1h").await;
    assert_eq!(other["repeated"], false);
    for (query, wanted) in [
        (
            "dedup=k",
            "`mode`: use `until-done`, `replace` or `throttle`",
        ),
        (
            "dedup=k&mode=throttle&ttl=soon",
            "`ttl`: `soon` is not a time",
        ),
        ("mode=replace", "`dedup`: give the key"),
    ] {
        let (status, problem) = send(query).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::BAD_REQUEST, &json!("invalid-parameter"))
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with(wanted), "{detail}");
    }
    let text = echo().to_string();
    let replace = ["enqueue", &text, "--dedup", "r", "--mode", "replace"];
    let asks = |args: &[&str], more: &[&str]| cli::said(&folders, &[args, more].concat());
    let remote = ["--url", &host.url];
    let (code, shown, log) = asks(&replace, &remote);
    assert_eq!(code, Some(0), "{log}");
    let id = shown.split_whitespace().next().unwrap().to_owned();
    let replaced = format!("{id}  replaced what was stored before\n  probe\n");
    assert_eq!(asks(&replace, &remote).1, replaced);
    let throttle = [
        "enqueue", &text, "--dedup", "a b", "--mode", "throttle", "--ttl", "1h",
    ];
    let other = other["commandId"].as_str().unwrap();
    assert_eq!(
        asks(&throttle, &remote).1,
        format!("{other}  stored before\n  probe\n")
    );
    host.stop().await;
    assert_eq!(asks(&replace, &[]).1, replaced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_stored_before_it_was_routed_is_routed_or_dead_lettered() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let store = host.app.queue().unwrap().store();
    let unrouted = async |text: &str| {
        let delivery = NewDelivery {
            handler: ROUTER.to_owned().try_into().unwrap(),
            digest: String::new(),
            rules: Vec::new(),
            key: None,
        };
        let stored = store
            .enqueue(vec![NewCommand::new(text, vec![delivery])])
            .await;
        host.finished(&format!("/commands/{}", stored.unwrap()[0].id))
            .await
    };
    let done = unrouted(&echo().to_string()).await;
    let delivery = &done["deliveries"][0];
    assert_eq!(
        (&delivery["handler"], &delivery["state"]),
        (&json!("probe"), &json!("completed"))
    );
    assert_eq!(delivery["rules"], json!(["probe"]));
    let large = json!({ "to": "probe", "pad": "x".repeat(1 << 20) }).to_string();
    for (text, wanted) in [
        ("no json", "is not valid JSON"),
        (
            r#"{"to":"nobody"}"#,
            "no matching handler found: the nearest is",
        ),
        (&large, "`host.command_max_bytes`"),
    ] {
        let dead = unrouted(text).await;
        assert_eq!(dead["state"], "discarded");
        let said = dead["deliveries"][0]["lastFailure"]["message"]
            .as_str()
            .unwrap();
        assert!(said.contains(wanted), "{said}");
    }
    let dead = host.get("/queue/dead?handler=pointsman-router").await;
    assert_eq!(dead["dead"].as_array().unwrap().len(), 3);
    host.stop().await;
}
