//! Owns how a snapshot looks from outside: the JSON of `list --json`, of
//! `GET /plugins` and of `GET /rules`, one shape for all.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{FileState, Snapshot};
use crate::{diagnostic::Diagnostic, name::HandlerName, rules::Rule, sandbox::HandlerSettings};

/// All handler files.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandlersView {
    /// The generation.
    pub generation: u64,
    /// One entry a file, by path.
    #[serde(rename = "plugins")]
    pub handlers: Vec<HandlerView>,
    /// The problems to fix.
    pub problems: Vec<Diagnostic>,
}

/// One handler file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandlerView {
    /// The handler that it provides, if its name is one.
    pub handler: Option<HandlerName>,
    /// The file.
    pub file: String,
    /// Whether it is in use.
    pub state: FileState,
    /// Where it failed too often recently: what is left until a call may try
    /// again, in milliseconds.
    pub quarantined_ms: Option<u64>,
    /// The version in the component.
    pub version: Option<Arc<str>>,
    /// The description in the component.
    pub description: Option<Arc<str>>,
    /// The SHA-256 of the file in use, in lower-case hex.
    pub digest: Option<Arc<str>>,
    /// Bytes of the file in use.
    pub size_bytes: Option<u64>,
    /// The secrets that it was granted, and who sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretView>,
    /// The names of the rules that send commands to it.
    pub rules: Vec<String>,
    /// Why the file as it is now is not in use, and how to fix it.
    pub error: Option<ErrorView>,
}

/// A secret of a handler, without its value.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretView {
    /// Its key.
    pub name: String,
    /// The requests that the host adds it to. Without, the handler reads it.
    pub injected_into: Option<String>,
}

/// What is wrong with a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorView {
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// All rule files.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RulesView<'a> {
    /// The generation.
    pub generation: u64,
    /// One entry a file, by path.
    pub files: Vec<RuleFileView<'a>>,
}

/// One rule file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleFileView<'a> {
    /// The file.
    pub file: String,
    /// Whether it is in use.
    pub state: FileState,
    /// The rules in use.
    pub rules: &'a [Rule],
    /// Why the file as it is now is not in use, and how to fix it.
    pub error: Option<ErrorView>,
}

fn secrets(settings: &HandlerSettings) -> Vec<SecretView> {
    let secrets = settings.secrets.iter();
    let secrets = secrets.map(|(name, secret)| SecretView {
        name: name.clone(),
        injected_into: secret.inject.as_ref().map(|it| it.to.to_string()),
    });
    secrets.collect()
}

impl Snapshot {
    /// The handler files as they look from outside.
    #[must_use]
    pub fn handlers_view(&self) -> HandlersView {
        let mut rules: BTreeMap<&HandlerName, Vec<String>> = BTreeMap::new();
        for rule in self.rules.rules() {
            for handler in rule.handlers() {
                rules
                    .entry(handler)
                    .or_default()
                    .push(rule.name().to_string());
            }
        }
        let handlers = self.handler_files.iter().map(|file| {
            let loaded = file.handler.as_ref();
            let stem = file.path.file_stem().and_then(|stem| stem.to_str());
            let handler = stem.and_then(|stem| HandlerName::parse(stem).ok());
            HandlerView {
                file: file.path.display().to_string(),
                state: file.state(),
                quarantined_ms: loaded
                    .and_then(|loaded| loaded.quarantined())
                    .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
                version: loaded.and_then(|loaded| loaded.version.clone()),
                description: loaded.and_then(|loaded| loaded.description.clone()),
                digest: loaded.map(|loaded| loaded.digest.clone()),
                size_bytes: loaded.map(|loaded| loaded.size_bytes),
                secrets: loaded.map_or_else(Vec::new, |loaded| secrets(&loaded.settings)),
                rules: handler
                    .as_ref()
                    .and_then(|handler| rules.remove(handler))
                    .unwrap_or_default(),
                handler,
                error: file.error.as_ref().map(|error| ErrorView {
                    reason: error.reason.clone(),
                    hint: Some(error.hint.clone()),
                }),
            }
        });
        HandlersView {
            generation: self.generation,
            handlers: handlers.collect(),
            problems: self.problems.clone(),
        }
    }

    /// The rule files as they look from outside.
    #[must_use]
    pub fn rules_view(&self) -> RulesView<'_> {
        let files = self.rule_files.iter().map(|state| RuleFileView {
            file: state.path.display().to_string(),
            state: state.state(),
            rules: state
                .file
                .as_ref()
                .map(|file| file.rules())
                .unwrap_or_default(),
            error: state.error.as_ref().map(|error| ErrorView {
                reason: match error.position() {
                    Some((line, column)) => format!("{line}:{column}: {}", error.message()),
                    None => error.message().to_owned(),
                },
                hint: error.hint_text().map(str::to_owned),
            }),
        });
        RulesView {
            generation: self.generation,
            files: files.collect(),
        }
    }
}
