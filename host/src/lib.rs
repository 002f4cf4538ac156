//! Pointsman routes JSON commands to sandboxed WebAssembly handlers.
//!
//! [`host::Host`] is the entry point; [`cli`] is the program. The modules by layer; a layer
//! depends only on those below it:
//!
//! | layer | module | contains |
//! |---|---|---|
//! | surfaces | [`cli`] | the command line: one file per subcommand |
//! | | [`host`] | composition and life cycle: load, watch, stop |
//! | | [`http`] | routes, JSON formats, problem documents |
//! | | [`cloudevents`] | CloudEvents → commands and their keys |
//! | service | [`queue`] | the durable queue: store, worker |
//! | | [`dispatcher`] | command + snapshot → one task per match → report |
//! | | [`reload`] | changed files → the next snapshot |
//! | core | [`snapshot`] | handlers + rules of one generation, replaced as a whole |
//! | | [`rules`] | rule files → rule set; which handlers a command goes to, and why |
//! | | [`sandbox`] | component → handler; one call in a sandbox → outcome |
//! | leaves | [`command`] | one valid JSON object |
//! | | [`outcome`] | outcomes of handler calls, and reports of commands |
//! | | [`access`] | tokens and roles |
//! | | [`config`] | every setting and limit |
//! | | [`metrics`] | counts and durations of commands and calls |
//! | | [`telemetry`] | spans of requests, calls and attempts → a collector |
//! | | [`budget`] | host-wide budgets of memory, descriptors and threads |
//! | | [`name`] | names of handlers and rules, similar names |
//! | | [`log`] | log lines → standard error, without blocking |
//! | | [`files`] | reading regular files with limits |
//! | | [`text`] | escaping of untrusted text |
//! | | [`shutdown`] | tasks and graceful shutdown |
//! | tools | [`build`] | source folder → component: one recipe per language |
//! | | [`cases`] | case files + component → differences |
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
