//! Owns how a guest waits, in place of `wasi:io/poll` of wasmtime-wasi. `poll` there
//! takes in every entry of the guest's list before anything can be said of it: a
//! list with millions of entries, which are only the same few over and over, would
//! keep a worker thread from all other tasks. And in a simulated call the clock
//! moves where the guest waits.

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, WasmList},
};
use wasmtime_wasi::{
    WasiView,
    p2::{DynPollable, bindings::io::poll::Host},
};

use super::state::State;

/// As wasmtime-wasi names it: another version would stand beside it.
const INTERFACE: &str = "wasi:io/poll@0.2.12";

type Pollables = WasmList<Resource<DynPollable>>;

/// Lets a guest poll as many pollables at once as it may hold resources.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let added = linker.instance(INTERFACE).and_then(|mut interface| {
        interface.func_wrap_async("poll", |store, (list,): (Pollables,)| {
            Box::new(poll(store, list))
        })?;
        interface.func_wrap_async(
            "[method]pollable.block",
            |mut store, (pollable,): (Resource<DynPollable>,)| {
                Box::new(async move { wait(&mut store, vec![pollable]).await.map(drop) })
            },
        )
    });
    linker.allow_shadowing(false);
    added
}

async fn poll(
    mut store: StoreContextMut<'_, State>,
    list: Pollables,
) -> wasmtime::Result<(Vec<u32>,)> {
    let max = store.data().handler.settings.limits.resources_max;
    let count = list.len();
    if count > max {
        wasmtime::bail!(
            "polls {count} pollables at once, more than the {max} of `limits.resources_max`"
        );
    }
    let pollables = (0..count).filter_map(|index| list.get(&mut store, index));
    let pollables = pollables.collect::<wasmtime::Result<Vec<_>>>()?;
    Ok((wait(&mut store, pollables).await?,))
}

async fn wait(
    store: &mut StoreContextMut<'_, State>,
    pollables: Vec<Resource<DynPollable>>,
) -> wasmtime::Result<Vec<u32>> {
    let clock = store.data().simulated_waits();
    let ready = Host::poll(store.data_mut().ctx().table, pollables);
    match clock {
        Some(clock) => clock.until(ready).await,
        None => ready.await,
    }
}
