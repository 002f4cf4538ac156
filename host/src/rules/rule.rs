//! Owns [`Rule`]: one valid rule, as the engine uses it and as `GET /rules`
//! shows it.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};
use smallvec::SmallVec;

use super::{guard::Guard, pattern::Conjuncts};
use crate::name::HandlerName;

/// The name of a rule, unique over all rule files.
///
/// Invariant: 1 to [`RuleName::MAX_LEN`] bytes, no control characters, no space
/// at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName(Arc<str>);

impl RuleName {
    /// The longest name: it stands in log lines and tables.
    pub const MAX_LEN: usize = 128;

    /// Checks `text` against the invariant of the type.
    pub(crate) fn parse(text: &str) -> Option<Self> {
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

impl From<RuleName> for Arc<str> {
    fn from(name: RuleName) -> Self {
        name.0
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

impl Serialize for RuleName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Which of the matching rules of a group fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Select {
    /// All of them.
    #[default]
    All,
    /// The first by `priority`, then by file and line.
    First,
}

impl Select {
    /// The names that a rule may give.
    pub(crate) const NAMES: [&'static str; 2] = ["all", "first"];
}

/// One rule: for which commands which handlers run.
///
/// What routing reads stands in the rule itself where it is short: with 100,000
/// rules, each pointer to follow is a cache miss.
#[derive(Debug)]
pub struct Rule {
    pub(crate) name: RuleName,
    pub(crate) description: Option<Box<str>>,
    pub(crate) handlers: SmallVec<[HandlerName; 1]>,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) fallback: bool,
    pub(crate) select: Option<Select>,
    pub(crate) priority: Option<i64>,
    pub(crate) guard: Option<Box<Guard>>,
    pub(crate) conjuncts: Conjuncts,
    /// The `match` as JSON text.
    pub(crate) pattern: Box<str>,
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Rule {
    /// The name, unique over all rule files.
    #[must_use]
    pub fn name(&self) -> &RuleName {
        &self.name
    }

    /// What the rule is for, in its author's words.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The handlers that run when the rule fires; at least one, none twice.
    #[must_use]
    pub fn handlers(&self) -> &[HandlerName] {
        &self.handlers
    }

    /// The group the rule belongs to, if any; groups span all files.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Whether the rule fires only where no other rule of its group matches.
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.fallback
    }

    /// What the rule says about its group's selection, if anything.
    #[must_use]
    pub fn select(&self) -> Option<Select> {
        self.select
    }

    /// The rank in a group that selects the first: lower comes first, rules
    /// without one come last.
    #[must_use]
    pub fn priority(&self) -> Option<i64> {
        self.priority
    }

    /// The CEL expression that must hold besides the match, if any.
    #[must_use]
    pub fn guard(&self) -> Option<&str> {
        self.guard.as_deref().map(Guard::text)
    }

    /// The `match` as JSON text.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The file, as it was named when it was read.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line where the rule starts, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// `` rule `high-risk` (rules/policy.json:4) ``
    pub(crate) fn reference(&self) -> String {
        format!("rule `{}` ({}:{})", self.name, self.file, self.line)
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut view = serializer.serialize_struct("Rule", 11)?;
        view.serialize_field("name", &self.name)?;
        match &self.description {
            Some(description) => view.serialize_field("description", description)?,
            None => view.skip_field("description")?,
        }
        let pattern = serde_json::from_str::<&serde_json::value::RawValue>(&self.pattern);
        view.serialize_field("match", &pattern.map_err(serde::ser::Error::custom)?)?;
        view.serialize_field("handlers", self.handlers())?;
        match &self.group {
            Some(group) => view.serialize_field("group", &**group)?,
            None => view.skip_field("group")?,
        }
        if self.fallback {
            view.serialize_field("fallback", &true)?;
        } else {
            view.skip_field("fallback")?;
        }
        match &self.select {
            Some(select) => view.serialize_field("select", select)?,
            None => view.skip_field("select")?,
        }
        match &self.priority {
            Some(priority) => view.serialize_field("priority", priority)?,
            None => view.skip_field("priority")?,
        }
        match self.guard() {
            Some(guard) => view.serialize_field("guard", guard)?,
            None => view.skip_field("guard")?,
        }
        view.serialize_field("file", &*self.file)?;
        view.serialize_field("line", &self.line)?;
        view.end()
    }
}
