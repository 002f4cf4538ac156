//! [`Rule`]: one valid rule, as the engine uses it and as `GET /rules` shows it.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};
use smallvec::SmallVec;

use super::{Diagnostic, guard::Guard, pattern::Conjuncts};
use pointsman_core::name::{HandlerName, RuleName};

/// The maximum number of rules in one file.
pub const MAX_RULES: usize = 100_000;

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

/// A rule: which handlers run for which commands.
///
/// What routing reads stands in the rule itself, the first look at it first,
/// in three lines of the cache: with 100,000 rules, each pointer to follow and
/// each further line is a cache miss.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Rule {
    pub(crate) conjuncts: Conjuncts,
    pub(crate) guard: Option<Box<Guard>>,
    pub(crate) membership: Option<Box<Membership>>,
    pub(crate) name: RuleName,
    pub(crate) handlers: SmallVec<[HandlerName; 1]>,
    pub(crate) origin: Box<Origin>,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Rule>() == 192, "three lines of the cache");

/// A rule's place in its group.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) group: Arc<str>,
    pub(crate) fallback: bool,
    pub(crate) select: Option<Select>,
    pub(crate) priority: Option<i64>,
}

/// What people are shown of a rule.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) description: Option<Box<str>>,
    /// The `match` as JSON text.
    pub(crate) pattern: Box<str>,
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Rule {
    /// The name, unique across all rule files.
    #[must_use]
    pub fn name(&self) -> &RuleName {
        &self.name
    }

    /// The author's description of the rule.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.origin.description.as_deref()
    }

    /// The handlers that run when the rule fires: at least one, without duplicates.
    #[must_use]
    pub fn handlers(&self) -> &[HandlerName] {
        &self.handlers
    }

    /// The group the rule belongs to, if any; groups span all files.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        Some(&*self.membership.as_deref()?.group)
    }

    /// Whether the rule fires only if no other rule of its group matches.
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.membership
            .as_deref()
            .is_some_and(|member| member.fallback)
    }

    /// The selection of its group that the rule sets, if any.
    #[must_use]
    pub fn select(&self) -> Option<Select> {
        self.membership.as_deref()?.select
    }

    /// The rank in a group that selects the first: lower comes first, rules
    /// without one come last.
    #[must_use]
    pub fn priority(&self) -> Option<i64> {
        self.membership.as_deref()?.priority
    }

    /// The CEL expression that must be true in addition to the match, if any.
    #[must_use]
    pub fn guard(&self) -> Option<&str> {
        self.guard.as_deref().map(Guard::text)
    }

    /// The `match` as JSON text.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.origin.pattern
    }

    /// The file, as it was named when it was read.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.origin.file
    }

    /// The line where the rule starts, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.origin.line
    }

    /// Creates a diagnostic at the location of the rule.
    pub(crate) fn error(&self, code: &'static str, message: String, hint: &str) -> Diagnostic {
        let (file, place) = self.position();
        Diagnostic::error(code, message).at(file, place).hint(hint)
    }

    /// File, then line and column: rules are shown in this order.
    pub(crate) fn position(&self) -> (&str, (u32, u32)) {
        (&self.origin.file, (self.origin.line, self.origin.column))
    }

    /// `` rule `high-risk` (rules/policy.json:4) ``
    pub(crate) fn reference(&self) -> String {
        format!("rule `{}` ({}:{})", self.name, self.file(), self.line())
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut view = serializer.serialize_struct("Rule", 11)?;
        view.serialize_field("name", &self.name)?;
        match self.description() {
            Some(description) => view.serialize_field("description", description)?,
            None => view.skip_field("description")?,
        }
        let pattern = serde_json::from_str::<&serde_json::value::RawValue>(self.pattern());
        view.serialize_field("match", &pattern.map_err(serde::ser::Error::custom)?)?;
        view.serialize_field("handlers", self.handlers())?;
        match self.group() {
            Some(group) => view.serialize_field("group", group)?,
            None => view.skip_field("group")?,
        }
        if self.is_fallback() {
            view.serialize_field("fallback", &true)?;
        } else {
            view.skip_field("fallback")?;
        }
        match self.select() {
            Some(select) => view.serialize_field("select", &select)?,
            None => view.skip_field("select")?,
        }
        match self.priority() {
            Some(priority) => view.serialize_field("priority", &priority)?,
            None => view.skip_field("priority")?,
        }
        match self.guard() {
            Some(guard) => view.serialize_field("guard", guard)?,
            None => view.skip_field("guard")?,
        }
        view.serialize_field("file", self.file())?;
        view.serialize_field("line", &self.line())?;
        view.end()
    }
}
