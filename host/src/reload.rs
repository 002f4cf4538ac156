//! Owns the way from the files in `plugins/` and `rules/` to the next
//! [`Snapshot`]: reads what changed, keeps the last good version of what is
//! broken, and says what is to be mended. `watcher` tells when to.

mod file;
mod load;
mod rules;
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
    rules::RuleSet,
    snapshot::{PluginFile, Problem, RuleFileState, Severity, Snapshot, Snapshots},
    text,
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
    /// File names that came, went or changed, each with `+`, `-` or `~` before it,
    /// or with `!` where what it says now is refused. The settings of a handler
    /// change, also where their file comes or goes.
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
        let plugins = self.plugin_files(&previous).await;
        let (config, before) = (Arc::clone(&self.config), Arc::clone(&previous));
        // 100,000 rules take 0.4 s to compile.
        let next = blocking(move || assemble(&config, &before, plugins)).await;
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

    async fn plugin_files(&self, previous: &Snapshot) -> Folder<PluginFile> {
        let folder = &self.config.plugins;
        let paths = match files(folder, &["wasm"]) {
            Ok(paths) => paths,
            Err(error) => {
                let hint = "`pointsman build` makes it from the sources";
                return Folder {
                    files: previous.plugin_files.clone(),
                    problems: vec![missing_folder(folder, &error, "plugins", hint)],
                };
            }
        };
        let problems = lone_settings(folder, &paths);
        let mut loading = Vec::new();
        for path in paths {
            let known = previous.plugin_files.iter().find(|file| file.path == path);
            loading.push(self.plugin_file(path, known));
        }
        let loaded = futures_util::future::join_all(loading).await;
        Folder {
            files: loaded.into_iter().flatten().collect(),
            problems,
        }
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
        let loaded = blocking(move || {
            let (config, runtime) = (&config, &runtime);
            let load = Load {
                config,
                runtime,
                last_good,
                path,
            };
            load.run()
        });
        // Else the async runtime ends, and so does the host.
        loaded.await.unwrap_or_else(|| known.cloned())
    }
}

/// The files of one folder, and what is wrong with the folder itself.
struct Folder<T> {
    files: Vec<T>,
    problems: Vec<Problem>,
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

/// Reads the rules and puts the next snapshot together; none where nothing
/// that a snapshot holds has changed.
fn assemble(
    config: &Config,
    previous: &Snapshot,
    plugins: Folder<PluginFile>,
) -> (Option<Snapshot>, Reload) {
    let mut rules = rules::files(&config.rules, previous);
    let mut problems = [plugins.problems, std::mem::take(&mut rules.problems)].concat();
    problems.sort();
    let plugin_files = plugins.files;
    let unread = plugin_files.iter().any(|file| file.stamps.is_none())
        || rules.files.iter().any(|file| file.stamp.is_none());
    let rule_set = rules::build(previous, &mut rules.files);
    let rule_files = rules.files;

    let changed = changes(previous, &plugin_files, &rule_files);
    let is_next =
        previous.generation == 0 || !changed.is_empty() || !same_problems(previous, &problems);
    if !is_next && same_stamps(previous, &plugin_files, &rule_files) {
        let reload = Reload {
            generation: previous.generation,
            unread,
            ..Reload::default()
        };
        return (None, reload);
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
    problems.extend(between(config, &plugins, &plugin_files, &rule_set));
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
        plugins,
        rules: rule_set,
        plugin_files,
        rule_files,
        problems,
    };
    (Some(snapshot), reload)
}

/// What is wrong between plugins and rules, each of which is fine by itself.
fn between(
    config: &Config,
    plugins: &BTreeMap<HandlerName, Arc<Plugin>>,
    files: &[PluginFile],
    rules: &RuleSet,
) -> Vec<Problem> {
    let names: Vec<_> = plugins.keys().cloned().collect();
    let chosen: BTreeSet<_> = rules.rules().flat_map(|rule| rule.handlers()).collect();
    let unruled = names.iter().filter(|name| !chosen.contains(name)).map(|name| {
        let plugin = config.plugins.join(format!("{name}.wasm"));
        let rule = config.rules.join(format!("{name}.json"));
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
    // What is said of a file that is broken is said of its handler.
    let broken = files.iter().filter(|file| file.plugin.is_none());
    let broken = broken.filter_map(|file| file.path.file_stem()?.to_str());
    let broken = broken.filter_map(|stem| HandlerName::parse(stem).ok());
    let there: Vec<_> = names.iter().cloned().chain(broken).collect();
    let unknown = rules.unknown_handlers(&there);
    let unknown = unknown
        .iter()
        .map(|finding| problem(Severity::Warning, finding));
    unruled.chain(unknown).collect()
}

fn changes(previous: &Snapshot, plugins: &[PluginFile], rules: &[RuleFileState]) -> Vec<String> {
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
        if was.as_ref() == Some(&now) {
            continue;
        }
        let sign = match &was {
            _ if now.error.is_some() => '!',
            None => '+',
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

/// Whether what is wrong with the folders, beside the files in use, is as it was.
fn same_problems(previous: &Snapshot, folder_problems: &[Problem]) -> bool {
    let is_folder = |problem: &&Problem| {
        problem.message.contains(MISSING_FOLDER) || problem.message.contains(LONE_SETTINGS)
    };
    previous
        .problems
        .iter()
        .filter(is_folder)
        .eq(folder_problems.iter())
}

const LONE_SETTINGS: &str = ": there is no handler of this name";

/// Settings that are in force for nothing: their limits and secrets were meant
/// for some handler.
fn lone_settings(folder: &Path, plugins: &[PathBuf]) -> Vec<Problem> {
    // A folder that cannot be read is told elsewhere.
    let settings = files(folder, &["toml"]).unwrap_or_default();
    let lone = settings.iter().filter(|path| {
        let plugin = path.with_extension("wasm");
        plugins.binary_search(&plugin).is_err()
    });
    let problem = |path: &PathBuf| {
        let path = text::path(path);
        let hint = "rename it after its handler, `<name>.toml` beside `<name>.wasm`, or remove it";
        problem(
            Severity::Warning,
            format_args!("{path}{LONE_SETTINGS}\n  hint: {hint}"),
        )
    };
    lone.map(problem).collect()
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
