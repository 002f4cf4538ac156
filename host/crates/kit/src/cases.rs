//! Test cases of a handler: files in `cases/`, each with a command and the expected
//! outcome, run against the real component in the real sandbox. Only the clock and
//! the random numbers are simulated, so that cases are deterministic and never
//! wait.
//!
//! ```json
//! {
//!   "description": "greets by name",
//!   "command": { "requestType": "Greet", "name": "Ada" },
//!   "config": { "greeting": "good day" },
//!   "expect": {
//!     "output": { "greeting": "good day Ada" },
//!     "logs": [{ "level": "info", "message": "greeting Ada" }]
//!   }
//! }
//! ```
//!
//! | key | is |
//! |---|---|
//! | `command` | the command; all other keys may be left out |
//! | `config`, `secrets`, `env`, `folders`, `http`, `limits` | as in `plugins/<name>.toml`, which itself is not read; relative paths start at the folder of the case |
//! | `requests` | the HTTP requests that the handler sends, each once and in any order, with their responses; none is really sent |
//! | `sql` | the databases, by name: each in memory, with `fixture`, the statements that set it up, and `read_only` |
//! | `state` | the entries before the call, by key; without it, the handler has no state |
//! | `emit` | `true` if the handler may emit commands that `expect` does not list |
//! | `now` | the time at which the call starts, RFC 3339; by default 2026-01-01T00:00:00Z |
//! | `seed` | the seed of the random numbers; by default 0 |
//! | `attempt` | the attempt number; by default 1 |
//! | `expect.status` | the status of the call, as in a report; by default `succeeded` |
//! | `expect.output` | the output, compared as JSON: neither the order of keys nor the notation of numbers matters |
//! | `expect.output_matches` | or a pattern for it, like the `match` of a rule |
//! | `expect.message` | a part of the error's message |
//! | `expect.retry_after_ms` | the delay that an unavailable handler requests |
//! | `expect.sql` | by database: queries, each with all rows that it returns after the call |
//! | `expect.state` | all entries after the call |
//! | `expect.emitted` | all commands that it emits, in order |
//! | `expect.logs` | all lines in order: a text is a part of the line, an object with `level` and `message` the whole line |
//!
//! A request of `requests`:
//!
//! | key | is |
//! |---|---|
//! | `request` | the method and the URL, such as `GET https://api.example.com/v1/rates?base=EUR` |
//! | `headers` | headers that it must have, including those that the host adds for `secrets`; it may have others |
//! | `json`, `body` | its body, compared as JSON or as text; any body if not given |
//! | `response` | the response: `status` (by default 200), `headers`, and `json` or `body`; by default 200 without a body |
//! | `fails` | why there is no response, or only part of it: an error of `wasi:http`, such as `connection-refused` |
//! | `delay_ms` | how long that takes on the simulated clock; by default no time |
//!
//! A case without `requests` expects none, unless its `http` grants some: then those
//! requests are really sent. With both, a request must be expected and granted.
//!
//! The simulated clock advances only when the handler waits, which takes no real time
//! but counts towards `limits.timeout`. The clocks and random numbers of WASI are
//! simulated as well; its timers are real if requests are really sent. Folders, CPU time
//! and memory are real.
//!
//! To run the cases of a Rust handler with `cargo test`, put this into
//! `tests/cases.rs`:
//!
//! ```no_run
//! #[test]
//! fn the_cases_pass() {
//!     pointsman_kit::cases::assert_pass(env!("CARGO_MANIFEST_DIR"));
//! }
//! # fn main() {}
//! ```

mod diff;
mod expect;
mod file;
mod record;
mod requests;
mod update;
mod world;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

pub use diff::{Edit, Side};
pub use expect::{Difference, Expect, ExpectedLine, ExpectedOutput};
pub use file::CaseError;
pub use record::record;
pub use requests::{ExpectedBody, ExpectedRequest};
pub use update::update;
pub use world::{After, Fixture, Found, Rows, World};

use pointsman_core::{
    command::{Command, CommandId},
    name::HandlerName,
    outcome::{Outcome, Status},
};
use pointsman_machine::budget::{BudgetSettings, Budgets};
use pointsman_sandbox::{
    self as sandbox, Call, ComponentFile, Grants, Handler, HandlerDefaults, HandlerSettings,
    LoadError, RecordedRequest, Recorder, Runtime, SandboxSettings, Simulation,
};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::build;
use requests::Expectations;
use world::Made;

/// The folder of the cases, next to the source.
pub const FOLDER: &str = "cases";

/// One valid case file.
#[derive(Clone, Debug)]
pub struct Case {
    /// The stem of the file.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its description.
    pub description: Option<String>,
    /// The command to send.
    pub command: Command,
    /// The attempt number.
    pub attempt: u32,
    /// The settings of the handler, on top of the host's defaults.
    pub settings: HandlerSettings,
    /// The clock and the random numbers.
    pub simulation: Simulation,
    /// The requests that the handler sends, with what comes of each. Without, those
    /// that the settings grant go out, and none is expected where they grant none.
    pub requests: Option<Vec<ExpectedRequest>>,
    /// Its databases and its state.
    pub world: World,
    /// The expected outcome.
    pub expect: Expect,
    /// The expected contents of databases and state afterwards.
    pub after: After,
}

/// Reads the case files of a folder, by name; broken ones with their error.
///
/// # Errors
/// [`CaseError`] if the folder is missing or contains no case.
pub fn read(folder: &Path, defaults: &HandlerDefaults) -> Result<Vec<CaseFile>, CaseError> {
    let paths = file::folder(folder)?.into_iter();
    Ok(paths.map(|path| CaseFile::read(path, defaults)).collect())
}

/// A file in a folder of cases.
#[derive(Debug)]
pub struct CaseFile {
    /// The stem of the file.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The case, or why it is not valid.
    pub case: Result<Case, CaseError>,
}

impl CaseFile {
    /// Reads one file; `defaults` apply to settings that it does not set.
    #[must_use]
    pub fn read(path: PathBuf, defaults: &HandlerDefaults) -> Self {
        Self {
            name: file::name(&path),
            case: file::read(&path, defaults),
            path,
        }
    }
}

/// How a [`Runner`] runs cases. The default is that of a host without settings.
#[derive(Clone, Debug, Default)]
pub struct RunnerSettings {
    /// What the engine has.
    pub sandbox: SandboxSettings,
    /// The defaults for settings that a case does not set.
    pub defaults: HandlerDefaults,
    /// The budgets for all cases together.
    pub budgets: BudgetSettings,
}

/// Loads handlers to run their cases. Clones share the engine.
#[derive(Clone)]
pub struct Runner {
    runtime: Runtime,
    defaults: HandlerDefaults,
}

/// A handler under test: each case runs in a fresh instance.
pub struct Subject {
    source: Arc<Source>,
    // By the size of the call stack, which belongs to the compiled code.
    loaded: Mutex<BTreeMap<usize, Arc<Handler>>>,
}

/// What the handler is loaded from.
struct Source {
    runner: Runner,
    name: HandlerName,
    path: PathBuf,
    digest: Arc<str>,
    component: Vec<u8>,
}

/// How a case went.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How the call went.
    pub outcome: Outcome,
    /// What is not as expected; nothing where the case passed.
    pub differences: Vec<Difference>,
    /// What was there after the call.
    pub found: Found,
}

impl Verdict {
    /// Whether all is as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

impl Runner {
    /// Builds the engine. It lives as long as the plugins that it loads.
    ///
    /// # Errors
    /// When this machine cannot run WebAssembly.
    pub fn new(settings: &RunnerSettings) -> anyhow::Result<Self> {
        // A case runs one instance; the pool need not be that of a host.
        let sandbox = SandboxSettings {
            instances_max: settings.sandbox.instances_max.min(16),
            ..settings.sandbox.clone()
        };
        let budgets = Budgets::here(&settings.budgets);
        Ok(Self {
            runtime: Runtime::new(&sandbox, &settings.defaults.limits, &budgets)?,
            defaults: settings.defaults.clone(),
        })
    }

    /// Compiles the component of the handler `name`, read from `path`, and
    /// checks it against the contract. Blocks meanwhile.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with it.
    pub fn load(
        &self,
        name: &HandlerName,
        path: &Path,
        component: Vec<u8>,
    ) -> Result<Subject, LoadError> {
        let digest = Sha256::digest(&component);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let source = Source {
            runner: self.clone(),
            name: name.clone(),
            path: path.into(),
            digest: digest.into(),
            component,
        };
        let stack = self.defaults.limits.stack_max_bytes;
        let handler = source.load(stack)?;
        Ok(Subject {
            source: Arc::new(source),
            loaded: Mutex::new(BTreeMap::from([(stack, Arc::new(handler))])),
        })
    }
}

impl Source {
    fn load(&self, stack_max_bytes: usize) -> Result<Handler, LoadError> {
        let mut settings = HandlerSettings::new(&self.runner.defaults);
        settings.limits.stack_max_bytes = stack_max_bytes;
        let grants = Grants::read(self.name.clone(), &settings, &self.path)?;
        sandbox::load(
            &self.runner.runtime,
            ComponentFile {
                name: self.name.clone(),
                path: &self.path,
                bytes: &self.component,
                digest: Arc::clone(&self.digest),
            },
            Arc::new(settings),
            Arc::new(grants),
        )
    }
}

impl Subject {
    /// The name of the handler.
    #[must_use]
    pub fn name(&self) -> &HandlerName {
        &self.source.name
    }

    /// The handler under these settings, which stand in its file `path`.
    /// Compiles it anew where they give it a call stack that it did not have yet.
    ///
    /// # Errors
    /// [`LoadError`] where a secret or a folder of the settings is not there, or
    /// where there is no memory for such a call stack.
    pub async fn under(
        &self,
        settings: HandlerSettings,
        path: &Path,
    ) -> Result<Handler, LoadError> {
        let grants = Grants::read(self.name().clone(), &settings, path)?;
        self.placed(settings, grants, None).await
    }

    async fn placed(
        &self,
        settings: HandlerSettings,
        grants: Grants,
        place: Option<&str>,
    ) -> Result<Handler, LoadError> {
        let handler = self.with_stack(settings.limits.stack_max_bytes).await?;
        Ok(handler.with_settings(settings, grants, place))
    }

    async fn with_stack(&self, stack_max_bytes: usize) -> Result<Arc<Handler>, LoadError> {
        let loaded = || self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handler) = loaded().get(&stack_max_bytes) {
            return Ok(Arc::clone(handler));
        }
        let source = Arc::clone(&self.source);
        let load = move || source.load(stack_max_bytes);
        let handler = match tokio::task::spawn_blocking(load).await {
            Ok(handler) => Arc::new(handler?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        loaded().insert(stack_max_bytes, Arc::clone(&handler));
        Ok(handler)
    }

    /// Runs one case.
    ///
    /// # Errors
    /// As [`Subject::under`] with the settings of the case.
    pub async fn run(&self, case: &Case) -> Result<Verdict, LoadError> {
        let made = case.world.make(case.simulation.now_ms);
        let expectations = case.expectations().map(Arc::new);
        let simulation = Simulation {
            servers: expectations.clone().map(|it| it as _),
            ..case.simulation.clone()
        };
        let outcome = self.outcome(case, simulation, &made).await?;
        let mut differences = case.expect.compare(&outcome);
        // What was denied on purpose is no surprise.
        let expectations = expectations.filter(|_| case.expect.status != Status::Denied);
        differences.extend(expectations.iter().flat_map(|it| it.differences()));
        let found = made.found(case, &outcome).await;
        match &found {
            Ok(found) => differences.extend(found.compare(&case.after)),
            Err(difference) => differences.push(difference.clone()),
        }
        Ok(Verdict {
            differences,
            outcome,
            found: found.unwrap_or_default(),
        })
    }

    /// Runs one case whose requests go out, as far as its settings grant them, and
    /// gives those: for [`record()`].
    ///
    /// # Errors
    /// As [`Subject::under`] with the settings of the case.
    pub async fn requests(&self, case: &Case) -> Result<Vec<RecordedRequest>, LoadError> {
        let recorder = Recorder::default();
        let simulation = Simulation {
            recorder: Some(recorder.clone()),
            ..case.simulation.clone()
        };
        let made = case.world.make(case.simulation.now_ms);
        self.outcome(case, simulation, &made).await?;
        Ok(recorder.take())
    }

    async fn outcome(
        &self,
        case: &Case,
        simulation: Simulation,
        made: &Made,
    ) -> Result<Outcome, LoadError> {
        let settings = case.settings.clone();
        let grants = Grants::read(self.name().clone(), &settings, &case.path)?;
        let grants = grants.with_databases(made.databases.clone());
        let handler = self.placed(settings, grants, Some("the case")).await?;
        let (mut command, attempt) = (case.command.clone(), case.attempt);
        command.id = CommandId::simulated(simulation.now_ms, simulation.seed);
        let cancel = CancellationToken::new();
        let _until_dropped = cancel.clone().drop_guard();
        let services = made.services();
        // A thread of its own, where requests and the guest take turns in one order.
        let call = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let call = Call {
                attempt,
                started: Instant::now(),
                on_line: None,
                cancel: &cancel,
                simulation: Some(simulation),
                services: &services,
                depth: 0,
            };
            let report = runtime.block_on(handler.call(&command, call));
            // A look-up that hangs holds nobody.
            runtime.shutdown_background();
            std::io::Result::Ok(report.outcome)
        };
        match tokio::task::spawn_blocking(call).await {
            Ok(outcome) => outcome.map_err(|cause| no_runtime(&case.path, &cause)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Case {
    /// Whether its settings let requests go out, which can be recorded then.
    #[must_use]
    pub fn grants_requests(&self) -> bool {
        let http = &self.settings.http;
        !http.allow.is_empty() || !http.allow_private.is_empty()
    }

    fn expectations(&self) -> Option<Expectations> {
        let expected = self.requests.clone();
        let expected = expected.or_else(|| (!self.grants_requests()).then(Vec::new));
        expected.map(Expectations::new)
    }
}

fn no_runtime(path: &Path, cause: &std::io::Error) -> LoadError {
    let hint = "close programs, or raise the limits of open files and processes";
    LoadError::new(path, format!("no thread for the case: {cause}"), hint)
}

/// Builds the handler in `folder` and runs the cases in its folder `cases/`.
/// Blocks meanwhile; not for an async thread.
///
/// # Panics
/// If it does not build or does not fit the contract, if a case file is invalid or there is
/// none, or if a case fails, with the reason and a diff.
pub fn assert_pass(folder: impl AsRef<Path>) {
    let folder = folder.as_ref();
    let say = |line: &str| eprintln!("{line}");
    let built = || {
        let built = build::build(folder, &build::BuildOptions::default(), &say)?;
        Ok((built.about.name, built.component))
    };
    assert_all(folder, &folder.join(FOLDER), built);
}

/// Runs the cases in the folder `cases` against the component in the file
/// `component`, whose stem is the handler's name. Blocks meanwhile; not for an
/// async thread.
///
/// # Panics
/// As [`assert_pass`] does.
pub fn assert_component_passes(component: impl AsRef<Path>, cases: impl AsRef<Path>) {
    let path = component.as_ref();
    let read = || {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok((HandlerName::parse(&stem)?, std::fs::read(path)?))
    };
    assert_all(path, cases.as_ref(), read);
}

fn assert_all(
    path: &Path,
    cases: &Path,
    component: impl FnOnce() -> anyhow::Result<(HandlerName, Vec<u8>)>,
) {
    match failures(path, cases, component) {
        Ok(failures) => assert!(failures.is_empty(), "{failures}"),
        Err(error) => panic!("{}: {error:#}", path.display()),
    }
}

/// What is wrong with single cases, each with its file.
fn failures(
    path: &Path,
    cases: &Path,
    component: impl FnOnce() -> anyhow::Result<(HandlerName, Vec<u8>)>,
) -> anyhow::Result<String> {
    let settings = RunnerSettings::default();
    // Before the build, which may take long.
    let files = read(cases, &settings.defaults)?;
    let (name, component) = component()?;
    let runner = Runner::new(&settings)?;
    let subject = runner.load(&name, path, component)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut failures = String::new();
    for file in files {
        let path = file.path.display();
        let case = match file.case {
            Ok(case) => case,
            Err(error) => {
                write!(failures, "\n{error}")?;
                continue;
            }
        };
        match runtime.block_on(subject.run(&case)) {
            Ok(verdict) => {
                for (at, difference) in verdict.differences.iter().enumerate() {
                    if at == 0 {
                        write!(failures, "\n{path}")?;
                    }
                    let difference = difference.to_string().replace('\n', "\n  ");
                    write!(failures, "\n  {difference}")?;
                }
            }
            Err(error) => write!(failures, "\n{path}: {error}")?,
        }
    }
    Ok(failures)
}
