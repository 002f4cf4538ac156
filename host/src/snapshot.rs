//! Owns [`Snapshot`]: the handlers and the rules of one generation, immutable
//! and swapped whole. Never reads files: `reload` builds, this only swaps.

mod view;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use view::{ErrorView, HandlerView, HandlersView, RuleFileView, RulesView};

use crate::{
    diagnostic::Diagnostic,
    name::HandlerName,
    rules::{Key, RuleFile, RuleSet},
    sandbox::{Handler, LoadError},
};

/// What commands run on: one generation of handlers and rules.
#[derive(Default)]
pub struct Snapshot {
    /// Counts from 1; 0 is the empty snapshot before the first load.
    pub generation: u64,
    /// The loaded handlers.
    pub handlers: BTreeMap<HandlerName, Arc<Handler>>,
    /// Whose a delivery is, of the handlers whose settings say so.
    pub keys: BTreeMap<HandlerName, Arc<Key>>,
    /// The rules, compiled together.
    pub rules: RuleSet,
    /// Every handler file, the broken ones too, by path.
    pub handler_files: Vec<HandlerFile>,
    /// Every rule file, the broken ones too, by path.
    pub rule_files: Vec<RuleFileState>,
    /// What is wrong with the files or between them.
    pub problems: Vec<Diagnostic>,
    /// Those among them that are of the folders, and of no file in use.
    pub folder_problems: Vec<Diagnostic>,
}

/// What is known of one file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When its content or its permissions last changed, which no tool can set
    /// back, as `cp -p` does with the time of writing. Where the system keeps
    /// no such time, that of writing.
    pub changed: Option<SystemTime>,
    /// Its length in bytes.
    pub len: u64,
    /// Device and inode, where the system has them: a rename into place changes them.
    pub inode: (u64, u64),
}

/// One `.wasm` file.
#[derive(Clone)]
pub struct HandlerFile {
    /// The file.
    pub path: PathBuf,
    /// The file and its settings as they were read. None where they are to be
    /// read again at the next look: they could not be read, or may have been
    /// written to meanwhile.
    pub stamps: Option<(Stamp, Option<Stamp>)>,
    /// The last good handler from it.
    pub handler: Option<Arc<Handler>>,
    /// Why the file as it is now was not taken.
    pub error: Option<LoadError>,
    /// Whether the file as it is now is still being compiled. Its stamps are
    /// those of the version before.
    pub compiling: bool,
}

/// One rule file.
#[derive(Clone)]
pub struct RuleFileState {
    /// The file.
    pub path: PathBuf,
    /// The file as it was read, or none, as in [`HandlerFile::stamps`].
    pub stamp: Option<Stamp>,
    /// The SHA-256 of its text in lower-case hex, where it could be read.
    pub digest: Option<String>,
    /// Its rules as they are now, where they are valid by themselves.
    pub parsed: Option<Arc<RuleFile>>,
    /// Its rules in use: the last ones that are valid together with the other files'.
    pub file: Option<Arc<RuleFile>>,
    /// Why the file as it is now was not taken.
    pub error: Option<Diagnostic>,
}

/// Whether a file is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// As it is now.
    Loaded,
    /// Not yet as it is now: that is being compiled. As it was before, if it was.
    Compiling,
    /// As it was before: what it is now is broken.
    Stale,
    /// Not at all.
    Failed,
}

impl FileState {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Compiling => "compiling",
            Self::Stale => "stale",
            Self::Failed => "failed",
        }
    }

    fn of(in_use: bool, broken: bool) -> Self {
        match (in_use, broken) {
            (true, false) => Self::Loaded,
            (true, true) => Self::Stale,
            (false, _) => Self::Failed,
        }
    }
}

impl HandlerFile {
    /// Whether it is in use.
    #[must_use]
    pub fn state(&self) -> FileState {
        if self.compiling {
            return FileState::Compiling;
        }
        FileState::of(self.handler.is_some(), self.error.is_some())
    }
}

impl RuleFileState {
    /// Whether it is in use.
    #[must_use]
    pub fn state(&self) -> FileState {
        FileState::of(self.file.is_some(), self.error.is_some())
    }
}

/// The current snapshot. Reading it takes no lock.
#[derive(Default)]
pub struct Snapshots {
    current: ArcSwap<Snapshot>,
    published: Notify,
}

impl Snapshots {
    /// The snapshot that a command beginning now runs on, to its end.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Makes `snapshot` the one that commands begin on from now on.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.current.store(snapshot);
        self.published.notify_waiters();
    }

    /// Waits for the first snapshot.
    pub async fn first(&self) {
        loop {
            // Before the look, so that none is missed in between.
            let published = self.published.notified();
            if self.current.load().generation > 0 {
                return;
            }
            published.await;
        }
    }
}
