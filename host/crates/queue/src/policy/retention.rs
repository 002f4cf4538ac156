//! What of the finished commands is no longer kept.

use crate::{clock::Timestamp, settings::RetentionSettings};

/// A pass of the retention: by age; then by size, first the commands without
/// dead-lettered deliveries, then those with some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Age,
    Size,
    DeadSize,
}

/// How many old commands one step of a sweep looks at: it keeps the writer
/// from other work for a few milliseconds.
pub(crate) const SWEEP_STEP: i64 = 500;

/// One step of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sweep<C> {
    pub(crate) pass: Pass,
    /// Looks at commands stored after this one; none for the start of the pass.
    pub(crate) after: Option<C>,
}

impl<C> Sweep<C> {
    pub(crate) const FIRST: Self = Self {
        pass: Pass::Age,
        after: None,
    };

    /// Whether it begins the sweep: what has no passes goes then.
    pub(crate) fn is_first(&self) -> bool {
        self.pass == Pass::Age && self.after.is_none()
    }

    /// The step after this one, which looked at commands up to `last`; none where it
    /// found none and there is no other pass.
    pub(crate) fn next(&self, last: Option<C>) -> Option<Self> {
        let pass = match last {
            Some(_) => self.pass,
            None => self.pass.next()?,
        };
        Some(Self { pass, after: last })
    }
}

/// Finished commands go where all their deliveries ended before these times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cutoffs {
    /// For those that were completed or cancelled.
    pub(crate) ended: Timestamp,
    /// For those with dead-lettered deliveries.
    pub(crate) dead: Timestamp,
}

impl Cutoffs {
    /// The later of both: nothing stored after it goes.
    pub(crate) fn latest(self) -> Timestamp {
        self.ended.max(self.dead)
    }
}

impl Pass {
    /// Whether it is made only while the store is too large.
    pub(crate) fn is_for_size(self) -> bool {
        self != Self::Age
    }

    /// The one after it.
    pub(crate) fn next(self) -> Option<Self> {
        match self {
            Self::Age => Some(Self::Size),
            Self::Size => Some(Self::DeadSize),
            Self::DeadSize => None,
        }
    }

    /// What it removes.
    pub(crate) fn cutoffs(self, policy: &RetentionSettings, now: Timestamp) -> Cutoffs {
        match self {
            Self::Age => Cutoffs {
                ended: now.before(policy.age),
                dead: now.before(policy.dead_age),
            },
            Self::Size | Self::DeadSize => self.for_size(now),
        }
    }

    /// What it removes where only the size counts, of what ended by now.
    pub(crate) fn for_size(self, now: Timestamp) -> Cutoffs {
        let dead = match self {
            Self::DeadSize => now,
            Self::Age | Self::Size => Timestamp::from_millis(i64::MIN),
        };
        Cutoffs { ended: now, dead }
    }
}
