//! Owns the nouns of the queue: commands and deliveries as they go in, are
//! claimed, settled and shown. Both engines speak these and nothing else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    clock::Timestamp,
    dedup::Dedup,
    ending::{Ending, FailureClass},
    error::QueueError,
    flow::{Flow, Holds},
    state::State,
};
use pointsman_core::{
    command::CommandId, delivery::DeliveryId, name::HandlerName, outcome::Status,
};

/// A command to store, with its deliveries.
#[derive(Clone, Debug)]
pub struct NewCommand {
    /// Its id.
    pub id: CommandId,
    /// The JSON text of its attributes.
    pub attributes: String,
    /// If set, the same key with the same attributes returns the first id
    /// for `idempotency_kept`.
    pub idempotency_key: Option<String>,
    /// How long the key is remembered.
    pub idempotency_kept: Duration,
    /// Whether the key alone says that it is the same: other attributes are no conflict.
    pub same_by_key: bool,
    /// What it is not to be stored beside; in place of an idempotency key, and of a lone command.
    pub dedup: Option<Dedup>,
    /// The generation of the rules that routed it.
    pub rules_generation: u64,
    /// The W3C trace context of the caller.
    pub traceparent: Option<String>,
    /// Among waiting deliveries, those with a higher priority run first.
    pub priority: i32,
    /// Not before this time.
    pub run_at: Option<Timestamp>,
    /// Deliveries to one handler with the same key run one after another, in the
    /// order in which they were stored. A delivery that is being retried blocks those
    /// behind it; once it has ended, however it ended, the next one runs. A delivery
    /// with a `run_at` in the future joins the end of the order at that time.
    pub ordering_key: Option<String>,
    /// The delivery that emitted it, if one did.
    pub causation: Option<DeliveryId>,
    /// The command of which it is a rerun, if any.
    pub rerun_of: Option<CommandId>,
    /// The length of the chain of commands, each emitted by the one before, that led to it.
    pub depth: u32,
    /// One per handler; empty for a command that matched nothing.
    pub deliveries: Vec<NewDelivery>,
    /// Whether it is stored if its idempotency key is new. If false, only an earlier
    /// command with the key is looked up: the rules refuse a new one.
    pub may_be_new: bool,
}

/// One handler that a command goes to.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// The handler.
    pub handler: HandlerName,
    /// The digest of its plugin when it was routed.
    pub digest: String,
    /// The names of the rules that chose it.
    pub rules: Vec<String>,
    /// Whose it is, among those of the handler: claims go round the keys.
    pub key: Option<String>,
}

impl NewDelivery {
    /// The names of the rules as JSON text, as they are stored.
    pub(super) fn rules_json(&self) -> String {
        serde_json::json!(self.rules).to_string()
    }
}

/// The handler of a command that was stored before it was routed: no component has its name.
pub const ROUTER: &str = HandlerName::ROUTER;

/// Where a command goes that was stored before it was routed.
#[derive(Clone, Debug)]
pub struct RoutedTo {
    /// The generation of the rules that routed it.
    pub rules_generation: u64,
    /// One a handler; none where it matched nothing.
    pub deliveries: Vec<NewDelivery>,
}

/// How long an idempotency key is remembered by default.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The longest idempotency or ordering key, in bytes: it sits in an index.
pub const KEY_MAX_BYTES: usize = 255;

impl NewCommand {
    /// A command with these attributes and default options.
    #[must_use]
    pub fn new(attributes: impl Into<String>, deliveries: Vec<NewDelivery>) -> Self {
        Self {
            id: CommandId::generate(),
            attributes: attributes.into(),
            idempotency_key: None,
            idempotency_kept: IDEMPOTENCY_KEPT,
            same_by_key: false,
            dedup: None,
            rules_generation: 0,
            traceparent: None,
            priority: 0,
            run_at: None,
            ordering_key: None,
            causation: None,
            rerun_of: None,
            depth: 0,
            deliveries,
            may_be_new: true,
        }
    }

    /// Checks what both engines rely on.
    pub(super) fn validate(&self) -> Result<(), QueueError> {
        for (field, key) in [
            ("idempotency key", &self.idempotency_key),
            ("ordering key", &self.ordering_key),
            ("dedup", &self.dedup.as_ref().map(|dedup| dedup.key.clone())),
        ] {
            let Some(key) = key else { continue };
            if !is_key(key) {
                return Err(wrong_key(field));
            }
        }
        if self.dedup.is_some() && self.idempotency_key.is_some() {
            let reason = "a command has an idempotency key or this one: leave one out".to_owned();
            return Err(QueueError::Invalid {
                field: "dedup",
                reason,
            });
        }
        if self.attributes.contains('\0') || self.traceparent.iter().any(|t| t.contains('\0')) {
            let reason = "a NUL character cannot be stored".to_owned();
            return Err(QueueError::Invalid {
                field: "command",
                reason,
            });
        }
        let mut keys = self.deliveries.iter().filter_map(|one| one.key.as_deref());
        if keys.any(|key| !is_key(key)) {
            return Err(wrong_key("key"));
        }
        let mut handlers: Vec<_> = self.deliveries.iter().map(|d| &d.handler).collect();
        handlers.sort_unstable();
        if let Some(pair) = handlers.windows(2).find(|pair| pair[0] == pair[1]) {
            let reason = format!("handler `{}` is named twice", pair[0]);
            return Err(QueueError::Invalid {
                field: "deliveries",
                reason,
            });
        }
        Ok(())
    }
}

/// Whether a string is a valid key.
#[must_use]
pub fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= KEY_MAX_BYTES && !key.contains(char::is_control)
}

fn wrong_key(field: &'static str) -> QueueError {
    let reason = format!("use 1 to {KEY_MAX_BYTES} bytes without control characters");
    QueueError::Invalid { field, reason }
}

/// The result of an enqueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The command: an earlier one if the idempotency key was known.
    pub id: CommandId,
    /// Whether it was stored before.
    pub repeated: bool,
    /// Whether it was stored before and is what was asked now.
    pub replaced: bool,
}

/// Checks commands that are stored together.
pub(super) fn validate_all(commands: &[NewCommand]) -> Result<(), QueueError> {
    if commands.len() > 1 && commands.iter().any(|one| one.dedup.is_some()) {
        return Err(QueueError::Invalid {
            field: "dedup",
            reason: "is for one command, not for several at once".to_owned(),
        });
    }
    commands.iter().try_for_each(NewCommand::validate)
}

/// A worker's request for deliveries.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// The maximum number of deliveries. Zero only processes expired leases and delays.
    pub max: usize,
    /// How long the lease lasts until it is renewed.
    pub lease: Duration,
    /// Which deliveries.
    pub capacity: Capacity,
    /// Whether the flows have changed since the last successful claim, so that they are
    /// read again.
    pub flows_changed: bool,
    /// The leases of the runs in this process. If no other process uses the store,
    /// they never expire.
    pub held: Held,
}

/// The leases that a worker holds, by row: clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<Mutex<HashMap<i64, Uuid>>>);

impl Held {
    pub(super) fn add(&self, lease: &Lease) {
        self.lock().insert(lease.row, lease.token);
    }

    pub(super) fn remove(&self, lease: &Lease) {
        if self.holds(lease.row, lease.token) {
            self.lock().remove(&lease.row);
        }
    }

    pub(super) fn holds(&self, row: i64, token: Uuid) -> bool {
        self.lock().get(&row) == Some(&token)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Uuid>> {
        // Every change is one call of the map: a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The deliveries that a host can run.
#[derive(Clone, Debug, Default)]
pub struct Capacity {
    /// The handlers it has, in order of name; none for all.
    pub handlers: Option<Arc<[HandlerName]>>,
    /// How many deliveries of a handler run at once over all hosts; a handler
    /// that is not named has no limit.
    pub limits: Arc<HashMap<HandlerName, usize>>,
    /// What its keys share, and at which rate; the same.
    pub flows: Arc<HashMap<HandlerName, Flow>>,
}

/// The result of a claim.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The deliveries, most urgent first. They are running, and the attempt is counted.
    pub deliveries: Vec<Claimed>,
    /// How long until the next delay or lease ends, if any.
    pub next_due: Option<Duration>,
}

/// The right to settle one attempt of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Where the engine finds it.
    pub(super) row: i64,
    /// The fence: fresh for every claim.
    pub(super) token: Uuid,
}

/// How often a delivery has failed, by class, since it was last enqueued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Transient failures.
    pub transient: u32,
    /// Traps.
    pub trap: u32,
    /// Timeouts.
    pub timeout: u32,
    /// Out of memory.
    pub memory: u32,
}

impl Failures {
    /// All together.
    #[must_use]
    pub fn total(self) -> u32 {
        self.transient
            .saturating_add(self.trap)
            .saturating_add(self.timeout)
            .saturating_add(self.memory)
    }
}

/// A delivery to run.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The right to settle it.
    pub lease: Lease,
    /// 1 on the first run.
    pub attempt: u32,
    /// The earlier failures.
    pub failures: Failures,
    /// The JSON text of the command's attributes.
    pub attributes: String,
    /// The W3C trace context of the caller.
    pub traceparent: Option<String>,
    /// See [`NewCommand::depth`].
    pub depth: u32,
}

/// A log line of a failed run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptLog {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The line.
    pub message: String,
}

/// Why an attempt failed. Stored as JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptError {
    /// How the run ended.
    pub status: Ending,
    /// The reason, for people.
    pub message: String,
    /// What the handler logged in that run.
    pub logs: Vec<AttemptLog>,
}

/// How an attempt of a claimed delivery is settled.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// It is completed.
    Complete {
        /// The handler's output: JSON text.
        output: Option<String>,
        /// The commands that it emitted, stored in the same transaction.
        follow_ups: Vec<NewCommand>,
    },
    /// It was the delivery to [`ROUTER`]: those to the handlers take its place.
    Route(RoutedTo),
    /// It is retried.
    Retry {
        /// Why.
        error: AttemptError,
        /// How long to wait first.
        delay: Duration,
        /// What waits with it.
        holds: Holds,
    },
    /// It is dead-lettered.
    Discard {
        /// Why.
        error: AttemptError,
    },
    /// It is released as if it had never been claimed: the attempt is not counted.
    Release,
}

impl Settlement {
    /// What takes its place where the store can never take it: the same end
    /// without the text that was refused, or, for an output, a failure.
    #[must_use]
    pub fn unstorable(self, why: &QueueError) -> Self {
        let (status, cause) = match (why, std::error::Error::source(why)) {
            (QueueError::NoRoom, _) => (Status::OutputTooLarge, format!(": {why}")),
            (_, Some(cause)) => (Status::InvalidOutput, format!(": {cause}")),
            (_, None) => (Status::InvalidOutput, String::new()),
        };
        let emptied = |status| AttemptError {
            status,
            message: format!("the store rejects the result of the attempt{cause}"),
            logs: Vec::new(),
        };
        match self {
            Self::Complete { .. } | Self::Route(_) => Self::Discard {
                error: emptied(Ending::Ran(status)),
            },
            Self::Retry {
                error,
                delay,
                holds,
            } => Self::Retry {
                error: emptied(error.status),
                delay,
                holds,
            },
            Self::Discard { error } => Self::Discard {
                error: emptied(error.status),
            },
            Self::Release => Self::Release,
        }
    }
}

/// The columns that a settlement changes, the same for both engines.
pub(super) struct SettlementRow {
    pub(super) state: State,
    pub(super) output: Option<String>,
    pub(super) delay: Duration,
    pub(super) holds: Holds,
    pub(super) charged: bool,
    pub(super) failures: Failures,
    pub(super) error: Option<AttemptError>,
    pub(super) follow_ups: Vec<NewCommand>,
    pub(super) routed: Option<RoutedTo>,
}

impl From<Settlement> for SettlementRow {
    fn from(settlement: Settlement) -> Self {
        let mut row = Self {
            state: State::Completed,
            output: None,
            delay: Duration::ZERO,
            holds: Holds::Delivery,
            charged: true,
            failures: Failures::default(),
            error: None,
            follow_ups: Vec::new(),
            routed: None,
        };
        match settlement {
            Settlement::Route(routed) => row.routed = Some(routed),
            // NUL ends a text in PostgreSQL; JSON text has no raw one to lose.
            Settlement::Complete { output, follow_ups } => {
                row.output = output.map(|o| o.replace('\0', ""));
                row.follow_ups = follow_ups;
            }
            Settlement::Retry {
                error,
                delay,
                holds,
            } => {
                row.state = State::Retryable;
                (row.delay, row.holds) = (delay, holds);
                match error.status.class() {
                    Some(FailureClass::Trap) => row.failures.trap = 1,
                    Some(FailureClass::Timeout) => row.failures.timeout = 1,
                    Some(FailureClass::Memory) => row.failures.memory = 1,
                    Some(FailureClass::Transient) | None => row.failures.transient = 1,
                }
                row.error = Some(error);
            }
            Settlement::Discard { error } => {
                row.state = State::Discarded;
                row.error = Some(error);
            }
            Settlement::Release => {
                row.state = State::Available;
                row.charged = false;
            }
        }
        row
    }
}

/// What a renewal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease goes on.
    Renewed,
    /// It goes on, and the command was cancelled: interrupt the run.
    CancelRequested,
    /// It is lost: stop, the delivery is another's.
    Lost,
}
