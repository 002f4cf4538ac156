//! Owns the answer to "why": for one command, which rules fired and by which
//! clauses, what a group decided, and which rules came nearest to matching.
//! Asks every rule, clause by clause; only people wait for it. What it takes
//! and what it answers are bounded: the command comes from anyone.

use std::{cmp::Reverse, fmt};

use serde::Serialize;

use super::{
    conjunct::{Clause, Conjunct, View},
    error::RoutingError,
    event::Event,
    fuel::{Fuel, ROUTING_STEPS_MAX},
    group,
    guard::{Attributes, Unmet},
    matcher,
    rule::Rule,
    set::{IndexedFile, Match, RuleSet, collect},
};
use pointsman_core::{
    command::Command,
    name::{HandlerName, RuleName},
    source::excerpt,
};

/// How many misses an explanation lists.
const MAX_MISSES: usize = 10;
/// How many values of a field a clause lists.
const MAX_SEEN: usize = 10;
/// About how many bytes the rules and clauses of an explanation take.
const MAX_BYTES: usize = 256 << 10;
/// The steps of looking for the nearest misses of an explanation, 0.1 s: 25 ms
/// where there are 100,000 rules and an everyday command.
const MISSES_STEPS_MAX: u64 = 2 * ROUTING_STEPS_MAX;
/// The steps of looking for the nearest miss alone, about 1 ms: the hint in
/// an error that anyone can cause.
const NEAREST_STEPS_MAX: u64 = 50_000;

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
    /// How many rules that fired or were overruled are not listed, since the
    /// answer would become too long.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
    /// Whether the search for misses ended before it had seen every rule, since
    /// it took too long.
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
    /// How many more clauses failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed_more: usize,
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
    /// The first values seen as JSON text, long ones cut; none if the field is absent.
    pub seen: Vec<String>,
    /// How many more values the field has.
    #[serde(skip_serializing_if = "is_zero")]
    pub seen_more: usize,
    /// What is wanted, in words.
    pub wanted: String,
}

impl fmt::Display for ClauseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_SHOWN: usize = 3;
        write!(f, "`{}` is ", self.field)?;
        match self.seen.len() + self.seen_more {
            0 => f.write_str("absent")?,
            count => {
                f.write_str(&self.seen[..self.seen.len().min(MAX_SHOWN)].join(", "))?;
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

impl RuleSet {
    /// Explains where the command goes.
    ///
    /// # Errors
    /// [`RoutingError`] if routing it takes more than [`ROUTING_STEPS_MAX`] steps.
    pub fn explain(&self, command: &Command) -> Result<Explanation, RoutingError> {
        self.explain_within(command, ROUTING_STEPS_MAX)
    }

    /// As [`Self::explain`], where routing may take `steps_max` steps.
    ///
    /// # Errors
    /// As [`Self::explain`].
    pub fn explain_within(
        &self,
        command: &Command,
        steps_max: u64,
    ) -> Result<Explanation, RoutingError> {
        let event = Event::read(command, &self.trie);
        let fuel = Fuel::new(steps_max);
        let mut guards = Attributes::new(command);
        let mut matching = Vec::new();
        let mut unmet = Vec::new();
        for rule in self.matching(&event, &fuel)? {
            match rule.check_guard(&mut guards, &fuel)? {
                Ok(()) => matching.push(rule),
                Err(reason) => unmet.push((rule, reason)),
            }
        }
        let files = self.files().map(|indexed| (indexed.file.path(), indexed));
        let search = Search {
            event: &event,
            files: files.collect(),
            shown: Fuel::new(ROUTING_STEPS_MAX),
            fuel: Fuel::new(MISSES_STEPS_MAX),
        };
        let mut room = Room(MAX_BYTES);
        let mut explanation = self.decided(&matching, &search, &mut room);
        search.misses(self, &matching, unmet, (&mut explanation, &mut room));
        Ok(explanation)
    }

    /// What the rules that match come to.
    fn decided(
        &self,
        matching: &[&Rule],
        search: &Search<'_, '_, '_>,
        room: &mut Room,
    ) -> Explanation {
        let mut explanation = Explanation {
            matches: vec![],
            fired: vec![],
            overruled: vec![],
            misses: vec![],
            more: 0,
            incomplete: false,
        };
        let mut fired = Vec::new();
        for (rule, winner) in group::decide(matching, |group| self.select_of(group)) {
            if winner.is_none() {
                fired.push(rule);
            }
            if !room.take(rule.file().len() + 200) {
                explanation.more += 1;
                continue;
            }
            let (name, file, line) = (rule.name.clone(), rule.file().to_owned(), rule.line());
            if let Some(winner) = winner {
                explanation.overruled.push(Overruled {
                    rule: name,
                    file,
                    line,
                    group: rule.group().unwrap_or_default().to_owned(),
                    by: winner.name.clone(),
                    fallback: rule.is_fallback() && !winner.is_fallback(),
                });
                continue;
            }
            let (clauses, clauses_more) = search.held(rule, room);
            explanation.fired.push(Fired {
                rule: name,
                file,
                line,
                handlers: rule.handlers.to_vec(),
                clauses,
                clauses_more,
            });
        }
        explanation.matches = collect(&fired);
        explanation
    }

    /// The rule that came nearest to matching the command without matching it;
    /// none if every rule matches. Of the rules that can be asked within bounds.
    #[must_use]
    pub fn nearest_miss(&self, command: &Command) -> Option<Miss> {
        let event = Event::read(command, &self.trie);
        let mut guards = Attributes::new(command);
        let fuel = Fuel::new(NEAREST_STEPS_MAX);
        let mut nearest: Option<(Case<'_, '_, '_>, Near<'_>)> = None;
        for indexed in self.files() {
            for rule in indexed.file.rules() {
                let view = indexed.view(&event, &fuel);
                let case = Case {
                    rule,
                    indexed,
                    view,
                };
                let near = case.nearest(&mut guards);
                if fuel.is_spent() {
                    return nearest.map(|(case, near)| case.miss(near, &mut Room(MAX_BYTES)));
                }
                let Some(near) = near else { continue };
                let best = nearest.as_ref().map(|(_, best)| best.rank());
                if best.is_none_or(|best| near.rank() < best) {
                    nearest = Some((case, near));
                }
            }
        }
        nearest.map(|(case, near)| case.miss(near, &mut Room(MAX_BYTES)))
    }
}

impl Rule {
    /// Whether the guard holds, if there is one, and if not, why.
    ///
    /// # Errors
    /// [`RoutingError::GuardLimit`].
    pub(crate) fn check_guard(
        &self,
        attributes: &mut Attributes<'_>,
        fuel: &Fuel,
    ) -> Result<Result<(), Unmet>, RoutingError> {
        let guard = self.guard.as_ref();
        match guard.map_or(Ok(()), |guard| guard.check(attributes, fuel)) {
            Err(Unmet::Limit(exceeded)) => Err(RoutingError::GuardLimit {
                rule: self.reference(),
                reason: exceeded.to_string(),
            }),
            other => Ok(other),
        }
    }
}

/// The bytes that are left for an answer.
struct Room(usize);

impl Room {
    fn take(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// The rules against one command.
struct Search<'r, 'v, 'e> {
    event: &'v Event<'e>,
    files: rustc_hash::FxHashMap<&'r str, &'r IndexedFile>,
    /// For the clauses of rules that fired; none are shown once it is spent.
    shown: Fuel,
    /// For the search for misses.
    fuel: Fuel,
}

impl<'r> Search<'r, '_, '_> {
    /// The clauses by which the rule matches, and how many more there are.
    fn held(&self, rule: &Rule, room: &mut Room) -> (Vec<ClauseReport>, usize) {
        let Some(indexed) = self.files.get(rule.file()) else {
            return (vec![], 0);
        };
        // Asked before, and worth asking again for those that are shown.
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
    fn misses(
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
struct Case<'r, 'v, 'e> {
    rule: &'r Rule,
    indexed: &'r IndexedFile,
    view: View<'v, 'e>,
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
    fn rank(&self) -> (usize, Reverse<usize>) {
        (
            self.failed + usize::from(self.reason.is_some()),
            Reverse(self.held),
        )
    }
}

impl<'r> Case<'r, '_, '_> {
    /// How near the rule came; none where it matches.
    fn nearest(&self, guards: &mut Attributes<'_>) -> Option<Near<'r>> {
        let holds = |conjunct: &Conjunct| conjunct.holds(self.view);
        if !self.rule.conjuncts.iter().any(holds) {
            return self.near(None);
        }
        let guard = self.rule.guard.as_ref()?;
        let unmet = guard.check(guards, self.view.fuel).err()?;
        self.near(Some(unmet))
    }

    /// How near a rule came that does not match, because of its guard where
    /// `unmet` is the reason.
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
                Some(unmet) => format!("the guard does not hold: {unmet}"),
                None => "the clauses hold only by different elements of one array".to_owned(),
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

    /// What there is to say of the clauses, as far as there is room, and how
    /// many are left out.
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
        }
    }

    fn miss(&self, near: Near<'_>, room: &mut Room) -> Miss {
        // Of a command that took all the fuel, the first few values say enough.
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
