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
use tokio_util::sync::CancellationToken;
use wasmtime::{Cache, Engine, EngineWeak, InstanceAllocationStrategy, component::Linker};

use super::{
    bindings,
    pool::{idle_max, pool},
    state::State,
    turns::Turns,
};
use crate::{
    component::{
        compiler::{Compiler, Failure, Request, cache},
        config::{AddressSpace, config},
        shape,
    },
    grants::outgoing::Network,
    settings::{HandlerLimits, SandboxSettings},
    shares::AllShares,
};
use pointsman_machine::budget::{Budget, Budgets};

/// How often a running guest is looked at: the longest that it keeps a worker
/// thread from other tasks, and the grain of its CPU limit.
const TICK: Duration = Duration::from_millis(2);

/// Everything that instances of one host share. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Arc<Linker<State>>,
    /// Places for instances that wait for their next call, of all plugins together.
    pub(crate) idle: Arc<Semaphore>,
    pub(crate) turns: Turns,
    pub(crate) table_elements_max: usize,
    /// The host's places for calls.
    pub(crate) places_max: u32,
    /// What all handlers' memories and tables together may take.
    pub(crate) memory: Arc<Budget>,
    /// What each handler may take of the host's budgets.
    pub(crate) shares: Arc<AllShares>,
    /// Finds where requests go.
    pub(crate) network: Network,
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
            memory: Arc::clone(&budgets.memory),
            shares: Arc::new(AllShares::new(budgets.clone())),
            network: Network::system(settings.outgoing_proxy)?,
            stack_max_bytes,
            others: Arc::default(),
            space,
            cache,
        })
    }

    /// The same with a call stack of `stack_max_bytes` for each instance: where
    /// that differs, with an engine that makes instances on demand, and that
    /// lives as long as what is loaded with it.
    pub(crate) fn with_stack(&self, stack_max_bytes: usize) -> wasmtime::Result<Self> {
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
    pub(crate) fn compile(&self, component: &[u8], digest: &str) -> Result<(), Failure> {
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
