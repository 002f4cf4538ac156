//! The baseline: what someone would write straight on wasmtime for the same
//! work and nothing more. The best settings that are known, a fresh instance
//! for each call, epochs, and a page scan that the host must do without (see
//! `pointsman-sandbox`); no limits, no reports, no logs, no cancellation.

use std::{thread, time::Duration};

use wasmtime::{
    Cache, Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, HasSelf, Linker},
};

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        // What the probe imports, and no more.
        inline: "
            package pointsman:raw;
            world handler {
                import pointsman:handler/log@0.2.0;
                import pointsman:handler/clock@0.2.0;
                import pointsman:handler/random@0.2.0;
                import pointsman:handler/config@0.2.0;
                export pointsman:handler/command-handler@0.2.0;
            }",
        imports: { "pointsman:handler/clock.sleep": async },
        exports: { default: async },
    });
}

use generated::{
    Handler, HandlerPre,
    pointsman::handler::{clock, config, log, random, types},
};

/// As often as the host's own ticker.
const TICK: Duration = Duration::from_millis(10);

/// An engine with components that are ready to be called.
pub(crate) struct Raw {
    engine: Engine,
    linker: Linker<Imports>,
    handlers: Vec<HandlerPre<Imports>>,
}

impl Raw {
    /// An engine for up to `instances` at once, with wasmtime's compile cache or without.
    pub(crate) fn new(instances: u32, cache: bool) -> Self {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(instances)
            .total_stacks(instances)
            .total_memories(instances)
            .total_tables(instances * 2)
            .total_core_instances(instances * 4)
            .linear_memory_keep_resident(2 << 20)
            .table_keep_resident(64 << 10)
            .async_stack_keep_resident(64 << 10)
            .pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .concurrency_support(false)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        if cache {
            config.cache(Some(Cache::from_file(None).expect("a cache folder")));
        }
        let engine = Engine::new(&config).expect("address space for the pool");
        let mut linker = Linker::new(&engine);
        Handler::add_to_linker::<_, HasSelf<_>>(&mut linker, |imports| imports)
            .expect("nothing is linked twice");
        let weak = engine.weak();
        thread::spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        });
        Self {
            engine,
            linker,
            handlers: Vec::new(),
        }
    }

    /// Compiles a component.
    pub(crate) fn compile(&self, component: &[u8]) -> HandlerPre<Imports> {
        let component = Component::from_binary(&self.engine, component).expect("it compiles");
        let pre = self.linker.instantiate_pre(&component);
        HandlerPre::new(pre.expect("its imports are linked")).expect("it fits the contract")
    }

    /// Compiles a component and keeps it as the next handler.
    pub(crate) fn load(&mut self, component: &[u8]) {
        let handler = self.compile(component);
        self.handlers.push(handler);
    }

    /// Handles one command in a fresh instance of one handler.
    pub(crate) async fn call(&self, handler: usize, attributes: &str) -> Option<String> {
        let mut store = Store::new(&self.engine, Imports);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let command = types::Command {
            id: "01900000-0000-7000-8000-000000000000".into(),
            attributes: attributes.into(),
            attempt: 1,
            delivery_id: "01900000-0000-7000-8000-000000000000/probe".into(),
            traceparent: None,
        };
        let instance = self.handlers[handler].instantiate_async(&mut store).await;
        let instance = instance.expect("a free slot");
        let handler = instance.pointsman_handler_command_handler();
        let answer = handler.call_handle(&mut store, &command).await;
        answer
            .expect("it does not trap")
            .expect("it does not refuse")
    }
}

/// The imports of the contract, as short as they can be.
pub(crate) struct Imports;

impl types::Host for Imports {}

impl log::Host for Imports {
    fn log(&mut self, _: log::Level, _: String) {}
}

impl clock::Host for Imports {
    fn now(&mut self) -> u64 {
        0
    }

    async fn sleep(&mut self, duration_ms: u64) {
        tokio::time::sleep(Duration::from_millis(duration_ms)).await;
    }
}

impl random::Host for Imports {
    fn number(&mut self) -> u64 {
        0
    }

    fn bytes(&mut self, _: u32) -> Vec<u8> {
        Vec::new()
    }
}

impl config::Host for Imports {
    fn get(&mut self, _: String) -> Option<String> {
        None
    }
}
