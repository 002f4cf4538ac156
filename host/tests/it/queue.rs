//! The queue of the program as users meet it: over HTTP, from the command line,
//! several hosts on one database, and killed.

mod bulk;
mod database;
mod following;
mod history;
pub(crate) mod host;
mod hosts;
mod keys;
mod kill;
mod pauses;
pub(crate) mod program;
mod remote;
mod requests;
mod schedules;
