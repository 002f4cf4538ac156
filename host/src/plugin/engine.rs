//! Owns the one wasmtime engine of a host: its tuning, its epoch ticker and the
//! linker with everything that a handler may import.

use std::{sync::Arc, thread, time::Duration};

use tokio::sync::Semaphore;
use wasmtime::{
    Cache, Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::Linker,
};

use super::{bindings, state::State};
use crate::config::HostLimits;

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
    pooling: bool,
}

impl Runtime {
    /// Builds the engine: from a pool of instance slots where the address
    /// space allows it, else, with a warning, on demand.
    ///
    /// # Errors
    /// When this machine cannot run compiled WebAssembly at all.
    pub fn new(limits: &HostLimits) -> anyhow::Result<Self> {
        let (engine, pooling) = match Engine::new(&config(limits, true)) {
            Ok(engine) => (engine, true),
            Err(error) => {
                tracing::warn!(
                    "instances are made on demand, which is slower: no pool of {} slots: {error:#}",
                    limits.instances_max
                );
                (Engine::new(&config(limits, false))?, false)
            }
        };
        let mut linker = Linker::new(&engine);
        bindings::add_to_linker(&mut linker)?;
        start_ticker(&engine);
        Ok(Self {
            engine,
            linker: Arc::new(linker),
            idle: Arc::new(Semaphore::new(idle_max(limits) as usize)),
            table_elements_max: limits.table_elements_max,
            pooling,
        })
    }

    /// Whether instances come from a pool.
    #[must_use]
    pub fn pooling(&self) -> bool {
        self.pooling
    }
}

fn config(limits: &HostLimits, pooling: bool) -> Config {
    let mut config = Config::new();
    // Guests yield at every tick and can be dropped there.
    config.epoch_interruption(true);
    // The contract's exports are synchronous; without it a call costs a third less.
    config.concurrency_support(false);
    config.max_wasm_stack(limits.stack_max_bytes);
    config.async_stack_size(limits.stack_max_bytes + HOST_STACK_BYTES);
    if limits.compile_cache {
        match Cache::from_file(None) {
            Ok(cache) => drop(config.cache(Some(cache))),
            Err(error) => tracing::warn!("compiled code is not kept between runs: {error:#}"),
        }
    }
    if pooling {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    }
    config
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
fn start_ticker(engine: &Engine) {
    let engine = engine.weak();
    thread::Builder::new()
        .name("pointsman-epoch".into())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        })
        .expect("a thread can be started");
}
