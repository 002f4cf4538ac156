//! A durable queue of commands. Once a command is stored, every delivery of it runs
//! at least once and ends completed, dead-lettered or cancelled.
//!
//! [`Store`] defines the behavior of the queue. [`sqlite`] implements it in a local
//! folder, [`postgres`] on a server that several hosts can share, and
//! `tests/it/conformance.rs` tests both. [`worker`] claims deliveries from a store
//! and runs them through an implementation of
//! [`DeliveryRunner`](worker::DeliveryRunner).
//!
//! ```
//! use pointsman_queue::{NewCommand, NewDelivery, Store, sqlite::{Sqlite, SqliteConfig}};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("pointsman-queue-doc-{}", std::process::id()));
//! let store = Sqlite::open(SqliteConfig::new(&folder))?;
//! let delivery = NewDelivery {
//!     handler: "greet".to_owned().try_into()?,
//!     digest: String::new(),
//!     rules: vec!["all".to_owned()],
//!     key: None,
//! };
//! let command = NewCommand::new(r#"{"name":"Ada"}"#, vec![delivery]);
//! let stored = store.enqueue(vec![command]).await?;
//! assert!(!store.get(stored[0].id).await?.is_final());
//! # store.close().await?; std::fs::remove_dir_all(folder)?;
//! # Ok(()) }
//! ```

mod clock;
mod dedup;
mod ending;
mod engines;
mod error;
mod flow;
mod history;
mod intake;
mod json;
mod model;
mod pause;
mod policy;
mod query;
mod schedule;
mod settings;
mod signals;
mod state;
mod store;
pub mod worker;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use dedup::{Dedup, DedupMode};
pub use ending::{Ending, FailureClass};
#[cfg(feature = "postgres")]
pub use engines::postgres;
pub use engines::{open, sqlite};
pub use error::QueueError;
pub use flow::{Flow, Holds, Rate, RateOf};
pub use history::{
    HISTORY_BOUNDS_MS, HISTORY_KEPT, HISTORY_POINTS_MAX, HistoryFilter, HistoryPoint,
};
pub use intake::{Accepted, EnqueueOptions, accept, accept_all};
pub use model::{
    AttemptError, AttemptLog, Capacity, ClaimRequest, Claimed, Claims, Enqueued, Failures, Held,
    IDEMPOTENCY_KEPT, KEY_MAX_BYTES, Lease, NewCommand, NewDelivery, ROUTER, Renewal, RoutedTo,
    Settlement, is_key,
};
pub use pause::{NewPause, PAUSE_BY_MAX_BYTES, PAUSE_REASON_MAX_BYTES, Pause};
pub use pointsman_core::{command::CommandId, delivery::DeliveryId, settings::RetrySettings};
pub use policy::{HOSTS_LOST_MAX, RunResult};
pub use query::{
    Cancellation, CommandFilter, CommandView, DeadCursor, DeadFilter, DeadLetter, DeliveryDetail,
    DeliveryView, Depth, FailedAttempt, LastFailure, PAGE_MAX, PAGE_MAX_BYTES,
    PAYLOAD_SHORT_MAX_BYTES, Page, Swept,
};
pub use schedule::{Firing, FiringResult, SCHEDULES_STEP, ScheduleChange, ScheduleRow, Schedules};
pub use settings::{
    Engine, Pooler, PostgresSettings, QueueSettings, RetentionSettings, SqliteSettings,
};
pub use signals::{Changes, REREAD, Signals, Trouble};
pub use state::{State, UnknownState};
pub use store::{DEPTH_MAX, Store, StoreFuture, wait_for};
