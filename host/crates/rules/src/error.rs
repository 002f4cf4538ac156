//! [`RoutingError`]: why a command cannot be routed.

use pointsman_core::diagnostic::Diagnostic;

use super::rule::Rule;

/// Why a command cannot be routed: with these rules, it takes too much work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// Routing takes more steps than one command may.
    #[error("{}", self.diagnostic())]
    RoutingLimit {
        /// The limit.
        steps: u64,
        /// The rule at which it was reached, or `None` during the lookup of candidates.
        at: Option<String>,
    },
    /// A guard takes more steps or memory than it may.
    #[error("{}", self.diagnostic())]
    GuardLimit {
        /// The rule.
        rule: String,
        /// The limit that it exceeds.
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
