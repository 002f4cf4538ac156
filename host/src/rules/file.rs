//! Owns the shape of a rule file: its keys, its limits, its tests. What comes
//! out is valid; what is wrong is named with line, column and the nearest known
//! key.

mod reader;

use std::{collections::BTreeSet, str, sync::Arc};

use super::{
    Dialect, RuleError,
    error::{Source, excerpt, list, position},
    event::FieldTrie,
    json,
    rule::Rule,
    set::RuleSet,
    toml,
};
use crate::name::HandlerName;

/// The largest rule file in bytes; a larger one is refused before it is read.
/// 100,000 rules of everyday size have about 20 MiB: split them.
pub const MAX_FILE_BYTES: usize = 10 * 1024 * 1024;
/// The most tests in one file.
pub const MAX_TESTS: usize = 10_000;

/// One valid rule file, its own tests passed. Cheap to share in an `Arc`.
#[derive(Debug)]
pub struct RuleFile {
    path: Arc<str>,
    dialect: Dialect,
    rules: Box<[Rule]>,
    pub(crate) tests: Box<[RuleTest]>,
    /// The paths that the rules use.
    pub(crate) trie: FieldTrie,
}

/// A command and the handlers that the rules of the file must choose for it.
#[derive(Debug)]
pub(crate) struct RuleTest {
    /// The attributes as JSON text.
    pub(crate) command: Box<str>,
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
    /// [`RuleError`] at the first thing wrong, a failed test among them.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, RuleError> {
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
        let text = str::from_utf8(bytes).map_err(|error| {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            RuleError::new(
                path,
                position(&before, before.len()),
                "not-utf-8",
                "the file is not UTF-8 text",
                None,
            )
        })?;
        // An editor's byte order mark is no part of the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Source { path, text };
        let (root, is_json) = match path.rsplit_once('.') {
            Some((_, "json")) => (
                json::parse(text)
                    .map_err(|error| source.error(error.at, "invalid-json", error.message))?,
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
    fn run_tests(self) -> Result<Self, RuleError> {
        if self.tests.is_empty() {
            return Ok(self);
        }
        let file = Arc::new(self);
        let rules = RuleSet::build([Arc::clone(&file)])?;
        for test in &file.tests {
            test.run(&file, &rules)?;
        }
        drop(rules);
        match Arc::into_inner(file) {
            Some(file) => Ok(file),
            None => unreachable!("the rule set was the only other owner"),
        }
    }
}

impl RuleTest {
    fn run(&self, file: &RuleFile, rules: &RuleSet) -> Result<(), RuleError> {
        let fail = |code, message: String, hint| {
            Err(RuleError::new(
                &file.path,
                (self.line, self.column),
                code,
                message,
                hint,
            ))
        };
        let matches = match rules.route(&self.command) {
            Ok(matches) => matches,
            Err(error) => {
                return fail(
                    "invalid-command",
                    format!("the test's command: {error}"),
                    None,
                );
            }
        };
        let chosen: BTreeSet<HandlerName> =
            matches.into_iter().map(|found| found.handler).collect();
        if chosen == self.handlers {
            return Ok(());
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
