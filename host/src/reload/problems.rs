//! Owns what is said of the folders, and of handlers and rules that do not go
//! together though each is fine by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    config::Config,
    diagnostic::{Diagnostic, Severity},
    name::HandlerName,
    rules::{Finding, RuleSet},
    sandbox::Handler,
    snapshot::HandlerFile,
    text,
};

/// What is wrong between handlers and rules, each of which is fine by itself.
pub(super) fn between(
    config: &Config,
    handlers: &BTreeMap<HandlerName, Arc<Handler>>,
    files: &[HandlerFile],
    rules: &RuleSet,
) -> Vec<Diagnostic> {
    let names: Vec<_> = handlers.keys().cloned().collect();
    let chosen: BTreeSet<_> = rules.rules().flat_map(|rule| rule.handlers()).collect();
    let unruled = names.iter().filter(|name| !chosen.contains(name));
    let unruled = unruled.map(|name| no_rule(config, name));
    // What is said of a file that is broken is said of its handler.
    let broken = files.iter().filter(|file| file.handler.is_none());
    let broken = broken.filter_map(|file| file.path.file_stem()?.to_str());
    let broken = broken.filter_map(|stem| HandlerName::parse(stem).ok());
    let there: Vec<_> = names.iter().cloned().chain(broken).collect();
    let unknown = rules.unknown_handlers(&there);
    // The file may come yet: all else works meanwhile.
    let unknown = unknown.iter().map(Finding::diagnostic);
    let unknown = unknown.map(|unknown| unknown.with_severity(Severity::Warning));
    unruled.chain(unknown).collect()
}

fn no_rule(config: &Config, name: &HandlerName) -> Diagnostic {
    let component = config.plugins.join(format!("{name}.wasm"));
    let rule = config.rules.join(format!("{name}.json"));
    Diagnostic::warning("unused-handler", format!("no rule routes commands to `{name}`"))
        .within(text::path(&component).to_string())
        .hint(format!(
            "write {}, such as {{\"rules\":[{{\"name\":\"{name}\",\"match\":{{\"requestType\":[\"…\"]}},\"handlers\":[\"{name}\"]}}]}}",
            text::path(&rule),
        ))
}

/// Settings that are in force for nothing: their limits and secrets were meant
/// for some handler.
pub(super) fn lone_settings(settings: &[PathBuf], components: &[PathBuf]) -> Vec<Diagnostic> {
    let lone = settings.iter().filter(|path| {
        let component = path.with_extension("wasm");
        components.binary_search(&component).is_err()
    });
    let problem = |path: &PathBuf| {
        Diagnostic::warning("unused-settings", "there is no handler with this name")
            .within(text::path(path).to_string())
            .hint("rename it after its handler, `<name>.toml` beside `<name>.wasm`, or remove it")
    };
    lone.map(problem).collect()
}

/// `key` is the setting that names the folder; `hint` says what comes of its absence.
pub(super) fn missing_folder(
    folder: &Path,
    error: &io::Error,
    key: &str,
    hint: &str,
) -> Diagnostic {
    Diagnostic::error(
        "unreadable-folder",
        format!("the folder cannot be read: {error}"),
    )
    .within(text::path(folder).to_string())
    .hint(format!("create it, or name another with `--{key}`; {hint}"))
}
