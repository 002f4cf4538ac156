//! Owns what a body is taken for, by its `Content-Type` and the `ce-` headers: a command,
//! a CloudEvent, or many of either.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::rejection::BytesRejection,
    http::{HeaderMap, StatusCode},
};

use super::{
    media::{self, Media},
    problem::Problem,
};
use crate::{
    cloudevents::{self, CloudEvent, TRACEPARENT_MAX_BYTES},
    command::Command,
    host::Host,
    queue::{self, BulkError, Numbered},
};

/// What the names of headers begin with that describe an event.
const CE: &str = "ce-";
/// A request with one of these is an event, and is missing the others if it is.
const NAMING: [&str; 4] = ["ce-specversion", "ce-id", "ce-source", "ce-type"];

/// A command as it came.
pub(super) struct Incoming {
    /// With the trace context of its event, or else of the request.
    pub(super) command: Command,
    /// What the event is called, if it is one.
    pub(super) idempotency_key: Option<String>,
    /// What the event is to be in order with, if it is one and says so.
    pub(super) ordering_key: Option<String>,
}

/// What a body holds.
pub(super) enum Body {
    One(Box<Incoming>),
    Many(Vec<Numbered<Incoming>>),
}

/// The command in a body.
pub(super) async fn one(
    host: &Host,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Incoming, Problem> {
    let body = whole(host, body)?;
    let media = kind(headers, &body)?;
    match media {
        Media::Json | Media::Event => read_one(host, headers, body, media).await,
        Media::Lines | Media::Events => Err(Problem::one_command()),
    }
}

/// The commands in a body.
pub(super) async fn any(
    host: &Host,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Body, Problem> {
    let body = whole(host, body)?;
    let media = kind(headers, &body)?;
    if let Media::Json | Media::Event = media {
        let one = read_one(host, headers, body, media).await?;
        return Ok(Body::One(Box::new(one)));
    }
    let (trace, length) = (traceparent(headers), body.len());
    let read = move || -> Result<Vec<Numbered<Incoming>>, BulkError> {
        if media == Media::Events {
            let events = cloudevents::batch(&body)?.into_iter();
            let all = events.map(|(number, event)| (number, Incoming::of(event, trace.as_ref())));
            return Ok(all.collect());
        }
        let commands = queue::parse_lines(&body, 1)?.into_iter();
        let all =
            commands.map(|(number, command)| (number, Incoming::plain(command, trace.as_ref())));
        Ok(all.collect())
    };
    Ok(Body::Many(host.dispatcher().read(length, read).await??))
}

/// The body, which under `serve` is whole: this is for a router that is served otherwise.
fn whole(host: &Host, body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(host.config().host.command_max_bytes),
        _ => Problem::unreadable_body(),
    })
}

/// What the body is. An event without data needs no type.
fn kind(headers: &HeaderMap, body: &Bytes) -> Result<Media, Problem> {
    let is_event = NAMING.iter().any(|name| headers.contains_key(*name));
    if is_event && body.is_empty() {
        return Ok(Media::Json);
    }
    let media = media::of(headers)?;
    if is_event && media != Media::Json {
        return Err(Problem::two_modes());
    }
    Ok(media)
}

async fn read_one(
    host: &Host,
    headers: &HeaderMap,
    body: Bytes,
    media: Media,
) -> Result<Incoming, Problem> {
    let (dispatcher, trace) = (host.dispatcher(), traceparent(headers));
    let length = body.len();
    if media == Media::Event {
        let event = dispatcher.read(length, move || cloudevents::structured(&body));
        return Ok(Incoming::of(event.await??, trace.as_ref()));
    }
    if !NAMING.iter().any(|name| headers.contains_key(*name)) {
        let command = dispatcher.parse(body).await??;
        return Ok(Incoming::plain(command, trace.as_ref()));
    }
    let attributes = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(CE)?;
        Some((name.to_owned(), value.as_bytes().to_vec()))
    });
    let attributes: Vec<_> = attributes.collect();
    let event = dispatcher.read(length, move || {
        let attributes = attributes.iter();
        let attributes = attributes.map(|(name, value)| (name.as_str(), value.as_slice()));
        cloudevents::binary(attributes, &body)
    });
    Ok(Incoming::of(event.await??, trace.as_ref()))
}

/// What a `traceparent` of the request says.
fn traceparent(headers: &HeaderMap) -> Option<Arc<str>> {
    headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .filter(|value| value.len() <= TRACEPARENT_MAX_BYTES)
        .map(Into::into)
}

impl Incoming {
    fn plain(command: Command, trace: Option<&Arc<str>>) -> Self {
        Self {
            command: traced(command, trace),
            idempotency_key: None,
            ordering_key: None,
        }
    }

    fn of(event: CloudEvent, trace: Option<&Arc<str>>) -> Self {
        Self {
            command: traced(event.command, trace),
            idempotency_key: Some(event.idempotency_key),
            ordering_key: event.ordering_key,
        }
    }
}

fn traced(mut command: Command, trace: Option<&Arc<str>>) -> Command {
    command.traceparent = command.traceparent.or_else(|| trace.cloned());
    command
}
