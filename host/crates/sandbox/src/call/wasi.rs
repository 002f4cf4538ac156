//! Owns the WASI context of an instance, made at its first call into WASI: most
//! handlers never make one, though std links it.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::WasiHttpCtx;

use super::{
    context::HandlerContext,
    files::Files,
    shared::Shared,
    stdio::{LogStream, Stream},
};
use crate::grants::{folders::Preopened, outgoing::Outgoing};
use pointsman_core::outcome::Level;

/// Bytes that WASI's `get-random-bytes` gives at once; with more it traps. As
/// `random.bytes` of the contract: a millisecond is enough for them.
const RANDOM_BYTES_MAX: u64 = 65_536;

pub(crate) struct Wasi {
    pub(crate) ctx: WasiCtx,
    pub(crate) files: Files,
    pub(crate) http: WasiHttpCtx,
    pub(crate) outgoing: Outgoing,
    pub(crate) table: ResourceTable,
    streams: [Arc<LogStream>; 2],
}

impl Wasi {
    /// The context of an instance of `handler` with these folders, for the call `shared`.
    pub(crate) fn new(
        handler: &HandlerContext,
        shared: &Arc<Shared>,
        preopened: Vec<Preopened>,
    ) -> Self {
        let mut ctx = WasiCtxBuilder::new();
        let streams = [Level::Info, Level::Warn]
            .map(|level| Arc::new(LogStream::new(level, Arc::clone(shared))));
        let mut table = ResourceTable::new();
        table.set_max_capacity(handler.settings.limits.resources_max);
        for (name, value) in &handler.settings.env {
            ctx.env(name, value);
        }
        if let Some(simulated) = &shared.simulated {
            simulated.grant(&mut ctx);
        }
        // Its name is its only argument, since programs take one for granted.
        // No address is granted.
        ctx.arg(handler.name.as_str())
            .max_random_size(RANDOM_BYTES_MAX)
            .stdout(Stream(Arc::clone(&streams[0])))
            .stderr(Stream(Arc::clone(&streams[1])))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        Self {
            ctx: ctx.build(),
            files: Files::new(preopened, Arc::clone(&handler.shares)),
            http: WasiHttpCtx::new(),
            outgoing: Outgoing::new(
                &handler.grants,
                &handler.clients,
                &handler.place,
                Arc::clone(shared) as _,
            ),
            table,
            streams,
        }
    }

    /// Serves the call `shared` from now on.
    pub(crate) fn begin(&mut self, shared: &Arc<Shared>) {
        self.outgoing.begin(Arc::clone(shared) as _);
        for stream in &self.streams {
            stream.begin(shared);
        }
    }

    /// Leaves nothing unsaid of the call that ended.
    pub(crate) fn end_lines(&self) {
        for stream in &self.streams {
            stream.end_line();
        }
    }
}

impl Drop for Wasi {
    fn drop(&mut self) {
        // Not left to the streams: a task of WASI may hold one a little longer.
        self.end_lines();
        self.files.close(&mut self.table);
    }
}
