//! Explains the routing of one command: which rules fired and by which clauses,
//! how groups were decided, and which rules came nearest to matching. It
//! evaluates every rule clause by clause, so it is slower than routing; both its
//! work and its output are bounded, since anyone can send the command.

mod report;
mod search;
mod similar;

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
/// How many steps the search for the nearest misses may take, about 0.1 s. An everyday
/// command against 100,000 rules takes 25 ms.
const MISSES_STEPS_MAX: u64 = 2 * ROUTING_STEPS_MAX;
/// How many steps the search for the single nearest miss may take, about 1 ms: it is the
/// hint of an error that anyone can cause.
const NEAREST_STEPS_MAX: u64 = 50_000;

impl RuleSet {
    /// Explains where the command goes.
    ///
    /// # Errors
    /// [`RoutingError`] if routing it takes more than [`ROUTING_STEPS_MAX`] steps.
    pub fn explain(&self, command: &Command) -> Result<Explanation, RoutingError> {
        self.explain_within(command, ROUTING_STEPS_MAX)
    }

    /// As [`Self::explain`], but routing may take `steps_max` steps.
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
        similar::name_similar(&mut explanation.misses, command, &self.trie);
        Ok(explanation)
    }

    /// Applies the groups to the rules that match.
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

    /// The rule that came nearest to matching the command, or `None` if every rule
    /// matches. Only rules that fit within the step limit are considered.
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
                    return nearest.map(|nearest| self.missed(nearest, command));
                }
                let Some(near) = near else { continue };
                let best = nearest.as_ref().map(|(_, best)| best.rank());
                if best.is_none_or(|best| near.rank() < best) {
                    nearest = Some((case, near));
                }
            }
        }
        nearest.map(|nearest| self.missed(nearest, command))
    }

    fn missed(&self, (case, near): (Case<'_, '_, '_>, Near<'_>), command: &Command) -> Miss {
        let mut miss = case.miss(near, &mut Room(MAX_BYTES));
        similar::name_similar([&mut miss], command, &self.trie);
        miss
    }
}
