//! The host from outside: as a library, over HTTP and on the command line.

mod architecture;
mod cli;
mod contract;
mod dispatch;
mod grants;
mod host;
mod http;
mod instances;
mod reload;
mod rules;
