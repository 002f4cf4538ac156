//! Lints: rules that are valid but probably not intended, since they name a handler
//! that is not loaded, are shadowed by another rule or can never match, and fields
//! that no test covers.

mod shadow;

use pointsman_core::source::list;
use std::{collections::hash_map::Entry, fmt};

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use super::{
    event::{Event, PathId},
    file::RuleFile,
    rule::Rule,
    set::RuleSet,
};
use pointsman_core::{
    diagnostic::{Diagnostic, Severity},
    name::{self, HandlerName},
};

/// A finding: something that is probably not intended.
///
/// Displayed as `rules/orders.json:12: …`, with a second line `  hint: …` if there is a hint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// Its severity.
    pub severity: Severity,
    /// The stable code of the finding in kebab-case, such as `unknown-handler`.
    pub code: &'static str,
    /// What was found.
    pub message: String,
    /// How to fix it, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnostic().fmt(f)
    }
}

impl Finding {
    /// The same as each other thing to fix.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::warning(self.code, self.message.as_str())
            .on_line(self.file.as_str(), self.line)
            .maybe_hint(self.hint.as_deref())
            .with_severity(self.severity)
    }

    fn at(
        rule: &Rule,
        severity: Severity,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) -> Self {
        Self {
            file: rule.file().to_owned(),
            line: rule.line(),
            severity,
            code,
            message,
            hint,
        }
    }
}

impl RuleSet {
    /// Returns the findings, sorted by file and line. `handlers` are the loaded ones.
    #[must_use]
    pub fn lint(&self, handlers: &[HandlerName]) -> Vec<Finding> {
        let mut findings = self.unknown_handlers(handlers);
        let files = self
            .files()
            .map(|indexed| (indexed.file.path(), indexed))
            .collect();
        for indexed in self.files() {
            let file = &indexed.file;
            for rule in file.rules() {
                constant_guard(rule, &mut findings);
                findings.extend(shadow::find(self, &files, indexed, rule));
            }
            untested_fields(file, &mut findings);
        }
        findings.sort_by(|a, b| (&a.file, a.line, a.severity).cmp(&(&b.file, b.line, b.severity)));
        findings
    }

    /// The part of [`RuleSet::lint`] that each reload asks for: one finding per
    /// file and handler that is not among `handlers`, the loaded ones.
    #[must_use]
    pub fn unknown_handlers(&self, handlers: &[HandlerName]) -> Vec<Finding> {
        let loaded: FxHashSet<&HandlerName> = handlers.iter().collect();
        let mut findings = Vec::new();
        for indexed in self.files() {
            let mut unknown = Vec::new();
            let mut places = FxHashMap::default();
            for rule in indexed.file.rules() {
                for handler in rule.handlers().iter().filter(|name| !loaded.contains(name)) {
                    match places.entry(handler) {
                        Entry::Occupied(place) => {
                            let known: &mut Unknown<'_> = &mut unknown[*place.get()];
                            known.more += 1;
                        }
                        Entry::Vacant(place) => {
                            place.insert(unknown.len());
                            unknown.push(Unknown {
                                first: rule,
                                handler,
                                more: 0,
                            });
                        }
                    }
                }
            }
            findings.extend(unknown.iter().map(|unknown| unknown.finding(handlers)));
        }
        findings
    }
}

/// Rules of one file that name one handler which is not loaded.
struct Unknown<'a> {
    first: &'a Rule,
    handler: &'a HandlerName,
    more: usize,
}

impl Unknown<'_> {
    fn finding(&self, handlers: &[HandlerName]) -> Finding {
        let known = handlers.iter().map(HandlerName::as_str);
        let near = name::nearest(self.handler.as_str(), known.clone())
            .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        let hint = match handlers.len() {
            0 => "no handler is loaded".to_owned(),
            _ => format!("{near}loaded handlers: {}", list(known)),
        };
        let more = match self.more {
            0 => String::new(),
            1 => ", as does 1 more".to_owned(),
            more => format!(", as do {more} more"),
        };
        let message = format!(
            "rule `{}` names the unknown handler `{}`{more}",
            self.first.name(),
            self.handler,
        );
        Finding::at(
            self.first,
            Severity::Error,
            "unknown-handler",
            message,
            Some(hint),
        )
    }
}

/// A guard that is the same for every command.
fn constant_guard(rule: &Rule, findings: &mut Vec<Finding>) {
    let constant = rule.guard.as_ref().and_then(|guard| guard.constant());
    let Some(constant) = constant else { return };
    let (code, what) = match constant {
        false => ("never-matches", "can never match"),
        true => ("constant-guard", "has a guard that changes nothing"),
    };
    let message = format!(
        "rule `{}` {what}: its guard is {constant} for every command",
        rule.name()
    );
    let hint = (constant).then(|| "leave the guard away".to_owned());
    findings.push(Finding::at(rule, Severity::Warning, code, message, hint));
}

/// Fields that rules use and no test of the file has.
fn untested_fields(file: &RuleFile, findings: &mut Vec<Finding>) {
    let mut untested: FxHashSet<PathId> = (0..file.trie.len() as PathId).collect();
    for test in &file.tests {
        let event = Event::read(&test.command, &file.trie);
        event.fields().iter().for_each(|field| {
            untested.remove(&field.path);
        });
    }
    for rule in file.rules() {
        let clauses = rule.conjuncts.iter().flat_map(|conjunct| &conjunct.clauses);
        for clause in clauses {
            // Each field is reported once, where it is first used.
            if untested.remove(&clause.path) {
                let message = format!(
                    "no test of this file has the field `{}` of rule `{}`",
                    file.trie.name(clause.path),
                    rule.name()
                );
                let hint = match file.tests.len() {
                    0 => "the file has no `tests`: add `{\"command\": {…}, \"handlers\": […]}`",
                    _ => "add a test whose command has it",
                };
                findings.push(Finding::at(
                    rule,
                    Severity::Warning,
                    "untested-field",
                    message,
                    Some(hint.to_owned()),
                ));
            }
        }
    }
}
