//! Pointsman routes JSON commands to sandboxed WebAssembly handlers.
//!
//! The path of a command, top to bottom; arrows may skip floors, never point up:
//!
//! | floor | module | owns |
//! |---|---|---|
//! | surfaces | [`cli`] | the command line: one file a subcommand |
//! | | [`host`] | the composition and life cycle: load, watch, stop |
//! | | [`http`] | routes, wire shapes, problem documents |
//! | | [`cloudevents`] | a CloudEvent → a command, and its keys |
//! | service | [`queue`] | accepted commands, durable until finished: store, worker |
//! | | [`dispatcher`] | command + snapshot → one task a match → report |
//! | | [`reload`] | changed files → the next snapshot |
//! | core | [`snapshot`] | handlers + rules of one generation, swapped whole |
//! | | [`rules`] | rule files → rule set; which handlers a command goes to, and why |
//! | | [`sandbox`] | component → handler; one call in a sandbox → outcome |
//! | leaves | [`command`] | one valid JSON object |
//! | | [`outcome`] | what a handler's call and a command came to |
//! | | [`access`] | tokens and roles: who may do what |
//! | | [`tls`] | the certificate that the server speaks TLS with |
//! | | [`config`] | every setting and limit |
//! | | [`metrics`] | counts and durations of commands and calls |
//! | | [`telemetry`] | spans of requests, calls and attempts → a collector |
//! | | [`budget`] | what all of it together may take of the machine |
//! | | [`name`] | handler names, nearest names |
//! | | [`log`] | log lines → standard error, never waited for |
//! | | [`files`] | regular files, read with a limit |
//! | | [`text`] | foreign text, made safe to print |
//! | | [`shutdown`] | tasks, and how they end |
//! | beside | [`build`] | source folder → component: one recipe per language |
//! | | [`cases`] | case files + component → what is not as expected |
//! | | [`new`] | templates → the source folder of a new handler |
//! | | [`sources`] | waits for changes in source folders |
//!
//! To embed it without the command line and HTTP:
//!
//! ```no_run
//! use pointsman::{host::Host, command::Command, config::Config, dispatcher::DispatchOptions};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let host = Host::load(Config::default()).await?;
//! let command = Command::parse(r#"{"requestType":"CreatePolicy"}"#)?;
//! let report = host.dispatch(command, DispatchOptions::default()).await?;
//! println!("{}", serde_json::to_string(&report)?);
//! # Ok(()) }
//! ```

pub mod access;
pub mod cli;
pub mod cloudevents;
pub mod config;
pub mod dispatcher;
pub mod host;
pub mod http;
pub mod log;
pub mod metrics;
pub mod queue;
pub mod reload;
pub mod snapshot;
pub mod telemetry;
pub mod tls;

pub use pointsman_core::{command, delivery, diagnostic, name, outcome, text};
pub use pointsman_kit::{build, cases, new, sources};
pub use pointsman_machine::{budget, files, shutdown};
pub use pointsman_rules as rules;
pub use pointsman_sandbox as sandbox;

/// Its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct Embedding;
