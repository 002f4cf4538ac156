//! Owns the way from the files in `plugins/` and `rules/` to the next
//! [`Snapshot`]: reads what changed, keeps the last good version of what is
//! broken, and says what is to be mended. `watcher` tells when to.

mod watcher;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

pub use watcher::watch;

use crate::{
    config::Config,
    name::HandlerName,
    plugin::{self, Grants, HandlerSettings, LoadError, Plugin, Runtime},
    rules::{MAX_FILE_BYTES, RuleError, RuleFile, RuleSet},
    snapshot::{PluginFile, Problem, RuleFileState, Severity, Snapshot, Snapshots, Stamp},
};

/// The endings of rule files.
pub(crate) const RULE_ENDINGS: [&str; 2] = ["json", "toml"];

/// Builds snapshots from the two folders of a [`Config`].
pub struct Reloader {
    config: Config,
    runtime: Runtime,
    snapshots: Arc<Snapshots>,
    compile_jobs: Arc<Semaphore>,
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
            config,
            runtime,
            snapshots,
            compile_jobs: Arc::new(Semaphore::new(jobs)),
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
        let rules = build_rules(&previous, &mut rule_files);

        let changed = changes(&previous, &plugin_files, &rule_files);
        let first = previous.generation == 0;
        if !first && changed.is_empty() && same_problems(&previous, &problems) {
            return Reload {
                generation: previous.generation,
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
            generation: previous.generation + 1,
            changed,
            problems: new_problems.cloned().collect(),
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
        // Compiling is bounded by `compile_jobs`; reading runs ahead of it.
        let mut loaded = Vec::new();
        for file in futures_util::future::join_all(loading).await {
            loaded.extend(file);
        }
        loaded
    }

    /// One plugin file as it is now; none if it is gone since the folder was read.
    async fn plugin_file(&self, path: PathBuf, known: Option<&PluginFile>) -> Option<PluginFile> {
        let settings_path = path.with_extension("toml");
        let stamps = (stamp(&path).ok()?, stamp(&settings_path).ok());
        if let Some(known) = known.filter(|known| known.stamps == stamps) {
            return Some(known.clone());
        }
        let last_good = known.and_then(|known| known.plugin.clone());
        let (plugin, error) = match self
            .load(&path, &settings_path, stamps, last_good.as_ref())
            .await
        {
            Ok(plugin) => (Some(plugin), None),
            Err(error) => (last_good, Some(error)),
        };
        Some(PluginFile {
            path,
            stamps,
            plugin,
            error,
        })
    }

    async fn load(
        &self,
        path: &Path,
        settings_path: &Path,
        (stamp, settings_stamp): (Stamp, Option<Stamp>),
        last_good: Option<&Arc<Plugin>>,
    ) -> Result<Arc<Plugin>, LoadError> {
        let error = |reason: String, hint: &str| LoadError::new(path, reason, hint);
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let name = HandlerName::parse(stem)
            .map_err(|wrong| error(wrong.to_string(), "rename the file"))?;
        let limit = self.config.host.plugin_max_bytes;
        if stamp.len > limit {
            return Err(error(
                format!("has {} bytes, more than {limit}", stamp.len),
                "raise `host.plugin_max_bytes` in pointsman.toml, or build it smaller",
            ));
        }
        let settings = match settings_stamp {
            None => HandlerSettings::new(&self.config),
            Some(_) => {
                let text = fs::read_to_string(settings_path).map_err(|cause| {
                    LoadError::new(
                        settings_path,
                        format!("cannot be read: {cause}"),
                        "make it readable, or remove it",
                    )
                })?;
                HandlerSettings::parse(settings_path, &text, &self.config).map_err(|cause| {
                    error(
                        format!("its settings are wrong: {cause}"),
                        "mend the settings: the handler keeps the last good ones",
                    )
                })?
            }
        };
        let grants = Grants::read(name.clone(), &settings, settings_path)?;
        let unreadable = |cause: io::Error| {
            error(
                format!("cannot be read: {cause}"),
                "make it readable for the host",
            )
        };
        let bytes = tokio::fs::read(path).await.map_err(unreadable)?;
        let digest: Arc<str> = hex(&Sha256::digest(&bytes)).into();
        if let Some(last_good) = last_good.filter(|last| {
            last.digest == digest && *last.settings == settings && last.grants.same_as(&grants)
        }) {
            return Ok(Arc::clone(last_good));
        }
        let _job = Arc::clone(&self.compile_jobs)
            .acquire_owned()
            .await
            .expect("never closed");
        let (runtime, path) = (self.runtime.clone(), path.to_owned());
        let compiled = tokio::task::spawn_blocking(move || {
            let (settings, grants) = (Arc::new(settings), Arc::new(grants));
            plugin::load(&runtime, name, &path, &bytes, digest, settings, grants).map(Arc::new)
        });
        compiled.await.unwrap_or_else(|panic| {
            Err(error(
                format!("the compiler failed on it: {panic}"),
                "build it again; if it stays so, report it with the file",
            ))
        })
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
            // Gone since the folder was read.
            let Ok(stamp) = stamp(&path) else { continue };
            let known = previous.rule_files.iter().find(|state| state.path == path);
            if let Some(known) = known.filter(|known| known.stamp == stamp) {
                states.push(known.clone());
                continue;
            }
            let last_good = known.and_then(|known| known.file.clone());
            let display = path.display().to_string();
            let read = read_rules(&path, &display, stamp.len);
            let (file, error) = match read {
                Ok(file) => (Some(Arc::new(file)), None),
                Err(error) => (last_good, Some(error)),
            };
            states.push(RuleFileState {
                path,
                stamp,
                file,
                error,
            });
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

fn read_rules(path: &Path, display: &str, len: u64) -> Result<RuleFile, RuleError> {
    let error = |code, message, hint: &str| {
        Err(RuleError::new(
            display,
            (1, 1),
            code,
            message,
            Some(hint.into()),
        ))
    };
    // Before it is in memory.
    if len > MAX_FILE_BYTES as u64 {
        let message = format!("a rule file has at most {MAX_FILE_BYTES} bytes, found {len}");
        return error("too-large", message, "split it");
    }
    match fs::read(path) {
        Ok(bytes) => RuleFile::parse(display, &bytes),
        Err(cause) => {
            let message = format!("cannot be read: {cause}");
            error("unreadable", message, "make it readable for the host")
        }
    }
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

/// The files of a folder with one of the given endings, by name. Hidden ones
/// are left out: installers write them before they rename.
pub(crate) fn files(folder: &Path, endings: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let ending = path.extension().and_then(|ending| ending.to_str());
        if !hidden && ending.is_some_and(|ending| endings.contains(&ending)) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    let inode = {
        use std::os::unix::fs::MetadataExt;
        (metadata.dev(), metadata.ino())
    };
    #[cfg(not(unix))]
    let inode = (0, 0);
    Ok(Stamp {
        modified: metadata.modified().ok(),
        len: metadata.len(),
        inode,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
