//! Traces, as a collector receives them, and what is shipped to watch metrics with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message as _;
use reqwest::Client;

use crate::{
    host::{Folders, root, until},
    queue::program::Program,
};

type Batches = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// A collector that answers with this status.
struct Collector {
    url: String,
    batches: Batches,
}

impl Collector {
    async fn start(status: StatusCode) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let batches = Batches::default();
        let taken = Arc::clone(&batches);
        let take = move |body: Bytes| async move {
            let batch = ExportTraceServiceRequest::decode(body).unwrap();
            taken.lock().unwrap().push(batch);
            status
        };
        let routes = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, batches }
    }

    fn spans(&self) -> Vec<Span> {
        let batches = self.batches.lock().unwrap();
        let resources = batches.iter().flat_map(|it| &it.resource_spans);
        let scopes = resources.flat_map(|it| &it.scope_spans);
        scopes.flat_map(|it| it.spans.clone()).collect()
    }

    /// The span of this name, once it has come.
    async fn span(&self, name: &str) -> Span {
        let find = || self.spans().into_iter().find(|it| it.name == name);
        until(name, || find().is_some()).await;
        find().unwrap()
    }
}

fn values(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| match it.value.as_ref().and_then(|it| it.value.clone()) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = attributes.iter().map(|it| (it.key.clone(), text(it)));
    pairs.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn traced(folders: &Folders, collector: &Collector, more: &[(&str, &str)]) -> Program {
    let own = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ];
    Program::start_with(folders, &[&own, more].concat())
}

async fn send(host: &Program, path: &str, body: &str, traceparent: Option<&str>) -> StatusCode {
    let mut request = Client::new()
        .post(format!("{}{path}", host.url))
        .header("Content-Type", "application/json")
        .body(body.to_owned());
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    request.send().await.unwrap().status()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_its_calls_are_one_trace_that_the_caller_began() {
    let collector = Collector::start(StatusCode::OK).await;
    let folders = Folders::probes(&["first", "second"]);
    folders.rules(
        "both.json",
        r#"{"rules":[{"name":"both","match":{"to":["both"]},"handlers":["first","second"]}]}"#,
    );
    let host = traced(&folders, &collector, &[]);
    let failing = r#"{"to":"both","do":"reject"}"#;
    send(&host, "/commands/execute", failing, Some(PARENT)).await;

    let request = collector.span("POST /commands/execute").await;
    assert_eq!(hex(&request.trace_id), TRACE);
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    assert_eq!(request.kind(), SpanKind::Server);
    let attributes = values(&request.attributes);
    assert_eq!(attributes["http.route"], "/commands/execute");
    assert_eq!(attributes["http.response.status_code"], "502");
    for name in ["call first", "call second"] {
        let call = collector.span(name).await;
        assert_eq!(call.trace_id, request.trace_id);
        assert_eq!(call.parent_span_id, request.span_id);
        assert_eq!(call.kind(), SpanKind::Internal);
        assert_eq!(values(&call.attributes)["pointsman.status"], "rejected");
        let status = call.status.unwrap();
        assert_eq!(status.code(), SpanStatus::Error, "{status:?}");
        assert!(!status.message.is_empty());
    }
    // Probes and metrics are no traces.
    let probe = reqwest::get(format!("{}/healthz", host.url)).await;
    assert!(probe.unwrap().status().is_success());
    send(&host, "/commands/execute", "{}", None).await;
    until("the next request", || {
        let spans = collector.spans();
        spans.iter().filter(|it| it.name == request.name).count() == 2
    })
    .await;
    assert!(
        collector
            .spans()
            .iter()
            .all(|it| !it.name.contains("healthz"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_of_a_delivery_is_linked_to_the_request_that_stored_it() {
    let collector = Collector::start(StatusCode::OK).await;
    let folders = Folders::probes(&["probe"]);
    let host = traced(&folders, &collector, &[]);
    let logging = r#"{"to":"probe","do":"log"}"#;
    send(&host, "/commands", logging, None).await;
    let enqueued = collector.span("send queue").await;
    let attempt = collector.span("process probe").await;
    let request = collector.span("POST /commands").await;
    assert_eq!(enqueued.kind(), SpanKind::Producer);
    assert_eq!(enqueued.parent_span_id, request.span_id);
    assert_eq!(attempt.kind(), SpanKind::Consumer);
    assert_eq!(attempt.trace_id, request.trace_id);
    assert_eq!(attempt.links[0].span_id, enqueued.span_id);
    assert_eq!(values(&attempt.attributes)["pointsman.attempt"], "1");
    let lines: Vec<_> = attempt.events.iter().map(|it| it.name.as_str()).collect();
    assert!(lines.contains(&"log"), "{attempt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_is_not_sent_and_what_is_left_is_sent_at_the_end() {
    let collector = Collector::start(StatusCode::OK).await;
    let folders = Folders::probes(&["probe"]);
    // Batches wait for an hour.
    let mut host = traced(
        &folders,
        &collector,
        &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")],
    );
    let nothing = r#"{"to":"probe","do":"nothing"}"#;
    let unsampled = PARENT.strip_suffix("01").unwrap().to_owned() + "00";
    send(&host, "/commands/execute", nothing, Some(&unsampled)).await;
    send(&host, "/commands/execute", nothing, Some(PARENT)).await;
    host.signal("TERM");
    assert!(host.ends().await);
    let names: Vec<_> = collector.spans().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["call probe", "POST /commands/execute"]);
    let resource = collector.batches.lock().unwrap()[0].resource_spans[0].clone();
    let resource = values(&resource.resource.unwrap().attributes);
    assert_eq!(resource["service.name"], "pointsman");
    assert!(resource.contains_key("service.version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_costs_no_request_and_is_told_once() {
    let collector = Collector::start(StatusCode::BAD_REQUEST).await;
    let folders = Folders::probes(&["probe"]);
    let host = traced(&folders, &collector, &[]);
    let nothing = r#"{"to":"probe","do":"nothing"}"#;
    for _ in 0..3 {
        let before = collector.batches.lock().unwrap().len();
        let status = send(&host, "/commands/execute", nothing, None).await;
        assert_eq!(status, StatusCode::OK);
        until("the batch", || {
            collector.batches.lock().unwrap().len() > before
        })
        .await;
    }
    assert!(host.says(1, &["traces were lost"]).await, "{}", host.log());
    assert_eq!(host.said(&["traces were lost"]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alerts_and_the_dashboard_ask_for_metrics_that_there_are() {
    let folders = Folders::probes(&["probe"]);
    folders.settings("probe", "[limits]\nlog_lines_max = 1\n");
    let host = Program::start(&folders);
    // A metric without a value is not there: each has something to count.
    let logging = r#"{"to":"probe","do":"log"}"#;
    send(&host, "/commands/execute", logging, None).await;
    send(&host, "/commands/execute", "{}", None).await;
    let paused = send(&host, "/queue/pause?all=true", "", None).await;
    assert_eq!(paused, StatusCode::OK);
    send(&host, "/commands", logging, None).await;
    let metrics = reqwest::get(format!("{}/metrics", host.url)).await.unwrap();
    let metrics = metrics.text().await.unwrap() + &crate::http::tls::all_metrics().await;
    let types = metrics.lines().filter_map(|it| it.strip_prefix("# TYPE "));
    let known: BTreeSet<_> = types
        .flat_map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            let suffixes: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
        })
        .collect();
    let name = regex::Regex::new(r"\bpointsman_[a-z_]+").unwrap();
    let shipped = root().join("host/packaging/monitoring");
    for file in ["alerts.yml", "grafana.json"] {
        let text = fs::read_to_string(shipped.join(file)).unwrap();
        let asked: BTreeSet<_> = name.find_iter(&text).map(|it| it.as_str()).collect();
        assert!(asked.len() > 5, "{file}: {asked:?}");
        let unknown: Vec<_> = asked.iter().filter(|it| !known.contains(**it)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?} of {known:?}");
    }
    let dashboard = fs::read_to_string(shipped.join("grafana.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
}
