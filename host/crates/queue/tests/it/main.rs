//! The queue from outside, as a user of the library sees it.

mod conformance;
mod dedup;
mod engines;
mod entries;
mod faults;
mod fuzzed;
mod history;
mod json;
mod keys;
mod lifecycle;
mod listed;
mod model;
mod order;
mod pauses;
mod routing;
mod schedules;
mod schema;
mod store;
mod worker;

#[cfg(feature = "postgres")]
mod conflicts;
#[cfg(feature = "postgres")]
mod network;
#[cfg(feature = "postgres")]
mod pooler;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_server;
#[cfg(feature = "postgres")]
mod postgres_tls;
#[cfg(feature = "postgres")]
mod proxy;
#[cfg(feature = "postgres")]
mod tls;
