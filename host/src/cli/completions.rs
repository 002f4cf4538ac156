//! Completes command lines in the shell. The script asks this program, which knows what
//! is there: handlers in the plugins folder, settings, states and languages.

use std::{ffi::OsString, path::PathBuf};

use clap::CommandFactory as _;
use clap_complete::{
    CompleteEnv, Shell,
    engine::{ArgValueCandidates, CompletionCandidate},
    env::Shells,
};

use super::{Cli, SETTINGS_FILE};
use crate::{build::Language, config::Config, name::HandlerName, outcome::Status, queue::State};

/// The variable in which the script names the shell when it asks.
const VARIABLE: &str = "POINTSMAN_COMPLETE";

/// Answers a script that asks: whether one did.
pub(super) fn answer() -> Result<bool, clap::Error> {
    let asked = CompleteEnv::with_factory(Cli::command).var(VARIABLE);
    let folder = std::env::current_dir().ok();
    asked.try_complete(std::env::args_os(), folder.as_deref())
}

/// The script for `shell`.
pub(super) fn script(shell: Shell) -> std::io::Result<Vec<u8>> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let completer = shells.completer(&shell.to_string());
    let completer = completer.ok_or_else(|| std::io::Error::other("an unknown shell"))?;
    let name = "pointsman";
    completer.write_registration(VARIABLE, name, name, name, &mut script)?;
    Ok(script)
}

/// The components in the plugins folder.
pub(super) fn handlers() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let entries = std::fs::read_dir(plugins()).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries
            .filter_map(|entry| component(entry.path()))
            .collect();
        names.sort();
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

fn component(path: PathBuf) -> Option<String> {
    let name = HandlerName::parse(path.file_stem()?.to_str()?).ok()?;
    path.extension()
        .is_some_and(|extension| extension == "wasm")
        .then(|| name.to_string())
}

/// The plugins folder of the command line that is being completed, or of the settings.
fn plugins() -> PathBuf {
    let arguments: Vec<_> = std::env::args_os().collect();
    let flag = |name: &str| -> Option<OsString> {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let file = flag("--config").map(PathBuf::from);
    let file = file.or_else(|| Some(SETTINGS_FILE.into()));
    let file = file.filter(|file| file.is_file());
    let settings = || Config::load(file.as_deref(), [], &[]).map(|config| config.plugins);
    flag("--plugins")
        .map(PathBuf::from)
        // Wrong settings are for the command itself to report.
        .unwrap_or_else(|| settings().unwrap_or_else(|_| Config::default().plugins))
}

/// `KEY=` of each setting.
pub(super) fn settings() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let loaded = Config::load_with_sources(None, [], &[]);
        let settings = loaded.map(|(_, settings)| settings).unwrap_or_default();
        let keys = settings
            .into_iter()
            .map(|setting| format!("{}=", setting.key));
        keys.map(CompletionCandidate::new).collect()
    })
}

/// The languages of handlers.
pub(super) fn languages() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let candidate = |language: Language| {
            let help = Some(language.full_name().into());
            CompletionCandidate::new(language.as_str()).help(help)
        };
        Language::ALL.map(candidate).into()
    })
}

/// The states of deliveries.
pub(super) fn states() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        State::ALL
            .map(|it| CompletionCandidate::new(it.as_str()))
            .into()
    })
}

/// How an attempt may have failed.
pub(super) fn failures() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let failures = Status::ALL
            .into_iter()
            .filter(|it| *it != Status::Succeeded);
        let names = failures.map(Status::as_str).chain(["host-lost"]);
        names.map(CompletionCandidate::new).collect()
    })
}
