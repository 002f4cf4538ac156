//! Owns the queue's idea of time: [`Timestamp`], and the [`Clock`] that a store
//! asks, so that a test moves leases, delays and retention by hand.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. As JSON it is a
/// text in RFC 3339, or its milliseconds past the year 9999, which that cannot write.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(from = "Written", into = "Written")]
pub struct Timestamp(i64);

/// A time as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(jiff::Timestamp),
    Millis(i64),
}

impl From<Timestamp> for Written {
    fn from(time: Timestamp) -> Self {
        jiff::Timestamp::from_millisecond(time.0).map_or(Self::Millis(time.0), Self::Text)
    }
}

impl From<Written> for Timestamp {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(time) => Self(time.as_millisecond()),
            Written::Millis(millis) => Self(millis),
        }
    }
}

impl Timestamp {
    /// From milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The time of the machine.
    #[must_use]
    pub fn now() -> Self {
        SystemClock.now()
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// This much later; the end of time where the sum has no room.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This much earlier.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long from `earlier` to this; zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// `duration` in whole milliseconds, capped where an `i64` ends.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// The same, but it only moves on, at an even pace: nobody sets it. For
    /// leases, which must not end because someone set the machine's clock.
    fn steady(&self) -> Timestamp {
        self.now()
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock set before 1970 reads as 1970: leases then last longer, and nothing is lost.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(millis(since))
    }

    /// From the time at which it was first asked, by the monotonic clock. A
    /// machine that sleeps does not move it.
    fn steady(&self) -> Timestamp {
        static START: OnceLock<(Instant, Timestamp)> = OnceLock::new();
        let (start, time) = START.get_or_init(|| (Instant::now(), self.now()));
        time.after(start.elapsed())
    }
}

/// A clock that moves only when told to: for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.0))
    }

    /// Moves the clock on.
    pub fn advance(&self, duration: Duration) {
        self.0.fetch_add(millis(duration), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}
