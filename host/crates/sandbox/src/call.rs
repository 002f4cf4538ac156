//! One call: an instance, its limits, and the outcome for every way in which it can
//! end.
//!
//! | file | contains |
//! |---|---|
//! | `handler` | one component, ready to be called |
//! | `run` | one call, from admission to outcome |
//! | `until` | cancellation, and the call's time |
//! | `ending` | the outcome for each way to end |
//! | `places`, `breaker` | admission of calls |
//! | `idle` | instances waiting for their next call |
//! | `engine`, `pool` | the engine that all handlers share, and its slots |
//! | `bindings` | the contract's imports and exports |
//! | `sql`, `entries`, `emit` | the contract's databases, state and follow-up commands |
//! | `polling`, `timers`, `files`, `request_errors` | parts of WASI that differ from wasmtime's |
//! | `state` | the data of a store: `context` and `shared`, and `wasi` with `stdio` |
//! | `cpu`, `turns` | CPU time, and sharing of the cores |
//! | `memory`, `limiter` | memory, counted and refused |
//! | `logs` | log lines within limits |
//! | `simulation` | the simulated environment of a test case: `clock` and `servers` |

pub(crate) mod bindings;
pub(crate) mod breaker;
pub(crate) mod clock;
pub(crate) mod context;
pub(crate) mod cpu;
mod emit;
mod emitted;
pub(crate) mod ending;
pub(crate) mod engine;
mod entries;
pub(crate) mod files;
pub(crate) mod handler;
pub(crate) mod idle;
pub(crate) mod limiter;
pub(crate) mod logs;
pub(crate) mod memory;
pub(crate) mod places;
pub(crate) mod polling;
pub(crate) mod pool;
pub(crate) mod request_errors;
pub(crate) mod run;
pub(crate) mod servers;
pub(crate) mod shared;
pub(crate) mod simulation;
mod sql;
pub(crate) mod state;
pub(crate) mod stdio;
pub(crate) mod timers;
pub(crate) mod turns;
pub(crate) mod until;
pub(crate) mod wasi;
