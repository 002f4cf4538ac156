//! The host from outside: as a library, over HTTP and on the command line.

mod architecture;
mod build_tools;
mod cases;
mod cases_cli;
mod check_files;
mod cli;
mod cli_rules;
mod components;
mod contract;
mod dev;
mod dispatch;
mod fuzzed_plugins;
mod grants;
mod host;
mod http;
mod instances;
mod languages;
mod new;
mod reload;
mod reload_stress;
mod rules;
mod sandbox;
mod typescript;
