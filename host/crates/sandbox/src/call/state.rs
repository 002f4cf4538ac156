//! Owns the data of the store of one instance: the call that it serves now, and
//! its WASI context from its first use on.

use std::{collections::BTreeMap, sync::Arc};

use pointsman_database::Session;

use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::{
    clock::Clock,
    context::HandlerContext,
    files::FilesView,
    limiter::MemoryLimiter,
    shared::Shared,
    simulation::{Simulated, SplitMix64},
    wasi::Wasi,
};
use crate::grants::{folders::Preopened, granted::Denial, outgoing::Caller as _};

/// The data of one store.
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) handler: Arc<HandlerContext>,
    preopened: Vec<Preopened>,
    pub(crate) limiter: MemoryLimiter,
    /// The numbers of a simulated call.
    pub(crate) random: Option<SplitMix64>,
    wasi: Option<Box<Wasi>>,
    /// What the call uses of databases.
    pub(crate) sessions: BTreeMap<String, Session>,
}

impl State {
    /// The state of an instance of `handler` whose first call is `shared`, with
    /// its folders.
    pub(crate) fn new(
        shared: Arc<Shared>,
        handler: Arc<HandlerContext>,
        preopened: Vec<Preopened>,
    ) -> Self {
        Self {
            limiter: MemoryLimiter::new(
                handler.settings.limits.memory_max_bytes,
                handler.table_elements_max,
                &handler.memory,
                Arc::clone(&shared),
            ),
            random: shared.simulated.as_ref().map(Simulated::random),
            shared,
            handler,
            preopened,
            wasi: None,
            sessions: BTreeMap::new(),
        }
    }

    /// Serves the call `shared` from now on.
    pub(crate) fn begin(&mut self, shared: &Arc<Shared>) {
        self.shared = Arc::clone(shared);
        self.limiter.begin(Arc::clone(shared));
        if let Some(wasi) = &mut self.wasi {
            wasi.begin(shared);
        }
    }

    /// Leaves nothing unsaid of the call that ended.
    pub(crate) fn end(&mut self) {
        // What is open is rolled back.
        self.sessions.clear();
        if let Some(wasi) = &self.wasi {
            wasi.end_lines();
        }
    }

    /// Takes note of a use that was not granted.
    pub(crate) fn deny(&self, denial: Denial) -> String {
        self.handler.grants.report(&denial);
        let message = denial.message.clone();
        self.shared.deny(denial);
        message
    }

    /// The files of a guest.
    pub(crate) fn files(&mut self) -> FilesView<'_> {
        self.wasi();
        let wasi = self.wasi.as_mut().expect("made above");
        FilesView {
            files: &mut wasi.files,
            table: &mut wasi.table,
            logs: &self.shared.logs,
        }
    }

    /// The clock of a simulated call.
    pub(crate) fn simulated_clock(&self) -> Option<Clock> {
        let simulated = self.shared.simulated.as_ref();
        simulated.map(|simulated| simulated.clock.clone())
    }

    /// The clock that the guest's waits follow, where nothing real is waited for: a
    /// timer that takes no time would be there before any request.
    pub(crate) fn simulated_waits(&self) -> Option<Clock> {
        let simulated = self.shared.simulated.as_ref()?;
        let is_alone = simulated.servers.is_some() || !self.handler.grants.has_http();
        is_alone.then(|| simulated.clock.clone())
    }

    fn wasi(&mut self) -> &mut Wasi {
        self.wasi.get_or_insert_with(|| {
            let preopened = self.preopened.clone();
            Box::new(Wasi::new(&self.handler, &self.shared, preopened))
        })
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView {
            ctx: &mut wasi.ctx,
            table: &mut wasi.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let wasi = self.wasi();
        WasiHttpCtxView {
            hooks: &mut wasi.outgoing,
            table: &mut wasi.table,
            ctx: &mut wasi.http,
        }
    }
}
