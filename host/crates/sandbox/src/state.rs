//! Owns what the store of one instance carries: the log sink and the meters of
//! the call it serves now, its settings and, from its first use on, its WASI
//! context.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{
    WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
    cli::{IsTerminal, StdoutStream},
};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::{
    Grants, Plugin,
    files::{Files, FilesView, Preopened},
    grants::{Denial, Outgoing, Resolver},
    limits::{CpuMeter, MemoryLimiter, MemoryUse},
    logs::LogSink,
    settings::HandlerSettings,
    shares::Shares,
    simulation::{Clock, Simulated, SplitMix64},
    turns::Turns,
};
use crate::settings::HandlerLimits;
use pointsman_core::{name::HandlerName, outcome::Level};

/// Bytes that WASI's `get-random-bytes` gives at once; with more it traps. As
/// `random.bytes` of the contract: a millisecond is enough for them.
const RANDOM_BYTES_MAX: u64 = 65_536;

/// Different denials of one call that are logged in its report.
const DENIALS_MAX: usize = 32;

/// The part of a call that outlives its store, which a timeout drops.
pub(super) struct Shared {
    pub(super) logs: LogSink,
    pub(super) cpu: CpuMeter,
    pub(super) memory: MemoryUse,
    /// The clock and the numbers of the call, where they are not this machine's.
    pub(super) simulated: Option<Simulated>,
    pub(super) began: Instant,
    timeout: Duration,
    denials: Mutex<Vec<Denial>>,
}

impl Shared {
    /// A call that began at `began`.
    pub(super) fn new(
        began: Instant,
        limits: &HandlerLimits,
        logs: LogSink,
        simulated: Option<Simulated>,
    ) -> Self {
        Self {
            logs,
            simulated,
            cpu: CpuMeter::new(began, limits.cpu_max()),
            memory: MemoryUse::default(),
            began,
            timeout: limits.timeout(),
            denials: Mutex::default(),
        }
    }

    /// What is left of the call's time.
    pub(super) fn time_left(&self) -> Duration {
        self.timeout.saturating_sub(self.began.elapsed())
    }

    /// Notes a use that was not granted.
    pub(super) fn deny(&self, denial: Denial) {
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        if denials.len() < DENIALS_MAX && !denials.contains(&denial) {
            self.logs.write(Level::Warn, &denial.message);
            denials.push(denial);
        }
    }

    /// The first use that was not granted.
    pub(super) fn denied(&self) -> Option<Denial> {
        let denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        denials.first().cloned()
    }
}

/// The data of one store.
pub(super) struct State {
    name: HandlerName,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<HandlerSettings>,
    pub(super) grants: Arc<Grants>,
    shares: Arc<Shares>,
    resolver: Resolver,
    preopened: Vec<Preopened>,
    pub(super) limiter: MemoryLimiter,
    pub(super) turns: Turns,
    /// The numbers of a simulated call.
    pub(super) random: Option<SplitMix64>,
    // Made at the first call into WASI: most handlers never make one, though
    // std links it.
    wasi: Option<Box<Wasi>>,
}

struct Wasi {
    ctx: WasiCtx,
    files: Files,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    table: ResourceTable,
    streams: [Arc<LogStream>; 2],
}

impl Wasi {
    fn end_lines(&self) {
        for stream in &self.streams {
            stream.line().end(stream.level);
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

impl State {
    /// The state of an instance of `plugin` whose first call is `shared`, with
    /// its folders.
    pub(super) fn new(shared: Arc<Shared>, plugin: &Plugin, folders: Vec<Preopened>) -> Self {
        Self {
            limiter: MemoryLimiter::new(
                plugin.settings.limits.memory_max_bytes,
                plugin.table_elements_max,
                &plugin.budgets.memory,
                Arc::clone(&shared),
            ),
            turns: plugin.turns.clone(),
            random: shared.simulated.as_ref().map(Simulated::random),
            shared,
            name: plugin.name.clone(),
            settings: Arc::clone(&plugin.settings),
            grants: Arc::clone(&plugin.grants),
            shares: Arc::clone(&plugin.shares),
            resolver: plugin.resolver.clone(),
            preopened: folders,
            wasi: None,
        }
    }

    /// Serves the call `shared` from now on.
    pub(super) fn begin(&mut self, shared: &Arc<Shared>) {
        self.shared = Arc::clone(shared);
        self.limiter.begin(Arc::clone(shared));
        if let Some(wasi) = &mut self.wasi {
            wasi.outgoing.shared = Arc::clone(shared);
            for stream in &wasi.streams {
                stream.line().shared = Arc::clone(shared);
            }
        }
    }

    /// Leaves nothing unsaid of the call that ended.
    pub(super) fn end(&self) {
        if let Some(wasi) = &self.wasi {
            wasi.end_lines();
        }
    }

    fn make_wasi(&self) -> Box<Wasi> {
        let mut ctx = WasiCtxBuilder::new();
        let streams = [Level::Info, Level::Warn].map(|level| {
            Arc::new(LogStream {
                level,
                inner: Mutex::new(Line {
                    shared: Arc::clone(&self.shared),
                    bytes: Vec::new(),
                }),
            })
        });
        let mut table = ResourceTable::new();
        table.set_max_capacity(self.settings.limits.resources_max);
        for (name, value) in &self.settings.env {
            ctx.env(name, value);
        }
        if let Some(simulated) = &self.shared.simulated {
            simulated.grant(&mut ctx);
        }
        // Its name is its only argument, since programs take one for granted.
        // No address is granted.
        ctx.arg(self.name.as_str())
            .max_random_size(RANDOM_BYTES_MAX)
            .stdout(Stream(Arc::clone(&streams[0])))
            .stderr(Stream(Arc::clone(&streams[1])))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        Box::new(Wasi {
            ctx: ctx.build(),
            files: Files::new(self.preopened.clone(), Arc::clone(&self.shares)),
            http: WasiHttpCtx::new(),
            outgoing: Outgoing {
                grants: Arc::clone(&self.grants),
                shared: Arc::clone(&self.shared),
                shares: Arc::clone(&self.shares),
                resolver: self.resolver.clone(),
            },
            table,
            streams,
        })
    }

    /// The files of a guest.
    pub(super) fn files(&mut self) -> FilesView<'_> {
        self.wasi();
        let wasi = self.wasi.as_mut().expect("made above");
        FilesView {
            files: &mut wasi.files,
            table: &mut wasi.table,
            logs: &self.shared.logs,
        }
    }

    /// The clock of a simulated call.
    pub(super) fn simulated_clock(&self) -> Option<Clock> {
        let simulated = self.shared.simulated.as_ref();
        simulated.map(|simulated| simulated.clock.clone())
    }

    fn wasi(&mut self) -> &mut Wasi {
        if self.wasi.is_none() {
            self.wasi = Some(self.make_wasi());
        }
        self.wasi.as_mut().expect("made above")
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

/// A standard stream of a WASI guest, whose lines become log lines of the call
/// that the instance serves.
struct LogStream {
    level: Level,
    inner: Mutex<Line>,
}

struct Line {
    shared: Arc<Shared>,
    // Never longer than the log looks at, so that a guest that writes no line
    // break cannot fill the host.
    bytes: Vec<u8>,
}

impl LogStream {
    fn write(&self, bytes: &[u8]) {
        let mut line = self.line();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = line.shared.logs.line_max().saturating_sub(line.bytes.len());
            line.bytes.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                line.end(self.level);
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn end(&mut self, level: Level) {
        if !self.bytes.is_empty() {
            let line = String::from_utf8_lossy(&self.bytes);
            self.shared.logs.write_cut(level, &line);
            self.bytes.clear();
        }
    }
}

/// What WASI writes to.
struct Stream(Arc<LogStream>);

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
