//! [`RuleSet`]: the rules of all files, ready for routing. Immutable: a reload builds
//! the next one from the previous one and replaces it as a whole.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use smallvec::SmallVec;

use super::{
    Diagnostic, RuleFile,
    error::RoutingError,
    event::{Event, FieldTrie},
    fuel::{Fuel, ROUTING_STEPS_MAX},
    group::{self, Selects},
    guard::{Attributes, Unmet},
    index::Index,
    indexed::IndexedFile,
    rule::{Rule, Select},
    schedule::Schedule,
};
use pointsman_core::{
    command::Command,
    name::{HandlerName, RuleName},
};

/// The most bytes of compiled regular expressions in all files: four files that
/// have as many as one may.
const MAX_REGEX_BYTES: usize = 64 << 20;

/// A handler that a command is routed to, and every rule that chose it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Match {
    /// The handler.
    pub handler: HandlerName,
    /// The rules that name it and fired, ordered by file and line.
    pub rules: Vec<RuleName>,
}

/// The result of routing a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// One entry per handler, sorted by name.
    pub matches: Vec<Match>,
    /// Guards that could not be evaluated: their rules do not fire.
    pub faults: Vec<GuardFault>,
    /// The number of steps that it took.
    pub steps: u64,
}

/// A guard that could not be evaluated for a command, whose values it does not support. A
/// missing field is not a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardFault {
    /// The rule, which does not fire.
    pub rule: RuleName,
    /// Its file.
    pub file: String,
    /// Its line in the file.
    pub line: u32,
    /// What went wrong.
    pub reason: String,
}

/// The rules of all files, indexed.
///
/// Files that were indexed together stay together in a segment. A reload keeps
/// the segments that are mostly unchanged and puts what is new into a small
/// one beside them, so that its cost goes with the change, not with the whole.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// The paths that rules use; a kept segment's numbers stay valid.
    pub(crate) trie: FieldTrie,
    slots: Vec<Slot>,
    selects: Selects,
    count: usize,
}

/// A segment and which of its files still count.
#[derive(Debug)]
struct Slot {
    segment: Arc<Segment>,
    /// By file of the segment.
    live: Box<[bool]>,
}

/// Files that were indexed together.
#[derive(Debug)]
struct Segment {
    /// Sorted by path.
    files: Vec<IndexedFile>,
    names: Names,
    index: Index,
}

/// Where each rule name stands: file and rule.
type Names = FxHashMap<RuleName, (u32, u32)>;

impl RuleSet {
    /// Indexes the rules of `files`.
    ///
    /// # Errors
    /// [`Diagnostic`] if two files use the same rule name, or the rules of a group
    /// contradict each other.
    pub fn build(files: impl IntoIterator<Item = Arc<RuleFile>>) -> Result<Self, Diagnostic> {
        Self::build_from(&Self::default(), files)
    }

    /// Like [`Self::build`], but reuses unchanged files of `previous`: those with the same
    /// `Arc`.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_from(
        previous: &Self,
        files: impl IntoIterator<Item = Arc<RuleFile>>,
    ) -> Result<Self, Diagnostic> {
        let mut fresh: Vec<Arc<RuleFile>> = files.into_iter().collect();
        fresh.sort_by(|a, b| a.path().cmp(b.path()));
        let slots = keep(previous, &mut fresh);
        let mut set = Self {
            slots,
            ..Self::default()
        };
        if !set.slots.is_empty() {
            set.trie = previous.trie.clone();
        }
        // Before the index is built: of many files that do not go together, each is
        // found by a build of its own.
        let names = set.names(&fresh, previous)?;
        let mut files: Vec<&RuleFile> = set.files().map(|indexed| &*indexed.file).collect();
        files.extend(fresh.iter().map(|file| &**file));
        files.sort_by_key(|file| file.path());
        check_regex_bytes(&files)?;
        check_schedules(&files)?;
        set.selects = group::selects(files.iter().flat_map(|file| file.rules()))?;
        if !fresh.is_empty() {
            let segment = set.segment(fresh, names);
            set.slots.push(Slot {
                live: vec![true; segment.files.len()].into(),
                segment: Arc::new(segment),
            });
        }
        set.count = set
            .slots
            .iter()
            .flat_map(Slot::files)
            .map(|indexed| indexed.file.rules().len())
            .sum();
        Ok(set)
    }

    /// The schedules of all files.
    pub fn schedules(&self) -> impl Iterator<Item = &Schedule> {
        self.files().flat_map(|indexed| indexed.file.schedules())
    }

    /// Where the rules of `files` stand, which are sorted by path.
    ///
    /// # Errors
    /// Where two files use one name, the one that was not in `previous` is to blame.
    fn names(&self, files: &[Arc<RuleFile>], previous: &Self) -> Result<Names, Diagnostic> {
        let mut names = Names::default();
        names.reserve(files.iter().map(|file| file.rules().len()).sum());
        for (number, file) in files.iter().enumerate() {
            for (index, rule) in file.rules().iter().enumerate() {
                let fresh = names.insert(rule.name.clone(), (number as u32, index as u32));
                let fresh = fresh.map(|(number, index): (u32, u32)| {
                    &files[number as usize].rules()[index as usize]
                });
                if let Some(other) = fresh.or_else(|| self.rule(&rule.name)) {
                    let before = previous.rule(&rule.name);
                    let was_there = before.is_some_and(|before| std::ptr::eq(before, rule));
                    return Err(match was_there {
                        true => name_twice(other, rule),
                        false => name_twice(rule, other),
                    });
                }
            }
        }
        Ok(names)
    }

    /// Indexes `files`, sorted by path, beside the segments that are there.
    fn segment(&mut self, files: Vec<Arc<RuleFile>>, names: Names) -> Segment {
        let indexed = |file: Arc<RuleFile>| IndexedFile {
            paths: file
                .trie
                .names()
                .map(|path| self.trie.insert(path))
                .collect(),
            file,
        };
        let files: Vec<IndexedFile> = files.into_iter().map(indexed).collect();
        let index = Index::build(&files);
        Segment {
            files,
            names,
            index,
        }
    }

    /// Returns the handlers that the command is routed to: one entry per handler, sorted by
    /// name.
    ///
    /// # Errors
    /// [`RoutingError`] if routing it takes more than [`ROUTING_STEPS_MAX`] steps.
    pub fn route(&self, command: &Command) -> Result<Vec<Match>, RoutingError> {
        let routing = self.routing(command, ROUTING_STEPS_MAX)?;
        Ok(routing.matches)
    }

    /// Like [`Self::route`], in at most `steps_max` steps, and with details.
    ///
    /// # Errors
    /// As [`Self::route`].
    pub fn routing(&self, command: &Command, steps_max: u64) -> Result<Routing, RoutingError> {
        let event = Event::read(command, &self.trie);
        let fuel = Fuel::new(steps_max);
        let mut guards = Attributes::new(command);
        let mut faults = Vec::new();
        let mut matching: SmallVec<[&Rule; 8]> = SmallVec::new();
        for rule in self.matching(&event, &fuel)? {
            match rule.check_guard(&mut guards, &fuel)? {
                Ok(()) => matching.push(rule),
                Err(Unmet::Fault(reason)) => faults.push(GuardFault {
                    rule: rule.name.clone(),
                    file: rule.file().to_owned(),
                    line: rule.line(),
                    reason: reason.into(),
                }),
                Err(_) => {}
            }
        }
        if matching.iter().any(|rule| rule.membership.is_some()) {
            let decided = group::decide(&matching, |group| self.select_of(group));
            matching = decided
                .into_iter()
                .filter(|(_, winner)| winner.is_none())
                .map(|(rule, _)| rule)
                .collect();
        }
        Ok(Routing {
            matches: collect(&matching),
            faults,
            steps: fuel.steps(),
        })
    }

    /// The rules whose `match` holds, in the order of file and line.
    ///
    /// # Errors
    /// [`RoutingError::RoutingLimit`].
    pub(crate) fn matching(
        &self,
        event: &Event<'_>,
        fuel: &Fuel,
    ) -> Result<SmallVec<[&Rule; 8]>, RoutingError> {
        let mut matching = SmallVec::new();
        for slot in &self.slots {
            let Segment { files, index, .. } = &*slot.segment;
            index
                .matching(files, &slot.live, (event, fuel), &mut matching)
                .map_err(|at| RoutingError::routing_limit(fuel.max(), at))?;
        }
        // Those of one segment come in order.
        if self.slots.len() > 1 {
            matching.sort_by_key(|rule: &&Rule| rule.position());
        }
        Ok(matching)
    }

    /// Returns the rule with this name.
    fn rule(&self, name: &RuleName) -> Option<&Rule> {
        self.slots.iter().find_map(|slot| slot.rule(name))
    }

    pub(crate) fn select_of(&self, group: &str) -> Select {
        self.selects.get(group).copied().unwrap_or_default()
    }

    /// The files with their path numbers, in the order of their names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &IndexedFile> {
        let mut files: Vec<_> = self.slots.iter().flat_map(Slot::files).collect();
        files.sort_by_key(|indexed| indexed.file.path());
        files.into_iter()
    }

    /// All rules, ordered by file and line.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.files().flat_map(|indexed| indexed.file.rules())
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Slot {
    /// The files that still count.
    fn files(&self) -> impl Iterator<Item = &IndexedFile> {
        self.segment
            .files
            .iter()
            .zip(&self.live)
            .filter(|(_, live)| **live)
            .map(|(file, _)| file)
    }

    /// The rule of this name, if its file still counts.
    fn rule(&self, name: &RuleName) -> Option<&Rule> {
        let &(file, rule) = self.segment.names.get(name)?;
        self.live[file as usize]
            .then(|| &self.segment.files[file as usize].file.rules()[rule as usize])
    }
}

/// `rule` has the name of `other`.
fn name_twice(rule: &Rule, other: &Rule) -> Diagnostic {
    let message = format!(
        "the rule name `{}` is already used in {}:{}",
        rule.name,
        other.file(),
        other.line()
    );
    rule.error(
        "name-twice",
        message,
        "rule names are unique over all files",
    )
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

/// # Errors
/// Where two files use one name of a schedule.
fn check_schedules(files: &[&RuleFile]) -> Result<(), Diagnostic> {
    let mut names: FxHashMap<&RuleName, &Schedule> = FxHashMap::default();
    for schedule in files.iter().flat_map(|file| file.schedules()) {
        if let Some(other) = names.insert(&schedule.name, schedule) {
            let message = format!("the schedule name `{}` is used twice", schedule.name);
            let hint = format!("the other one is in {}:{}", other.file, other.line);
            return Err(Diagnostic::error("name-twice", message)
                .at(&*schedule.file, (schedule.line, 1))
                .hint(hint));
        }
    }
    Ok(())
}

/// # Errors
/// The first file with which the regular expressions of all guards take too much.
fn check_regex_bytes(files: &[&RuleFile]) -> Result<(), Diagnostic> {
    let mut bytes = 0;
    for file in files {
        bytes += file.regex_bytes;
        if bytes > MAX_REGEX_BYTES {
            let message = format!(
                "the patterns of `matches` in all rule files take more than {MAX_REGEX_BYTES} bytes, compiled"
            );
            let hint = "use smaller counts and ASCII classes, or `wildcard` in `match`";
            return Err(Diagnostic::error("too-large", message)
                .at(file.path(), (1, 1))
                .hint(hint));
        }
    }
    Ok(())
}

/// The segments of `previous` that are worth keeping for the files `fresh`,
/// which loses the files they hold.
fn keep(previous: &RuleSet, fresh: &mut Vec<Arc<RuleFile>>) -> Vec<Slot> {
    let size = |file: &RuleFile| file.rules().len() + 1;
    let wanted: FxHashSet<*const RuleFile> = fresh.iter().map(Arc::as_ptr).collect();
    let mut kept: Vec<(usize, Slot)> = Vec::new();
    for slot in &previous.slots {
        let files = &slot.segment.files;
        let live: Box<[bool]> = files
            .iter()
            .map(|indexed| wanted.contains(&Arc::as_ptr(&indexed.file)))
            .collect();
        let total: usize = files.iter().map(|indexed| size(&indexed.file)).sum();
        let alive: usize = files
            .iter()
            .zip(&live)
            .filter(|(_, live)| **live)
            .map(|(indexed, _)| size(&indexed.file))
            .sum();
        // A segment that is largely dead costs look-ups for nothing.
        if alive * 4 >= total * 3 {
            kept.push((
                alive,
                Slot {
                    segment: Arc::clone(&slot.segment),
                    live,
                },
            ));
        }
    }
    kept.sort_by_key(|(alive, _)| std::cmp::Reverse(*alive));
    // Each segment costs every command a look-up: the new one swallows those
    // that are not much larger, so that there are never more than a few.
    loop {
        let held: FxHashSet<*const RuleFile> = kept
            .iter()
            .flat_map(|(_, slot)| slot.files())
            .map(|indexed| Arc::as_ptr(&indexed.file))
            .collect();
        let fresh_size: usize = fresh
            .iter()
            .filter(|file| !held.contains(&Arc::as_ptr(file)))
            .map(|file| size(file))
            .sum();
        match kept.last() {
            Some((alive, _)) if fresh_size > 0 && *alive < fresh_size * 8 => drop(kept.pop()),
            _ => {
                fresh.retain(|file| !held.contains(&Arc::as_ptr(file)));
                return kept.into_iter().map(|(_, slot)| slot).collect();
            }
        }
    }
}

/// Turns the rules that fire, in the order of file and line, into one entry a handler.
pub(crate) fn collect(fired: &[&Rule]) -> Vec<Match> {
    let mut pairs: SmallVec<[(&HandlerName, &RuleName); 8]> = fired
        .iter()
        .flat_map(|rule| {
            rule.handlers
                .iter()
                .map(move |handler| (handler, &rule.name))
        })
        .collect();
    pairs.sort_by_key(|(handler, _)| *handler);
    let mut matches: Vec<Match> = Vec::with_capacity(pairs.len());
    for (handler, rule) in pairs {
        match matches.last_mut() {
            Some(last) if last.handler == *handler => last.rules.push(rule.clone()),
            _ => matches.push(Match {
                handler: handler.clone(),
                rules: vec![rule.clone()],
            }),
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_do_not_go_together_are_found_before_an_index_is_built() {
        let rule = |name: &str, select: &str| {
            let rule = format!(
                r#"{{"rules":[{{"name":"{name}","match":"*","handlers":["h"],"group":"g","select":"{select}"}}]}}"#
            );
            Arc::new(RuleFile::parse(&format!("{name}.json"), rule.as_bytes()).unwrap())
        };
        let first = rule("a", "first");
        let set = RuleSet::build([Arc::clone(&first)]).unwrap();
        let before = crate::index::built();
        for number in 0..10 {
            let files = [Arc::clone(&first), rule(&format!("b{number}"), "all")];
            let error = RuleSet::build_from(&set, files).unwrap_err();
            assert_eq!(error.path(), format!("b{number}.json"));
        }
        assert_eq!(crate::index::built(), before);
        RuleSet::build_from(&set, [first, rule("c", "first")]).unwrap();
        assert_eq!(crate::index::built(), before + 1);
    }
}
