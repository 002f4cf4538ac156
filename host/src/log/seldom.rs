//! Tells once a minute of what may happen thousands of times in it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(60);

/// Counts what happens, and says when the log is to have it.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    count: u64,
    told: Option<Instant>,
}

impl Seldom {
    /// So many more happened. Where the log is to have it now: how many did since it had.
    pub(crate) fn count(&self, more: u64) -> Option<u64> {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.count = untold.count.saturating_add(more);
        if untold.told.is_some_and(|told| told.elapsed() < EVERY) {
            return None;
        }
        untold.told = Some(Instant::now());
        Some(std::mem::take(&mut untold.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_of_once_with_how_often() {
        let seldom = Seldom::default();
        assert_eq!(seldom.count(2), Some(2));
        assert_eq!(seldom.count(3), None);
        assert_eq!(seldom.count(4), None);
        let minute_ago = Instant::now().checked_sub(EVERY).expect("a clock");
        seldom.0.lock().unwrap().told = Some(minute_ago);
        assert_eq!(seldom.count(1), Some(8));
    }
}
