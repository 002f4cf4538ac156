//! The child process: limits itself, then compiles what it reads.

use std::{
    io::{self, Read as _},
    path::Path,
};

use wasmtime::{Cache, CacheConfig, Engine, component::Component};

use super::{Answer, Job, Limits};
use crate::component::config::{AddressSpace, config};
use pointsman_core::{panics, text};

/// Compiles the component in `input`, as `job` says, in this process, which it
/// limits first. What comes of it is for the host that wrote the job.
///
/// # Errors
/// Where there is nothing to be compiled, or this process cannot be limited.
pub fn main(job: &str, input: impl io::Read) -> io::Result<String> {
    let job: Job = serde_json::from_str(job)?;
    limit(job.limits)?;
    let mut component = Vec::new();
    input
        .take(job.component_max_bytes)
        .read_to_end(&mut component)?;
    let compiled = panics::caught(|| compile(&component, job.engine, job.output.as_deref()));
    let answer = compiled.unwrap_or_else(Answer::Panicked);
    Ok(serde_json::to_string(&answer)?)
}

fn compile(
    component: &[u8],
    (stack_max_bytes, space): (usize, AddressSpace),
    output: Option<&Path>,
) -> Answer {
    let cache = output.and_then(|output| {
        let mut cache = CacheConfig::new();
        cache.with_directory(output);
        // Without it the host compiles the component again.
        Cache::new(cache).ok()
    });
    let compiled = Engine::new(&config(stack_max_bytes, space, cache))
        .and_then(|engine| Component::from_binary(&engine, component));
    match compiled {
        Ok(_) => Answer::Compiled,
        Err(error) if error.chain().any(is_out_of_memory) => Answer::OutOfMemory,
        Err(error) => Answer::Invalid(text::bounded(
            format_args!("{error:#}"),
            text::MESSAGE_MAX_BYTES,
        )),
    }
}

fn is_out_of_memory(error: &(dyn std::error::Error + 'static)) -> bool {
    let of_system = error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::OutOfMemory);
    #[cfg(unix)]
    let of_system =
        of_system || error.downcast_ref::<rustix::io::Errno>() == Some(&rustix::io::Errno::NOMEM);
    of_system || error.is::<wasmtime::OutOfMemory>()
}

/// What ends the process is an error of the one file, and the kernel ends this
/// process before the host, should the machine run out of memory.
#[cfg(unix)]
fn limit(limits: Limits) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
    let set = |resource, value: u64| {
        // A hard limit above it stays: only lowering it is always permitted.
        let maximum = getrlimit(resource).maximum;
        let current = maximum.map_or(value, |maximum| maximum.min(value));
        let limit = Rlimit {
            current: Some(current),
            maximum,
        };
        setrlimit(resource, limit)
    };
    // No core dump of a bomb.
    set(Resource::Core, 0)?;
    set(Resource::Cpu, limits.timeout_ms.div_ceil(1_000).max(1))?;
    // On Linux that counts all that is private and writable, also what is
    // mapped; on others no more than part of it.
    set(Resource::Data, limits.memory_max_bytes)?;
    // Commands in flight come first. None of what follows is permitted everywhere;
    // the limits above hold all the same.
    let _ = nice(5);
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    }
    Ok(())
}

#[cfg(not(unix))]
fn limit(_: Limits) -> io::Result<()> {
    // The host's own limit on time holds there.
    Ok(())
}
