//! Owns the waiting for changes. The system's notifications only wake it up;
//! what counts is a look at the folders, which also happens from time to time
//! by itself. So a lost event, a folder made anew or a system without
//! notifications delays a reload, but never loses one.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    RULE_ENDINGS, Reload, Reloader, Wait,
    file::{is_fresh, stamp},
    folder::{Listing, Subfolders},
};
use crate::{diagnostic::Diagnostic, snapshot::Stamp, text};

/// A folder that is written to without a pause is loaded all the same after
/// that many quiet periods.
const SETTLE_ATTEMPTS: u32 = 50;

/// All that a look at the two folders tells. None of a folder is equal to the default.
#[derive(Default, PartialEq, Eq)]
struct Fingerprint {
    /// Every file that a snapshot is made of, and the two folders, without their
    /// stamps: files that are no part of a snapshot come and go in them.
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// What a snapshot says of the rest: files that are not read, each with why,
    /// and why a folder cannot be read.
    notices: BTreeSet<Diagnostic>,
}

/// Reloads on every change of the two folders, until `stop`. Reports each
/// reload that changed something.
pub async fn watch(reloader: Arc<Reloader>, stop: CancellationToken, on_reload: impl Fn(&Reload)) {
    let config = reloader.config.reload.clone();
    let (poll, quiet) = (config.poll, config.quiet);
    let mut folders = Folders::new(&reloader);
    let mut loaded = Fingerprint::default();
    loop {
        let seen = settled(&reloader, quiet, &loaded, &stop).await;
        if stop.is_cancelled() {
            return;
        }
        if seen != loaded {
            let reload = tokio::select! {
                () = stop.cancelled() => return,
                reload = reloader.reload_within(Wait::Briefly) => reload,
            };
            if !reload.changed.is_empty() || !reload.problems.is_empty() {
                on_reload(&reload);
            }
            // A file that could not be read is tried at each look.
            loaded = match reload.unread {
                true => Fingerprint::default(),
                false => seen,
            };
        }
        folders.watch();
        tokio::select! {
            () = stop.cancelled() => return,
            () = folders.changed.notified() => {}
            // A file that took long to compile: another look takes it up.
            () = reloader.loaded() => loaded = Fingerprint::default(),
            () = tokio::time::sleep(poll) => {}
        }
    }
}

/// The files as they are once they have been left alone for `quiet`.
async fn settled(
    reloader: &Reloader,
    quiet: Duration,
    loaded: &Fingerprint,
    stop: &CancellationToken,
) -> Fingerprint {
    let mut seen = fingerprint(reloader);
    for _ in 0..SETTLE_ATTEMPTS {
        // A file written within the last moment may be written to again
        // within the clock tick of its time stamp.
        let fresh = any_fresh(&seen, quiet);
        if seen == *loaded && !fresh {
            break;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(quiet) => {}
        }
        let again = fingerprint(reloader);
        if again == seen && !any_fresh(&seen, quiet) {
            break;
        }
        seen = again;
    }
    seen
}

fn any_fresh(seen: &Fingerprint, quiet: Duration) -> bool {
    seen.files
        .iter()
        .any(|(_, stamp)| stamp.is_some_and(|stamp| is_fresh(&stamp, quiet)))
}

fn fingerprint(reloader: &Reloader) -> Fingerprint {
    let config = &reloader.config;
    let mut seen = Fingerprint::default();
    let plugins = (&config.plugins, Subfolders::MayBeSources);
    let rules = (&config.rules, Subfolders::AreNotRead);
    for ((folder, subfolders), read, not_read) in [
        (plugins, &["wasm", "toml"], &["wasm"][..]),
        (rules, &RULE_ENDINGS, &RULE_ENDINGS[..]),
    ] {
        match Listing::of(folder) {
            Ok(listing) => {
                seen.files.push((folder.clone(), None));
                seen.files
                    .extend(listing.files(read).into_iter().map(|path| {
                        let stamp = stamp(&path).ok();
                        (path, stamp)
                    }));
                let left_out = listing.left_out(not_read, subfolders);
                seen.notices.extend(left_out);
            }
            Err(error) => {
                let unreadable = Diagnostic::error("unreadable-folder", error.to_string());
                let folder = text::path(folder).to_string();
                seen.notices.insert(unreadable.within(folder));
            }
        }
    }
    seen
}

/// The two folders under the system's watch, each for as long as it is the
/// same folder.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    changed: Arc<Notify>,
    // The folder, and which one of that name is watched.
    watched: Vec<(PathBuf, Option<Identity>)>,
    // Whether it was said that some folder is not watched.
    told: bool,
}

/// Device and inode, and when it was made.
type Identity = ((u64, u64), Option<SystemTime>);

impl Folders {
    fn new(reloader: &Reloader) -> Self {
        let changed = Arc::new(Notify::new());
        let wake = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too, and reloading reads files. An
            // error is an overflow as a rule: time to look.
            if !matches!(&event, Ok(event) if event.kind.is_access()) {
                wake.notify_one();
            }
        });
        let watcher = watcher.map_err(|error| {
            tracing::warn!(
                "file system notifications are not available ({error}): the folders are polled every {:?}",
                reloader.config.reload.poll
            );
        });
        let folders = [&reloader.config.plugins, &reloader.config.rules];
        Self {
            watcher: watcher.ok(),
            changed,
            watched: folders.map(|folder| (folder.clone(), None)).into(),
            told: false,
        }
    }

    /// Puts what is a new folder under watch.
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for (folder, watched) in &mut self.watched {
            let now = identity(folder);
            if now == *watched {
                continue;
            }
            // The old folder is gone, and its watch with it; an error says no more than that.
            let _ = watcher.unwatch(folder);
            *watched = match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => now,
                // A folder that is missing is told by the reload.
                Err(_) if now.is_none() => None,
                Err(error) => {
                    if !std::mem::replace(&mut self.told, true) {
                        tracing::warn!(
                            "{}: cannot be watched ({error}): it is polled (`reload.poll`)",
                            folder.display()
                        );
                    }
                    None
                }
            };
            // What came between the last look and the watch.
            if watched.is_some() {
                self.changed.notify_one();
            }
        }
    }
}

/// What tells a folder from one that was made anew in its place, which may get
/// the same inode.
fn identity(folder: &Path) -> Option<Identity> {
    let metadata = fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?;
    Some((stamp(folder).ok()?.inode, metadata.created().ok()))
}
