//! Owns traces: spans for requests, handler calls and commands that wait in the
//! queue, sent to a collector over OTLP as the standard `OTEL_*` variables say.
//!
//! A trace context travels as the `traceparent` of a command, so nothing on the
//! path of a command has to know of spans to pass them on.

mod collector;
mod environment;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{
        Span as _, SpanBuilder, SpanContext, Status as SpanStatus, TraceContextExt as _,
        TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan},
};

use crate::{
    command::Command,
    delivery::DeliveryId,
    name::HandlerName,
    outcome::HandlerReport,
    text::{self, MESSAGE_MAX_BYTES},
};

pub(crate) use opentelemetry::trace::SpanKind;

/// The header and field that a trace context travels in.
const TRACEPARENT: &str = "traceparent";

/// Makes spans and sends them. Clones share everything.
#[derive(Clone)]
pub struct Telemetry {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    fn new(provider: SdkTracerProvider) -> Self {
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        Self { tracer, provider }
    }

    /// Sends what has not been sent, and ends; gives up after `wait`.
    pub async fn stop(&self, wait: Duration) {
        let provider = self.provider.clone();
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(wait)).await;
        if let Ok(Err(error)) = sent {
            tracing::warn!("the last traces were not sent: {error}");
        }
    }

    /// The span of a request to this route.
    pub(crate) fn request(
        &self,
        (method, route, path): (&str, &str, &str),
        traceparent: Option<&str>,
    ) -> Span {
        let builder = SpanBuilder::from_name(format!("{method} {route}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", method.to_owned()),
                KeyValue::new("http.route", route.to_owned()),
                KeyValue::new("url.path", bounded(path)),
                KeyValue::new("url.scheme", "http"),
            ]);
        self.start(builder, traceparent)
    }

    /// The span of a command on its way into the queue.
    pub(crate) fn enqueue(&self, command: &Command) -> Span {
        let builder = SpanBuilder::from_name("send queue")
            .with_kind(SpanKind::Producer)
            .with_attributes([
                KeyValue::new("messaging.system", "pointsman"),
                KeyValue::new("messaging.operation.name", "enqueue"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("messaging.destination.name", "queue"),
                KeyValue::new("messaging.message.id", command.id.to_string()),
            ]);
        self.start(builder, command.traceparent.as_deref())
    }

    /// The span of one call of a handler: of a command that is run, or, with
    /// [`SpanKind::Consumer`], of one attempt of a delivery.
    pub(crate) fn call(
        &self,
        command: &Command,
        handler: &HandlerName,
        (kind, attempt): (SpanKind, u32),
    ) -> Span {
        let delivery = DeliveryId::new(command.id, handler.clone()).to_string();
        let mut attributes = vec![
            KeyValue::new("faas.invoked_name", handler.to_string()),
            KeyValue::new("faas.invocation_id", delivery),
            KeyValue::new("pointsman.command.id", command.id.to_string()),
            KeyValue::new("pointsman.attempt", i64::from(attempt)),
        ];
        let is_attempt = kind == SpanKind::Consumer;
        if is_attempt {
            attributes.extend([
                KeyValue::new("messaging.system", "pointsman"),
                KeyValue::new("messaging.operation.name", "process"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.destination.name", "queue"),
                KeyValue::new("messaging.message.id", command.id.to_string()),
            ]);
        }
        let verb = if is_attempt { "process" } else { "call" };
        let builder = SpanBuilder::from_name(format!("{verb} {handler}"))
            .with_kind(kind)
            .with_attributes(attributes);
        let parent = command.traceparent.as_deref();
        let mut span = self.start(builder, parent);
        if is_attempt && span.0.is_recording() {
            // Each attempt is a child of the enqueueing, and says so as messaging systems do.
            let context = context(parent);
            let sender = context.span().span_context().clone();
            if sender.is_valid() {
                span.0.add_link(sender, Vec::new());
            }
        }
        span
    }

    fn start(&self, builder: SpanBuilder, traceparent: Option<&str>) -> Span {
        Span(builder.start_with_context(&self.tracer, &context(traceparent)))
    }
}

/// One span; it ends when it is dropped.
pub(crate) struct Span(SdkSpan);

impl Span {
    /// Whether anything that is said of it is sent.
    pub(crate) fn is_recording(&self) -> bool {
        self.0.is_recording()
    }

    /// What its children are given.
    pub(crate) fn traceparent(&self) -> Arc<str> {
        traceparent(self.0.span_context()).into()
    }

    /// The command as this span's children see it.
    pub(crate) fn parent_of(&self, command: &Command) -> Command {
        let mut command = command.clone();
        command.traceparent = Some(self.traceparent());
        command
    }

    /// The request was answered with this status.
    pub(crate) fn answered(&mut self, status: u16) {
        let attribute = KeyValue::new("http.response.status_code", i64::from(status));
        self.0.set_attribute(attribute);
        if status >= 500 {
            self.0
                .set_attribute(KeyValue::new("error.type", status.to_string()));
            self.0.set_status(SpanStatus::error(""));
        }
    }

    /// The command was not taken into the queue.
    pub(crate) fn refused(&mut self, code: &'static str) {
        self.0.set_attribute(KeyValue::new("error.type", code));
        self.0.set_status(SpanStatus::error(""));
    }

    /// The call ended so; its log lines are events of the span.
    pub(crate) fn called(&mut self, report: &HandlerReport, started: Instant) {
        if !self.is_recording() {
            return;
        }
        let outcome = &report.outcome;
        let status = outcome.status().as_str();
        self.0
            .set_attribute(KeyValue::new("pointsman.status", status));
        if let Some(digest) = &report.digest {
            let digest = KeyValue::new("pointsman.handler.digest", digest.to_string());
            self.0.set_attribute(digest);
        }
        let began = SystemTime::now()
            .checked_sub(started.elapsed())
            .unwrap_or(SystemTime::UNIX_EPOCH);
        for line in &outcome.logs.lines {
            let attributes = vec![
                KeyValue::new("log.severity", line.level.as_str()),
                KeyValue::new("log.body", line.message.clone()),
            ];
            self.0
                .add_event_with_timestamp("log", began + line.after, attributes);
        }
        if let Err(failure) = &outcome.result {
            self.0.set_attribute(KeyValue::new("error.type", status));
            self.0
                .set_status(SpanStatus::error(bounded(&failure.message)));
        }
    }
}

/// The id of the trace that this `traceparent` belongs to, for the log.
pub(crate) fn trace_id(traceparent: &str) -> &str {
    traceparent.split('-').nth(1).unwrap_or_default()
}

fn bounded(text: &str) -> String {
    text::cut(text.into(), MESSAGE_MAX_BYTES)
}

fn traceparent(context: &SpanContext) -> String {
    format!(
        "00-{}-{}-{:02x}",
        context.trace_id(),
        context.span_id(),
        context.trace_flags()
    )
}

/// The context that a `traceparent` names: an empty one where it names none.
fn context(traceparent: Option<&str>) -> Context {
    struct Given<'a>(&'a str);

    impl Extractor for Given<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            (key == TRACEPARENT).then_some(self.0)
        }

        fn keys(&self) -> Vec<&str> {
            vec![TRACEPARENT]
        }
    }

    let empty = Context::new();
    match traceparent {
        None => empty,
        Some(given) => TraceContextPropagator::new().extract_with_context(&empty, &Given(given)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_passed_on_as_it_is_read() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = context(Some(given));
        assert_eq!(traceparent(context.span().span_context()), given);
        assert_eq!(trace_id(given), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn what_is_no_traceparent_begins_a_new_trace() {
        for wrong in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-zz",
        ] {
            let context = context(Some(wrong));
            assert!(!context.span().span_context().is_valid(), "{wrong}");
        }
    }
}
