//! Owns the timers of WASI in a simulated call.

use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::{
    WasiView,
    clocks::WasiClocksCtxView,
    p2::{DynPollable, bindings::clocks::monotonic_clock, subscribe},
};

use super::{clock::Clock, state::State};

/// Lets the timers of WASI follow a simulated clock: those of wasmtime-wasi
/// always wait for the machine's.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let added = monotonic_clock::add_to_linker::<_, Timers>(linker, |state| TimersView {
        simulated: state.simulated_waits(),
        state,
    });
    linker.allow_shadowing(false);
    added
}

struct Timers;

impl HasData for Timers {
    type Data<'a> = TimersView<'a>;
}

struct TimersView<'a> {
    simulated: Option<Clock>,
    state: &'a mut State,
}

impl TimersView<'_> {
    fn real(&mut self) -> WasiClocksCtxView<'_> {
        let view = self.state.ctx();
        WasiClocksCtxView {
            ctx: view.ctx.clocks(),
            table: view.table,
        }
    }

    fn timer(&mut self, clock: Clock, due: Duration) -> wasmtime::Result<Resource<DynPollable>> {
        let table = self.state.ctx().table;
        let timer = table.push(clock.timer(due))?;
        subscribe(table, timer)
    }
}

impl monotonic_clock::Host for TimersView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.real().now()
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        self.real().resolution()
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.simulated.clone() {
            Some(clock) => self.timer(clock, Duration::from_nanos(when)),
            None => self.real().subscribe_instant(when),
        }
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.simulated.clone() {
            Some(clock) => {
                let due = clock
                    .elapsed()
                    .saturating_add(Duration::from_nanos(duration));
                self.timer(clock, due)
            }
            None => self.real().subscribe_duration(duration),
        }
    }
}
