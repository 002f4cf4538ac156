//! Owns `wasi:http/types.http-error-code`, in place of the one of wasmtime-wasi-http,
//! which does not know the errors of its own streams: a response that broke off
//! for a limit would look like one that another try may bring.

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, IoError};

use super::state::State;
use crate::grants::outgoing::codes;

/// As wasmtime-wasi-http names it: another version would stand beside it.
const INTERFACE: &str = "wasi:http/types@0.2.12";

/// Lets a guest ask why the body of a response ended before its end.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let added = linker.instance(INTERFACE).and_then(|mut interface| {
        interface.func_wrap(
            "http-error-code",
            |store, (error,): (Resource<IoError>,)| Ok((code(store, &error)?,)),
        )
    });
    linker.allow_shadowing(false);
    added
}

fn code(
    mut store: StoreContextMut<'_, State>,
    error: &Resource<IoError>,
) -> wasmtime::Result<Option<ErrorCode>> {
    let error = store.data_mut().ctx().table.get(error)?;
    let known = error.downcast_ref::<ErrorCode>().cloned();
    Ok(known.or_else(|| error.downcast_ref().map(codes::of_body)))
}
