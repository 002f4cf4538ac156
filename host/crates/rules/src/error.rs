//! Owns [`RoutingError`]: why a command cannot be routed.

use pointsman_core::diagnostic::Diagnostic;

use super::rule::Rule;

/// Why a command cannot be routed: it and the rules together ask for too much work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// The rules ask for more work than one command may make.
    #[error("{}", self.diagnostic())]
    RoutingLimit {
        /// The limit.
        steps: u64,
        /// The rule at which it was reached; none while candidates were looked up.
        at: Option<String>,
    },
    /// A guard asks for more work or memory than it may take.
    #[error("{}", self.diagnostic())]
    GuardLimit {
        /// The rule.
        rule: String,
        /// What it takes too much of.
        reason: String,
    },
}

impl RoutingError {
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
            Self::RoutingLimit { .. } => "routing-limit",
            Self::GuardLimit { .. } => "guard-limit",
        }
    }

    /// The same as each other thing to fix.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let code = self.code();
        match self {
            Self::RoutingLimit { steps, at } => {
                let at = at.as_ref().map_or_else(String::new, |at| format!(" at {at}"));
                Diagnostic::error(code, format!("routing takes more than {steps} steps{at}"))
                    .hint("send fewer array elements or values at once, or make the rules more specific; `host.routing_steps_max` sets the limit")
            }
            Self::GuardLimit { rule, reason } => {
                Diagnostic::error(code, format!("the guard of {rule} {reason}"))
                    .hint("send fewer elements, or rewrite the guard: macros inside macros take the product of their lists")
            }
        }
    }
}
