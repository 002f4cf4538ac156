//! Owns the types of guards: what is known of a value before there is a command.

/// What is known of a value before there is a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Nothing: it comes from the command.
    Dyn,
    Null,
    Bool,
    Number,
    Text,
    List,
    Map,
    Timestamp,
    Duration,
}

impl Type {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dyn => "a value",
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::List => "a list",
            Self::Map => "an object",
            Self::Timestamp => "a timestamp",
            Self::Duration => "a duration",
        }
    }

    pub(super) fn may_be(self, wanted: Self) -> bool {
        self == Self::Dyn || wanted == Self::Dyn || self == wanted
    }
}
