//! Owns what the store of one call carries: its log sink, its meters, its
//! settings and, from its first use on, its WASI context.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{
    WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
    cli::{IsTerminal, StdoutStream},
};

use super::{
    limits::{CpuMeter, MemoryLimiter, MemoryUse},
    logs::LogSink,
    settings::HandlerSettings,
};
use crate::outcome::Level;

/// The part of a call that outlives its store, which a timeout drops.
pub(super) struct Shared {
    pub(super) logs: LogSink,
    pub(super) cpu: CpuMeter,
    pub(super) memory: MemoryUse,
}

/// The data of one store.
pub(super) struct State {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<HandlerSettings>,
    pub(super) limiter: MemoryLimiter,
    // Made at the first call into WASI: most handlers never make one, though
    // std links it.
    wasi: Option<Box<Wasi>>,
}

struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl State {
    pub(super) fn new(shared: Arc<Shared>, settings: Arc<HandlerSettings>) -> Self {
        Self {
            limiter: MemoryLimiter::new(settings.limits.memory_max_bytes, Arc::clone(&shared)),
            shared,
            settings,
            wasi: None,
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| {
            let output = |level| LogStream {
                shared: Arc::clone(&self.shared),
                level,
            };
            let mut table = ResourceTable::new();
            table.set_max_capacity(self.settings.limits.resources_max);
            let mut ctx = WasiCtxBuilder::new();
            // No folder, variable, argument or address is granted.
            ctx.stdout(output(Level::Info))
                .stderr(output(Level::Warn))
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false);
            Box::new(Wasi {
                ctx: ctx.build(),
                table,
            })
        });
        WasiCtxView {
            ctx: &mut wasi.ctx,
            table: &mut wasi.table,
        }
    }
}

/// A standard stream of a WASI guest, whose lines become log lines.
struct LogStream {
    shared: Arc<Shared>,
    level: Level,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(LineWriter {
            shared: Arc::clone(&self.shared),
            level: self.level,
            line: Vec::new(),
        })
    }
}

/// Cuts what is written into lines.
struct LineWriter {
    shared: Arc<Shared>,
    level: Level,
    // Never longer than the log limit, so that a guest that writes no line
    // break cannot fill the host.
    line: Vec<u8>,
}

impl LineWriter {
    fn end_line(&mut self) {
        if !self.line.is_empty() {
            let line = String::from_utf8_lossy(&self.line);
            self.shared.logs.write(self.level, &line);
            self.line.clear();
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.end_line();
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = self.shared.logs.bytes_max().saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                self.end_line();
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
