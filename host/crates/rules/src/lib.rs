#![doc = include_str!("../README.md")]
//!
//! The path of a rule: `file` reads JSON or TOML → `pattern` parses each `match`
//! into `conjunct`s of `matcher`s → `index` finds the candidates for a command →
//! `conjunct` evaluates them → `guard` and `group` decide, all within the steps
//! that `fuel` counts. The path of a command: `event` extracts the fields that
//! rules use. `explain` and `lint` tell people about both.

use serde::{Deserialize, Serialize};

mod conjunct;
mod error;
mod event;
mod explain;
mod file;
mod fold;
mod fuel;
mod group;
mod guard;
mod index;
mod indexed;
mod lint;
mod load;
mod matcher;
mod network;
mod pattern;
mod rule;
mod schedule;
mod set;
mod toml;
mod wildcard;

pub use error::RoutingError;
pub use explain::{ClauseReport, Explanation, Fired, Miss, Overruled};
pub use file::{MAX_FILE_BYTES, MAX_TESTS, RuleFile};
pub use fuel::ROUTING_STEPS_MAX;
pub use guard::{Key, KeyFault};
pub use lint::Finding;
pub use pointsman_core::command::Command;
pub use pointsman_core::diagnostic::{Diagnostic, Severity};
pub use pointsman_core::name::RuleName;
pub use rule::{MAX_RULES, Rule, Select};
pub use schedule::{Cadence, Due, MISSED_AFTER, Missed, Schedule};
pub use set::{GuardFault, Match, Routing, RuleSet};

use pointsman_core::{decimal, json, json::Node, source::Source};

use conjunct::View;
use event::{Event, FieldTrie, PathId};
use fuel::Fuel;
use pattern::Conjuncts;

/// How patterns behave where this project deviates from Amazon EventBridge. A rule file
/// chooses with `"dialect"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Pointsman's dialect: duplicate keys are refused, numbers are exact decimals, IPv4
    /// and IPv6 are separate, a value needs no array around it, `"*"` matches everything.
    #[default]
    Pointsman,
    /// The behavior of Amazon's event-ruler, except for case folding, which is Unicode's
    /// simple case folding.
    EventBridge,
}

impl Dialect {
    /// The names in rule files.
    pub const NAMES: [&'static str; 2] = ["pointsman", "eventbridge"];
}

/// A single event pattern, as in the `match` of a rule.
#[derive(Clone, Debug)]
pub struct Pattern {
    dialect: Dialect,
    trie: FieldTrie,
    paths: Box<[PathId]>,
    conjuncts: Conjuncts,
}

impl Pattern {
    /// Parses a pattern in Pointsman's dialect from JSON text.
    ///
    /// # Errors
    /// [`Diagnostic`] whose path is `pattern`.
    pub fn parse(text: &str) -> Result<Self, Diagnostic> {
        Self::parse_with(text, Dialect::default())
    }

    /// Parses a pattern in the given dialect from JSON text.
    ///
    /// # Errors
    /// [`Diagnostic`] whose path is `pattern`.
    pub fn parse_with(text: &str, dialect: Dialect) -> Result<Self, Diagnostic> {
        let source = Source {
            path: "pattern",
            text,
        };
        if text.len() > MAX_FILE_BYTES {
            let message = format!(
                "a pattern has at most {MAX_FILE_BYTES} bytes, found {}",
                text.len()
            );
            return Err(source.error(0, "too-large", message));
        }
        let node = json::parse(text)
            .map_err(|error| source.error(error.at, error.code(), error.reason.to_string()))?;
        Self::read(&source, dialect, &node)
    }

    /// Reads a pattern that is a part of a file.
    ///
    /// # Errors
    /// [`Diagnostic`], with its place in the file.
    pub fn read(
        source: &Source<'_>,
        dialect: Dialect,
        node: &Node<'_>,
    ) -> Result<Self, Diagnostic> {
        let mut trie = FieldTrie::default();
        let mut copies = pattern::MAX_OR_COPIES;
        let conjuncts = pattern::read(source, (dialect, &mut copies), &mut trie, node)?;
        let paths = (0..trie.len() as PathId).collect();
        Ok(Self {
            dialect,
            trie,
            paths,
            conjuncts,
        })
    }

    /// Returns whether the command matches.
    ///
    /// # Errors
    /// [`RoutingError`] if matching it takes more than [`ROUTING_STEPS_MAX`] steps.
    pub fn matches(&self, command: &Command) -> Result<bool, RoutingError> {
        let event = Event::read(command, &self.trie);
        let fuel = Fuel::new(ROUTING_STEPS_MAX);
        let view = View {
            event: &event,
            paths: &self.paths,
            dialect: self.dialect,
            fuel: &fuel,
        };
        let matches = self.conjuncts.iter().any(|conjunct| conjunct.holds(view));
        match fuel.is_spent() {
            true => Err(RoutingError::routing_limit(fuel.max(), None)),
            false => Ok(matches),
        }
    }
}
