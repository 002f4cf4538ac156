//! Names that rules, plugins and reports share: [`HandlerName`] and [`RuleName`], and
//! [`nearest`] for "did you mean" hints.
//!
//! Short names are stored inline: cloning one neither allocates nor counts references.

use std::{borrow::Borrow, fmt};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// The name of a handler: the file stem of its plugin, `create-policy` for
/// `plugins/create-policy.wasm`.
///
/// Invariant: kebab-case as WIT spells it (lower-case words of `a-z0-9`, each
/// starting with a letter, joined by single `-`), 1 to [`HandlerName::MAX_LEN`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HandlerName(SmolStr);

/// Why a string is not a [`HandlerName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a handler name: use lower-case words joined by `-`, such as `create-policy`, of at most {max} bytes",
    max = HandlerName::MAX_LEN
)]
pub struct InvalidHandlerName(String);

impl HandlerName {
    /// The longest name: it must fit in a file name with `.wasm` and a temporary suffix,
    /// and in one line of a terminal.
    pub const MAX_LEN: usize = 64;

    /// The name under which the queue routes commands: no file has it.
    pub const ROUTER: &'static str = "pointsman-router";

    /// Checks `text` against the invariant of the type.
    ///
    /// # Errors
    /// [`InvalidHandlerName`], with the text and the rule.
    pub fn parse(text: &str) -> Result<Self, InvalidHandlerName> {
        let word = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if text.len() <= Self::MAX_LEN && text.split('-').all(word) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidHandlerName(text.chars().take(100).collect()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HandlerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for HandlerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HandlerName {
    type Error = InvalidHandlerName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<HandlerName> for String {
    fn from(name: HandlerName) -> Self {
        name.0.into()
    }
}

/// The name of a rule, unique across all rule files.
///
/// Invariant: 1 to [`RuleName::MAX_LEN`] bytes, no control characters, no space
/// at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RuleName(SmolStr);

impl RuleName {
    /// The longest name: it is shown in log lines and tables.
    pub const MAX_LEN: usize = 128;

    /// Checks `text` against the invariant of the type.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        (fits && text.trim() == text && !text.chars().any(char::is_control))
            .then(|| Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for RuleName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Returns the candidate most similar to `name`: one that starts with it, or else the one
/// with the smallest edit distance, if that is small enough for a typo.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| {
            let longer = name.is_empty() || !candidate.starts_with(name);
            let distance = strsim::damerau_levenshtein(name, candidate);
            (longer, distance, candidate)
        })
        .min()
        .filter(|(longer, distance, candidate)| {
            !longer || *distance <= 1.max(candidate.chars().count() / 3)
        })
        .map(|(.., candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_cut_short_is_nearest_to_what_begins_with_it() {
        let keys = ["instances_max", "stack_max_bytes"];
        assert_eq!(nearest("stack_max", keys), Some("stack_max_bytes"));
        assert_eq!(nearest("instance_max", keys), Some("instances_max"));
        assert_eq!(nearest("", keys), None);
    }

    #[test]
    fn a_handler_name_is_kebab_case() {
        for good in ["a", "create-policy", "v2", "a1-b2"] {
            assert!(HandlerName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-",
            "A",
            "a--b",
            "a-",
            "-a",
            "a_b",
            "ä",
            "a/b",
            "1a",
            &"a".repeat(65),
        ] {
            assert!(HandlerName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered_only_where_it_is_near() {
        assert_eq!(nearest("audti", ["greet", "audit"]), Some("audit"));
        assert_eq!(nearest("zebra", ["greet", "audit"]), None);
    }
}
