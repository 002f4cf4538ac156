//! Owns the doubt about the server's clock. Leases end by it, and it may be set
//! forward, or be another one after a failover: every lease would have run out
//! at once, and every delivery would run a second time beside the first. This
//! host's own clock, which never jumps, tells the difference.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::Timestamp;

/// The server's clock as last seen.
#[derive(Debug, Default)]
pub(super) struct Drift(Mutex<Option<Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    server: Timestamp,
    /// Until then no lease is ended.
    patient_until: Option<Instant>,
}

impl Drift {
    /// Whether leases that have run out by `server` may be ended: not for one
    /// lease after the server's clock went ahead by a third of one, so that all
    /// hosts that live have renewed theirs by the new time. That this host slept
    /// looks the same, and waiting does no harm.
    pub(super) fn trusts(&self, server: Timestamp, at: Instant, lease: Duration) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut patient_until = seen.and_then(|seen| seen.patient_until);
        if let Some(seen) = *seen {
            let passed = at.saturating_duration_since(seen.at);
            let ahead = server.since(seen.server).saturating_sub(passed);
            if ahead > lease / 3 {
                patient_until = at.checked_add(lease);
            }
        }
        *seen = Some(Seen {
            at,
            server,
            patient_until,
        });
        patient_until.is_none_or(|until| at >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_clock_went_ahead_no_lease_is_ended_for_one_lease() {
        let (drift, start) = (Drift::default(), Instant::now());
        let lease = Duration::from_secs(30);
        let trusts = |own: u64, server: i64| {
            let server = Timestamp::from_millis(1_800_000_000_000 + server * 1000);
            drift.trusts(server, start + Duration::from_secs(own), lease)
        };
        assert!(trusts(0, 0));
        assert!(trusts(60, 65), "a little is the network");
        assert!(!trusts(61, 6 * 3600));
        assert!(!trusts(90, 6 * 3600 + 29));
        assert!(trusts(92, 6 * 3600 + 31), "all had time to renew");
        assert!(trusts(93, 0), "backwards ends no lease");
        assert!(!trusts(94, 6 * 3600));
    }
}
