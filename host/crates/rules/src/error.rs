//! Owns [`EventError`]: why the attributes of a command cannot be routed.

use pointsman_core::{json::SyntaxError, source::position};

use super::rule::Rule;
use pointsman_core::command::DEPTH_MAX;

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
