//! Owns how a CloudEvent 1.0 becomes a command: its `data` with what describes the event
//! under `$event`, and keys from what names it.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use percent_encoding::percent_decode_str;
use pointsman_core::{diagnostic::Diagnostic, json::Reason};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::{
    command::{Command, CommandError},
    queue::{BULK_MAX, BulkError, Faults, KEY_MAX_BYTES, Numbered},
    text,
};

/// The key of a command under which what describes the event stands.
const EVENT: &str = "$event";
/// The longest `traceparent` that is taken, of an event or a request: version 00 has 55
/// characters, later ones may have more.
pub(crate) const TRACEPARENT_MAX_BYTES: usize = 256;
/// Of a name or value that is repeated in an error.
const FOREIGN_MAX_BYTES: usize = 256;

/// An event as a command.
#[derive(Debug)]
pub struct CloudEvent {
    /// The command, with the trace context of the event where it has one.
    pub command: Command,
    /// From `source` and `id`, which together name an event.
    pub idempotency_key: String,
    /// From `partitionkey`.
    pub ordering_key: Option<String>,
}

/// Why something is no event that becomes a command.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// It is not JSON, or not an object.
    #[error("{0}")]
    Json(CommandError),
    /// It is of another version.
    #[error("the event has `specversion` `{0}`: send one of version 1.0")]
    Version(String),
    /// An attribute is missing or wrong.
    #[error("the event's attribute `{name}` {reason}")]
    Attribute {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The data cannot be a command.
    #[error("the event's data {0}")]
    Data(&'static str),
}

impl EventError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json(error) => error.code(),
            Self::Version(_) => "unsupported-event-version",
            Self::Attribute { .. } => "invalid-event",
            Self::Data(_) => "unsupported-event-data",
        }
    }

    fn attribute(name: &str, reason: &'static str) -> Self {
        let name = text::cut(name.to_owned(), FOREIGN_MAX_BYTES);
        Self::Attribute { name, reason }
    }
}

/// What describes an event: the JSON texts of its attributes, by name.
type Attributes<'e> = BTreeMap<String, Cow<'e, str>>;

/// The event in a JSON text: structured mode.
///
/// # Errors
/// [`EventError`].
pub fn structured(text: &[u8]) -> Result<CloudEvent, EventError> {
    let whole = Command::parse(text).map_err(EventError::Json)?;
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(whole.attributes())
        // What was just read as an object is one.
        .map_err(|_| EventError::Json(CommandError::Empty))?;
    let data = members.remove("data").map(RawValue::get);
    if members.remove("data_base64").is_some() {
        return Err(EventError::Data(
            "is binary (`data_base64`): send a JSON object as `data`",
        ));
    }
    let attributes = members
        .into_iter()
        // One that is null is not set.
        .filter(|(_, value)| value.get() != "null")
        .map(|(name, value)| (name, value.get().into()));
    of(attributes.collect(), data)
}

/// The event whose attributes are in headers, by name without `ce-`, and whose data is
/// the body: binary mode.
///
/// # Errors
/// [`EventError`].
pub fn binary<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    body: &[u8],
) -> Result<CloudEvent, EventError> {
    let mut attributes = Attributes::new();
    for (name, value) in headers {
        if matches!(name, "data" | "data_base64" | "datacontenttype") {
            let reason = "is no header: the body is the data, and `Content-Type` its type";
            return Err(EventError::attribute(name, reason));
        }
        let value = decoded(value)
            .ok_or_else(|| EventError::attribute(name, "is not UTF-8 once it is decoded"))?;
        let value = serde_json::Value::from(value).to_string();
        if attributes.insert(name.to_owned(), value.into()).is_some() {
            return Err(EventError::attribute(name, "is given twice: keep one"));
        }
    }
    if body.trim_ascii().is_empty() {
        return of(attributes, None);
    }
    let data = Command::parse(body).map_err(|error| match error {
        CommandError::NotAnObject { .. } => EventError::Data(NOT_AN_OBJECT),
        error => EventError::Json(error),
    })?;
    of(attributes, Some(data.attributes()))
}

/// The events in a JSON array, numbered from 1: batch mode.
///
/// # Errors
/// [`BulkError::Lines`], [`BulkError::TooMany`].
pub fn batch(text: &[u8]) -> Result<Vec<Numbered<CloudEvent>>, BulkError> {
    let mut faults = Faults::default();
    let all = text::decode(text).ok();
    let all = all.and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok());
    let Some(all) = all else {
        let message =
            "the batch is not a JSON array in UTF-8: send `[…]` with one event for each element";
        faults.add(1, Diagnostic::error("invalid-json", message));
        return Err(BulkError::Lines(faults));
    };
    if all.len() > BULK_MAX {
        return Err(BulkError::TooMany);
    }
    let mut events = Vec::with_capacity(all.len());
    for (event, number) in all.into_iter().zip(1..) {
        match structured(event.get().as_bytes()) {
            Ok(event) => events.push((number, event)),
            Err(error) => faults.add(number, Diagnostic::error(error.code(), error.to_string())),
        }
    }
    faults.or(events)
}

const NOT_AN_OBJECT: &str = "is not a JSON object, which a command is";

/// The value of a header as it was before it was encoded: quoted as HTTP has it, then
/// with `%` escapes.
fn decoded(value: &[u8]) -> Option<String> {
    let value = std::str::from_utf8(value).ok()?.trim();
    let quoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let plain = quoted.map_or(Cow::Borrowed(value), |quoted| {
        let mut plain = String::with_capacity(quoted.len());
        let mut characters = quoted.chars();
        while let Some(next) = characters.next() {
            plain.extend(match next {
                '\\' => characters.next(),
                next => Some(next),
            });
        }
        plain.into()
    });
    let decoded = percent_decode_str(&plain).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// The event of these attributes and this data, which is JSON.
fn of(attributes: Attributes<'_>, data: Option<&str>) -> Result<CloudEvent, EventError> {
    match string(&attributes, "specversion")?.as_deref() {
        Some("1.0") => {}
        Some(other) => {
            let other = text::cut(other.to_owned(), FOREIGN_MAX_BYTES);
            return Err(EventError::Version(other));
        }
        None => return Err(EventError::attribute("specversion", MISSING)),
    }
    for (name, value) in &attributes {
        check(name, value)?;
    }
    let required =
        |name| string(&attributes, name)?.ok_or_else(|| EventError::attribute(name, MISSING));
    let (id, source) = (required("id")?, required("source")?);
    required("type")?;
    if source.contains(char::is_whitespace) {
        let reason = "has a space, which a URI reference has not";
        return Err(EventError::attribute("source", reason));
    }
    let traceparent = string(&attributes, "traceparent")?;
    let mut command = composed(&attributes, data)?;
    command.traceparent = traceparent
        .filter(|it| it.len() <= TRACEPARENT_MAX_BYTES)
        .map(Into::into);
    Ok(CloudEvent {
        command,
        // A source has no space, so that no other event has the same text.
        idempotency_key: fitting("event:", &format!("{source} {id}")),
        ordering_key: string(&attributes, "partitionkey")?.map(|key| fitting("", &key)),
    })
}

const MISSING: &str = "is missing";

/// The attribute as text; none where it is not set.
fn string(attributes: &Attributes<'_>, name: &str) -> Result<Option<String>, EventError> {
    let Some(value) = attributes.get(name) else {
        return Ok(None);
    };
    match serde_json::from_str::<String>(value) {
        Ok(text) if text.is_empty() => Err(EventError::attribute(name, "is empty")),
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(EventError::attribute(name, "is not a string")),
    }
}

/// Checks what CloudEvents asks of every attribute.
fn check(name: &str, value: &str) -> Result<(), EventError> {
    let is_named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() || !name.bytes().all(is_named) {
        let reason = "has a name with other characters than lower-case letters and digits";
        return Err(EventError::attribute(name, reason));
    }
    match value.as_bytes().first() {
        Some(b'{' | b'[') => {
            let reason = "is an object or an array: attributes are strings, numbers and booleans";
            return Err(EventError::attribute(name, reason));
        }
        Some(b'"') => {}
        _ => return Ok(()),
    }
    let text: String =
        serde_json::from_str(value).map_err(|_| EventError::attribute(name, "is not a string"))?;
    if text.contains(char::is_control) {
        return Err(EventError::attribute(name, "has a control character"));
    }
    if name == "time" && text.parse::<jiff::Timestamp>().is_err() {
        let reason = "is not a time as RFC 3339 has it, such as 2026-11-25T00:00:00Z";
        return Err(EventError::attribute(name, reason));
    }
    Ok(())
}

/// The data with the attributes beside what it has.
fn composed(attributes: &Attributes<'_>, data: Option<&str>) -> Result<Command, EventError> {
    let data = data.map_or("{}", str::trim);
    let Some(rest) = data.strip_prefix('{') else {
        return Err(EventError::Data(NOT_AN_OBJECT));
    };
    let mut text = format!("{{\"{EVENT}\":{{");
    for (index, (name, value)) in attributes.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // A name is letters and digits.
        let _ = write!(text, "{comma}\"{name}\":{value}");
    }
    text.push('}');
    if !rest.trim_start().starts_with('}') {
        text.push(',');
    }
    text.push_str(rest);
    Command::parse(text).map_err(|error| match &error {
        CommandError::Json { error: json } if matches!(json.reason, Reason::DuplicateKey(_)) => {
            EventError::Data(
                "has a key `$event`, which the command needs for the attributes of the event",
            )
        }
        _ => EventError::Json(error),
    })
}

/// A key as long as the queue takes, and the same for the same text.
fn fitting(prefix: &str, text: &str) -> String {
    if prefix.len() + text.len() <= KEY_MAX_BYTES {
        return format!("{prefix}{text}");
    }
    let digest = Sha256::digest(text);
    let hex = digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!("{prefix}sha256:{hex}")
}

#[cfg(test)]
mod tests;
