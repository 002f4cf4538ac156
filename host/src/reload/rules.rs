//! Owns the way from the files of the rules folder to a [`RuleSet`]. Reads,
//! parses and compiles: not for an async thread.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Folder, RULE_ENDINGS,
    file::{self, stamp},
    folder::{Listing, Subfolders},
    problems::missing_folder,
};
use crate::{
    rules::{Diagnostic, MAX_FILE_BYTES, RuleFile, RuleSet},
    snapshot::{RuleFileState, Snapshot},
    text,
};

/// The rule files as they are now.
pub(super) fn files(folder: &Path, previous: &Snapshot) -> Folder<RuleFileState> {
    let listing = match Listing::of(folder) {
        Ok(listing) => listing,
        Err(error) => {
            let hint = "without rules no command reaches a handler";
            return Folder {
                files: previous.rule_files.clone(),
                problems: vec![missing_folder(folder, &error, "rules", hint)],
            };
        }
    };
    let paths = listing.files(&RULE_ENDINGS).into_iter();
    let states = paths.filter_map(|path| rule_file(known(previous, &path), path));
    Folder {
        files: states.collect(),
        problems: listing.left_out(&RULE_ENDINGS, Subfolders::AreNotRead),
    }
}

/// What is known of the file at `path`.
fn known<'a>(previous: &'a Snapshot, path: &Path) -> Option<&'a RuleFileState> {
    // Sorted by path.
    let files = &previous.rule_files;
    let at = files.binary_search_by(|state| state.path.as_path().cmp(path));
    at.ok().map(|at| &files[at])
}

/// One rule file as it is now; none if it is gone since the folder was read.
fn rule_file(known: Option<&RuleFileState>, path: PathBuf) -> Option<RuleFileState> {
    if let Some(known) = known.filter(|known| known.stamp.is_some())
        && stamp(&path).ok() == known.stamp
    {
        return Some(tried_again(known));
    }
    let last_good = known.and_then(|known| known.file.clone());
    let display = text::path(&path).to_string();
    let content = match file::read(&path, MAX_FILE_BYTES as u64) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(cause) => {
            let message = format!("cannot be read: {cause}");
            let hint = "make it readable for the host".to_owned();
            return Some(RuleFileState {
                path,
                stamp: None,
                digest: None,
                parsed: None,
                file: last_good,
                error: Some(
                    Diagnostic::error("unreadable", message)
                        .at(display, (1, 1))
                        .hint(hint),
                ),
            });
        }
    };
    let digest = content.bytes.as_deref().map(file::digest);
    if let Some(known) = known.filter(|known| digest.is_some() && known.digest == digest) {
        return Some(RuleFileState {
            stamp: content.stamp,
            ..tried_again(known)
        });
    }
    let read = match content.bytes {
        Some(bytes) => RuleFile::parse(&display, &bytes),
        // Refused before it is in memory.
        None => {
            let found = content.len;
            let message = format!("a rule file has at most {MAX_FILE_BYTES} bytes, found {found}");
            let hint = "split it: all files of the folder are one set of rules".to_owned();
            Err(Diagnostic::error("too-large", message)
                .at(display, (1, 1))
                .hint(hint))
        }
    };
    let (parsed, error) = match read {
        Ok(file) => (Some(Arc::new(file)), None),
        Err(error) => (None, Some(error)),
    };
    Some(RuleFileState {
        path,
        stamp: content.stamp,
        digest,
        file: parsed.clone().or(last_good),
        parsed,
        error,
    })
}

/// A file that has not changed. One that was refused since it did not go
/// together with another may do so now.
fn tried_again(known: &RuleFileState) -> RuleFileState {
    let mut state = known.clone();
    if let Some(parsed) = &state.parsed {
        state.file = Some(Arc::clone(parsed));
        state.error = None;
    }
    state
}

/// Compiles all rule files together. Files that do not go together: the ones
/// that changed go back to their last good version.
pub(super) fn build(previous: &Snapshot, states: &mut [RuleFileState]) -> RuleSet {
    loop {
        let files = states.iter().filter_map(|state| state.file.clone());
        let error = match RuleSet::build_from(&previous.rules, files) {
            Ok(rules) => return rules,
            Err(error) => error,
        };
        let was = |state: &RuleFileState| {
            known(previous, &state.path).and_then(|known| known.file.clone())
        };
        let is_new = |state: &RuleFileState| match (&state.file, was(state)) {
            (Some(now), Some(was)) => !Arc::ptr_eq(now, &was),
            (now, _) => now.is_some(),
        };
        let named = |state: &RuleFileState| state.path.as_os_str() == error.path();
        // The named file may be the older one of two that collide.
        let named_is_new = states.iter().any(|state| named(state) && is_new(state));
        for state in states.iter_mut() {
            if is_new(state) && (named(state) || !named_is_new) {
                state.file = was(state);
                state.error = Some(error.clone());
            }
        }
    }
}
