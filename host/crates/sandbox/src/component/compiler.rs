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
mod failure;
mod folder;
mod memory;
mod process;
mod records;

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use wasmtime::{Cache, Engine};

pub(crate) use cache::cache;
pub use cache::cache_folders;
pub use child::main as compile_component;
pub(crate) use folder::PrivateFolder;

use super::{
    config::AddressSpace,
    parts::{self, Outline},
    shape,
};
use crate::settings::SandboxSettings;
use failure::Remember;
use memory::Memory;
use process::End;
pub use records::forget_unfinished;
use records::{Records, Start};

/// The subcommand under which the program compiles one component.
pub const SUBCOMMAND: &str = "compile-component";

/// Compiles components in child processes.
pub(crate) struct Compiler {
    program: PathBuf,
    timeout_ms: u64,
    memory: Memory,
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

impl Compiler {
    /// None where the settings name no program for it: then the host compiles itself.
    pub(crate) fn new(
        host: &SandboxSettings,
        private: Option<PrivateFolder>,
        engine: &Engine,
        cache: Option<&Cache>,
    ) -> Option<Self> {
        let program = host.compile_program.clone()?;
        let records = cache.and_then(|cache| {
            Records::open(cache.directory(), engine)
                .inspect_err(|error| {
                    tracing::warn!("failed compilations cannot be recorded: {error}");
                })
                .ok()
        });
        Some(Self {
            program,
            timeout_ms: u64::try_from(host.compile_timeout.as_millis()).unwrap_or(u64::MAX),
            memory: Memory::new(host),
            records,
            _private: private,
        })
    }

    /// Compiles a component in a child, unless it is known what comes of it or its
    /// shape is out of bounds.
    /// Once this is `Ok`, the host may load it. Blocks meanwhile.
    pub(crate) fn compile(&self, request: Request<'_>) -> Result<(), Failure> {
        let limits = self.limits(self.memory.each_bytes);
        let mut record = match &self.records {
            Some(records) => match records.start(request.digest, limits) {
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
        let end = self.run(request, output.as_ref());
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
            Ok(end) => failure::of(end, limits),
            Err(error) => failure::failed(
                format!("the compiler could not be started: {error}"),
                "see what keeps the host from starting `pointsman` once more",
            ),
        };
        if let (Some(record), Failure::Failed { reason, .. }) = (record, &failure.what) {
            match failure.remember {
                Remember::Not => {}
                Remember::ThisRun => record.failed(reason, limits, true),
                Remember::Always => record.failed(reason, limits, false),
            }
        }
        Err(failure.what)
    }

    /// Runs the child, with as much memory as is usual, and where that is not
    /// enough, with all that one may have.
    fn run(&self, request: Request<'_>, output: Option<&PrivateFolder>) -> io::Result<End> {
        let usual = self.memory.usual(request.component.len());
        let end = self.run_with(usual, request, output)?;
        let lacked_memory = match &end {
            End::Answered(Answer::OutOfMemory) => true,
            // As it dies where it cannot even say so.
            End::Died(status) => status.code().is_none(),
            _ => false,
        };
        match lacked_memory && usual < self.memory.each_bytes {
            true => self.run_with(self.memory.each_bytes, request, output),
            false => Ok(end),
        }
    }

    fn run_with(
        &self,
        memory_max_bytes: u64,
        request: Request<'_>,
        output: Option<&PrivateFolder>,
    ) -> io::Result<End> {
        let Some(_held) = self.memory.wait(memory_max_bytes, request.stop) else {
            return Ok(End::Stopped);
        };
        let job = Job {
            limits: self.limits(memory_max_bytes),
            engine: request.engine,
            component_max_bytes: request.component.len() as u64,
            output: output.map(|output| output.path().into()),
        };
        process::run(&self.program, &job, request.component, request.stop)
    }

    fn limits(&self, memory_max_bytes: u64) -> Limits {
        Limits {
            memory_max_bytes,
            timeout_ms: self.timeout_ms,
        }
    }
}

/// The folder beside wasmtime's cache that is ours.
fn beside(cache: &Path) -> PathBuf {
    cache.with_file_name("pointsman")
}

#[cfg(all(test, unix))]
mod tests;
