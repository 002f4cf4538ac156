//! Owns the reading of a case file, with an error at the first thing that is
//! not as it should be.

mod fields;
mod requests;
mod world;

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use pointsman_core::{
    command::Command,
    json::{self, Member, Node, NodeValue},
    outcome::{Level, Status},
    settings::SettingsError,
    source::{Source, position},
    text,
};
use pointsman_machine::files::read_text;
use pointsman_rules::{Diagnostic, Dialect, Pattern};
use pointsman_sandbox::{EmitGrant, HandlerDefaults, HandlerSettings, Simulation, StateGrant};
use toml::Table;

use fields::{Read, Reader, find};

use super::{Case, Expect, ExpectedLine, ExpectedOutput};

/// When a call begins that does not say so: 2026-01-01T00:00:00Z.
const NOW_MS: u64 = 1_767_225_600_000;

const CASE_KEYS: [&str; 16] = [
    "attempt",
    "command",
    "config",
    "description",
    "emit",
    "env",
    "expect",
    "folders",
    "http",
    "limits",
    "now",
    "requests",
    "secrets",
    "seed",
    "sql",
    "state",
];
/// Those that `plugins/<name>.toml` has too.
const SETTINGS_KEYS: [&str; 6] = ["config", "env", "folders", "http", "limits", "secrets"];
const EXPECT_KEYS: [&str; 9] = [
    "emitted",
    "logs",
    "message",
    "output",
    "output_matches",
    "retry_after_ms",
    "sql",
    "state",
    "status",
];
const LINE_KEYS: [&str; 2] = ["level", "message"];

/// Why there is no case.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub enum CaseError {
    /// The folder is not there, or cannot be read.
    NoFolder {
        /// The folder.
        folder: PathBuf,
        /// Why. Not a source: the message has it.
        cause: io::Error,
    },
    /// The folder holds no case.
    Empty(PathBuf),
    /// A file cannot be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// Why. Not a source: the message has it.
        cause: io::Error,
    },
    /// Something in the file is wrong; says where.
    Wrong(Diagnostic),
    /// A setting in the file is wrong; says where.
    Settings(SettingsError),
}

impl From<Diagnostic> for CaseError {
    fn from(error: Diagnostic) -> Self {
        Self::Wrong(error)
    }
}

impl From<SettingsError> for CaseError {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

impl CaseError {
    /// The same as each other thing to fix.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let no_cases = |folder: &Path, message: String| {
            let folder = folder.display().to_string();
            let hint = format!(
                r#"write `{folder}/greets.json`, such as {{"command":{{"name":"Ada"}},"expect":{{"status":"succeeded"}}}}"#
            );
            Diagnostic::error("no-cases", message)
                .within(folder)
                .hint(hint)
        };
        match self {
            Self::NoFolder { folder, cause } => no_cases(folder, format!("no cases: {cause}")),
            Self::Empty(folder) => no_cases(folder, "no cases".into()),
            Self::Io { path, cause } => Diagnostic::error("unreadable", cause.to_string())
                .within(text::path(path).to_string()),
            Self::Wrong(diagnostic) => diagnostic.clone(),
            Self::Settings(error) => error.diagnostic(),
        }
    }
}

/// The case files of a folder, by name.
pub(super) fn folder(folder: &Path) -> Result<Vec<PathBuf>, CaseError> {
    let no_folder = |cause| CaseError::NoFolder {
        folder: folder.into(),
        cause,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(no_folder)? {
        let path = entry.map_err(no_folder)?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|ending| ending == "json") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(CaseError::Empty(folder.into()));
    }
    paths.sort();
    Ok(paths)
}

/// The name of the case in the file at `path`.
pub(super) fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// A command and an answer of a MiB each, written out with all their spaces.
const CASE_MAX_BYTES: u64 = 16 << 20;

/// The text of a case file.
pub(super) fn text(path: &Path) -> Result<String, CaseError> {
    read_text(path, CASE_MAX_BYTES).map_err(|cause| CaseError::Io {
        path: path.into(),
        cause,
    })
}

/// Refuses a text that is more than a case file may have.
pub(super) fn check_size(path: &Path, text: &str) -> Result<(), CaseError> {
    if text.len() as u64 <= CASE_MAX_BYTES {
        return Ok(());
    }
    let message = format!(
        "what is to be written makes the case {} bytes long, and it may have {CASE_MAX_BYTES}",
        text.len()
    );
    let error = Diagnostic::error("too-large", message).within(text::path(path).to_string());
    Err(error.hint("test the handler with smaller data").into())
}

/// Keys with their JSON text.
pub(super) type Members = Vec<(String, String)>;

/// Where the expectations stand in a case file.
pub(super) struct Places {
    /// Its place, and its keys with their JSON text.
    pub(super) expect: Option<(Range<usize>, Members)>,
    /// The beginning of its key.
    pub(super) expect_key: Option<usize>,
    /// The place of the requests.
    pub(super) requests: Option<Range<usize>>,
    /// The end of the last value of the file.
    pub(super) end: usize,
}

/// Reads one case, whose settings lie over `defaults`.
pub(super) fn read(path: &Path, defaults: &HandlerDefaults) -> Result<Case, CaseError> {
    let text = text(path)?;
    let shown = text::path(path).to_string();
    let source = Source {
        path: &shown,
        text: &text,
    };
    let root = json::parse(&text)
        .map_err(|error| source.error(error.at, error.code(), error.reason.to_string()))?;
    let reader = Reader { source: &source };
    reader.case(path, &root, defaults)
}

/// Where `expect` and `requests` stand in a case file that was read before.
pub(super) fn places(path: &Path, text: &str) -> Result<Places, CaseError> {
    let shown = text::path(path).to_string();
    let source = Source { path: &shown, text };
    let root = json::parse(text)
        .map_err(|error| source.error(error.at, error.code(), error.reason.to_string()))?;
    let reader = Reader { source: &source };
    let members = reader.object(&root, "a case", &CASE_KEYS)?;
    let expect = match find(members, "expect") {
        None => None,
        Some(node) => {
            let members = reader.object(node, "`expect`", &EXPECT_KEYS)?;
            let known = |member: &Member<'_>| {
                let value = &text[member.value.at..member.value.end];
                (member.key.to_string(), value.to_owned())
            };
            Some((node.at..node.end, members.iter().map(known).collect()))
        }
    };
    let is_expect = |member: &&Member<'_>| member.key == "expect";
    Ok(Places {
        expect,
        expect_key: members.iter().find(is_expect).map(|it| it.key_at),
        requests: find(members, "requests").map(|node| node.at..node.end),
        end: members.last().map_or(root.at + 1, |last| last.value.end),
    })
}

impl Reader<'_, '_> {
    fn case(
        &self,
        path: &Path,
        root: &Node<'_>,
        defaults: &HandlerDefaults,
    ) -> Result<Case, CaseError> {
        let members = self.object(root, "a case", &CASE_KEYS)?;
        let Some(command) = find(members, "command") else {
            let hint = "`{\"command\": {}}` is the least";
            let error = self.source.error_with_hint(
                root.at,
                "missing-key",
                "a case needs a `command`",
                hint,
            );
            return Err(error.into());
        };
        let number = |key: &str| {
            find(members, key)
                .map(|node| self.number(node, &format!("`{key}`")))
                .transpose()
        };
        let attempt = match find(members, "attempt") {
            None => 1,
            Some(node) => match u32::try_from(self.number(node, "`attempt`")?) {
                Ok(attempt @ 1..) => attempt,
                _ => return Err(self.wrong_kind(node, "`attempt`", "1 or more").into()),
            },
        };
        let now_ms = match find(members, "now") {
            None => NOW_MS,
            Some(node) => self.now(node)?,
        };
        let expect = match find(members, "expect") {
            None => Expect::default(),
            Some(node) => self.expect(node)?,
        };
        let description = find(members, "description")
            .map(|node| self.text(node, "`description`"))
            .transpose()?;
        let (world, after) = self.world(members)?;
        let mut settings = self.settings(members, defaults)?;
        if world.state.is_some() {
            settings.state = Some(StateGrant::default());
        }
        if after.emitted.is_some() || self.emits(members)? {
            settings.emit = Some(EmitGrant::default());
        }
        Ok(Case {
            name: name(path),
            path: path.into(),
            description: description.map(Into::into),
            command: self.command(command)?,
            attempt,
            simulation: Simulation {
                now_ms,
                seed: number("seed")?.unwrap_or(0),
                servers: None,
                recorder: None,
            },
            requests: find(members, "requests")
                .map(|node| self.requests(node))
                .transpose()?,
            settings,
            world,
            expect,
            after,
        })
    }

    fn command(&self, node: &Node<'_>) -> Read<Command> {
        let NodeValue::Object(_) = node.value else {
            return Err(self.wrong_kind(node, "`command`", "an object"));
        };
        let text = &self.source.text[node.at..node.end];
        Command::parse(text).map_err(|error| {
            self.source
                .error(node.at, "invalid-command", error.to_string())
        })
    }

    fn now(&self, node: &Node<'_>) -> Read<u64> {
        let text = self.text(node, "`now`")?;
        let since_epoch = text.parse::<Timestamp>().map_err(|error| error.to_string());
        since_epoch
            .and_then(|now| {
                u64::try_from(now.as_millisecond()).map_err(|_| "it is before 1970".into())
            })
            .map_err(|reason| {
                self.source.error_with_hint(
                    node.at,
                    "invalid-time",
                    format!("`now` is not a time: {reason}"),
                    "write it as `2026-01-01T00:00:00Z`",
                )
            })
    }

    /// The settings, in the words of `plugins/<name>.toml`.
    fn settings(
        &self,
        members: &[Member<'_>],
        defaults: &HandlerDefaults,
    ) -> Result<HandlerSettings, CaseError> {
        let mut given = Table::new();
        for member in members {
            if SETTINGS_KEYS.contains(&&*member.key) {
                let value = self.toml(&member.value)?;
                // Each by itself first, so that an error without a key has a place.
                let alone = Table::from_iter([(member.key.to_string(), value.clone())]);
                if let Err(error) = HandlerSettings::read(self.source.path, alone, defaults) {
                    return Err(self.place(error, members, member.key_at).into());
                }
                given.insert(member.key.to_string(), value);
            }
        }
        HandlerSettings::read(self.source.path, given, defaults)
            .map_err(|error| self.place(error, members, 0).into())
    }

    /// The error with the place of the key that it names, else with `at`.
    fn place(
        &self,
        error: SettingsError,
        members: &[Member<'_>],
        otherwise: usize,
    ) -> SettingsError {
        let at = error.key().and_then(|key| locate(members, key));
        let (line, column) = position(self.source.text, at.unwrap_or(otherwise));
        error.from_origin(&format!("{}:{line}:{column}", self.source.path))
    }

    fn expect(&self, node: &Node<'_>) -> Read<Expect> {
        let members = self.object(node, "`expect`", &EXPECT_KEYS)?;
        let status = match find(members, "status") {
            None => Status::Succeeded,
            Some(node) => {
                let names = Status::ENDS.map(Status::as_str);
                Status::ENDS[self.one_of(node, "`status`", &names)?]
            }
        };
        let of_others = match status {
            Status::Succeeded => ["message", "retry_after_ms"].as_slice(),
            Status::Unavailable => &["output", "output_matches"],
            _ => &["output", "output_matches", "retry_after_ms"],
        };
        for member in members {
            if of_others.contains(&&*member.key) {
                let message = format!(
                    "a call that ends as `{}` has no `{}`",
                    status.as_str(),
                    member.key
                );
                let hint = "`status` says how it ends; without it, as `succeeded`";
                let error =
                    self.source
                        .error_with_hint(member.key_at, "other-status", message, hint);
                return Err(error);
            }
        }
        let text_of = |node: &Node<'_>| self.source.text[node.at..node.end].to_owned();
        let output = match (find(members, "output"), find(members, "output_matches")) {
            (Some(_), Some(node)) => {
                let message = "`output` says all, `output_matches` beside it nothing more";
                return Err(self.source.error(node.at, "both", message));
            }
            (Some(node), None) => Some(ExpectedOutput::Exact(text_of(node))),
            (None, Some(node)) => Some(ExpectedOutput::Matches {
                text: text_of(node),
                pattern: Box::new(Pattern::read(self.source, Dialect::default(), node)?),
            }),
            (None, None) => None,
        };
        let message = find(members, "message")
            .map(|node| self.text(node, "`message`"))
            .transpose()?;
        let retry_after_ms = find(members, "retry_after_ms")
            .map(|node| self.number(node, "`retry_after_ms`"))
            .transpose()?;
        Ok(Expect {
            status,
            output,
            message: message.map(Into::into),
            retry_after_ms,
            logs: find(members, "logs")
                .map(|node| self.logs(node))
                .transpose()?,
        })
    }

    fn logs(&self, node: &Node<'_>) -> Read<Vec<ExpectedLine>> {
        let NodeValue::Array(items) = &node.value else {
            return Err(self.wrong_kind(node, "`logs`", "an array"));
        };
        items.iter().map(|item| self.line(item)).collect()
    }

    fn line(&self, node: &Node<'_>) -> Read<ExpectedLine> {
        if let NodeValue::String(part) = &node.value {
            return Ok(ExpectedLine::Part(part.to_string()));
        }
        let what = "a line of `logs`";
        let NodeValue::Object(_) = node.value else {
            let wanted =
                "a text, which is a part of the line, or an object with `level` and `message`";
            return Err(self.wrong_kind(node, what, wanted));
        };
        let members = self.object(node, what, &LINE_KEYS)?;
        let (Some(level), Some(message)) = (find(members, "level"), find(members, "message"))
        else {
            let message = "a line of `logs` has both `level` and `message`";
            let hint = "write a text alone for a part of the line";
            let error = self
                .source
                .error_with_hint(node.at, "missing-key", message, hint);
            return Err(error);
        };
        let names = Level::ALL.map(Level::as_str);
        Ok(ExpectedLine::Whole {
            level: Level::ALL[self.one_of(level, "`level`", &names)?],
            message: self.text(message, "`message`")?.into(),
        })
    }
}

/// Where the last part of a dotted key stands that the members do have.
fn locate(members: &[Member<'_>], key: &str) -> Option<usize> {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    // `folders[1]` stands in `folders`.
    let first = first.split('[').next().unwrap_or(first);
    // A key that is the handler's own may have dots in it.
    let own = members.iter().find(|member| member.key == key);
    let member = own.or_else(|| members.iter().find(|member| member.key == first))?;
    let below = match &member.value.value {
        NodeValue::Object(members) => locate(members, rest),
        _ => None,
    };
    Some(below.unwrap_or(member.key_at))
}

impl Default for Expect {
    /// A call that succeeds, whatever it answers.
    fn default() -> Self {
        Self {
            status: Status::Succeeded,
            output: None,
            message: None,
            retry_after_ms: None,
            logs: None,
        }
    }
}
