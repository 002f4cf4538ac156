//! Owns the [`Breaker`]: leaves a handler alone that failed too often recently.
//! A state machine without a clock of its own: every step is told the time.

use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::settings::BreakerSettings;
use pointsman_core::outcome::Status;

/// Counts the failures of one plugin. A changed file makes another plugin,
/// and with it another breaker.
pub(crate) struct Breaker {
    settings: BreakerSettings,
    phase: Mutex<Phase>,
}

enum Phase {
    /// Calls run. The failures within the window, oldest first; never as many
    /// as the settings allow.
    Closed(VecDeque<Instant>),
    /// No call runs.
    Open { since: Instant },
    /// The cooldown is over and one call runs to see.
    Trying { since: Instant },
}

/// Leave to run one call. Dropped without [`Pass::finish`], it decides nothing.
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    trial: bool,
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            phase: Mutex::new(Phase::Closed(VecDeque::new())),
        }
    }

    /// Lets a call run, or says how long it makes no sense to ask again.
    pub(crate) fn admit(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let pass = |trial| Pass {
            breaker: self,
            trial,
        };
        if self.settings.failures.is_none() {
            return Ok(pass(false));
        }
        let mut phase = self.phase();
        match *phase {
            Phase::Closed(_) => Ok(pass(false)),
            Phase::Trying { .. } => Err(self.settings.cooldown),
            Phase::Open { since } => {
                let left = self.left(since, now);
                if !left.is_zero() {
                    return Err(left);
                }
                *phase = Phase::Trying { since };
                Ok(pass(true))
            }
        }
    }

    /// What is left of the quarantine; none where calls run. Zero where the
    /// next call is, or the running one was, let through to see.
    pub(crate) fn quarantined(&self, now: Instant) -> Option<Duration> {
        match *self.phase() {
            Phase::Closed(_) => None,
            Phase::Open { since } | Phase::Trying { since } => Some(self.left(since, now)),
        }
    }

    fn left(&self, since: Instant, now: Instant) -> Duration {
        self.settings
            .cooldown
            .saturating_sub(now.saturating_duration_since(since))
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Says how the call ended.
    pub(crate) fn finish(mut self, status: Status, now: Instant) {
        let settings = &self.breaker.settings;
        let Some(failures_max) = settings.failures else {
            return;
        };
        let failed = matches!(
            status,
            Status::Trapped | Status::TimedOut | Status::CpuExceeded | Status::OutOfMemory
        );
        let open = Phase::Open { since: now };
        let mut phase = self.breaker.phase();
        match &mut *phase {
            Phase::Trying { .. } if self.trial => match status {
                // They say nothing of the handler: the next call is the trial.
                Status::Cancelled | Status::Busy => return,
                _ if failed => *phase = open,
                _ => *phase = Phase::Closed(VecDeque::new()),
            },
            Phase::Closed(failures) if failed => {
                failures.push_back(now);
                while failures
                    .front()
                    .is_some_and(|first| now.saturating_duration_since(*first) > settings.window)
                {
                    failures.pop_front();
                }
                if failures.len() >= failures_max {
                    *phase = open;
                }
            }
            // A call from before the quarantine came to its end.
            _ => {}
        }
        self.trial = false;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if mem::take(&mut self.trial) {
            let mut phase = self.breaker.phase();
            if let Phase::Trying { since } = *phase {
                *phase = Phase::Open { since };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Three failures within 10 s lead to 60 s of quarantine.
    fn breaker() -> Breaker {
        Breaker::new(BreakerSettings {
            failures: Some(3),
            window: std::time::Duration::from_millis(10_000),
            cooldown: std::time::Duration::from_millis(60_000),
        })
    }

    fn call(breaker: &Breaker, status: Status, now: Instant) -> bool {
        breaker
            .admit(now)
            .map(|pass| pass.finish(status, now))
            .is_ok()
    }

    fn opened(now: Instant) -> Breaker {
        let breaker = breaker();
        for status in [Status::Trapped, Status::TimedOut, Status::OutOfMemory] {
            assert!(call(&breaker, status, now));
        }
        breaker
    }

    #[test]
    fn failures_within_the_window_lead_to_quarantine() {
        let now = Instant::now();
        let breaker = opened(now);
        assert_eq!(breaker.admit(now + SECOND).err(), Some(59 * SECOND));
        assert_eq!(breaker.quarantined(now + SECOND), Some(59 * SECOND));
    }

    #[test]
    fn failures_far_apart_and_other_ends_do_not() {
        let now = Instant::now();
        let breaker = breaker();
        for step in 0..20 {
            assert!(call(&breaker, Status::CpuExceeded, now + step * 6 * SECOND));
            for status in [Status::Rejected, Status::Unavailable, Status::Denied] {
                assert!(call(&breaker, status, now + step * 6 * SECOND));
            }
        }
        assert_eq!(breaker.quarantined(now), None);
    }

    #[test]
    fn after_the_cooldown_one_call_decides() {
        let now = Instant::now();
        let later = now + 60 * SECOND;
        let breaker = opened(now);
        let trial = breaker.admit(later).ok().unwrap();
        assert!(breaker.admit(later).is_err(), "one trial at a time");
        trial.finish(Status::Trapped, later);
        assert_eq!(breaker.admit(later).err(), Some(60 * SECOND));
        assert!(call(&breaker, Status::Rejected, later + 60 * SECOND));
        assert_eq!(breaker.quarantined(later), None);
    }

    #[test]
    fn a_trial_that_was_cancelled_or_dropped_is_made_again() {
        let now = Instant::now();
        let later = now + 60 * SECOND;
        let breaker = opened(now);
        drop(breaker.admit(later).ok().unwrap());
        assert!(call(&breaker, Status::Cancelled, later));
        assert!(call(&breaker, Status::Succeeded, later));
        assert_eq!(breaker.quarantined(later), None);
    }

    #[test]
    fn a_call_from_before_the_quarantine_does_not_end_it() {
        let now = Instant::now();
        let breaker = breaker();
        let old = breaker.admit(now).ok().unwrap();
        for _ in 0..3 {
            assert!(call(&breaker, Status::Trapped, now));
        }
        old.finish(Status::Succeeded, now);
        assert!(breaker.admit(now).is_err());
    }

    #[test]
    fn no_failures_allowed_means_no_breaker() {
        let breaker = Breaker::new(BreakerSettings::default());
        let now = Instant::now();
        for _ in 0..100 {
            assert!(call(&breaker, Status::Trapped, now));
        }
    }
}
