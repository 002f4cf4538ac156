//! Owns the waiting for changes. The system's notifications only wake it up;
//! what counts is a look at the folders, which also happens from time to time
//! by itself. So a lost event, a folder made anew or a system without
//! notifications delays a reload, but never loses one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{RULE_ENDINGS, Reload, Reloader, Stamp, files, stamp};

/// A folder that is written to without a pause is taken up all the same after
/// that many quiet periods.
const SETTLE_ATTEMPTS: u32 = 50;

/// Every file that a snapshot is made of.
type Fingerprint = Vec<(PathBuf, Stamp)>;

/// Reloads on every change of the two folders, until `stop`. Reports each
/// reload that changed something.
pub async fn watch(reloader: Arc<Reloader>, stop: CancellationToken, on_reload: impl Fn(&Reload)) {
    let config = reloader.config.reload.clone();
    let (poll, quiet) = (
        Duration::from_millis(config.poll_ms),
        Duration::from_millis(config.quiet_ms),
    );
    let mut folders = Folders::new(&reloader);
    let mut loaded = Fingerprint::new();
    loop {
        let seen = settled(&reloader, quiet, &loaded, &stop).await;
        if seen != loaded {
            let reload = reloader.reload().await;
            if !reload.changed.is_empty() || !reload.problems.is_empty() {
                on_reload(&reload);
            }
            loaded = seen;
        }
        folders.watch();
        tokio::select! {
            () = stop.cancelled() => return,
            () = folders.changed.notified() => {}
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
        let fresh = seen.iter().any(|(_, stamp)| is_fresh(stamp, quiet));
        if seen == *loaded && !fresh {
            break;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(quiet) => {}
        }
        let again = fingerprint(reloader);
        if again == seen && !seen.iter().any(|(_, stamp)| is_fresh(stamp, quiet)) {
            break;
        }
        seen = again;
    }
    seen
}

fn is_fresh(stamp: &Stamp, quiet: Duration) -> bool {
    let age = stamp
        .modified
        .and_then(|modified| SystemTime::now().duration_since(modified).ok());
    // A time in the future says nothing.
    age.is_some_and(|age| age < quiet)
}

fn fingerprint(reloader: &Reloader) -> Fingerprint {
    let config = &reloader.config;
    let plugins = files(&config.plugins, &["wasm", "toml"]);
    let rules = files(&config.rules, &RULE_ENDINGS);
    let paths = plugins.into_iter().chain(rules).flatten();
    paths
        .filter_map(|path| stamp(&path).ok().map(|stamp| (path, stamp)))
        .collect()
}

/// The two folders under the system's watch, each for as long as it is the
/// same folder.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    changed: Arc<Notify>,
    // The folder and the inode that is watched.
    watched: Vec<(PathBuf, Option<Stamp>)>,
}

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
                "the system reports no changes of files ({error}): the folders are looked at every {} ms",
                reloader.config.reload.poll_ms
            );
        });
        let folders = [&reloader.config.plugins, &reloader.config.rules];
        Self {
            watcher: watcher.ok(),
            changed,
            watched: folders.map(|folder| (folder.clone(), None)).into(),
        }
    }

    /// Puts what is a new folder under watch.
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for (folder, watched) in &mut self.watched {
            let now = identity(folder);
            if now.map(|stamp| stamp.inode) == watched.map(|stamp| stamp.inode) {
                continue;
            }
            // The old folder is gone, and its watch with it; an error says no more than that.
            let _ = watcher.unwatch(folder);
            *watched = match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => now,
                Err(error) => {
                    tracing::debug!("{}: not watched: {error}", folder.display());
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

fn identity(folder: &Path) -> Option<Stamp> {
    fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?;
    stamp(folder).ok()
}
