//! Owns the answer to "why": for one command, which rules fired and by which
//! clauses, what a group decided, and which rules came nearest to matching.
//! Asks every rule, clause by clause; only people wait for it.

use std::fmt;

use serde::Serialize;

use super::{
    conjunct::{Clause, Conjunct, View},
    error::EventError,
    event::Event,
    group,
    guard::Attributes,
    matcher,
    rule::Rule,
    set::{IndexedFile, Match, RuleSet, collect},
};
use crate::name::{HandlerName, RuleName};

/// How many misses an explanation lists.
const MAX_MISSES: usize = 10;

/// Why a command goes where it goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What [`RuleSet::route`] answers.
    pub matches: Vec<Match>,
    /// The rules that fired, in the order of file and line.
    pub fired: Vec<Fired>,
    /// The rules that matched but yielded to another of their group.
    pub overruled: Vec<Overruled>,
    /// The rules that did not match, the nearest first, ten at most.
    pub misses: Vec<Miss>,
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
    /// The rule that took its place.
    pub by: RuleName,
    /// Whether it lost as a fallback, or by rank.
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
    /// How many clauses held.
    pub held: usize,
    /// Why it did not match though no clause failed: its guard, or clauses that
    /// hold only by different elements of one array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One field of a pattern against one command.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClauseReport {
    /// The path of the field.
    pub field: String,
    /// The values seen as JSON text, long ones cut; none if the field is absent.
    pub seen: Vec<String>,
    /// What is wanted, in words.
    pub wanted: String,
}

impl fmt::Display for ClauseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_SHOWN: usize = 3;
        write!(f, "`{}` is ", self.field)?;
        match self.seen.len() {
            0 => f.write_str("absent")?,
            count => {
                f.write_str(&self.seen[..count.min(MAX_SHOWN)].join(", "))?;
                if count > MAX_SHOWN {
                    write!(f, " and {} more", count - MAX_SHOWN)?;
                }
            }
        }
        write!(f, ", wanted {}", self.wanted)
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule `{}` ({}:{}): ", self.rule, self.file, self.line)?;
        match (&self.failed[..], &self.reason) {
            ([first, rest @ ..], _) => {
                write!(f, "{first}")?;
                match rest.len() {
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

impl RuleSet {
    /// Explains where the command with these attributes, JSON text, goes.
    ///
    /// # Errors
    /// [`EventError`] if the text is not one JSON object.
    pub fn explain(&self, attributes: &str) -> Result<Explanation, EventError> {
        let event = Event::read(attributes, &self.trie)?;
        let mut guards = Attributes::new(attributes);
        let mut matching = Vec::new();
        let mut missing = Vec::new();
        for indexed in self.files() {
            for rule in indexed.file.rules() {
                let case = Case {
                    rule,
                    indexed,
                    view: indexed.view(&event),
                };
                match case.outcome(&mut guards) {
                    Outcome::Matches(conjunct) => matching.push((case, conjunct)),
                    Outcome::Misses(near) => missing.push((case, near)),
                }
            }
        }
        let rules: Vec<&Rule> = matching.iter().map(|(case, _)| case.rule).collect();
        let mut explanation = Explanation {
            matches: vec![],
            fired: vec![],
            overruled: vec![],
            misses: vec![],
        };
        let mut fired = Vec::new();
        for ((rule, winner), (case, conjunct)) in
            group::decide(&rules, |group| self.select_of(group))
                .into_iter()
                .zip(&matching)
        {
            let (name, file, line) = (rule.name.clone(), rule.file().to_owned(), rule.line());
            if let Some(winner) = winner {
                let group = rule.group().unwrap_or_default().to_owned();
                let fallback = rule.is_fallback() && !winner.is_fallback();
                explanation.overruled.push(Overruled {
                    rule: name,
                    file,
                    line,
                    group,
                    by: winner.name.clone(),
                    fallback,
                });
            } else {
                let clauses = conjunct
                    .clauses
                    .iter()
                    .map(|clause| case.report(clause))
                    .collect();
                explanation.fired.push(Fired {
                    rule: name,
                    file,
                    line,
                    handlers: rule.handlers.to_vec(),
                    clauses,
                });
                fired.push(rule);
            }
        }
        explanation.matches = collect(&fired);
        missing.sort_by_key(|(_, near)| near.rank());
        explanation.misses = missing
            .into_iter()
            .take(MAX_MISSES)
            .map(|(case, near)| case.miss(near))
            .collect();
        Ok(explanation)
    }

    /// The rule that came nearest to matching the command without matching it;
    /// none if every rule matches, or the text is no JSON object.
    #[must_use]
    pub fn nearest_miss(&self, attributes: &str) -> Option<Miss> {
        let event = Event::read(attributes, &self.trie).ok()?;
        let mut guards = Attributes::new(attributes);
        let mut nearest: Option<(Case<'_, '_, '_>, Near<'_>)> = None;
        for indexed in self.files() {
            for rule in indexed.file.rules() {
                let case = Case {
                    rule,
                    indexed,
                    view: indexed.view(&event),
                };
                if let Outcome::Misses(near) = case.outcome(&mut guards)
                    && nearest
                        .as_ref()
                        .is_none_or(|(_, best)| near.rank() < best.rank())
                {
                    nearest = Some((case, near));
                }
            }
        }
        nearest.map(|(case, near)| case.miss(near))
    }
}

/// One rule against one command.
struct Case<'r, 'v, 'e> {
    rule: &'r Rule,
    indexed: &'r IndexedFile,
    view: View<'v, 'e>,
}

enum Outcome<'r> {
    Matches(&'r Conjunct),
    Misses(Near<'r>),
}

/// How near a rule came, by its best combination of `$or` branches.
struct Near<'r> {
    conjunct: &'r Conjunct,
    failed: usize,
    held: usize,
    reason: Option<String>,
}

impl Near<'_> {
    /// Fewer failed clauses first, then more that held.
    fn rank(&self) -> (usize, std::cmp::Reverse<usize>) {
        (
            self.failed + usize::from(self.reason.is_some()),
            std::cmp::Reverse(self.held),
        )
    }
}

impl<'r> Case<'r, '_, '_> {
    fn outcome(&self, guards: &mut Attributes<'_>) -> Outcome<'r> {
        let mut nearest: Option<Near<'r>> = None;
        for conjunct in &self.rule.conjuncts {
            let reason = if conjunct.holds(self.view) {
                match self
                    .rule
                    .guard
                    .as_ref()
                    .map_or(Ok(()), |guard| guard.check(guards))
                {
                    Ok(()) => return Outcome::Matches(conjunct),
                    Err(reason) => Some(format!("the guard does not hold: {reason}")),
                }
            } else {
                None
            };
            let held = conjunct
                .clauses
                .iter()
                .filter(|clause| clause.holds(self.view))
                .count();
            let failed = conjunct.clauses.len() - held;
            let apart = || "the clauses hold only by different elements of one array".to_owned();
            let reason = reason.or_else(|| (failed == 0).then(apart));
            let near = Near {
                conjunct,
                failed,
                held,
                reason,
            };
            if nearest
                .as_ref()
                .is_none_or(|best| near.rank() < best.rank())
            {
                nearest = Some(near);
            }
        }
        // A pattern has at least one combination.
        match nearest {
            Some(near) => Outcome::Misses(near),
            None => unreachable!("rule `{}` has no clauses to fail", self.rule.name),
        }
    }

    fn report(&self, clause: &Clause) -> ClauseReport {
        let values = self
            .view
            .event
            .values(self.view.paths[clause.path as usize]);
        let mut wanted = String::new();
        // Writing to a String cannot fail.
        let _ = matcher::join(&clause.matchers, &mut wanted);
        ClauseReport {
            field: self.indexed.file.trie.name(clause.path).to_owned(),
            seen: values.iter().map(|field| field.value.to_string()).collect(),
            wanted,
        }
    }

    fn miss(&self, near: Near<'_>) -> Miss {
        let failed = near
            .conjunct
            .clauses
            .iter()
            .filter(|clause| !clause.holds(self.view));
        Miss {
            rule: self.rule.name.clone(),
            file: self.rule.file().to_owned(),
            line: self.rule.line(),
            failed: failed.map(|clause| self.report(clause)).collect(),
            held: near.held,
            reason: near.reason,
        }
    }
}
