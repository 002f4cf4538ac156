//! The host from outside: as a library, over HTTP and on the command line.

// That of the program: some tests measure memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod architecture;
mod certificates;
mod cli;
mod components;
mod dispatch;
mod documents;
mod egress;
mod host;
mod hostile;
mod http;
mod kit;
#[path = "../../crates/queue/tests/it/postgres_server.rs"]
mod postgres_server;
#[path = "../../crates/queue/tests/it/proxy.rs"]
mod proxy;
mod queue;
mod raw;
mod reload;
mod sandbox;
mod services;
mod telemetry;
mod ui;
