//! Databases, state and follow-up commands, from a handler of the SDK to a real
//! store.

mod emit;
mod sql;
mod state;

pub(crate) use sql::answer;
pub(crate) use state::with_queue;
