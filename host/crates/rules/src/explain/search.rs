//! Ranks rules by how nearly they matched one command, clause by clause.

use std::cmp::Reverse;

use pointsman_core::source::excerpt;

use super::{
    NEAREST_STEPS_MAX,
    report::{ClauseReport, Explanation, Miss},
};
use crate::{
    conjunct::{Clause, Conjunct, View},
    event::Event,
    fuel::Fuel,
    guard::{Attributes, Unmet},
    indexed::IndexedFile,
    matcher,
    rule::Rule,
    set::RuleSet,
};

/// How many misses an explanation lists.
const MAX_MISSES: usize = 10;
/// How many values of a field a clause lists.
const MAX_SEEN: usize = 10;

/// The bytes that are left for an answer.
pub(super) struct Room(pub(super) usize);

impl Room {
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// The rules against one command.
pub(super) struct Search<'r, 'v, 'e> {
    pub(super) event: &'v Event<'e>,
    pub(super) files: rustc_hash::FxHashMap<&'r str, &'r IndexedFile>,
    /// For the clauses of rules that fired; none are shown once it is spent.
    pub(super) shown: Fuel,
    /// For the search for misses.
    pub(super) fuel: Fuel,
}

impl<'r> Search<'r, '_, '_> {
    /// The clauses by which the rule matches, and how many more there are.
    pub(super) fn held(&self, rule: &Rule, room: &mut Room) -> (Vec<ClauseReport>, usize) {
        let Some(indexed) = self.files.get(rule.file()) else {
            return (vec![], 0);
        };
        // Evaluated before; evaluated again only for the clauses shown.
        let view = indexed.view(self.event, &self.shown);
        let holds = |conjunct: &&Conjunct| conjunct.holds(view);
        let clauses = rule.conjuncts.iter().find(holds);
        let clauses = clauses.map_or(&[][..], |conjunct| &conjunct.clauses);
        let case = Case {
            rule,
            indexed,
            view,
        };
        case.reports(clauses.iter(), room)
    }

    /// Adds the rules that came nearest without matching.
    pub(super) fn misses(
        &self,
        rules: &'r RuleSet,
        matching: &[&'r Rule],
        unmet: Vec<(&'r Rule, Unmet)>,
        (explanation, room): (&mut Explanation, &mut Room),
    ) {
        let address = |rule: &Rule| std::ptr::from_ref(rule).addr();
        let met: rustc_hash::FxHashSet<usize> = matching.iter().map(|rule| address(rule)).collect();
        let mut unmet: rustc_hash::FxHashMap<usize, Unmet> = unmet
            .into_iter()
            .map(|(rule, unmet)| (address(rule), unmet))
            .collect();
        let mut missing = Vec::new();
        for indexed in rules.files() {
            for rule in indexed.file.rules() {
                if met.contains(&address(rule)) {
                    continue;
                }
                let case = Case {
                    rule,
                    indexed,
                    view: indexed.view(self.event, &self.fuel),
                };
                let near = case.near(unmet.remove(&address(rule)));
                if self.fuel.is_spent() {
                    explanation.incomplete = true;
                    break;
                }
                missing.extend(near.map(|near| (case, near)));
            }
        }
        missing.sort_by_key(|(_, near)| near.rank());
        let nearest = missing.into_iter().take(MAX_MISSES);
        explanation.misses = nearest.map(|(case, near)| case.miss(near, room)).collect();
    }
}

/// One rule against one command.
pub(super) struct Case<'r, 'v, 'e> {
    pub(super) rule: &'r Rule,
    pub(super) indexed: &'r IndexedFile,
    pub(super) view: View<'v, 'e>,
}

/// How near a rule came, by its best combination of `$or` branches.
pub(super) struct Near<'r> {
    conjunct: &'r Conjunct,
    failed: usize,
    held: usize,
    reason: Option<String>,
}

impl Near<'_> {
    /// Fewer failed clauses first, then more that held.
    pub(super) fn rank(&self) -> (usize, Reverse<usize>) {
        (
            self.failed + usize::from(self.reason.is_some()),
            Reverse(self.held),
        )
    }
}

impl<'r> Case<'r, '_, '_> {
    /// How nearly the rule matched, or `None` if it matches.
    pub(super) fn nearest(&self, guards: &mut Attributes<'_>) -> Option<Near<'r>> {
        let holds = |conjunct: &Conjunct| conjunct.holds(self.view);
        if !self.rule.conjuncts.iter().any(holds) {
            return self.near(None);
        }
        let guard = self.rule.guard.as_ref()?;
        let unmet = guard.check(guards, self.view.fuel).err()?;
        self.near(Some(unmet))
    }

    /// How nearly a rule that does not match came to it; with `unmet`, its guard is why.
    fn near(&self, unmet: Option<Unmet>) -> Option<Near<'r>> {
        let mut nearest: Option<Near<'r>> = None;
        for conjunct in &self.rule.conjuncts {
            let clauses = &conjunct.clauses;
            if !self.view.fuel.spend(1 + clauses.len() as u64) {
                return None;
            }
            let held = clauses
                .iter()
                .filter(|clause| clause.holds(self.view))
                .count();
            let failed = clauses.len() - held;
            let reason = (failed == 0).then(|| match &unmet {
                Some(unmet) => format!("the guard is false: {unmet}"),
                None => "the clauses hold only for different elements of one array".to_owned(),
            });
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
        nearest
    }

    /// Reports on the clauses, as far as there is room, and how many are left out.
    fn reports<'c>(
        &self,
        clauses: impl Iterator<Item = &'c Clause>,
        room: &mut Room,
    ) -> (Vec<ClauseReport>, usize) {
        let mut reports = Vec::new();
        let mut more = 0;
        for clause in clauses {
            let report = self.report(clause);
            let seen: usize = report.seen.iter().map(|seen| seen.len() + 3).sum();
            match room.take(report.field.len() + report.wanted.len() + seen + 40) {
                true => reports.push(report),
                false => more += 1,
            }
        }
        (reports, more)
    }

    fn report(&self, clause: &Clause) -> ClauseReport {
        let values = self.view.values(clause);
        let mut wanted = String::new();
        // Writing to a String cannot fail.
        let _ = matcher::join(&clause.matchers, &mut wanted);
        let shown = values.iter().take(MAX_SEEN);
        ClauseReport {
            field: excerpt(self.indexed.file.trie.name(clause.path)),
            seen: shown.map(|field| field.value.to_string()).collect(),
            seen_more: values.len().saturating_sub(MAX_SEEN),
            wanted,
            similar: None,
        }
    }

    pub(super) fn miss(&self, near: Near<'_>, room: &mut Room) -> Miss {
        // For a command that used up the fuel, the first few values are enough.
        let fuel = Fuel::new(NEAREST_STEPS_MAX);
        let view = View {
            fuel: &fuel,
            ..self.view
        };
        let failed = near
            .conjunct
            .clauses
            .iter()
            .filter(|clause| !clause.holds(view));
        let (failed, failed_more) = self.reports(failed, room);
        Miss {
            rule: self.rule.name.clone(),
            file: self.rule.file().to_owned(),
            line: self.rule.line(),
            failed,
            failed_more,
            held: near.held,
            reason: near.reason,
        }
    }
}
