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
mod program_faults;
mod queue_conformance;
mod queue_engines;
mod queue_faults;
mod queue_host;
mod queue_hosts;
mod queue_kill;
mod queue_lifecycle;
mod queue_network;
mod queue_postgres;
mod queue_postgres_setup;
mod queue_program;
mod queue_remote;
mod queue_requests;
mod queue_store;
mod queue_worker;
mod raw;
mod reload;
mod reload_stress;
mod sandbox;
mod soak;
mod swap;
mod typescript;
