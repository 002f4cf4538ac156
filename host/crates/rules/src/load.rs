//! Loads a rule file: parses it and runs its tests, which must pass.

use std::{collections::BTreeSet, sync::Arc};

use pointsman_core::{
    name::HandlerName,
    source::{excerpt, list},
};

use super::{
    Diagnostic,
    file::{RuleFile, RuleTest},
    fuel::ROUTING_STEPS_MAX,
    set::RuleSet,
};

/// The steps of all tests of one file together: some 0.1 s. Tests of everyday
/// size take less than 1,000 each.
const TESTS_STEPS_MAX: u64 = 10 * ROUTING_STEPS_MAX;

impl RuleFile {
    /// Parses a rule file and runs its tests. `path` is used in messages; its extension,
    /// `.json` or `.toml`, determines the format.
    ///
    /// # Errors
    /// [`Diagnostic`] for the first problem, which may be a failed test.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, Diagnostic> {
        Self::read(path, bytes)?.run_tests()
    }

    /// Runs the file's tests against its rules alone.
    fn run_tests(self) -> Result<Self, Diagnostic> {
        if self.tests.is_empty() {
            return Ok(self);
        }
        let file = Arc::new(self);
        let rules = RuleSet::build([Arc::clone(&file)])?;
        let mut steps = TESTS_STEPS_MAX;
        for test in &file.tests {
            steps = test.run(&file, &rules, steps)?;
        }
        drop(rules);
        match Arc::into_inner(file) {
            Some(file) => Ok(file),
            None => unreachable!("the rule set was the only other owner"),
        }
    }
}

impl RuleTest {
    /// Runs the test in at most `steps`, and returns those that are left.
    fn run(&self, file: &RuleFile, rules: &RuleSet, steps: u64) -> Result<u64, Diagnostic> {
        let fail = |code, message: String, hint| {
            Err(Diagnostic::error(code, message)
                .at(file.path(), (self.line, self.column))
                .maybe_hint(hint))
        };
        let routing = match rules.routing(&self.command, steps.min(ROUTING_STEPS_MAX)) {
            Ok(routing) => routing,
            Err(_) if steps < ROUTING_STEPS_MAX => {
                let message =
                    format!("the tests of one file take at most {TESTS_STEPS_MAX} steps together");
                let hint = "leave large commands to a benchmark, or split the file";
                return fail("too-many-steps", message, Some(hint.to_owned()));
            }
            Err(error) => {
                return fail(
                    "invalid-command",
                    format!("the test's command: {error}"),
                    None,
                );
            }
        };
        let matches = routing.matches.into_iter();
        let chosen: BTreeSet<HandlerName> = matches.map(|found| found.handler).collect();
        if chosen == self.handlers {
            return Ok(steps.saturating_sub(routing.steps));
        }
        let names = |handlers: &BTreeSet<HandlerName>| match handlers.len() {
            0 => "no handler".to_owned(),
            _ => list(handlers.iter().map(HandlerName::as_str)),
        };
        let what = self
            .description
            .as_deref()
            .map_or_else(String::new, |description| {
                format!(" ({})", excerpt(description))
            });
        let message = format!(
            "test failed{what}: the rules choose {}, the test wants {}",
            names(&chosen),
            names(&self.handlers)
        );
        let hint = rules
            .nearest_miss(&self.command)
            .map(|miss| format!("nearest miss: {miss}"));
        fail("test-failed", message, hint)
    }
}
