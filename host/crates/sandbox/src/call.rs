//! One run: an instance, the limits around it, and the outcome that every
//! possible end becomes.
//!
//! | file | owns |
//! |---|---|
//! | `handler` | one component, ready to be called |
//! | `run` | one call, from admission to outcome |
//! | `until` | cancellation, and the call's time |
//! | `ending` | what each way to stop means |
//! | `places`, `breaker` | whether a call may run |
//! | `idle` | instances that wait for their next call |
//! | `engine`, `pool` | what all handlers share, and the places in it |
//! | `bindings` | the contract's imports and exports |
//! | `sql`, `entries`, `emit` | the contract's databases, state and follow-up commands |
//! | `polling`, `timers`, `files`, `request_errors` | WASI where ours differs from wasmtime's |
//! | `state` | the data of a store: `context` and `shared`, and `wasi` with `stdio` |
//! | `cpu`, `turns` | CPU time, and the cores shared out |
//! | `memory`, `limiter` | memory, counted and refused |
//! | `logs` | log lines within limits |
//! | `simulation` | the world of a call in a test: `clock` and `servers` |

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
