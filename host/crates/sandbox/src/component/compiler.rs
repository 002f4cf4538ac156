//! Owns the compilation of components in processes of their own, with limits on
//! memory and time that the process sets on itself (`child`). A compiler takes
//! what its input makes it take; here that costs one file, and never the host.
//!
//! The child leaves what it made as an entry for wasmtime's cache, and the host
//! loads the component through that cache, which compiles nothing. Where there
//! is no cache to load from, the host compiles it again itself: by then it is
//! known to stay within the limits.

mod cache;
mod child;
mod folder;
mod records;

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use wasmtime::{Cache, Engine};

pub(crate) use cache::cache;
pub use child::main as compile_component;
pub(crate) use folder::PrivateFolder;

use super::{
    config::AddressSpace,
    parts::{self, Outline},
    shape,
};
use crate::settings::SandboxSettings;
use pointsman_machine::budget::Machine;
pub use records::forget_unfinished;
use records::{Records, Start};

/// The subcommand under which the program compiles one component.
pub const SUBCOMMAND: &str = "compile-component";

/// How often a running child is looked at; a small component takes 50 ms.
const LOOK: Duration = Duration::from_millis(5);

/// The longest answer of a child, which cuts what it says.
const ANSWER_MAX_BYTES: u64 = 64 << 10;

/// Wall-clock time is many times the CPU time where other work has the cores,
/// which comes first. A compiler waits for nothing: on a machine at rest the
/// limit on CPU time is the first to be met.
const WALL_PER_CPU: u32 = 30;

/// Enough for CPython four times over; half of a small machine.
const COMPILE_MEMORY_BYTES: u64 = 2 << 30;

fn memory_max_bytes(host: &SandboxSettings) -> u64 {
    match host.compile_memory_max_bytes {
        0 => COMPILE_MEMORY_BYTES.min(Machine::here().memory_bytes / 2),
        bytes => bytes,
    }
}

/// Compiles components in child processes.
pub(crate) struct Compiler {
    program: PathBuf,
    limits: Limits,
    records: Option<Records>,
    // Of the cache, where nothing is kept between runs.
    _private: Option<PrivateFolder>,
}

/// What one compilation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Limits {
    memory_max_bytes: u64,
    /// Of CPU time.
    timeout_ms: u64,
}

/// What a child is to do; its one argument.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    limits: Limits,
    /// The size of the call stack, and the address space.
    engine: (usize, AddressSpace),
    component_max_bytes: u64,
    /// An empty folder for the compiled code.
    output: Option<PathBuf>,
}

/// What a child says on its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Compiled,
    Invalid(String),
    Panicked(String),
    OutOfMemory,
}

/// Why a component is not compiled.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It is no WebAssembly as far as it could be read.
    Unreadable(String),
    /// wasmtime's own words.
    Invalid(String),
    /// Of the compiler, the limits or the machine.
    Failed { reason: String, hint: String },
    /// The host stops, or the file has changed meanwhile.
    Stopped,
}

/// What is compiled, and for whom.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) component: &'a [u8],
    pub(crate) digest: &'a str,
    /// The size of the call stack, and the address space.
    pub(crate) engine: (usize, AddressSpace),
    /// Ends the child.
    pub(crate) stop: &'a CancellationToken,
    /// Leaves a note on the disk meanwhile, for the next host should this one die of it.
    pub(crate) leaves_note: bool,
}

impl From<shape::Refused> for Failure {
    fn from(refused: shape::Refused) -> Self {
        match refused {
            shape::Refused::TooComplex(bound) => Self::Failed {
                reason: bound.reason(),
                hint: bound.hint().into(),
            },
            shape::Refused::Invalid(error) => {
                Self::Unreadable(format!("failed to parse WebAssembly module: {error}"))
            }
        }
    }
}

impl From<parts::Refused> for Failure {
    fn from(refused: parts::Refused) -> Self {
        Self::Failed {
            reason: refused.reason,
            hint: refused.hint.into(),
        }
    }
}

/// How a child ended.
enum End {
    Answered(Answer),
    CpuTime,
    WallTime,
    Died(ExitStatus),
    Stopped,
}

impl Compiler {
    /// None where the settings name no program for it: then the host compiles itself.
    pub(crate) fn new(
        host: &SandboxSettings,
        private: Option<PrivateFolder>,
        engine: &Engine,
        cache: Option<&Cache>,
    ) -> Option<Self> {
        let program = host.compile_program.clone()?;
        let limits = Limits {
            memory_max_bytes: memory_max_bytes(host),
            timeout_ms: host.compile_timeout_ms,
        };
        let records = cache.and_then(|cache| {
            Records::open(cache.directory(), engine)
                .inspect_err(|error| {
                    tracing::warn!("what came of compilations is not remembered: {error}");
                })
                .ok()
        });
        Some(Self {
            program,
            limits,
            records,
            _private: private,
        })
    }

    /// Compiles a component in a child, unless it is known what comes of it or its
    /// shape is out of bounds.
    /// Once this is `Ok`, the host may load it. Blocks meanwhile.
    pub(crate) fn compile(&self, request: Request<'_>) -> Result<(), Failure> {
        let mut record = match &self.records {
            Some(records) => match records.start(request.digest, self.limits) {
                Start::Compiled => return Ok(()),
                Start::Refused { reason, hint } => return Err(Failure::Failed { reason, hint }),
                Start::Unknown(record) => record,
            },
            None => None,
        };
        shape::check(request.component)?;
        Outline::of(request.component)?;
        if let Some(record) = record.as_mut().filter(|_| request.leaves_note) {
            record.begun();
        }
        let output = self.records.as_ref().and_then(Records::output);
        let job = Job {
            limits: self.limits,
            engine: request.engine,
            component_max_bytes: request.component.len() as u64,
            output: output.as_ref().map(|output| output.path().into()),
        };
        let end = self.run(&job, request);
        let made = || {
            let (records, output) = self.records.as_ref().zip(output.as_ref())?;
            records.keep(output.path())
        };
        let failure = match end {
            Ok(End::Answered(Answer::Compiled)) => {
                if let (Some(record), Some(entry)) = (record, made()) {
                    record.compiled(entry);
                }
                return Ok(());
            }
            Ok(end) => self.failure(end),
            Err(error) => failed(
                format!("the process that compiles it could not be run: {error}"),
                "see what keeps the host from starting `pointsman` once more",
            ),
        };
        if let (Some(record), Failure::Failed { reason, .. }) = (record, &failure.what) {
            match failure.remember {
                Remember::Not => {}
                Remember::ThisRun => record.failed(reason, self.limits, true),
                Remember::Always => record.failed(reason, self.limits, false),
            }
        }
        Err(failure.what)
    }

    fn failure(&self, end: End) -> Remembered {
        let Limits {
            memory_max_bytes,
            timeout_ms,
        } = self.limits;
        let (reason, hint, remember) = match end {
            End::Answered(Answer::Invalid(cause)) => {
                return Remembered {
                    what: Failure::Invalid(cause),
                    remember: Remember::Not,
                };
            }
            End::Stopped => {
                return Remembered {
                    what: Failure::Stopped,
                    remember: Remember::Not,
                };
            }
            End::Answered(Answer::Panicked(message)) => {
                return failed(format!("the compiler failed on it: {message}"), REPORT);
            }
            End::Answered(Answer::Compiled) => {
                return failed("the compiler ended halfway".into(), REPORT);
            }
            End::Answered(Answer::OutOfMemory) => (
                format!(
                    "compiling needs more memory than {memory_max_bytes} bytes (`host.compile_memory_max_bytes`)"
                ),
                MORE_MEMORY,
                Remember::Always,
            ),
            // It ended by itself, before it could answer.
            End::Died(status) if status.code().is_some() => {
                return failed(
                    format!("the process that compiles it ended early ({status})"),
                    REPORT,
                );
            }
            End::Died(status) => (
                format!(
                    "the compiler died ({status}), as it does when it needs more memory than {memory_max_bytes} bytes (`host.compile_memory_max_bytes`)"
                ),
                MORE_MEMORY,
                Remember::Always,
            ),
            End::CpuTime => (
                format!(
                    "compiling took longer than {timeout_ms} ms of CPU time (`host.compile_timeout_ms`)"
                ),
                MORE_TIME,
                Remember::Always,
            ),
            // The machine may have been busy with something else.
            End::WallTime => (
                format!(
                    "compiling took longer than {} ms, {WALL_PER_CPU} times `host.compile_timeout_ms`",
                    timeout_ms.saturating_mul(WALL_PER_CPU.into())
                ),
                MORE_TIME,
                Remember::ThisRun,
            ),
        };
        Remembered {
            remember,
            ..failed(reason, hint)
        }
    }

    fn run(&self, job: &Job, request: Request<'_>) -> std::io::Result<End> {
        let mut command = Command::new(&self.program);
        command
            .arg(SUBCOMMAND)
            .arg(serde_json::to_string(job)?)
            // It needs none, and the host's may hold secrets.
            .env_clear()
            // The program's allocator takes a GiB at once otherwise, which would
            // count as used.
            .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // A Ctrl-C is for the host, which ends its children.
            command.process_group(0);
        }
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        thread::scope(|scope| {
            // A child that does not read must not hold the host. Once it has
            // ended, writing fails.
            scope.spawn(|| write(stdin, request.component));
            let end = self.wait(&mut child, request.stop);
            if !matches!(end, Ok(End::Answered(_))) {
                // It may have ended by itself; then there is nothing to be ended.
                let _ = child.kill();
                let _ = child.wait();
            }
            end
        })
    }

    fn wait(&self, child: &mut Child, stop: &CancellationToken) -> std::io::Result<End> {
        let timeout = Duration::from_millis(self.limits.timeout_ms) * WALL_PER_CPU;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if stop.is_cancelled() {
                return Ok(End::Stopped);
            }
            if began.elapsed() > timeout {
                return Ok(End::WallTime);
            }
            thread::sleep(LOOK);
        };
        if !status.success() {
            return Ok(match is_cpu_time(status) {
                true => End::CpuTime,
                false => End::Died(status),
            });
        }
        let mut answer = String::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(ANSWER_MAX_BYTES).read_to_string(&mut answer)?;
        }
        Ok(match serde_json::from_str(&answer) {
            Ok(answer) => End::Answered(answer),
            Err(_) => End::Died(status),
        })
    }
}

const REPORT: &str = "raise `host.compile_memory_max_bytes` if it lacked memory; else build it again, and \
                      if it stays so, report it with the file";
const MORE_MEMORY: &str =
    "raise `host.compile_memory_max_bytes`, or build it smaller: optimized for size, in parts";
const MORE_TIME: &str =
    "raise `host.compile_timeout_ms`, or build it smaller: optimized for size, in parts";

enum Remember {
    Not,
    ThisRun,
    Always,
}

struct Remembered {
    what: Failure,
    remember: Remember,
}

fn failed(reason: String, hint: &str) -> Remembered {
    Remembered {
        what: Failure::Failed {
            reason,
            hint: hint.into(),
        },
        remember: Remember::Not,
    }
}

fn write(stdin: Option<ChildStdin>, component: &[u8]) {
    if let Some(mut stdin) = stdin {
        // How the child ended says why it did not read.
        let _ = stdin.write_all(component);
    }
}

#[cfg(unix)]
fn is_cpu_time(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(rustix::process::Signal::XCPU.as_raw())
}

#[cfg(not(unix))]
fn is_cpu_time(_: ExitStatus) -> bool {
    false
}

/// The folder beside wasmtime's cache that is ours.
fn beside(cache: &Path) -> PathBuf {
    cache.with_file_name("pointsman")
}
