//! Owns the answer to "why": for one command, which rules fired and by which
//! clauses, what a group decided, and which rules came nearest to matching.
//! Asks every rule, clause by clause; only people wait for it. What it takes
//! and what it answers are bounded: the command comes from anyone.

mod report;
mod search;

use pointsman_core::command::Command;

pub use self::report::{ClauseReport, Explanation, Fired, Miss, Overruled};
use self::search::{Case, Near, Room, Search};
use super::{
    error::RoutingError,
    event::Event,
    fuel::{Fuel, ROUTING_STEPS_MAX},
    group,
    guard::Attributes,
    rule::Rule,
    set::{RuleSet, collect},
};

/// About how many bytes the rules and clauses of an explanation take.
const MAX_BYTES: usize = 256 << 10;
/// The steps of looking for the nearest misses of an explanation, 0.1 s: 25 ms
/// where there are 100,000 rules and an everyday command.
const MISSES_STEPS_MAX: u64 = 2 * ROUTING_STEPS_MAX;
/// The steps of looking for the nearest miss alone, about 1 ms: the hint in
/// an error that anyone can cause.
const NEAREST_STEPS_MAX: u64 = 50_000;

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
