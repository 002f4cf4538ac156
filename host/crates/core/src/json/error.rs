//! Owns [`SyntaxError`]: why a text is not JSON that every reader takes, as data.

use std::fmt;

use super::DEPTH_MAX;
use crate::{source::position, text::escaped};

/// The most characters of a key in a message.
const KEY_MAX_CHARS: usize = 100;

/// What is wrong with a JSON text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset in the text.
    pub at: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// Why a text is not JSON that every reader takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Something else was expected.
    Unexpected {
        /// What stands there; none at the end of the text.
        found: Option<char>,
        /// What can stand there.
        expected: &'static str,
    },
    /// A string or a number that is spelled wrong.
    Malformed(&'static str),
    /// More levels of arrays and objects than [`DEPTH_MAX`].
    TooDeep,
    /// A key twice in one object, which readers of JSON resolve in different ways.
    DuplicateKey(Box<str>),
    /// A number beyond the largest double, which readers of JSON refuse or take
    /// for infinity.
    NumberOutOfRange,
    /// More bytes than offsets count.
    TooLong,
}

impl Reason {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unexpected { .. } | Self::Malformed(_) => "invalid-json",
            Self::TooDeep => "too-deep",
            Self::DuplicateKey(_) => "duplicate-key",
            Self::NumberOutOfRange => "number-out-of-range",
            Self::TooLong => "too-large",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected {
                found: Some(found),
                expected,
            } => write!(
                f,
                "expected {expected}, found `{}`",
                escaped(found.encode_utf8(&mut [0; 4]))
            ),
            Self::Unexpected {
                found: None,
                expected,
            } => write!(f, "expected {expected}, found the end of the input"),
            Self::Malformed(message) => f.write_str(message),
            Self::TooDeep => write!(f, "nested deeper than {DEPTH_MAX} levels"),
            Self::DuplicateKey(key) => write!(f, "duplicate key `{}`", escaped(key)),
            Self::NumberOutOfRange => f.write_str("number beyond 1.8e308"),
            Self::TooLong => f.write_str("longer than 2 GiB"),
        }
    }
}

impl SyntaxError {
    #[cold]
    pub(super) fn malformed(at: usize, message: &'static str) -> Box<Self> {
        let reason = Reason::Malformed(message);
        Box::new(Self { at, reason })
    }

    #[cold]
    pub(super) fn duplicate_key(at: usize, key: &str) -> Box<Self> {
        let key: String = key.chars().take(KEY_MAX_CHARS).collect();
        let reason = Reason::DuplicateKey(key.into());
        Box::new(Self { at, reason })
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }

    /// The error with line and column in `text`, which is where it was found.
    #[must_use]
    pub fn locate(self, text: &str) -> JsonError {
        JsonError {
            at: self.at,
            position: position(text, self.at),
            reason: self.reason,
        }
    }
}

/// What is wrong with a JSON text, and where, for people:
/// ``expected `,` or `}`, found `x` at line 1, column 9``.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at line {}, column {}", position.0, position.1)]
pub struct JsonError {
    /// Byte offset in the text.
    pub at: usize,
    /// Line and column in characters, both from 1.
    pub position: (u32, u32),
    /// What is wrong there.
    pub reason: Reason,
}
