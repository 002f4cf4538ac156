//! The host from outside: as a library, over HTTP and on the command line.

// That of the program: some tests measure memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod architecture;
mod build_tools;
mod cases;
mod cases_cli;
mod check_files;
mod cli;
mod cli_rules;
mod compile;
mod components;
mod contract;
mod dev;
mod dispatch;
mod exhaustion;
mod foreign_files;
mod foreign_text;
mod fuzzed_inputs;
mod fuzzed_plugins;
mod gc;
mod grants;
mod grants_bounds;
mod guest_text;
mod host;
mod hostile_rules;
mod http;
mod http_bounds;
mod instances;
mod languages;
mod new;
#[path = "../../crates/queue/tests/it/postgres_server.rs"]
mod postgres_server;
mod program_faults;
#[path = "../../crates/queue/tests/it/proxy.rs"]
mod proxy;
mod queue;
mod raw;
mod reload;
mod reload_stress;
mod sandbox;
mod soak;
mod swap;
mod typescript;
