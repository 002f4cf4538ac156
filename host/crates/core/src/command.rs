//! [`Command`]: one JSON object to route to handlers, always valid. It is parsed once
//! and keeps the original text, because routing and handlers need numbers exactly
//! as they were written.

use std::{
    fmt,
    ops::Deref,
    str::FromStr,
    sync::{Arc, OnceLock},
};

use crate::name::HandlerName;
use serde::{Deserialize, Serialize};
use uuid::{Uuid, fmt::Hyphenated};

use crate::{
    json::{Index, JsonError, Kind, Reason, Value},
    text::{Encoding, NotText, decode},
};

/// The id of a command: a UUID of version 7, so ids sort by the time of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(pub Uuid);

impl CommandId {
    /// Generates an id, greater than all that this process generated before.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the id of a command accepted at `unix_ms` (milliseconds since the Unix
    /// epoch); only `seed` distinguishes ids of the same time.
    #[must_use]
    pub fn simulated(unix_ms: u64, seed: u64) -> Self {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&seed.to_be_bytes());
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }

    /// Returns the id of the `index`th follow-up command that handler `by` of this command
    /// emits. It is the same for every attempt, and has the time of this command.
    #[must_use]
    pub fn follow_up(self, by: &HandlerName, index: usize) -> Self {
        let (seconds, nanoseconds) = match self.0.get_timestamp() {
            Some(time) => time.to_unix(),
            None => (0, 0),
        };
        let unix_ms = seconds * 1_000 + u64::from(nanoseconds) / 1_000_000;
        let derived = Uuid::new_v5(&self.0, format!("{by}/{index}").as_bytes());
        let mut random = [0; 10];
        random.copy_from_slice(&derived.as_bytes()[6..]);
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }

    /// Returns the id as handlers get it: 36 characters, hexadecimal in lower case, with hyphens.
    pub fn text(self) -> IdText {
        let mut text = [0; Hyphenated::LENGTH];
        self.0.hyphenated().encode_lower(&mut text);
        IdText(text)
    }
}

/// The text of a [`CommandId`], without a heap allocation.
pub struct IdText([u8; Hyphenated::LENGTH]);

impl Deref for IdText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits and hyphens")
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CommandId {
    type Err = NotACommandId;

    fn from_str(text: &str) -> Result<Self, NotACommandId> {
        match Uuid::parse_str(text) {
            Ok(id) => Ok(Self(id)),
            Err(_) => Err(NotACommandId(text.chars().take(64).collect())),
        }
    }
}

/// A string that is not the id of a command.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a command id: expected one such as `01980a5c-7d3e-7f40-8000-0123456789ab`")]
pub struct NotACommandId(String);

/// A command: its id, its attributes and its origin.
#[derive(Clone, Debug)]
pub struct Command {
    /// Identifies the command in reports and logs.
    pub id: CommandId,
    /// The caller's W3C trace context, passed to the handlers unchanged.
    pub traceparent: Option<Arc<str>>,
    attributes: Arc<Attributes>,
}

/// Invariant: the text of one JSON object that was checked, here or before it
/// was stored.
#[derive(Debug)]
struct Attributes {
    text: Box<str>,
    /// Made with the check, or when a trusted text is first asked for its fields.
    /// None where a trusted text turns out not to be JSON.
    index: OnceLock<Option<Index>>,
}

impl Command {
    /// Parses `text`, which must be one unambiguous JSON object, and gives it a new id.
    /// The text is parsed only here; [`Self::root`] gives access to its fields.
    ///
    /// # Errors
    /// [`CommandError`], with line and column.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, CommandError> {
        let bytes = text.as_ref();
        let text = decode(bytes).map_err(|error| CommandError::not_text(error, bytes))?;
        if text.trim_ascii_start().is_empty() {
            return Err(CommandError::Empty);
        }
        let index = Index::of(text).map_err(|error| CommandError::Json {
            error: error.locate(text),
        })?;
        let found = match Value::new(text, &index).kind() {
            Kind::Object(_) => {
                return Ok(Self::new(CommandId::generate(), text, Some(index).into()));
            }
            Kind::Null => "null",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::String => "a string",
            Kind::Array(_) => "an array",
        };
        Err(CommandError::NotAnObject { found })
    }

    /// Creates a command from text that was parsed before and stored since. It is not
    /// checked again: text that turns out not to be a JSON object is passed to handlers
    /// as it is, and has no fields.
    #[must_use]
    pub fn trusted(id: CommandId, text: &str) -> Self {
        Self::new(id, text, OnceLock::new())
    }

    fn new(id: CommandId, text: &str, index: OnceLock<Option<Index>>) -> Self {
        let text = text.into();
        Self {
            id,
            traceparent: None,
            attributes: Arc::new(Attributes { text, index }),
        }
    }

    /// Returns the command as it was sent: JSON text.
    #[must_use]
    pub fn attributes(&self) -> &str {
        &self.attributes.text
    }

    /// Returns the attributes, to read fields from.
    #[must_use]
    pub fn root(&self) -> Value<'_> {
        let Attributes { text, index } = &*self.attributes;
        match index.get_or_init(|| Index::of(text).ok()) {
            Some(index) => Value::new(text, index),
            None => Value::EMPTY_OBJECT,
        }
    }
}

/// Why a text is not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The text is empty.
    #[error(
        "the command is empty: send one JSON object, such as {{\"requestType\":\"CreatePolicy\"}}"
    )]
    Empty,
    /// The text is in an encoding other than UTF-8.
    #[error("the command is {} text: save it as UTF-8", .0.as_str())]
    Encoded(Encoding),
    /// The text is not valid UTF-8.
    #[error("the command is not UTF-8 text: invalid byte at line {}, column {}", position.0, position.1)]
    NotUtf8 {
        /// Line and column in characters, both from 1.
        position: (u32, u32),
    },
    /// The text is not valid, unambiguous JSON.
    // Not a source: the message has it.
    #[error("the command {}{error}{}", introduction(&.error.reason), advice(&.error.reason))]
    Json {
        /// What is wrong, and where.
        error: JsonError,
    },
    /// The text is JSON, but not an object.
    #[error(
        "the command is {found}: send one JSON object, such as {{\"requestType\":\"CreatePolicy\"}}"
    )]
    NotAnObject {
        /// Its kind, with an article.
        found: &'static str,
    },
}

impl CommandError {
    fn not_text(error: NotText, bytes: &[u8]) -> Self {
        match error {
            NotText::Encoded(encoding) => Self::Encoded(encoding),
            NotText::NotUtf8 { .. } => Self::NotUtf8 {
                position: error.position(bytes),
            },
        }
    }

    /// Returns the stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty | Self::Encoded(_) | Self::NotUtf8 { .. } => "invalid-json",
            Self::Json { error } => error.reason.code(),
            Self::NotAnObject { .. } => "not-an-object",
        }
    }
}

/// What stands before the error in a message about a command.
fn introduction(reason: &Reason) -> &'static str {
    match reason {
        Reason::Unexpected { .. } | Reason::Malformed(_) => "is not valid JSON: ",
        Reason::TooDeep | Reason::TooLong => "is ",
        Reason::DuplicateKey(_) | Reason::NumberOutOfRange => "has a ",
    }
}

/// What stands after it: what to send instead.
fn advice(reason: &Reason) -> &'static str {
    match reason {
        Reason::Unexpected { .. } | Reason::Malformed(_) | Reason::TooLong => "",
        Reason::TooDeep => ": send what is deeper as a string",
        Reason::DuplicateKey(_) => ": keep one of the two",
        Reason::NumberOutOfRange => ": send it as a string",
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::json::DEPTH_MAX;

    #[test]
    fn a_command_keeps_its_text() {
        let text = r#" {"a": 1.00, "b": [{"c": 9007199254740993}], "d": 1e30} "#;
        assert_eq!(Command::parse(text).unwrap().attributes(), text);
    }

    #[test]
    fn what_is_no_command_says_why() {
        let check = |text: &[u8], wanted: Expect| {
            let error = Command::parse(text).unwrap_err();
            wanted.assert_eq(&format!("{}: {error}", error.code()));
        };
        check(
            b"",
            expect![[
                r#"invalid-json: the command is empty: send one JSON object, such as {"requestType":"CreatePolicy"}"#
            ]],
        );
        check(
            b"{\"a\":1",
            expect![
                "invalid-json: the command is not valid JSON: expected `,` or `}`, found the end of the input at line 1, column 7"
            ],
        );
        check(
            b"{\"a\":1} x",
            expect![
                "invalid-json: the command is not valid JSON: expected the end of the input, found `x` at line 1, column 9"
            ],
        );
        check(
            b"hello",
            expect![
                "invalid-json: the command is not valid JSON: expected a JSON value, found `h` at line 1, column 1"
            ],
        );
        check(
            b"[1]",
            expect![[
                r#"not-an-object: the command is an array: send one JSON object, such as {"requestType":"CreatePolicy"}"#
            ]],
        );
        check(
            b"{\"a\":\"\xff\"}",
            expect![
                "invalid-json: the command is not UTF-8 text: invalid byte at line 1, column 7"
            ],
        );
        check(
            b"\xff\xfe{\x00}\x00",
            expect!["invalid-json: the command is UTF-16 text: save it as UTF-8"],
        );
        check(
            b"{\"a\":1,\n\"\\u0061\":2}",
            expect![
                "duplicate-key: the command has a duplicate key `a` at line 2, column 1: keep one of the two"
            ],
        );
        check(
            b"{\"x\":[{\"b\":1,\"b\":2}]}",
            expect![
                "duplicate-key: the command has a duplicate key `b` at line 1, column 14: keep one of the two"
            ],
        );
        check(
            b"{\"a\":1e400}",
            expect![
                "number-out-of-range: the command has a number beyond 1.8e308 at line 1, column 6: send it as a string"
            ],
        );
        check(
            "{\"a\":".repeat(200).as_bytes(),
            expect![
                "too-deep: the command is nested deeper than 120 levels at line 1, column 601: send what is deeper as a string"
            ],
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_command() {
        let command = Command::parse(b"\xef\xbb\xbf{\"a\":1}").unwrap();
        assert_eq!(command.attributes(), r#"{"a":1}"#);
    }

    #[test]
    fn as_many_levels_as_the_error_says_are_taken() {
        let nested = |levels: usize| {
            let (open, close) = ("{\"a\":".repeat(levels), "}".repeat(levels));
            Command::parse(format!("{open}1{close}"))
        };
        assert!(nested(DEPTH_MAX).is_ok());
        assert!(matches!(
            nested(DEPTH_MAX + 1),
            Err(CommandError::Json { error }) if error.reason == Reason::TooDeep
        ));
    }

    #[test]
    fn a_trusted_command_is_the_one_that_was_parsed() {
        let text = r#"{"a":1,"b":[true]}"#;
        let parsed = Command::parse(text).unwrap();
        let trusted = Command::trusted(parsed.id, text);
        assert_eq!(
            (trusted.id, trusted.attributes()),
            (parsed.id, parsed.attributes())
        );
        let keys = |command: &Command| match command.root().kind() {
            Kind::Object(entries) => entries.map(|(key, _)| key.into_owned()).collect(),
            _ => vec![],
        };
        assert_eq!(keys(&trusted), ["a", "b"]);
        // Of another program's writing into the store.
        let broken = Command::trusted(parsed.id, r#"{"a":1,"#);
        assert_eq!(broken.attributes(), r#"{"a":1,"#);
        assert!(keys(&broken).is_empty());
    }
}
