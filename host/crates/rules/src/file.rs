//! Owns the shape of a rule file: its keys, its limits, its tests. What comes
//! out is valid; what is wrong is named with line, column and the nearest known
//! key.

mod reader;

use std::{collections::BTreeSet, sync::Arc};

use pointsman_core::{
    command::Command,
    name::HandlerName,
    source::{Source, excerpt, list},
    text::{NotText, decode},
};

use super::{
    Diagnostic, Dialect, event::FieldTrie, fuel::ROUTING_STEPS_MAX, json, rule::Rule, set::RuleSet,
    toml,
};

/// The largest rule file in bytes; a larger one is refused before it is read.
/// 100,000 rules of everyday size have about 20 MiB: split them.
pub const MAX_FILE_BYTES: usize = 10 * 1024 * 1024;
/// The most tests in one file.
pub const MAX_TESTS: usize = 10_000;

/// The steps of all tests of one file together: some 0.1 s. Tests of everyday
/// size take less than 1,000 each.
const TESTS_STEPS_MAX: u64 = 10 * ROUTING_STEPS_MAX;

/// One valid rule file, its own tests passed. Cheap to share in an `Arc`.
#[derive(Debug)]
pub struct RuleFile {
    path: Arc<str>,
    dialect: Dialect,
    rules: Box<[Rule]>,
    pub(crate) tests: Box<[RuleTest]>,
    /// What the regular expressions of its guards take.
    pub(crate) regex_bytes: usize,
    /// The paths that the rules use.
    pub(crate) trie: FieldTrie,
}

/// A command and the handlers that the rules of the file must choose for it.
#[derive(Debug)]
pub(crate) struct RuleTest {
    pub(crate) command: Command,
    handlers: BTreeSet<HandlerName>,
    description: Option<Box<str>>,
    line: u32,
    column: u32,
}

impl RuleFile {
    /// Reads a rule file and runs its tests. `path` is what messages call the
    /// file; it ends in `.json` or `.toml`, which says how to read it.
    ///
    /// # Errors
    /// [`Diagnostic`] at the first thing wrong, a failed test among them.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, Diagnostic> {
        let nowhere = Source { path, text: "" };
        if bytes.len() > MAX_FILE_BYTES {
            let message = format!(
                "a rule file has at most {MAX_FILE_BYTES} bytes, found {}",
                bytes.len()
            );
            return Err(nowhere.error_with_hint(
                0,
                "too-large",
                message,
                "split the file: rules of all files work together",
            ));
        }
        let text = decode(bytes).map_err(|error| {
            let message = match error {
                NotText::Utf16 => format!("the file {error}"),
                // The location has the offset.
                NotText::NotUtf8 { .. } => "the file is not UTF-8 text".to_owned(),
            };
            Diagnostic::error("not-utf-8", message).at(path, error.position(bytes))
        })?;
        let source = Source { path, text };
        let (root, is_json) = match path.rsplit_once('.') {
            Some((_, "json")) => (
                json::parse(text).map_err(|error| {
                    source.error(error.at, error.code(), error.reason.to_string())
                })?,
                true,
            ),
            Some((_, "toml")) => (toml::parse(&source)?, false),
            _ => {
                return Err(source.error(
                    0,
                    "unknown-format",
                    "a rule file ends in `.json` or `.toml`",
                ));
            }
        };
        let file = reader::Reader::new(&source, is_json).file(&root)?;
        drop(root);
        file.run_tests()
    }

    /// The file, as it was named when it was read.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The rules in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Which reading of patterns holds in this file.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
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
                .at(Arc::clone(&file.path), (self.line, self.column))
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
