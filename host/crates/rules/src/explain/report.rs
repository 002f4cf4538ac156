//! The parts of an explanation, and how each reads in one line.

use std::fmt;

use pointsman_core::name::{HandlerName, RuleName};
use serde::Serialize;

use crate::set::Match;

/// Why a command goes where it goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What [`crate::RuleSet::route`] returns.
    pub matches: Vec<Match>,
    /// The rules that fired, ordered by file and line.
    pub fired: Vec<Fired>,
    /// The rules that matched but yielded to another of their group.
    pub overruled: Vec<Overruled>,
    /// The rules that did not match, nearest first, at most ten.
    pub misses: Vec<Miss>,
    /// How many rules that fired or were overruled were left out to limit the size.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
    /// Whether the search for misses was cut off before it had seen every rule.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// A rule that fired.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fired {
    /// The rule.
    pub rule: RuleName,
    /// Its file.
    pub file: String,
    /// Its line in the file.
    pub line: u32,
    /// The handlers it names.
    pub handlers: Vec<HandlerName>,
    /// The clauses that held.
    pub clauses: Vec<ClauseReport>,
    /// How many more clauses held.
    #[serde(skip_serializing_if = "is_zero")]
    pub clauses_more: usize,
}

/// A rule that matched but did not fire.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overruled {
    /// The rule.
    pub rule: RuleName,
    /// Its file.
    pub file: String,
    /// Its line in the file.
    pub line: u32,
    /// The group that decided.
    pub group: String,
    /// The rule that won.
    pub by: RuleName,
    /// Whether it lost because it is a fallback, rather than by priority.
    pub fallback: bool,
}

/// A rule that did not match, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Miss {
    /// The rule.
    pub rule: RuleName,
    /// Its file.
    pub file: String,
    /// Its line in the file.
    pub line: u32,
    /// The clauses that failed.
    pub failed: Vec<ClauseReport>,
    /// How many more clauses failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed_more: usize,
    /// How many clauses held.
    pub held: usize,
    /// Why it did not match although no clause failed: its guard, or clauses that
    /// hold only for different elements of one array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One field of a pattern, evaluated against one command.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClauseReport {
    /// The path of the field.
    pub field: String,
    /// The first values of the field as JSON text, long ones truncated; empty if it is absent.
    pub seen: Vec<String>,
    /// How many more values the field has.
    #[serde(skip_serializing_if = "is_zero")]
    pub seen_more: usize,
    /// The expected value, in words.
    pub wanted: String,
    /// If the field is absent: a field of the command that no rule uses and whose name is
    /// similar, so probably a typo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similar: Option<String>,
}

impl fmt::Display for ClauseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_SHOWN: usize = 3;
        write!(f, "`{}` is ", self.field)?;
        match self.seen.len() + self.seen_more {
            0 => {
                f.write_str("absent")?;
                if let Some(similar) = &self.similar {
                    write!(f, " (the command has `{similar}`)")?;
                }
            }
            count => {
                f.write_str(&self.seen[..self.seen.len().min(MAX_SHOWN)].join(", "))?;
                if count > MAX_SHOWN {
                    write!(f, " and {} more", count - MAX_SHOWN)?;
                }
            }
        }
        write!(f, ", expected {}", self.wanted)
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule `{}` ({}:{}): ", self.rule, self.file, self.line)?;
        match (&self.failed[..], &self.reason) {
            ([first, rest @ ..], _) => {
                write!(f, "{first}")?;
                match rest.len() + self.failed_more {
                    0 => Ok(()),
                    1 => f.write_str(", and 1 more clause failed"),
                    more => write!(f, ", and {more} more clauses failed"),
                }
            }
            ([], Some(reason)) => f.write_str(reason),
            ([], None) => f.write_str("no clause failed"),
        }
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}
