//! Views of the queue: commands and deliveries as they are read, the filters and
//! pages of lists, and the numbers for metrics.

use serde::{Deserialize, Serialize};

use super::{
    clock::Timestamp, ending::Ending, error::QueueError, model::AttemptError, state::State,
};
use pointsman_core::{
    command::CommandId,
    delivery::DeliveryId,
    name::HandlerName,
    text::{MESSAGE_MAX_BYTES, cut},
};

/// The longest attributes or output that a list, a progress query or an event
/// contains; a longer one is replaced by its size. This keeps pages readable and
/// within their size limit.
pub const PAYLOAD_SHORT_MAX_BYTES: usize = 16 << 10;
/// A page of a list ends after the entry that brings it to this size: a few
/// thousand typical entries, and little compared with a host's budget for responses.
pub const PAGE_MAX_BYTES: usize = 8 << 20;
/// The longest stored failure that is read for its message. The limits on a
/// handler's log and message are below it.
const FAILURE_READ_MAX_BYTES: usize = 2 << 20;
/// The size of an entry besides its strings: keys, numbers, times.
const ENTRY_BYTES: usize = 512;

/// How much is read of attributes and outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payloads {
    /// All.
    Whole,
    /// Those up to [`PAYLOAD_SHORT_MAX_BYTES`]; only the size of longer ones.
    Short,
}

impl Payloads {
    /// The longest attributes or output that is read, in bytes.
    pub(super) fn payload_max(self) -> i64 {
        self.up_to(PAYLOAD_SHORT_MAX_BYTES)
    }

    /// The longest stored failure that is read, in bytes.
    pub(super) fn failure_max(self) -> i64 {
        self.up_to(FAILURE_READ_MAX_BYTES)
    }

    fn up_to(self, max: usize) -> i64 {
        match self {
            Self::Whole => i64::MAX,
            Self::Short => i64::try_from(max).unwrap_or(i64::MAX),
        }
    }
}

/// A command and all its deliveries.
#[derive(Clone, Debug)]
pub struct CommandView {
    /// Its id.
    pub id: CommandId,
    /// The JSON text of its attributes, or `None` if it was left out because of its length.
    pub attributes: Option<String>,
    /// The length of that text in bytes, if it was left out.
    pub attributes_bytes: Option<u64>,
    /// Its idempotency key.
    pub idempotency_key: Option<String>,
    /// The generation of the rules that routed it.
    pub rules_generation: u64,
    /// When it was stored.
    pub created: Timestamp,
    /// The id of the delivery that emitted it, if one did.
    pub causation: Option<String>,
    /// The command of which it is a rerun, if any.
    pub rerun_of: Option<CommandId>,
    /// By handler name.
    pub deliveries: Vec<DeliveryView>,
}

impl CommandView {
    /// The command's state, derived from its deliveries: the first of running,
    /// available, retryable, scheduled, discarded, cancelled that one of them
    /// is in, else completed.
    #[must_use]
    pub fn state(&self) -> State {
        let states = self.deliveries.iter().map(|delivery| delivery.state);
        states
            .min_by_key(|state| state.precedence())
            .unwrap_or(State::Completed)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.deliveries.iter().all(|one| one.state.is_final())
    }

    /// Its approximate size as JSON, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let deliveries = self.deliveries.iter().map(DeliveryView::weight);
        let attributes = self.attributes.as_ref().map_or(0, String::len);
        ENTRY_BYTES + attributes + deliveries.sum::<usize>()
    }
}

/// A delivery.
#[derive(Clone, Debug)]
pub struct DeliveryView {
    /// Its id.
    pub id: DeliveryId,
    /// The digest of the handler's plugin when the command was routed.
    pub digest: String,
    /// The names of the rules that chose the handler.
    pub rules: Vec<String>,
    /// Its state.
    pub state: State,
    /// How many attempts were counted.
    pub attempt: u32,
    /// Those with a higher priority run first.
    pub priority: i32,
    /// The earliest time of its next run.
    pub run_at: Timestamp,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// Whether it is cancelled as soon as the running attempt ends.
    pub cancel_requested: bool,
    /// The handler's output: JSON text. `None` also if it was left out because of its length.
    pub output: Option<String>,
    /// The length of the output in bytes, if it was left out.
    pub output_bytes: Option<u64>,
    /// When its last attempt began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Why its last failed attempt failed.
    pub last_failure: Option<LastFailure>,
}

impl DeliveryView {
    /// Its approximate size as JSON, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let rules = self.rules.iter().map(|rule| rule.len() + 3);
        let failure = self.last_failure.as_ref();
        ENTRY_BYTES
            + rules.sum::<usize>()
            + self.output.as_ref().map_or(0, String::len)
            + failure.map_or(0, |failure| failure.message.len())
    }
}

/// The last failed attempt without its log, which may be long; see
/// [`DeliveryDetail::failures`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// The attempt number.
    pub attempt: u32,
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub status: Ending,
    /// The reason, for people.
    pub message: String,
}

impl LastFailure {
    /// From the stored text of an [`AttemptError`], without its log. `None` means that it
    /// was too long to be read.
    pub(super) fn read(
        attempt: u32,
        at: Timestamp,
        status: &str,
        error: Option<&str>,
    ) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Short {
            status: Ending,
            message: String,
        }
        let short = match error {
            Some(error) => serde_json::from_str(error)?,
            None => Short {
                status: status.parse().map_err(serde::de::Error::custom)?,
                message: "left out, as it is long: the delivery by its id shows it".to_owned(),
            },
        };
        Ok(Self {
            attempt,
            at,
            status: short.status,
            message: cut(short.message, MESSAGE_MAX_BYTES),
        })
    }
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// The attempt number.
    pub attempt: u32,
    /// When it ended.
    pub at: Timestamp,
    /// Why.
    #[serde(flatten)]
    pub error: AttemptError,
}

/// Everything about one delivery.
#[derive(Clone, Debug)]
pub struct DeliveryDetail {
    /// The delivery, without its last failure, which is the last of `failures`.
    pub delivery: DeliveryView,
    /// The JSON text of the command's attributes.
    pub attributes: String,
    /// Every failed attempt, oldest first.
    pub failures: Vec<FailedAttempt>,
}

impl DeliveryDetail {
    pub(super) fn new(
        delivery: DeliveryView,
        attributes: String,
        failures: Vec<FailedAttempt>,
    ) -> Self {
        Self {
            delivery: DeliveryView {
                last_failure: None,
                ..delivery
            },
            attributes,
            failures,
        }
    }

    /// Its approximate size as JSON, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let logs = |error: &AttemptError| {
            let lines = error.logs.iter();
            lines.map(|line| line.message.len() + 32).sum::<usize>()
        };
        let failures = self
            .failures
            .iter()
            .map(|failure| ENTRY_BYTES + failure.error.message.len() + logs(&failure.error));
        self.attributes.len() + self.delivery.weight() + failures.sum::<usize>()
    }
}

/// Which commands to list. Fields that are not set match everything.
#[derive(Clone, Debug, Default)]
pub struct CommandFilter {
    /// With a delivery in this state.
    pub state: Option<State>,
    /// With a delivery to this handler.
    pub handler: Option<HandlerName>,
    /// Stored at or after this time.
    pub created_from: Option<Timestamp>,
    /// Stored before this time.
    pub created_until: Option<Timestamp>,
}

/// Selects dead-lettered deliveries. Fields that are not set match everything.
#[derive(Clone, Debug, Default)]
pub struct DeadFilter {
    /// Only this one.
    pub delivery: Option<DeliveryId>,
    /// To this handler.
    pub handler: Option<HandlerName>,
    /// Whose last failure was this.
    pub status: Option<Ending>,
    /// Which ended at or after this time.
    pub finished_from: Option<Timestamp>,
    /// Which ended before this time.
    pub finished_until: Option<Timestamp>,
}

/// A dead-lettered delivery.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The delivery.
    pub delivery: DeliveryView,
    /// The cursor after it, for the next page.
    pub(super) row: i64,
}

/// The start and length of a page of commands.
#[derive(Clone, Copy, Debug)]
pub struct Page<C> {
    /// After this one; none for the first page.
    pub after: Option<C>,
    /// The maximum number, 1 to [`PAGE_MAX`].
    pub limit: usize,
}

/// The longest page; see also [`PAGE_MAX_BYTES`].
pub const PAGE_MAX: usize = 500;

impl<C> Page<C> {
    /// The first page.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }

    /// Whether there may be more after a page with this many entries of this total
    /// [weight](CommandView::weight).
    #[must_use]
    pub fn goes_on(&self, entries: usize, weight: usize) -> bool {
        entries >= self.limit || weight >= PAGE_MAX_BYTES
    }

    pub(super) fn rows(&self) -> i64 {
        i64::try_from(self.limit.clamp(1, PAGE_MAX)).unwrap_or(1)
    }
}

/// An opaque cursor in the list of dead-lettered deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadCursor(pub(super) i64);

impl DeadLetter {
    /// Returns the cursor after this entry.
    #[must_use]
    pub fn cursor(&self) -> DeadCursor {
        DeadCursor(self.row)
    }
}

impl std::fmt::Display for DeadCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for DeadCursor {
    type Err = QueueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| QueueError::Invalid {
            field: "cursor",
            reason: "use the one that the page before named".to_owned(),
        })
    }
}

/// The length of a string that was left out.
pub(super) fn left_out(text: Option<&String>, bytes: Option<u64>) -> Option<u64> {
    bytes.filter(|_| text.is_none())
}

/// How many deliveries of one handler are in one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// The handler.
    pub handler: HandlerName,
    /// The state: any but completed and cancelled.
    pub state: State,
    /// How many.
    pub count: u64,
}

/// What a cancellation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// Deliveries that were cancelled immediately.
    pub cancelled: u64,
    /// Running deliveries that are being interrupted.
    pub interrupting: u64,
}

/// What a sweep of the retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Finished commands.
    pub commands: u64,
    /// Idempotency keys.
    pub keys: u64,
    /// Expired state entries of handlers.
    pub entries: u64,
}
