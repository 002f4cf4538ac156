//! Owns what a reload says of itself: which files came, went, changed or are refused.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::load;
use crate::snapshot::{PluginFile, RuleFileState, Snapshot};

/// File names, as in [`Reload::changed`](super::Reload::changed).
pub(super) fn changes(
    previous: &Snapshot,
    plugins: &[PluginFile],
    rules: &[RuleFileState],
) -> Vec<String> {
    let name = |path: &Path| {
        path.file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    let of_plugin = |file: &PluginFile| Found {
        address: file
            .plugin
            .as_ref()
            .map(|plugin| Arc::as_ptr(plugin).addr()),
        digest: file
            .plugin
            .as_ref()
            .map(|plugin| Arc::clone(&plugin.digest)),
        of_settings: file.error.as_ref().is_some_and(load::is_of_settings),
        error: file.error.as_ref().map(ToString::to_string),
    };
    let of_rules = |state: &RuleFileState| Found {
        address: state.file.as_ref().map(|file| Arc::as_ptr(file).addr()),
        digest: None,
        of_settings: false,
        error: state.error.as_ref().map(ToString::to_string),
    };
    let before = previous
        .plugin_files
        .iter()
        .map(|file| (&file.path, of_plugin(file)));
    let before_rules = previous
        .rule_files
        .iter()
        .map(|state| (&state.path, of_rules(state)));
    let mut before: BTreeMap<_, _> = before.chain(before_rules).collect();
    let now = plugins.iter().map(|file| (&file.path, of_plugin(file)));
    let now = now.chain(rules.iter().map(|state| (&state.path, of_rules(state))));
    let mut changed = Vec::new();
    for (path, now) in now {
        let was = before.remove(path);
        // One that is only being compiled is told once that is done.
        if was.as_ref() == Some(&now) || was.is_none() && now.is_nothing() {
            continue;
        }
        let sign = match &was {
            _ if now.error.is_some() => '!',
            None => '+',
            Some(was) if was.is_nothing() => '+',
            Some(_) => '~',
        };
        let file = match was.is_some_and(|was| was.other_settings(&now)) {
            true => name(&path.with_extension("toml")),
            false => name(path),
        };
        changed.push(format!("{sign}{file}"));
    }
    changed.extend(before.keys().map(|path| format!("-{}", name(path))));
    changed
}

/// What a look at the folders found of one file.
#[derive(PartialEq)]
struct Found {
    // Of what is loaded: another one where it was loaded anew.
    address: Option<usize>,
    digest: Option<Arc<str>>,
    error: Option<String>,
    // Whether the error is one of the settings.
    of_settings: bool,
}

impl Found {
    /// Whether nothing is known of the file yet.
    fn is_nothing(&self) -> bool {
        self.address.is_none() && self.error.is_none()
    }

    /// Whether only the settings of the component are others now.
    fn other_settings(&self, now: &Self) -> bool {
        let same = self.digest.is_some() && self.digest == now.digest;
        same && match (&self.error, &now.error) {
            (_, Some(_)) => now.of_settings,
            (Some(_), None) => self.of_settings,
            (None, None) => true,
        }
    }
}
