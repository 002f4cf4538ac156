//! Owns [`Command`]: one JSON object on its way to handlers, valid from the
//! moment it exists. Parses at the edge and keeps the text as it was sent,
//! because routing and handlers read numbers as they were spelled.

use std::{fmt, ops::Deref, str::FromStr, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use uuid::{Uuid, fmt::Hyphenated};

use crate::text::{NotText, decode};

/// The deepest nesting of arrays and objects in JSON that comes from outside:
/// commands, outputs, rule files, cases. What serde_json follows; whoever walks
/// a tree, or drops it, may recurse.
pub const DEPTH_MAX: usize = 127;

/// The id of a command: a UUID of version 7, so ids sort by the time of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(pub Uuid);

impl CommandId {
    /// A new id, later than all that this process gave before.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of a command that is accepted at `unix_ms` (milliseconds since
    /// the Unix epoch), told from others of that time by `seed` alone.
    #[must_use]
    pub fn simulated(unix_ms: u64, seed: u64) -> Self {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&seed.to_be_bytes());
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }

    /// The id as handlers get it: 36 characters, hexadecimal in lower case, with hyphens.
    pub fn text(self) -> IdText {
        let mut text = [0; Hyphenated::LENGTH];
        self.0.hyphenated().encode_lower(&mut text);
        IdText(text)
    }
}

/// The text of a [`CommandId`], without a string on the heap.
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

/// A text that is no id of a command.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no command id: one looks like `01980a5c-7d3e-7f40-8000-0123456789ab`")]
pub struct NotACommandId(String);

/// One command: its id, its attributes and where it came from.
#[derive(Clone, Debug)]
pub struct Command {
    /// Names the command in reports and logs.
    pub id: CommandId,
    /// The caller's W3C trace context, handed to the handlers as it came.
    pub traceparent: Option<Arc<str>>,
    // Invariant: the text of one JSON object without duplicate keys at any depth.
    attributes: Arc<str>,
}

impl Command {
    /// Checks that `text` is one JSON object without duplicate keys and gives
    /// it a new id.
    ///
    /// # Errors
    /// [`CommandError`], with line and column.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, CommandError> {
        let text = decode(text.as_ref())?;
        match text
            .trim_start_matches([' ', '\t', '\r', '\n'])
            .chars()
            .next()
        {
            None => return Err(CommandError::Empty),
            Some('{') => {}
            Some(_) => {
                // Valid JSON of another kind and no JSON at all are two different mistakes.
                let value: serde_json::Value =
                    serde_json::from_str(text).map_err(CommandError::json)?;
                return Err(CommandError::NotAnObject {
                    found: kind(&value),
                });
            }
        }
        check_json(text).map_err(CommandError::json)?;
        Ok(Self {
            id: CommandId::generate(),
            traceparent: None,
            attributes: text.into(),
        })
    }

    /// The command as it was sent: JSON text.
    #[must_use]
    pub fn attributes(&self) -> &str {
        &self.attributes
    }
}

/// Checks that `text` is one JSON value that every reader takes, and takes in
/// the same way: of at most 127 levels, no key twice in one object, no half of a
/// surrogate pair, no number beyond the largest double.
///
/// # Errors
/// serde_json's, with line and column.
pub fn check_json(text: &str) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    UniqueKeys.deserialize(&mut deserializer)?;
    deserializer.end()
}

impl From<NotText> for CommandError {
    fn from(error: NotText) -> Self {
        Self::NotUtf8(error)
    }
}

/// Why a text is no command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No text at all.
    #[error(
        "the command is empty: send one JSON object, such as {{\"requestType\":\"CreatePolicy\"}}"
    )]
    Empty,
    /// Bytes that are no UTF-8.
    /// Not a source: the message has it.
    #[error("the command {0}")]
    NotUtf8(NotText),
    /// No valid JSON.
    #[error("the command is not JSON: {0}")]
    NotJson(serde_json::Error),
    /// More levels of objects and arrays than serde_json follows.
    #[error(
        "the command is nested too deep: {0}: send at most {DEPTH_MAX} levels, or what is deeper as a string"
    )]
    TooDeep(serde_json::Error),
    /// A number beyond the largest double, which readers of JSON refuse or take for infinity.
    #[error("the command has a {0}: send numbers beyond 1.8e308 as strings")]
    NumberOutOfRange(serde_json::Error),
    /// JSON of another kind.
    #[error(
        "the command is {found}: send one JSON object, such as {{\"requestType\":\"CreatePolicy\"}}"
    )]
    NotAnObject {
        /// What it is instead, with its article.
        found: &'static str,
    },
    /// A key twice in one object, which readers of JSON resolve in different ways.
    #[error("the command has a {0}: keep one of the two")]
    DuplicateKey(serde_json::Error),
}

// What their messages begin with: serde_json tells them by nothing else.
const DUPLICATE: &str = "duplicate key";
const OUT_OF_RANGE: &str = "number out of range";
const TOO_DEEP: &str = "recursion limit exceeded";

impl CommandError {
    fn json(error: serde_json::Error) -> Self {
        let message = error.to_string();
        if error.is_data() && message.starts_with(DUPLICATE) {
            Self::DuplicateKey(error)
        } else if message.starts_with(OUT_OF_RANGE) {
            Self::NumberOutOfRange(error)
        } else if message.starts_with(TOO_DEEP) {
            Self::TooDeep(error)
        } else {
            Self::NotJson(error)
        }
    }

    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty | Self::NotUtf8(_) | Self::NotJson(_) => "invalid-json",
            Self::TooDeep(_) => "too-deep",
            Self::NotAnObject { .. } => "not-an-object",
            Self::DuplicateKey(_) => "duplicate-key",
            Self::NumberOutOfRange(_) => "number-out-of-range",
        }
    }
}

fn kind(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}

/// Walks a JSON value and keeps nothing but the keys of the objects it is in.
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut keys = Keys::default();
        while let Some(key) = entries.next_key_seed(Key)? {
            if let Some(key) = keys.insert(key) {
                let key: String = key.chars().take(100).collect();
                return Err(A::Error::custom(format_args!("{DUPLICATE} `{key}`")));
            }
            entries.next_value_seed(Self)?;
        }
        Ok(())
    }
}

/// The keys of one object: a list while it is short, since most objects are.
#[derive(Default)]
struct Keys<'de> {
    few: Vec<Cow<'de>>,
    many: std::collections::HashSet<Cow<'de>>,
}

type Cow<'de> = std::borrow::Cow<'de, str>;

impl<'de> Keys<'de> {
    /// Past this, comparing one by one costs more than hashing.
    const FEW: usize = 16;

    /// Takes a key in, or gives it back if it is there already.
    fn insert(&mut self, key: Cow<'de>) -> Option<Cow<'de>> {
        if self.few.contains(&key) || self.many.contains(&key) {
            return Some(key);
        }
        if self.few.len() < Self::FEW {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
        None
    }
}

/// A key: borrowed from the text where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.into()))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

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
                "invalid-json: the command is not JSON: EOF while parsing an object at line 1 column 6"
            ],
        );
        check(
            b"{\"a\":1} x",
            expect![
                "invalid-json: the command is not JSON: trailing characters at line 1 column 9"
            ],
        );
        check(
            b"hello",
            expect!["invalid-json: the command is not JSON: expected value at line 1 column 1"],
        );
        check(
            b"[1]",
            expect![[
                r#"not-an-object: the command is an array: send one JSON object, such as {"requestType":"CreatePolicy"}"#
            ]],
        );
        check(
            b"{\"a\":\"\xff\"}",
            expect!["invalid-json: the command is not UTF-8 text: invalid byte at offset 6"],
        );
        check(
            b"\xff\xfe{\x00}\x00",
            expect!["invalid-json: the command is UTF-16 text: save it as UTF-8"],
        );
        check(
            b"{\"a\":1,\n\"\\u0061\":2}",
            expect![
                "duplicate-key: the command has a duplicate key `a` at line 2 column 8: keep one of the two"
            ],
        );
        check(
            b"{\"x\":[{\"b\":1,\"b\":2}]}",
            expect![
                "duplicate-key: the command has a duplicate key `b` at line 1 column 16: keep one of the two"
            ],
        );
        check(
            b"{\"a\":1e400}",
            expect![
                "number-out-of-range: the command has a number out of range at line 1 column 10: send numbers beyond 1.8e308 as strings"
            ],
        );
        check(
            "{\"a\":".repeat(200).as_bytes(),
            expect![
                "too-deep: the command is nested too deep: recursion limit exceeded at line 1 column 636: send at most 127 levels, or what is deeper as a string"
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
            Err(CommandError::TooDeep(_))
        ));
    }

    #[test]
    fn the_seventeenth_key_is_compared_too() {
        let mut text: String = (0..40).map(|n| format!("\"k{n}\":0,")).collect();
        text = format!("{{{text}\"k39\":0}}");
        assert_eq!(Command::parse(text).unwrap_err().code(), "duplicate-key");
    }
}
