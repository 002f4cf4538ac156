//! Runs WebAssembly components as command handlers: each call in its own instance,
//! with only the capabilities that the operator granted, and with limits on time,
//! CPU, memory and output. The only crate that depends on wasmtime.
//!
//! Three parts, whose dependencies point one way:
//!
//! | part | contains | may use |
//! |---|---|---|
//! | `load` | bytes → [`Handler`] | all parts |
//! | `call` | one call | `component`, `grants` |
//! | `component` | component files | none of the others |
//! | `grants` | capabilities: folders, HTTP, secrets, environment | none of the others |
//!
//! All of them may use `error`, `services`, `settings` and `shares`, which use none of them.
//! There are no cyclic dependencies within a part. `tests/it/rooms.rs` checks this.
//!
//! ```no_run
//! use std::{path::Path, sync::Arc, time::Instant};
//!
//! use pointsman_core::{command::Command, name::HandlerName};
//! use pointsman_machine::budget::{BudgetSettings, Budgets};
//! use pointsman_sandbox::{
//!     Call, ComponentFile, Grants, HandlerDefaults, HandlerSettings, Runtime, SandboxSettings, Services,
//!     load,
//! };
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> anyhow::Result<()> {
//! let defaults = HandlerDefaults::default();
//! let budgets = Budgets::here(&BudgetSettings::default());
//! let runtime = Runtime::new(&SandboxSettings::default(), &defaults.limits, &budgets)?;
//!
//! let name = HandlerName::parse("greet")?;
//! let settings = HandlerSettings::new(&defaults);
//! let grants = Grants::read(name.clone(), &settings, Path::new("plugins/greet.toml"))?;
//! let file = ComponentFile {
//!     name,
//!     path: Path::new("plugins/greet.wasm"),
//!     bytes: &std::fs::read("plugins/greet.wasm")?,
//!     // The SHA-256 of the bytes, under which compiled code is cached.
//!     digest: "…".into(),
//! };
//! let plugin = load(&runtime, file, Arc::new(settings), Arc::new(grants))?;
//!
//! let command = Command::parse(r#"{"name": "Ada"}"#)?;
//! let call = Call {
//!     attempt: 1,
//!     started: Instant::now(),
//!     on_line: None,
//!     cancel: &CancellationToken::new(),
//!     simulation: None,
//!     services: &Services::NONE,
//!     depth: 0,
//! };
//! let outcome = plugin.call(&command, call).await.outcome;
//! println!("{}", outcome.status().as_str());
//! # Ok(()) }
//! ```

mod call;
mod component;
mod error;
mod grants;
mod load;
mod services;
mod settings;
mod shares;

pub use call::{
    engine::Runtime,
    handler::Handler,
    logs::OnLine,
    run::Call,
    servers::{SimulatedReply, SimulatedServers},
    simulation::Simulation,
};
pub use component::{
    compiler::{
        SUBCOMMAND as COMPILE_SUBCOMMAND, cache_folders, compile_component, forget_unfinished,
    },
    inspect::{Inspection, Need},
};
pub use error::{LoadError, LoadFault, Mismatch};
pub use grants::{
    granted::Grants,
    injected::{HeaderTemplate, Injection, TemplateError},
    outgoing::{Received, RecordedRequest, Recorder, RequestFailure},
    pattern::{HttpPattern, PatternError},
    secrets::SecretSource,
    services::{DatabaseUrl, EmitGrant, SqlGrant, StateGrant, UrlSource},
    settings::{
        Folder, HandlerQueueSettings, HandlerSettings, HttpGrant, InstanceMode, InstanceSettings,
        RateSettings, RetryAfterPauses, SecretSettings,
    },
};
pub use load::{ComponentFile, load};
pub use services::{Answer, FollowUps, Services, StateStore};
pub use settings::{BreakerSettings, HandlerDefaults, HandlerLimits, ProxySource, SandboxSettings};
