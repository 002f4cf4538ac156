//! Owns what can be wrong with a rule file ([`RuleError`]) and with the text
//! of a command's attributes ([`EventError`]), and [`Source`], which turns a
//! byte offset into a line and a column.

use std::{fmt, sync::Arc};

use super::{json::SyntaxError, rule::Rule};
use crate::command::DEPTH_MAX;

/// What is wrong with a rule file or a pattern, where, and how to mend it.
///
/// Displays as `rules/orders.json:12:7: unknown operator …`, with a second line
/// `  hint: …` where there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct RuleError(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    path: String,
    line: u32,
    column: u32,
    code: &'static str,
    message: String,
    hint: Option<String>,
}

impl RuleError {
    pub(crate) fn new(
        path: &str,
        (line, column): (u32, u32),
        code: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        Self(Arc::new(Inner {
            path: path.into(),
            line,
            column,
            code,
            message: message.into(),
            hint,
        }))
    }

    /// The file as the caller named it; `pattern` for a pattern without a file.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.0.line
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> u32 {
        self.0.column
    }

    /// A stable name of the kind of error in kebab-case, such as `unknown-operator`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The message alone, without place and hint.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// How to mend it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            path,
            line,
            column,
            message,
            hint,
            ..
        } = &*self.0;
        write!(f, "{path}:{line}:{column}: {message}")?;
        match hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for RuleError {}

/// Why the attributes of a command cannot be routed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The text is not JSON.
    #[error("invalid JSON at line {line}, column {column}: {message}")]
    Syntax {
        /// The line, from 1.
        line: u32,
        /// The column in characters, from 1.
        column: u32,
        /// What was found and what was expected.
        message: String,
    },
    /// More levels of objects and arrays than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels at line {line}, column {column}")]
    TooDeep {
        /// The line, from 1.
        line: u32,
        /// The column in characters, from 1.
        column: u32,
    },
    /// The text is JSON, but not an object.
    #[error(
        "the attributes must be a JSON object, such as `{{\"requestType\": \"CreatePolicy\"}}`"
    )]
    NotAnObject,
    /// The rules ask for more work than one command may make.
    #[error("routing takes more than {steps} steps{}\n  hint: send fewer array elements or values at once, or make the rules more specific; `host.routing_steps_max` sets the limit", at.as_ref().map_or_else(String::new, |at| format!(" at {at}")))]
    RoutingLimit {
        /// The limit.
        steps: u64,
        /// The rule at which it was reached; none while candidates were looked up.
        at: Option<String>,
    },
    /// A guard asks for more work or memory than it may take.
    #[error(
        "the guard of {rule} {reason}\n  hint: send fewer elements, or rewrite the guard: macros inside macros take the product of their lists"
    )]
    GuardLimit {
        /// The rule.
        rule: String,
        /// What it takes too much of.
        reason: String,
    },
}

impl EventError {
    /// Places `error` in `text`.
    pub(crate) fn syntax(text: &str, error: SyntaxError) -> Self {
        let (line, column) = position(text, error.at);
        match error.code {
            SyntaxError::TOO_DEEP => Self::TooDeep { line, column },
            _ => Self::Syntax {
                line,
                column,
                message: error.message,
            },
        }
    }

    pub(crate) fn routing_limit(steps: u64, at: Option<&Rule>) -> Self {
        Self::RoutingLimit {
            steps,
            at: at.map(Rule::reference),
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => SyntaxError::INVALID,
            Self::TooDeep { .. } => SyntaxError::TOO_DEEP,
            Self::NotAnObject => "not-an-object",
            Self::RoutingLimit { .. } => "routing-limit",
            Self::GuardLimit { .. } => "guard-limit",
        }
    }

    /// Whether the command is valid, but takes too much work.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::RoutingLimit { .. } | Self::GuardLimit { .. })
    }
}

/// The text of a rule file, and its name as messages spell it.
pub(crate) struct Source<'t> {
    pub(crate) path: &'t str,
    pub(crate) text: &'t str,
}

impl Source<'_> {
    /// An error at the byte offset `at`.
    pub(crate) fn error(
        &self,
        at: usize,
        code: &'static str,
        message: impl Into<String>,
    ) -> RuleError {
        RuleError::new(self.path, position(self.text, at), code, message, None)
    }

    /// An error at the byte offset `at` that says how to mend it.
    pub(crate) fn error_with_hint(
        &self,
        at: usize,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> RuleError {
        RuleError::new(
            self.path,
            position(self.text, at),
            code,
            message,
            Some(hint.into()),
        )
    }
}

/// Line and column, both from 1, of the byte offset `at`.
pub(crate) fn position(text: &str, at: usize) -> (u32, u32) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line = 1 + memchr::memchr_iter(b'\n', before.as_bytes()).count();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = 1 + before[start..].chars().count();
    // A file has at most `MAX_FILE_BYTES`, far below what a u32 counts.
    (line as u32, column as u32)
}

/// `` `a`, `b` `` for messages that list what is allowed.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// ``did you mean `prefix`? allowed here: …``, without the question where nothing is near.
pub(crate) fn suggest(found: &str, allowed: &[&str]) -> String {
    let all = format!("allowed here: {}", list(allowed.iter().copied()));
    match crate::name::nearest(found, allowed.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {all}"),
        None => all,
    }
}

/// `text`, cut where a message would become unreadable.
pub(crate) fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
