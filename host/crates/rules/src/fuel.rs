//! Owns [`Fuel`]: how much work the routing of one command may take. Rules and
//! commands come from others, and some of what they ask for multiplies: with
//! fuel, every answer takes bounded time, or is a typed refusal.

use std::cell::Cell;

/// The steps that routing one command may take unless a setting says otherwise
/// (`host.routing_steps_max`, whose default is the same).
///
/// A step compares one value with one alternative, tries one array element or
/// looks up one candidate, 3 to 15 ns each; evaluating a node of a guard takes
/// a few. Everyday commands take tens of steps, 1 MiB of line items against 20
/// rules a million.
pub const ROUTING_STEPS_MAX: u64 = 4_000_000;

/// Steps that are left. Whoever does work spends them first and gives up when
/// there are none: the answer is then worthless, and whoever holds the fuel
/// asks [`Fuel::is_spent`] before using it.
#[derive(Debug)]
pub(crate) struct Fuel {
    left: Cell<u64>,
    max: u64,
}

impl Fuel {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            left: Cell::new(max),
            max,
        }
    }

    /// Spends `steps`; false where they are not left.
    #[inline]
    pub(crate) fn spend(&self, steps: u64) -> bool {
        let left = self.left.get().saturating_sub(steps);
        self.left.set(left);
        left > 0
    }

    /// Spends what reading `bytes` of text costs: a step for each 64 bytes.
    #[inline]
    pub(crate) fn spend_bytes(&self, bytes: usize) -> bool {
        self.spend(1 + bytes as u64 / 64)
    }

    /// Whether the work ended early.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    /// The steps taken so far.
    pub(crate) fn steps(&self) -> u64 {
        self.max - self.left.get()
    }

    /// The most there was.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }
}
