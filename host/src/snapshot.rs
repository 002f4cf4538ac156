//! [`Snapshot`]: the handlers and rules of one generation, immutable and replaced as a
//! whole. Never reads files: `reload` builds snapshots, this only swaps them.

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

/// One generation of handlers and rules, on which commands run.
#[derive(Default)]
pub struct Snapshot {
    /// The generation, from 1; 0 is the empty snapshot before the first load.
    pub generation: u64,
    /// The loaded handlers.
    pub handlers: BTreeMap<HandlerName, Arc<Handler>>,
    /// Whose a delivery is, of the handlers whose settings say so.
    pub keys: BTreeMap<HandlerName, Arc<Key>>,
    /// The rules, compiled together.
    pub rules: RuleSet,
    /// Every handler file, including broken ones, by path.
    pub handler_files: Vec<HandlerFile>,
    /// Every rule file, including broken ones, by path.
    pub rule_files: Vec<RuleFileState>,
    /// Problems in the files or between them.
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
    /// The last good handler loaded from it.
    pub handler: Option<Arc<Handler>>,
    /// Why the current version of the file was not loaded.
    pub error: Option<LoadError>,
    /// Whether the current version of the file is still being compiled. The stamps are
    /// those of the previous version.
    pub compiling: bool,
}

/// One rule file.
#[derive(Clone)]
pub struct RuleFileState {
    /// The file.
    pub path: PathBuf,
    /// The file as it was read, or none, as in [`HandlerFile::stamps`].
    pub stamp: Option<Stamp>,
    /// The SHA-256 of its content in lower-case hex, if it could be read.
    pub digest: Option<String>,
    /// Its current rules, if they are valid by themselves.
    pub parsed: Option<Arc<RuleFile>>,
    /// Its rules in use: the last version that is valid together with the other files.
    pub file: Option<Arc<RuleFile>>,
    /// Why the current version of the file was not loaded.
    pub error: Option<Diagnostic>,
}

/// Whether a file is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// The current version.
    Loaded,
    /// The previous version, if any, while the current one is being compiled.
    Compiling,
    /// The previous version: the current one is broken.
    Stale,
    /// None.
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
    /// Returns the snapshot for a command that starts now; it runs on it to its end.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Publishes `snapshot`: commands that start from now on run on it.
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
