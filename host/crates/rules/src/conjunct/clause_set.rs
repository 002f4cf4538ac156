//! A set of a pattern's clauses, one bit each.

use super::MAX_CLAUSES;

/// Some of the clauses of one conjunct, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ClauseSet([u64; MAX_CLAUSES / 64]);

impl ClauseSet {
    /// The clauses before `end`.
    pub(super) fn before(end: usize) -> Self {
        let mut set = Self::default();
        (0..end).for_each(|clause| set.insert(clause));
        set
    }

    pub(super) fn insert(&mut self, clause: usize) {
        self.0[clause / 64] |= 1 << (clause % 64);
    }

    pub(super) fn remove(&mut self, clause: usize) {
        self.0[clause / 64] &= !(1 << (clause % 64));
    }

    pub(super) fn contains(&self, clause: usize) -> bool {
        self.0[clause / 64] >> (clause % 64) & 1 == 1
    }

    pub(super) fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            *ours |= theirs;
        }
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(other.0)
            .any(|(ours, theirs)| ours & theirs != 0)
    }

    /// The lowest number in it.
    pub(super) fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }
}
