//! Owns how wasmtime is set up, for the host and for the process that compiles:
//! code that one compiles runs in the other.

use std::io;

use serde::{Deserialize, Serialize};
use wasmtime::{Cache, Collector, Config};

/// What host calls need of the stack below the guest's own.
const HOST_STACK_BYTES: usize = 1536 << 10;

/// Where nothing is reserved beyond it, a memory that outgrows its reservation
/// moves, with so much room to grow into.
const LITTLE_GROWTH_BYTES: u64 = 16 << 20;
/// The guard behind a memory there: less than that past its end traps without a check.
const LITTLE_GUARD_BYTES: u64 = 64 << 10;

/// A heap of collected objects begins with three pages and doubles, and a
/// doubling past the limit is refused. So it ends at three quarters of a limit
/// that is a power of two; from one page it would end at half of it.
const GC_HEAP_INITIAL_BYTES: u64 = 3 << 16;

/// How much address space the process has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AddressSpace {
    /// Enough for a pool, and for 4 GiB around each memory beside it.
    Plenty,
    /// Limited (`ulimit -v`, `LimitAS=`, `vm.overcommit_memory=2`), or too small
    /// for the pool that the settings ask for: a memory reserves what a handler
    /// may use, and no more.
    Little { memory_max_bytes: u64 },
}

/// The configuration for call stacks of `stack_max_bytes`; instances are made on demand.
pub(crate) fn config(stack_max_bytes: usize, space: AddressSpace, cache: Option<Cache>) -> Config {
    let mut config = Config::new();
    // Guests yield at every tick and can be dropped there.
    config.epoch_interruption(true);
    // The contract's exports are synchronous; without it a call costs a third less.
    config.concurrency_support(false);
    config.max_wasm_stack(stack_max_bytes);
    config.async_stack_size(stack_max_bytes + HOST_STACK_BYTES);
    // The one that frees cycles, which objects of Kotlin, Dart and Java are full
    // of: the reference-counting collector keeps them until the instance ends,
    // and without a collector nothing is freed. wasmtime's documentation still
    // calls it unfinished; it has been wasmtime's default since 46.
    config.collector(Collector::Copying);
    config.gc_heap_initial_size(GC_HEAP_INITIAL_BYTES);
    config.cache(cache);
    match space {
        AddressSpace::Plenty => {
            if let Err(error) = memory_images() {
                tracing::warn!("memories are filled by copying, which is slower: {error}");
                config.memory_init_cow(false);
            }
        }
        AddressSpace::Little { memory_max_bytes } => {
            config
                .memory_reservation(memory_max_bytes.min(4 << 30))
                .memory_reservation_for_growth(LITTLE_GROWTH_BYTES)
                .memory_guard_size(LITTLE_GUARD_BYTES)
                .guard_before_linear_memory(false)
                .memory_init_cow(false);
        }
    }
    config
}

/// Whether the system lets memories be mapped from an image: a seccomp filter
/// of an old container runtime may not know the call.
#[cfg(target_os = "linux")]
fn memory_images() -> io::Result<()> {
    use rustix::fs::{MemfdFlags, memfd_create};
    memfd_create("pointsman-probe", MemfdFlags::CLOEXEC)
        .map(drop)
        .map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "Linux may refuse")]
fn memory_images() -> io::Result<()> {
    Ok(())
}
