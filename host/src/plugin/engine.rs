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

use tokio::sync::Semaphore;
use wasmtime::{
    Cache, Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy,
    PoolingAllocationConfig, component::Linker,
};

use super::{bindings, state::State};
use crate::config::{Config as Settings, HostLimits};

/// How often a running guest is looked at: the longest that it keeps a worker
/// thread from other tasks, and the grain of its CPU limit.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// What host calls need of the stack below the guest's own.
const HOST_STACK_BYTES: usize = 1536 << 10;

/// Memory that stays mapped in a pool slot between two calls, so that a fresh
/// instance costs no page faults. A Rust handler touches about 1 MiB.
const MEMORY_KEEP_RESIDENT_BYTES: usize = 2 << 20;
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 << 10;
const STACK_KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// A component of componentize-py is made of some 15 modules.
const CORE_INSTANCES_PER_COMPONENT: u32 = 64;

/// Everything that instances of one host share. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(super) engine: Engine,
    pub(super) linker: Arc<Linker<State>>,
    /// Places for instances that wait for their next call, of all plugins together.
    pub(super) idle: Arc<Semaphore>,
    pub(super) table_elements_max: usize,
    stack_max_bytes: usize,
    // By the size of the call stack, as long as something is loaded with them.
    others: Arc<Mutex<BTreeMap<usize, EngineWeak>>>,
    pooling: bool,
    // One for all engines: each has a thread of its own.
    cache: Option<Cache>,
}

impl Runtime {
    /// Builds the engine: from a pool of instance slots where the address
    /// space allows it, else, with a warning, on demand.
    ///
    /// # Errors
    /// When this machine cannot run compiled WebAssembly at all.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let host = &settings.host;
        let stack_max_bytes = settings.limits.stack_max_bytes;
        let cache = host.compile_cache.then(|| Cache::from_file(None));
        let cache = cache.and_then(|cache| {
            cache
                .inspect_err(|error| {
                    tracing::warn!("compiled code is not kept between runs: {error:#}");
                })
                .ok()
        });
        let on_demand = config(stack_max_bytes, cache.clone());
        let mut pooled = on_demand.clone();
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(host)));
        let (engine, pooling) = match Engine::new(&pooled) {
            Ok(engine) => (engine, true),
            Err(error) => {
                tracing::warn!(
                    "instances are made on demand, which is slower: no pool of {} slots: {error:#}",
                    host.instances_max
                );
                (Engine::new(&on_demand)?, false)
            }
        };
        start_ticker(&engine)?;
        Ok(Self {
            linker: linker(&engine)?,
            engine,
            idle: Arc::new(Semaphore::new(idle_max(host) as usize)),
            table_elements_max: host.table_elements_max,
            stack_max_bytes,
            others: Arc::default(),
            pooling,
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
            pooling: false,
            ..self.clone()
        })
    }

    fn other(&self, stack_max_bytes: usize) -> wasmtime::Result<Engine> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = others.get(&stack_max_bytes).and_then(EngineWeak::upgrade) {
            return Ok(engine);
        }
        let engine = Engine::new(&config(stack_max_bytes, self.cache.clone()))?;
        start_ticker(&engine)?;
        others.insert(stack_max_bytes, engine.weak());
        Ok(engine)
    }

    /// Whether instances come from a pool.
    #[must_use]
    pub fn pooling(&self) -> bool {
        self.pooling
    }
}

fn config(stack_max_bytes: usize, cache: Option<Cache>) -> Config {
    let mut config = Config::new();
    // Guests yield at every tick and can be dropped there.
    config.epoch_interruption(true);
    // The contract's exports are synchronous; without it a call costs a third less.
    config.concurrency_support(false);
    config.max_wasm_stack(stack_max_bytes);
    config.async_stack_size(stack_max_bytes + HOST_STACK_BYTES);
    config.cache(cache);
    config
}

fn linker(engine: &Engine) -> wasmtime::Result<Arc<Linker<State>>> {
    let mut linker = Linker::new(engine);
    bindings::add_to_linker(&mut linker)?;
    Ok(Arc::new(linker))
}

/// Instances that may wait for their next call: enough for each core and
/// handler of a usual host, and no more memory than a quarter of what may run.
fn idle_max(limits: &HostLimits) -> u32 {
    (limits.instances_max / 4).max(1)
}

fn pool(limits: &HostLimits) -> PoolingAllocationConfig {
    // Those that are kept do not take the place of those at work.
    let instances = limits.instances_max.saturating_add(idle_max(limits));
    let mut pool = PoolingAllocationConfig::new();
    // A component instance has one memory and table as a rule, and a few core
    // instances. Slots that are never used cost address space only.
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_core_instances(instances.saturating_mul(4))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_tables_per_component(CORE_INSTANCES_PER_COMPONENT)
        .table_elements(limits.table_elements_max)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
        // Linux 6.7 tells which pages a guest wrote; only those are cleared.
        .pagemap_scan(Enabled::Auto);
    pool
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
        let usual = Runtime::new(&Settings::default()).unwrap();
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
