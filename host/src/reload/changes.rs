//! Owns what a reload says of itself: which files came, went, changed or are refused.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    diagnostic::Diagnostic,
    sandbox::{LoadError, LoadFault},
    snapshot::{HandlerFile, RuleFileState, Snapshot},
};

/// One file that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// What became of it.
    pub kind: ChangeKind,
    /// The file.
    pub path: PathBuf,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new, and in use.
    Added,
    /// It is in use as it is now.
    Modified,
    /// It is gone.
    Removed,
    /// It is broken as it is now; what it was before stays in use.
    Refused,
}

impl FileChange {
    /// The name of the file, without its folder.
    #[must_use]
    pub fn file_name(&self) -> String {
        let name = self.path.file_name().map(Path::new);
        crate::text::path(name.unwrap_or(&self.path)).to_string()
    }
}

/// The file's name with `+`, `~`, `-` or `!` before it.
impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Modified => '~',
            ChangeKind::Removed => '-',
            ChangeKind::Refused => '!',
        };
        write!(f, "{sign}{}", self.file_name())
    }
}

/// As in [`Reload::changed`](super::Reload::changed).
pub(super) fn changes(
    previous: &Snapshot,
    handlers: &[HandlerFile],
    rules: &[RuleFileState],
) -> Vec<FileChange> {
    let of_handler = |file: &HandlerFile| Found {
        address: file
            .handler
            .as_ref()
            .map(|handler| Arc::as_ptr(handler).addr()),
        digest: file
            .handler
            .as_ref()
            .map(|handler| Arc::clone(&handler.digest)),
        of_settings: file
            .error
            .as_ref()
            .is_some_and(|error| error.fault == LoadFault::Settings),
        error: file.error.as_ref().map(LoadError::diagnostic),
    };
    let of_rules = |state: &RuleFileState| Found {
        address: state.file.as_ref().map(|file| Arc::as_ptr(file).addr()),
        digest: None,
        of_settings: false,
        error: state.error.clone(),
    };
    let before = previous
        .handler_files
        .iter()
        .map(|file| (&file.path, of_handler(file)));
    let before_rules = previous
        .rule_files
        .iter()
        .map(|state| (&state.path, of_rules(state)));
    let mut before: BTreeMap<_, _> = before.chain(before_rules).collect();
    let now = handlers.iter().map(|file| (&file.path, of_handler(file)));
    let now = now.chain(rules.iter().map(|state| (&state.path, of_rules(state))));
    let mut changed = Vec::new();
    for (path, now) in now {
        let was = before.remove(path);
        // One that is only being compiled is told once that is done.
        if was.as_ref() == Some(&now) || was.is_none() && now.is_nothing() {
            continue;
        }
        let kind = match &was {
            _ if now.error.is_some() => ChangeKind::Refused,
            None => ChangeKind::Added,
            Some(was) if was.is_nothing() => ChangeKind::Added,
            Some(_) => ChangeKind::Modified,
        };
        let path = match was.is_some_and(|was| was.other_settings(&now)) {
            true => path.with_extension("toml"),
            false => path.clone(),
        };
        changed.push(FileChange { kind, path });
    }
    let kind = ChangeKind::Removed;
    changed.extend(before.into_keys().map(|path| FileChange {
        kind,
        path: path.clone(),
    }));
    changed
}

/// What a look at the folders found of one file.
#[derive(PartialEq)]
struct Found {
    // Of what is loaded: another one where it was loaded anew.
    address: Option<usize>,
    digest: Option<Arc<str>>,
    error: Option<Diagnostic>,
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
