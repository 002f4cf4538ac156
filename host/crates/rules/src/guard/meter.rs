//! Owns what an evaluation may take, and how it ends early.

use std::{cell::Cell, fmt};

use crate::fuel::Fuel;

/// The most bytes that one evaluation may build, in lists and strings together.
/// 1 MiB of JSON mapped once stays below.
const BUILT_MAX_BYTES: usize = 8 << 20;

/// Steps of a node, in terms of [`Fuel`]: about 40 ns.
const NODE_STEPS: u64 = 4;

/// Steps of what takes as long as several nodes.
const HEAVY_STEPS: u64 = 32;

/// The digits of a number that can matter to the double next to it.
const DIGITS_MAX: usize = 768;

/// Counts the work of one evaluation.
pub(super) struct Meter<'f> {
    fuel: &'f Fuel,
    /// Bytes that may still be built.
    room: Cell<usize>,
}

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A field that the command does not have.
    Absent(Box<str>),
    /// Something that cannot be done with such values.
    Fault(Box<str>),
    /// It would take more than it may.
    Limit(Exceeded),
}

/// What an evaluation took too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Steps,
    Memory,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps => f.write_str("takes more steps than routing one command may take"),
            Self::Memory => write!(
                f,
                "builds more than {BUILT_MAX_BYTES} bytes of lists and strings"
            ),
        }
    }
}

impl Stop {
    pub(super) fn fault(message: impl fmt::Display) -> Self {
        Self::Fault(message.to_string().into())
    }
}

impl<'f> Meter<'f> {
    pub(super) fn new(fuel: &'f Fuel) -> Self {
        Self {
            fuel,
            room: Cell::new(BUILT_MAX_BYTES),
        }
    }

    fn spend(&self, steps: u64) -> Result<(), Stop> {
        match self.fuel.spend(steps) {
            true => Ok(()),
            false => Err(Stop::Limit(Exceeded::Steps)),
        }
    }

    /// One node is evaluated.
    #[inline]
    pub(super) fn node(&self) -> Result<(), Stop> {
        self.spend(NODE_STEPS)
    }

    /// One value is compared or looked at.
    #[inline]
    pub(super) fn value(&self) -> Result<(), Stop> {
        self.spend(1)
    }

    /// A call that parses a time, or an error that is made and may be dropped: about 150 ns.
    pub(super) fn heavy(&self) -> Result<(), Stop> {
        self.spend(HEAVY_STEPS)
    }

    /// So many bytes of text are searched or parsed, one by one: 2 to 5 ns each.
    pub(super) fn scan(&self, bytes: usize) -> Result<(), Stop> {
        self.spend(1 + bytes as u64)
    }

    /// A number is parsed. More digits than 19 may need exact arithmetic with
    /// all of them that matter.
    pub(super) fn number(&self, text: &str) -> Result<(), Stop> {
        let digits = match text.len() {
            0..=19 => 0,
            more => more.min(DIGITS_MAX),
        };
        self.scan(text.len() + 8 * digits)
    }

    /// `key` is looked up among so many sorted ones, each of which may share
    /// all of its bytes but the last.
    pub(super) fn look_up(&self, key: &str, among: usize) -> Result<(), Stop> {
        let compared = u64::from(among.checked_ilog2().unwrap_or(0)) + 1;
        self.spend(compared * (1 + key.len() as u64 / 16))
    }

    /// So many bytes of text are built.
    pub(super) fn write(&self, bytes: usize) -> Result<(), Stop> {
        self.spend(bytes as u64 / 16)?;
        self.make(bytes)
    }

    /// So many bytes of text are read as fast as memory gives them.
    pub(super) fn read(&self, bytes: usize) -> Result<(), Stop> {
        self.spend(1 + bytes as u64 / 16)
    }

    /// So many bytes are built.
    pub(super) fn make(&self, bytes: usize) -> Result<(), Stop> {
        self.read(bytes)?;
        let room = self.room.get().checked_sub(bytes);
        self.room.set(room.ok_or(Stop::Limit(Exceeded::Memory))?);
        Ok(())
    }
}
