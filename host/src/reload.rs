//! Builds the next [`Snapshot`] from the files in `plugins/` and `rules/`: reads
//! changed files, keeps the last good version of broken ones, and reports problems. `watcher` decides when.

mod changes;
mod file;
mod folder;
mod load;
mod loading;
mod problems;
mod rules;
mod watcher;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use folder::Listing;
pub use loading::Wait;
pub use watcher::watch;

use crate::{
    config::Config,
    diagnostic::Diagnostic,
    name::HandlerName,
    rules::Key,
    sandbox::{Handler, LoadError, Runtime},
    snapshot::{HandlerFile, RuleFileState, Snapshot, Snapshots},
};
use changes::changes;
pub use changes::{ChangeKind, FileChange};
use folder::Subfolders;
pub use load::{load_file, parse_settings};
use loading::{Loading, Run, Seen};

/// The extensions of rule files.
pub(crate) const RULE_ENDINGS: [&str; 2] = ["json", "toml"];

/// Builds snapshots from the two folders of a [`Config`].
pub struct Reloader {
    config: Arc<Config>,
    loading: Loading,
    snapshots: Arc<Snapshots>,
}

/// The result of a reload.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    /// The generation that is current now.
    pub generation: u64,
    /// The files that were added, removed or changed. Adding or removing a handler's
    /// settings file counts as a change of the settings.
    pub changed: Vec<FileChange>,
    /// Problems that the previous generation did not have.
    pub problems: Vec<Diagnostic>,
    /// Whether some file is to be read again at the next look: it could not be
    /// read, or may have been written to meanwhile.
    pub unread: bool,
    /// How long it took.
    pub duration: Duration,
}

impl Reloader {
    /// A reloader that publishes into `snapshots`.
    #[must_use]
    pub fn new(config: Config, runtime: Runtime, snapshots: Arc<Snapshots>) -> Self {
        let config = Arc::new(config);
        Self {
            loading: Loading::new(Arc::clone(&config), runtime),
            config,
            snapshots,
        }
    }

    /// Waits until a handler file that a reload did not wait for has been loaded.
    pub async fn loaded(&self) {
        self.loading.news.notified().await;
    }

    /// Reloads until none of these handlers is being compiled any more.
    pub async fn wait_for(&self, handlers: &[HandlerName]) {
        let compiling = |file: &HandlerFile| {
            let is_wanted = |stem: &str| handlers.iter().any(|name| name.as_str() == stem);
            let stem = file.path.file_stem().and_then(|stem| stem.to_str());
            file.compiling && stem.is_some_and(is_wanted)
        };
        while self.snapshots.current().handler_files.iter().any(compiling) {
            self.loaded().await;
            self.reload_within(Wait::Briefly).await;
        }
    }

    /// Stops running compilations.
    pub async fn stop(&self) {
        self.loading.stop().await;
    }

    /// Loads the changes in the folders since the current snapshot and publishes the
    /// next one, unless nothing has changed. Files that are broken or have become
    /// unreadable keep their last good version.
    ///
    /// Waits for all handler files that changed. Call it from one task at a time.
    pub async fn reload(&self) -> Reload {
        self.reload_within(Wait::ForAll).await
    }

    /// Like [`Self::reload`], but waits for compilations as `wait` says. Files that are not
    /// ready in time are shown as compiling; [`Reloader::loaded`] tells when to reload
    /// for them.
    pub async fn reload_within(&self, wait: Wait) -> Reload {
        let began = Instant::now();
        let previous = self.snapshots.current();
        let handlers = self.handler_files(&previous, wait).await;
        let (config, before) = (Arc::clone(&self.config), Arc::clone(&previous));
        // 100,000 rules take 0.4 s to compile.
        let next = blocking(move || assemble(&config, &before, handlers)).await;
        // Else the async runtime ends, and so does the host.
        let Some((snapshot, reload)) = next else {
            return Reload {
                generation: previous.generation,
                unread: true,
                ..Reload::default()
            };
        };
        if let Some(snapshot) = snapshot {
            self.snapshots.publish(Arc::new(snapshot));
        }
        Reload {
            duration: began.elapsed(),
            ..reload
        }
    }

    async fn handler_files(&self, previous: &Snapshot, wait: Wait) -> Folder<HandlerFile> {
        let folder = self.config.plugins.clone();
        // 2,000 files take some milliseconds, and the file system may hang.
        let listed = blocking(move || list_plugins(&folder)).await;
        let (found, problems) = match listed {
            Some(Ok(listed)) => listed,
            refused => {
                let problem = refused.and_then(Result::err);
                return Folder {
                    files: previous.handler_files.clone(),
                    problems: problem.into_iter().collect(),
                };
            }
        };
        let mut running = self.loading.take();
        running.retain(|path, _| found.binary_search_by(|(found, _)| found.cmp(path)).is_ok());
        for (path, seen) in &found {
            let known = known(previous, path);
            let is_known = known.is_some_and(|known| known.stamps == *seen && !known.compiling);
            match running.get(path) {
                Some(run) if run.is_of(*seen) => {}
                // As it was when it was loaded: what was written meanwhile is gone.
                _ if seen.is_some() && is_known => drop(running.remove(path)),
                _ => {
                    let last_good = known.and_then(|known| known.handler.clone());
                    let run = self.loading.begin(path.clone(), *seen, last_good);
                    running.insert(path.clone(), run);
                }
            }
        }
        loading::settle(&mut running, wait).await;
        let mut going_on = loading::Running::new();
        let mut files = Vec::new();
        for (path, _) in found {
            let known = known(previous, &path).cloned();
            let loaded = match running.remove(&path) {
                None => known,
                Some(Run {
                    done: Some(done), ..
                }) => done.map(|done| keeping(known, done)),
                Some(run) => {
                    let compiling = compiling(&path, known);
                    going_on.insert(path, run);
                    Some(compiling)
                }
            };
            files.extend(loaded);
        }
        self.loading.put(going_on);
        Folder { files, problems }
    }
}

type Listed = (Vec<(PathBuf, Seen)>, Vec<Diagnostic>);

/// The handler files as they look now, and what is wrong with others beside them.
fn list_plugins(folder: &Path) -> Result<Listed, Diagnostic> {
    let listing = Listing::of(folder).map_err(|error| {
        let hint = "`pointsman build` makes it from the sources";
        problems::missing_folder(folder, &error, "plugins", hint)
    })?;
    let paths = listing.files(&["wasm"]);
    let mut problems = problems::lone_settings(&listing.files(&["toml"]), &paths);
    problems.extend(listing.left_out(&["wasm"], Subfolders::MayBeSources));
    let found = paths.into_iter().map(|path| {
        let seen = loading::seen(&path);
        (path, seen)
    });
    Ok((found.collect(), problems))
}

/// What is known of the file at `path`.
fn known<'a>(previous: &'a Snapshot, path: &Path) -> Option<&'a HandlerFile> {
    // Sorted by path.
    let files = &previous.handler_files;
    let at = files.binary_search_by(|file| file.path.as_path().cmp(path));
    at.ok().map(|at| &files[at])
}

/// What was loaded, with the last good handler where that failed altogether.
fn keeping(known: Option<HandlerFile>, loaded: HandlerFile) -> HandlerFile {
    let last_good = known.and_then(|known| known.handler);
    HandlerFile {
        handler: loaded.handler.or(last_good),
        ..loaded
    }
}

/// A file that takes long to load, with its last good version, if it had one.
fn compiling(path: &Path, known: Option<HandlerFile>) -> HandlerFile {
    if known.as_ref().is_none_or(|known| !known.compiling) {
        let path = path.display();
        tracing::info!("{path}: still compiling; it will be loaded when that is done");
    }
    let known = known.unwrap_or_else(|| HandlerFile {
        path: path.into(),
        stamps: None,
        handler: None,
        error: None,
        compiling: true,
    });
    HandlerFile {
        compiling: true,
        ..known
    }
}

/// The files of one folder, and what is wrong with the folder itself.
struct Folder<T> {
    files: Vec<T>,
    problems: Vec<Diagnostic>,
}

/// Runs what computes, or waits for a disk, beside the async threads. None
/// where the async runtime ends before it begins.
async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => Some(result),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => None,
        },
    }
}

/// The keys of handlers. That they can be compiled was seen when the settings were read.
fn keys(handlers: &BTreeMap<HandlerName, Arc<Handler>>) -> BTreeMap<HandlerName, Arc<Key>> {
    let key = |(name, handler): (&HandlerName, &Arc<Handler>)| {
        let key = Key::parse(handler.settings.queue.key()?).ok()?;
        Some((name.clone(), Arc::new(key)))
    };
    handlers.iter().filter_map(key).collect()
}

/// Reads the rules and puts the next snapshot together; none where nothing
/// that a snapshot holds has changed.
fn assemble(
    config: &Config,
    previous: &Snapshot,
    handlers: Folder<HandlerFile>,
) -> (Option<Snapshot>, Reload) {
    let mut rules = rules::files(&config.rules, previous);
    let mut folder_problems = [handlers.problems, std::mem::take(&mut rules.problems)].concat();
    folder_problems.sort();
    let mut problems = folder_problems.clone();
    let handler_files = handlers.files;
    let unread = handler_files
        .iter()
        .any(|file| file.stamps.is_none() && !file.compiling)
        || rules.files.iter().any(|file| file.stamp.is_none());
    let rule_set = rules::build(previous, &mut rules.files);
    let rule_files = rules.files;

    let changed = changes(previous, &handler_files, &rule_files);
    let is_next = previous.generation == 0
        || !changed.is_empty()
        || previous.folder_problems != folder_problems;
    if !is_next && same_stamps(previous, &handler_files, &rule_files) {
        let reload = Reload {
            generation: previous.generation,
            unread,
            ..Reload::default()
        };
        return (None, reload);
    }
    let handlers: BTreeMap<HandlerName, Arc<Handler>> = handler_files
        .iter()
        .filter_map(|file| file.handler.clone())
        .map(|handler| (handler.name.clone(), handler))
        .collect();
    let errors = handler_files.iter().filter_map(|file| file.error.as_ref());
    problems.extend(errors.map(LoadError::diagnostic));
    problems.extend(rule_files.iter().filter_map(|file| file.error.clone()));
    problems.extend(problems::between(
        config,
        &handlers,
        &handler_files,
        &rule_set,
    ));
    problems.sort();

    let known: BTreeSet<_> = previous.problems.iter().collect();
    let new_problems = problems.iter().filter(|problem| !known.contains(problem));
    let reload = Reload {
        // Files that were touched and are as they were make no other generation.
        generation: previous.generation + u64::from(is_next),
        changed,
        problems: new_problems.cloned().collect(),
        unread,
        duration: Duration::ZERO,
    };
    let snapshot = Snapshot {
        generation: reload.generation,
        keys: keys(&handlers),
        handlers,
        rules: rule_set,
        handler_files,
        rule_files,
        problems,
        folder_problems,
    };
    (Some(snapshot), reload)
}

/// Whether no file would have to be read at the next look that is known now.
fn same_stamps(previous: &Snapshot, handlers: &[HandlerFile], rules: &[RuleFileState]) -> bool {
    let handler = |file: &HandlerFile| (file.stamps, file.compiling);
    let rule = |state: &RuleFileState| state.stamp;
    previous
        .handler_files
        .iter()
        .map(handler)
        .eq(handlers.iter().map(handler))
        && previous
            .rule_files
            .iter()
            .map(rule)
            .eq(rules.iter().map(rule))
}
