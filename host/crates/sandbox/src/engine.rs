//! Owns the wasmtime engine that the handlers of a host share: its tuning, its
//! epoch ticker and the linker with everything that a handler may import.
//! Handlers with a call stack of another size share one for that size.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wasmtime::{
    Cache, Collector, Config, Engine, EngineWeak, InstanceAllocationStrategy, component::Linker,
};

use super::{
    bindings,
    compiler::{Compiler, Failure, Request, cache},
    grants::Resolver,
    pool::{idle_max, pool},
    settings::{HandlerLimits, SandboxSettings},
    shape,
    shares::AllShares,
    state::State,
    turns::Turns,
};
use pointsman_machine::budget::Budgets;

/// How often a running guest is looked at: the longest that it keeps a worker
/// thread from other tasks, and the grain of its CPU limit.
const TICK: Duration = Duration::from_millis(2);

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

/// Everything that instances of one host share. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(super) engine: Engine,
    pub(super) linker: Arc<Linker<State>>,
    /// Places for instances that wait for their next call, of all plugins together.
    pub(super) idle: Arc<Semaphore>,
    pub(super) turns: Turns,
    pub(super) table_elements_max: usize,
    /// The host's places for calls.
    pub(super) places_max: u32,
    /// What all handlers together may take of the machine.
    pub(super) budgets: Arc<Budgets>,
    /// What each handler may take of the host's budgets.
    pub(super) shares: Arc<AllShares>,
    /// Finds where requests go.
    pub(super) resolver: Resolver,
    stack_max_bytes: usize,
    // By the size of the call stack, as long as something is loaded with them.
    others: Arc<Mutex<BTreeMap<usize, EngineWeak>>>,
    space: AddressSpace,
    // One for all engines: each has a thread of its own.
    cache: Option<Cache>,
    compiler: Option<Arc<Compiler>>,
    stop: CancellationToken,
    leaves_notes: bool,
}

/// How much address space the process has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AddressSpace {
    /// Enough for a pool, and for 4 GiB around each memory beside it.
    Plenty,
    /// Limited (`ulimit -v`, `LimitAS=`, `vm.overcommit_memory=2`), or too small
    /// for the pool that the settings ask for: a memory reserves what a handler
    /// may use, and no more.
    Little { memory_max_bytes: u64 },
}

impl Runtime {
    /// Builds the engine: from a pool of instance slots where the address
    /// space allows it, else, with a warning, on demand.
    ///
    /// `limits` are the usual ones of a handler: its call stack is the pool's.
    ///
    /// # Errors
    /// When this machine cannot run compiled WebAssembly at all.
    pub fn new(
        settings: &SandboxSettings,
        limits: &HandlerLimits,
        budgets: &Budgets,
    ) -> anyhow::Result<Self> {
        let stack_max_bytes = limits.stack_max_bytes;
        let (cache, private) = cache(settings);
        let mut pooled = config(stack_max_bytes, AddressSpace::Plenty, cache.clone());
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(settings)));
        let (engine, space) = match Engine::new(&pooled) {
            Ok(engine) => (engine, AddressSpace::Plenty),
            Err(error) => {
                tracing::warn!(
                    "instances are made on demand, which is slower: no pool of {} slots: {error:#}",
                    settings.instances_max
                );
                let memory_max_bytes = limits.memory_max_bytes as u64;
                let space = AddressSpace::Little { memory_max_bytes };
                let config = config(stack_max_bytes, space, cache.clone());
                (Engine::new(&config)?, space)
            }
        };
        start_ticker(&engine)?;
        let compiler = Compiler::new(settings, private, &engine, cache.as_ref());
        Ok(Self {
            linker: linker(&engine)?,
            engine,
            compiler: compiler.map(Arc::new),
            stop: CancellationToken::new(),
            leaves_notes: false,
            idle: Arc::new(Semaphore::new(idle_max(settings) as usize)),
            turns: Turns::default(),
            table_elements_max: settings.table_elements_max,
            places_max: settings.instances_max,
            budgets: Arc::new(budgets.clone()),
            shares: Arc::new(AllShares::new(budgets.clone())),
            resolver: Resolver::system(),
            stack_max_bytes,
            others: Arc::default(),
            space,
            cache,
        })
    }

    /// The same with a call stack of `stack_max_bytes` for each instance: where
    /// that differs, with an engine that makes instances on demand, and that
    /// lives as long as what is loaded with it.
    pub(super) fn with_stack(&self, stack_max_bytes: usize) -> wasmtime::Result<Self> {
        if stack_max_bytes == self.stack_max_bytes {
            return Ok(self.clone());
        }
        let engine = self.other(stack_max_bytes)?;
        Ok(Self {
            linker: linker(&engine)?,
            engine,
            stack_max_bytes,
            ..self.clone()
        })
    }

    fn other(&self, stack_max_bytes: usize) -> wasmtime::Result<Engine> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = others.get(&stack_max_bytes).and_then(EngineWeak::upgrade) {
            return Ok(engine);
        }
        let engine = Engine::new(&config(stack_max_bytes, self.space, self.cache.clone()))?;
        start_ticker(&engine)?;
        others.insert(stack_max_bytes, engine.weak());
        Ok(engine)
    }

    /// The same, whose compilations end with `stop` where they run in processes of their own.
    #[must_use]
    pub fn stopped_by(&self, stop: CancellationToken) -> Self {
        Self {
            stop,
            ..self.clone()
        }
    }

    /// The same for a host that is started again after it died: a component
    /// that it dies on while compiling is not tried again.
    #[must_use]
    pub fn leaving_notes(&self) -> Self {
        Self {
            leaves_notes: true,
            ..self.clone()
        }
    }

    /// Makes sure that loading these bytes takes no more than the host gives.
    pub(super) fn compile(&self, component: &[u8], digest: &str) -> Result<(), Failure> {
        // Embedded without a program for it, the host compiles what it loads.
        let Some(compiler) = &self.compiler else {
            return Ok(shape::check(component)?);
        };
        compiler.compile(Request {
            component,
            digest,
            engine: (self.stack_max_bytes, self.space),
            stop: &self.stop,
            leaves_note: self.leaves_notes,
        })
    }

    /// How many components this process compiled itself, where compiled code is kept.
    #[must_use]
    pub fn compiled_here(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::cache_misses)
    }

    /// Whether instances come from a pool.
    #[must_use]
    pub fn pooling(&self) -> bool {
        self.engine.get_pooling_config().is_some()
    }
}

pub(super) fn config(stack_max_bytes: usize, space: AddressSpace, cache: Option<Cache>) -> Config {
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

fn linker(engine: &Engine) -> wasmtime::Result<Arc<Linker<State>>> {
    let mut linker = Linker::new(engine);
    bindings::add_to_linker(&mut linker)?;
    Ok(Arc::new(linker))
}

/// One thread an engine, which ends with it.
fn start_ticker(engine: &Engine) -> io::Result<()> {
    let engine = engine.weak();
    thread::Builder::new()
        .name("pointsman-epoch".into())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_with_a_call_stack_of_one_size_share_an_engine_as_long_as_they_live() {
        let (settings, limits) = (SandboxSettings::default(), HandlerLimits::default());
        let usual = Runtime::new(&settings, &limits, &Budgets::here(&Default::default())).unwrap();
        let with = |bytes| usual.with_stack(bytes).unwrap();
        let first = with(1 << 20);
        assert!(Engine::same(&first.engine, &with(1 << 20).engine));
        assert!(!Engine::same(&first.engine, &with(2 << 20).engine));
        assert!(Engine::same(
            &usual.engine,
            &with(usual.stack_max_bytes).engine
        ));
        drop(first);
        let ended = || usual.others.lock().unwrap()[&(1 << 20)].upgrade().is_none();
        // Its ticker holds it now and then.
        let mut looks = (0..1_000).inspect(|_| thread::sleep(TICK));
        assert!(looks.any(|_| ended()));
    }
}
