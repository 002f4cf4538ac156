//! Any bytes as a component: refused with a reason and a hint, or loaded and
//! called within the limits, whatever comes of it.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use pointsman::{
    budget::Budgets,
    command::Command,
    config::{Config, HandlerLimits},
    name::HandlerName,
    sandbox::{self, Call, ComponentFile, Grants, Handler, HandlerSettings, LoadError, Runtime},
};
use tokio_util::sync::CancellationToken;

/// A bound for a hang, far above the timeout of the call.
const CALL_MAX: Duration = Duration::from_secs(10);

struct Bench {
    config: Config,
    runtime: Runtime,
    threads: tokio::runtime::Runtime,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let limits = HandlerLimits {
        timeout: std::time::Duration::from_millis(200),
        cpu_max: std::time::Duration::from_millis(20),
        memory_max_bytes: 8 << 20,
        ..HandlerLimits::default()
    };
    let mut config = Config {
        limits,
        ..Config::default()
    };
    config.host.sandbox.instances_max = 16;
    config.host.sandbox.compile_cache = false;
    // Compiled in this process, where the fuzzer sees the time and the memory it
    // takes: the bounds on the shape alone have to keep them small.
    config.host.sandbox.compile_program = None;
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("there are threads");
    let budgets = Budgets::here(&config.budgets());
    let runtime = Runtime::new(&config.host.sandbox, &config.limits, &budgets).expect("an engine");
    Bench {
        config,
        runtime,
        threads,
    }
});

pub(crate) fn run(data: &[u8]) {
    match BENCH.load(data) {
        Ok(plugin) => BENCH.call(&plugin),
        Err(error) => {
            // A library failed on it, and `load` came out of that by its guard alone.
            assert!(
                !error.reason.contains("the compiler failed on it"),
                "{error:?}"
            );
            assert!(!error.reason.is_empty(), "{error:?}");
            assert!(!error.hint.is_empty(), "{error:?}");
        }
    }
}

impl Bench {
    fn load(&self, bytes: &[u8]) -> Result<Handler, LoadError> {
        let settings = HandlerSettings::new(&self.config.handler_defaults());
        let name = HandlerName::parse("fuzzed").expect("a name");
        let path = Path::new("plugins/fuzzed.wasm");
        let grants = Grants::read(name.clone(), &settings, path)?;
        let (settings, grants) = (Arc::new(settings), Arc::new(grants));
        let digest = "digest".into();
        let file = ComponentFile {
            name,
            path,
            bytes,
            digest,
        };
        sandbox::load(&self.runtime, file, settings, grants)
    }

    fn call(&self, plugin: &Handler) {
        let command = Command::parse(r#"{"requestType":"CreatePolicy"}"#).expect("a command");
        let call = Call {
            attempt: 1,
            started: Instant::now(),
            on_line: None,
            cancel: &CancellationToken::new(),
            simulation: None,
            services: &sandbox::Services::NONE,
            depth: 0,
        };
        self.threads.block_on(async {
            let ended = tokio::time::timeout(CALL_MAX, plugin.call(&command, call)).await;
            ended.expect("the call ends");
        });
    }
}
