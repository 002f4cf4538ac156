//! Owns the way from the files in `plugins/` and `rules/` to the next
//! [`Snapshot`]: reads what changed, keeps the last good version of what is
//! broken, and says what is to be mended. `watcher` tells when to.

mod file;
mod load;
mod watcher;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

pub(crate) use file::files;
pub use watcher::watch;

use crate::{
    config::Config,
    name::HandlerName,
    plugin::{Plugin, Runtime},
    rules::{MAX_FILE_BYTES, RuleError, RuleFile, RuleSet},
    snapshot::{PluginFile, Problem, RuleFileState, Severity, Snapshot, Snapshots},
};
use file::stamp;
pub use load::load_file;

use load::Load;

/// The endings of rule files.
pub(crate) const RULE_ENDINGS: [&str; 2] = ["json", "toml"];

/// Builds snapshots from the two folders of a [`Config`].
pub struct Reloader {
    config: Arc<Config>,
    runtime: Runtime,
    snapshots: Arc<Snapshots>,
    compile_jobs: Semaphore,
}

/// What a reload did.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    /// The generation that is current now.
    pub generation: u64,
    /// File names that came, went or changed, each with `+`, `-` or `~` before it.
    pub changed: Vec<String>,
    /// Problems that the generation before did not have.
    pub problems: Vec<Problem>,
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
        let jobs = match config.host.compile_jobs_max {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            jobs => jobs,
        };
        Self {
            config: Arc::new(config),
            runtime,
            snapshots,
            compile_jobs: Semaphore::new(jobs),
        }
    }

    /// Takes up what changed in the folders since the current snapshot and
    /// publishes the next one. Nothing changed: none is published. Files that
    /// are broken or gone unreadable keep their last good version.
    ///
    /// Call it from one task at a time.
    pub async fn reload(&self) -> Reload {
        let began = Instant::now();
        let previous = self.snapshots.current();
        let mut problems = Vec::new();
        let plugin_files = self.plugin_files(&previous, &mut problems).await;
        let mut rule_files = self.rule_files(&previous, &mut problems);
        problems.sort();
        let unread = plugin_files.iter().any(|file| file.stamps.is_none())
            || rule_files.iter().any(|file| file.stamp.is_none());
        let rules = build_rules(&previous, &mut rule_files);

        let changed = changes(&previous, &plugin_files, &rule_files);
        let is_next =
            previous.generation == 0 || !changed.is_empty() || !same_problems(&previous, &problems);
        if !is_next && same_stamps(&previous, &plugin_files, &rule_files) {
            return Reload {
                generation: previous.generation,
                unread,
                ..Reload::default()
            };
        }
        let plugins: BTreeMap<HandlerName, Arc<Plugin>> = plugin_files
            .iter()
            .filter_map(|file| file.plugin.clone())
            .map(|plugin| (plugin.name.clone(), plugin))
            .collect();
        let errors = plugin_files.iter().filter_map(|file| file.error.as_ref());
        problems.extend(errors.map(|error| problem(Severity::Error, error)));
        let errors = rule_files.iter().filter_map(|file| file.error.as_ref());
        problems.extend(errors.map(|error| problem(Severity::Error, error)));
        problems.extend(self.between(&plugins, &rules));
        problems.sort();

        let known: BTreeSet<_> = previous.problems.iter().collect();
        let new_problems = problems.iter().filter(|problem| !known.contains(problem));
        let reload = Reload {
            // Files that were touched and are as they were make no other generation.
            generation: previous.generation + u64::from(is_next),
            changed,
            problems: new_problems.cloned().collect(),
            unread,
            duration: began.elapsed(),
        };
        self.snapshots.publish(Arc::new(Snapshot {
            generation: reload.generation,
            plugins,
            rules,
            plugin_files,
            rule_files,
            problems,
        }));
        reload
    }

    async fn plugin_files(
        &self,
        previous: &Snapshot,
        problems: &mut Vec<Problem>,
    ) -> Vec<PluginFile> {
        let folder = &self.config.plugins;
        let paths = match files(folder, &["wasm"]) {
            Ok(paths) => paths,
            Err(error) => {
                problems.push(missing_folder(
                    folder,
                    &error,
                    "plugins",
                    "`pointsman build` makes it from the sources",
                ));
                return previous.plugin_files.clone();
            }
        };
        let mut loading = Vec::new();
        for path in paths {
            let known = previous.plugin_files.iter().find(|file| file.path == path);
            loading.push(self.plugin_file(path, known));
        }
        let mut loaded = Vec::new();
        for file in futures_util::future::join_all(loading).await {
            loaded.extend(file);
        }
        loaded
    }

    /// One plugin file as it is now; none if it is gone since the folder was read.
    async fn plugin_file(&self, path: PathBuf, known: Option<&PluginFile>) -> Option<PluginFile> {
        if let Some(known) = known.filter(|known| known.stamps.is_some()) {
            let settings = || stamp(&path.with_extension("toml")).ok();
            let now = stamp(&path).ok().map(|stamp| (stamp, settings()));
            if known.stamps == now {
                return Some(known.clone());
            }
        }
        // Before reading, so that many large files are not in memory at once.
        let _job = self.compile_jobs.acquire().await.expect("never closed");
        let (config, runtime) = (Arc::clone(&self.config), self.runtime.clone());
        let last_good = known.and_then(|known| known.plugin.clone());
        let job = tokio::task::spawn_blocking(move || {
            let (config, runtime) = (&config, &runtime);
            let load = Load {
                config,
                runtime,
                last_good,
                path,
            };
            load.run()
        });
        match job.await {
            Ok(file) => file,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The async runtime ends, and so does the host.
                Err(_cancelled) => known.cloned(),
            },
        }
    }

    fn rule_files(&self, previous: &Snapshot, problems: &mut Vec<Problem>) -> Vec<RuleFileState> {
        let folder = &self.config.rules;
        let paths = match files(folder, &RULE_ENDINGS) {
            Ok(paths) => paths,
            Err(error) => {
                problems.push(missing_folder(
                    folder,
                    &error,
                    "rules",
                    "without rules no command reaches a handler",
                ));
                return previous.rule_files.clone();
            }
        };
        let mut states = Vec::new();
        for path in paths {
            let known = previous.rule_files.iter().find(|state| state.path == path);
            states.extend(rule_file(path, known));
        }
        states
    }

    /// What is wrong between plugins and rules, each of which is fine by itself.
    fn between(
        &self,
        plugins: &BTreeMap<HandlerName, Arc<Plugin>>,
        rules: &RuleSet,
    ) -> Vec<Problem> {
        let names: Vec<_> = plugins.keys().cloned().collect();
        let chosen: BTreeSet<_> = rules.rules().flat_map(|rule| rule.handlers()).collect();
        let unruled = names.iter().filter(|name| !chosen.contains(name)).map(|name| {
            let plugin = self.config.plugins.join(format!("{name}.wasm"));
            let rule = self.config.rules.join(format!("{name}.json"));
            problem(
                Severity::Warning,
                format_args!(
                    "{}: no rule sends commands to `{name}`\n  hint: write {}, such as \
                     {{\"rules\":[{{\"name\":\"{name}\",\"match\":{{\"requestType\":[\"…\"]}},\"handlers\":[\"{name}\"]}}]}}",
                    plugin.display(),
                    rule.display(),
                ),
            )
        });
        let findings = rules.lint(&names);
        let unknown = findings
            .iter()
            .filter(|finding| finding.code == "unknown-handler")
            .map(|finding| problem(Severity::Warning, finding));
        unruled.chain(unknown).collect()
    }
}

/// One rule file as it is now; none if it is gone since the folder was read.
fn rule_file(path: PathBuf, known: Option<&RuleFileState>) -> Option<RuleFileState> {
    if let Some(known) = known.filter(|known| known.stamp.is_some())
        && stamp(&path).ok() == known.stamp
    {
        return Some(tried_again(known));
    }
    let last_good = known.and_then(|known| known.file.clone());
    let display = path.display().to_string();
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
                error: Some(RuleError::new(
                    &display,
                    (1, 1),
                    "unreadable",
                    message,
                    Some(hint),
                )),
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
            Err(RuleError::new(
                &display,
                (1, 1),
                "too-large",
                message,
                Some(hint),
            ))
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
fn build_rules(previous: &Snapshot, states: &mut [RuleFileState]) -> RuleSet {
    loop {
        let files = states.iter().filter_map(|state| state.file.clone());
        let error = match RuleSet::build_from(&previous.rules, files) {
            Ok(rules) => return rules,
            Err(error) => error,
        };
        let was = |state: &RuleFileState| {
            let known = previous
                .rule_files
                .iter()
                .find(|known| known.path == state.path);
            known.and_then(|known| known.file.clone())
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

fn changes(previous: &Snapshot, plugins: &[PluginFile], rules: &[RuleFileState]) -> Vec<String> {
    let name = |path: &Path| {
        path.file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    let mut before = BTreeMap::new();
    for file in &previous.plugin_files {
        let plugin = file
            .plugin
            .as_ref()
            .map(|plugin| Arc::as_ptr(plugin).addr());
        before.insert(
            file.path.clone(),
            (plugin, file.error.as_ref().map(ToString::to_string)),
        );
    }
    for state in &previous.rule_files {
        let file = state.file.as_ref().map(|file| Arc::as_ptr(file).addr());
        before.insert(
            state.path.clone(),
            (file, state.error.as_ref().map(ToString::to_string)),
        );
    }
    let mut changed = Vec::new();
    let mut compare = |path: &Path, now: (Option<usize>, Option<String>)| match before.remove(path)
    {
        None => changed.push(format!("+{}", name(path))),
        Some(was) if was != now => changed.push(format!("~{}", name(path))),
        Some(_) => {}
    };
    for file in plugins {
        let plugin = file
            .plugin
            .as_ref()
            .map(|plugin| Arc::as_ptr(plugin).addr());
        compare(
            &file.path,
            (plugin, file.error.as_ref().map(ToString::to_string)),
        );
    }
    for state in rules {
        let file = state.file.as_ref().map(|file| Arc::as_ptr(file).addr());
        compare(
            &state.path,
            (file, state.error.as_ref().map(ToString::to_string)),
        );
    }
    changed.extend(before.keys().map(|path| format!("-{}", name(path))));
    changed
}

/// Whether no file would have to be read at the next look that is known now.
fn same_stamps(previous: &Snapshot, plugins: &[PluginFile], rules: &[RuleFileState]) -> bool {
    let plugin = |file: &PluginFile| file.stamps;
    let rule = |state: &RuleFileState| state.stamp;
    previous
        .plugin_files
        .iter()
        .map(plugin)
        .eq(plugins.iter().map(plugin))
        && previous
            .rule_files
            .iter()
            .map(rule)
            .eq(rules.iter().map(rule))
}

fn same_problems(previous: &Snapshot, folder_problems: &[Problem]) -> bool {
    let is_folder = |problem: &&Problem| problem.message.contains(MISSING_FOLDER);
    previous
        .problems
        .iter()
        .filter(is_folder)
        .eq(folder_problems.iter())
}

const MISSING_FOLDER: &str = ": the folder cannot be read";

fn missing_folder(folder: &Path, error: &io::Error, key: &str, hint: &str) -> Problem {
    problem(
        Severity::Error,
        format_args!(
            "{}{MISSING_FOLDER}: {error}\n  hint: create it, or name another with `--{key}`; {hint}",
            folder.display()
        ),
    )
}

fn problem(severity: Severity, message: impl ToString) -> Problem {
    Problem {
        severity,
        message: message.to_string(),
    }
}
