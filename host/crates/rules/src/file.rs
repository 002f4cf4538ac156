//! The format of a rule file: its keys and limits. The result is valid except for its
//! tests, which `load` runs. Errors have a line, a column and the most similar known
//! key.

mod reader;

use std::{collections::BTreeSet, sync::Arc};

use pointsman_core::{
    command::Command,
    name::HandlerName,
    source::Source,
    text::{NotText, decode},
};

use super::{Diagnostic, Dialect, event::FieldTrie, json, rule::Rule, schedule::Schedule, toml};

/// The largest rule file in bytes; a larger one is refused before it is read.
/// 100,000 rules of everyday size have about 20 MiB: split them.
pub const MAX_FILE_BYTES: usize = 10 * 1024 * 1024;
/// The maximum number of tests in one file.
pub const MAX_TESTS: usize = 10_000;

/// A valid rule file whose tests have passed. Cheap to share in an `Arc`.
#[derive(Debug)]
pub struct RuleFile {
    path: Arc<str>,
    dialect: Dialect,
    rules: Box<[Rule]>,
    pub(crate) tests: Box<[RuleTest]>,
    schedules: Box<[Schedule]>,
    /// What the regular expressions of its guards take.
    pub(crate) regex_bytes: usize,
    /// The paths that the rules use.
    pub(crate) trie: FieldTrie,
}

/// A command and the handlers that the rules of the file must choose for it.
#[derive(Debug)]
pub(crate) struct RuleTest {
    pub(crate) command: Command,
    pub(crate) handlers: BTreeSet<HandlerName>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl RuleFile {
    /// Parses a rule file without running its tests.
    ///
    /// # Errors
    /// [`Diagnostic`] for the first problem.
    pub(crate) fn read(path: &str, bytes: &[u8]) -> Result<Self, Diagnostic> {
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
                NotText::Encoded(_) => format!("the file {error}"),
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
        reader::Reader::new(&source, is_json).file(&root)
    }

    /// The path of the file, as given when it was read.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The rules in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The schedules in the order of the file.
    #[must_use]
    pub fn schedules(&self) -> &[Schedule] {
        &self.schedules
    }

    /// The dialect of the patterns in this file.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }
}
