//! The queue of a whole host: commands that are kept, run by real handlers,
//! over HTTP and from the command line.

use std::sync::Arc;

use pointsman::{
    config::Config,
    host::{Loaded, Unloaded},
    queue::{Engine, SqliteSettings},
    reload::Wait,
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli,
    host::{Folders, until},
};

/// A host that keeps commands in its own folder, with quick retries.
pub(crate) struct Serving {
    pub(crate) app: Loaded,
    pub(crate) url: String,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// SQLite in the folder `data` of these.
pub(crate) fn sqlite(folders: &Folders, size_max_bytes: Option<u64>) -> Engine {
    Engine::Sqlite(SqliteSettings {
        folder: folders.path().join("data"),
        size_max_bytes,
    })
}

pub(crate) fn config(folders: &Folders) -> Config {
    let mut config = folders.config();
    config.queue.engine = sqlite(folders, None);
    config.queue.retry.delay_base = std::time::Duration::from_millis(1);
    config.queue.retry.retry_after_max = std::time::Duration::from_millis(1);
    config.queue.retry.transient_max = 3;
    config
}

pub(crate) async fn serve(config: Config, work: bool) -> Serving {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Unloaded::new(config).unwrap().with_queue().await.unwrap();
    let app = app.load(Wait::ForAll).await;
    assert!(app.queue().is_some());
    if work {
        app.work();
    }
    let server = tokio::spawn(pointsman::http::serve(Arc::clone(app.host()), listener));
    Serving { app, url, server }
}

impl Serving {
    pub(crate) async fn ask(&self, method: Method, path: &str) -> (StatusCode, Value) {
        let request = Client::new().request(method, format!("{}{path}", self.url));
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Sends a command, and answers the status, the place of the command and the body.
    pub(crate) async fn send(
        &self,
        command: &Value,
        key: Option<&str>,
    ) -> (StatusCode, String, Value) {
        let mut request = Client::new()
            .post(format!("{}/commands", self.url))
            .json(command);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let response = request.send().await.unwrap();
        let place = response.headers().get("location");
        let place = place.map_or_else(String::new, |place| place.to_str().unwrap().to_owned());
        (response.status(), place, response.json().await.unwrap())
    }

    pub(crate) async fn accepted(&self, command: Value) -> String {
        let (status, place, body) = self.send(&command, None).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        place
    }

    /// The stream of a command's events, begun.
    pub(crate) async fn follow(&self, place: &str) -> reqwest::Response {
        let stream = format!("{}{place}/events", self.url);
        reqwest::get(stream).await.unwrap()
    }

    pub(crate) async fn finished(&self, place: &str) -> Value {
        self.get(&format!("{place}?wait=60s")).await
    }

    pub(crate) async fn stop(self) {
        self.app.stop().await;
        self.server.await.unwrap().unwrap();
    }
}

pub(crate) fn echo() -> Value {
    json!({ "to": "probe", "do": "echo" })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_command_is_run_and_shows_its_outputs() {
    let folders = Folders::shipped();
    let host = serve(config(&folders), true).await;
    let command = json!({ "requestType": "CreatePolicy", "productType": "HighRisk" });
    let (status, place, accepted) = host.send(&command, None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let id = accepted["commandId"].as_str().unwrap();
    assert_eq!(place, format!("/commands/{id}"));
    assert_eq!(
        accepted["deliveries"][1]["deliveryId"],
        format!("{id}.notify-underwriter")
    );
    let view = host.finished(&place).await;
    assert_eq!(view["state"], "completed");
    assert_eq!(view["attributes"], command);
    assert_eq!(view["deliveries"][0]["output"]["policy"], "default");
    assert_eq!(view["deliveries"][1]["output"]["notified"], "underwriter");
    let ready = host.get("/readyz").await;
    assert_eq!(ready["queue"], true);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_gets_the_id_and_the_attempt_of_its_delivery() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let place = host.accepted(echo()).await;
    let view = host.finished(&place).await;
    let output = &view["deliveries"][0]["output"];
    assert_eq!(output["attempt"], 1);
    assert_eq!(output["deliveryId"], view["deliveries"][0]["deliveryId"]);
    assert_eq!(output["id"], view["commandId"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_when_a_host_stops_is_done_by_the_next() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let mut places = Vec::new();
    for _ in 0..20 {
        places.push(host.accepted(echo()).await);
    }
    host.stop().await;
    let host = serve(config(&folders), true).await;
    for place in places {
        assert_eq!(host.finished(&place).await["state"], "completed");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_back_what_does_not_end_in_time() {
    let folders = Folders::probes(&["probe"]);
    let mut quick = config(&folders);
    quick.host.shutdown_grace = std::time::Duration::from_millis(50);
    let host = serve(quick, true).await;
    let command = json!({ "to": "probe", "do": "sleep", "amount": 20_000 });
    let place = host.accepted(command).await;
    let queue = host.app.queue().unwrap();
    until("it runs", || queue.running() == 1).await;
    host.stop().await;
    let host = serve(config(&folders), false).await;
    let delivery = &host.get(&place).await["deliveries"][0];
    assert_eq!(
        (&delivery["state"], &delivery["attempt"]),
        (&json!("available"), &json!(0))
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_answers_the_first_id_and_refuses_another_body() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let (_, first, _) = host.send(&echo(), Some("k")).await;
    let (status, again, body) = host.send(&echo(), Some("k")).await;
    assert_eq!((status, &again), (StatusCode::ACCEPTED, &first));
    assert_eq!(body["repeated"], true);
    let other = json!({ "to": "probe", "do": "nothing" });
    let (status, _, problem) = host.send(&other, Some("k")).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::CONFLICT, &json!("idempotency-conflict"))
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_delivery_ends_in_the_dead_letter_and_comes_back_when_asked() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let command = json!({ "to": "probe", "do": "unavailable" });
    let place = host.accepted(command).await;
    let view = host.finished(&place).await;
    assert_eq!(view["state"], "discarded");
    let last = &view["deliveries"][0]["lastFailure"];
    assert_eq!(
        (&last["attempt"], &last["message"]),
        (&json!(3), &json!("come back"))
    );
    let dead = host.get("/queue/dead").await;
    let id = dead["dead"][0]["deliveryId"].as_str().unwrap();
    assert_eq!(dead["dead"][0]["lastFailure"]["message"], "come back");
    let detail = host.get(&format!("/queue/deliveries/{id}")).await;
    assert_eq!(detail["failures"].as_array().unwrap().len(), 3);
    // A change of all dead letters has to be said.
    let (status, _) = host.ask(Method::POST, "/queue/dead/retry").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let retry = format!("/queue/dead/retry?delivery={id}");
    let (_, body) = host.ask(Method::POST, &retry).await;
    assert_eq!(body["retried"], 1);
    assert_eq!(host.finished(&place).await["deliveries"][0]["attempt"], 6);
    let (_, body) = host.ask(Method::POST, "/queue/dead/discard?all=true").await;
    assert_eq!(body["discarded"], 1);
    assert_eq!(host.get(&place).await["state"], "cancelled");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_runs_is_cancelled() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let command = json!({ "to": "probe", "do": "sleep", "amount": 20_000 });
    let place = host.accepted(command).await;
    let queue = host.app.queue().unwrap();
    until("it runs", || queue.running() == 1).await;
    let (_, body) = host.ask(Method::DELETE, &place).await;
    assert_eq!(body, json!({ "cancelled": 0, "interrupting": 1 }));
    assert_eq!(host.finished(&place).await["state"], "cancelled");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sets_retries_and_concurrency_of_a_handler() {
    let folders = Folders::probes(&["patient", "single"]);
    folders.settings("patient", "[queue.retry]\ntransient_max = 5");
    folders.settings("single", "[queue]\nconcurrency = 1");
    let host = serve(config(&folders), true).await;
    let patient = host
        .accepted(json!({ "to": "patient", "do": "unavailable" }))
        .await;
    let naps = json!({ "to": "single", "do": "sleep", "amount": 30 });
    let mut singles = Vec::new();
    for _ in 0..8 {
        singles.push(host.accepted(naps.clone()).await);
    }
    let mut most = 0;
    let mut open = true;
    while open {
        let depth = host.get("/queue").await;
        let of = |state: &str| {
            let entries = depth["depth"].as_array().unwrap().iter();
            let mine = entries.filter(|one| one["handler"] == "single" && one["state"] == state);
            mine.map(|one| one["count"].as_u64().unwrap()).sum::<u64>()
        };
        most = most.max(of("running"));
        open = of("running") + of("available") > 0;
    }
    assert_eq!(most, 1, "more than one ran at once");
    assert_eq!(host.finished(&patient).await["deliveries"][0]["attempt"], 5);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_refused() {
    let folders = Folders::probes(&["probe"]);
    let mut small = config(&folders);
    small.queue.depth_max = 1;
    let host = serve(small, false).await;
    let (status, _, problem) = host.send(&json!({ "to": "nobody" }), None).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::NOT_FOUND, &json!("no-matching-handler"))
    );
    host.accepted(echo()).await;
    let (status, _, problem) = host.send(&echo(), None).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("queue-full"))
    );
    let metrics = reqwest::get(format!("{}/metrics", host.url)).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        r#"pointsman_deliveries{handler="probe",state="available"} 1"#,
        r#"pointsman_commands_refused_total{code="no-matching-handler"} 1"#,
        r#"pointsman_commands_refused_total{code="queue-full"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    for path in [
        "/commands?stat=completed",
        "/commands?state=gone",
        "/commands/1",
    ] {
        let (status, problem) = host.ask(Method::GET, path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {problem}");
    }
    // No one works: the host takes commands and is not ready.
    let (status, problem) = host.ask(Method::GET, "/readyz").await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("queue-stalled"))
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmatched_command_is_kept_where_the_settings_say_so() {
    let folders = Folders::probes(&["probe"]);
    let mut lenient = config(&folders);
    lenient.queue.accept_unmatched = true;
    let host = serve(lenient, true).await;
    let place = host.accepted(json!({ "to": "nobody" })).await;
    assert_eq!(host.get(&place).await["state"], "completed");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_listed_by_pages_and_filters() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let mut places = Vec::new();
    for _ in 0..3 {
        places.push(host.accepted(echo()).await);
    }
    let page = host.get("/commands?limit=2&handler=probe").await;
    let next = page["next"].as_str().unwrap();
    let rest = host.get(&format!("/commands?limit=2&after={next}")).await;
    let ids = [&page["commands"], &rest["commands"]].map(|commands| {
        let commands = commands.as_array().unwrap().iter();
        commands
            .map(|one| format!("/commands/{}", one["commandId"].as_str().unwrap()))
            .collect::<Vec<_>>()
    });
    places.reverse();
    assert_eq!((ids.concat(), &rest["next"]), (places, &Value::Null));
    let none = host.get("/commands?state=completed").await;
    assert_eq!(none["commands"], json!([]));
    let depth = host.get("/queue").await;
    assert_eq!(
        depth["depth"],
        json!([{ "handler": "probe", "state": "available", "count": 3 }])
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_enqueues_for_the_next_host_and_sees_what_came_of_it() {
    let folders = Folders::probes(&["probe"]);
    let dead = r#"{"to":"probe","do":"reject"}"#;
    let (code, shown, _) = cli::said(&folders, &["enqueue", dead]);
    assert_eq!(code, Some(0));
    let id = shown.split_whitespace().next().unwrap();
    assert_eq!(shown, format!("{id}  stored\n  probe\n"));
    let (code, ..) = cli::said(&folders, &["enqueue", r#"{"to":"nobody"}"#]);
    assert_eq!(code, Some(3));
    let (_, shown, _) = cli::said(&folders, &["queue", "list"]);
    assert!(shown.contains("probe  available  attempt 0"), "{shown}");

    let host = serve(config(&folders), true).await;
    host.finished(&format!("/commands/{id}")).await;
    let (code, _, said) = cli::said(&folders, &["enqueue", dead]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("`data` is in use by another process"),
        "{said}"
    );
    assert!(said.contains("`--url http://127.0.0.1:3000`"), "{said}");
    host.stop().await;

    let delivery = format!("{id}.probe");
    let (_, shown, _) = cli::said(&folders, &["queue", "inspect", &delivery]);
    assert!(shown.contains("rejected: not today"), "{shown}");
    let (code, ..) = cli::said(&folders, &["queue", "retry"]);
    assert_eq!(code, Some(2), "a filter has to be named");
    let (_, shown, _) = cli::said(&folders, &["queue", "retry", &delivery]);
    assert_eq!(shown, "1 requeued\n");
    let (_, shown, _) = cli::said(&folders, &["queue", "discard", "--all"]);
    assert_eq!(shown, "0 discarded\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_vanish_turn_readyz_red_until_they_are_back() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    host.accepted(echo()).await;
    host.get("/readyz").await;
    let (data, aside) = (folders.path().join("data"), folders.path().join("aside"));
    std::fs::rename(&data, &aside).unwrap();
    let (status, _, problem) = host.send(&echo(), None).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("queue-replaced"))
    );
    let (status, problem) = host.ask(Method::GET, "/readyz").await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("queue-stalled"))
    );
    let hint = problem["hint"].as_str().unwrap();
    assert!(hint.contains("restart the server"), "{problem}");
    std::fs::rename(&aside, &data).unwrap();
    while host.ask(Method::GET, "/readyz").await.0 != StatusCode::OK {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    host.accepted(echo()).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_too_far_ahead_is_refused() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let request = |time: &str| {
        let url = format!("{}/commands?runAt={time}", host.url);
        Client::new().post(url).json(&echo()).send()
    };
    let response = request("2999-01-01T00:00:00Z").await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let problem: Value = response.json().await.unwrap();
    assert!(
        problem["hint"]
            .as_str()
            .unwrap()
            .contains("`queue.run_at_max`"),
        "{problem}"
    );
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365);
    let response = request(&soon.to_string()).await.unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    host.stop().await;
}
