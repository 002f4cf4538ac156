//! Owns [`Places`]: how many calls of one handler run at once, and how many of
//! the host's places each of them takes.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::component::parts::Parts;

/// The places of one handler.
pub(crate) struct Places {
    each: u32,
    host_max: u32,
    calls_max: usize,
    calls: Semaphore,
}

impl Places {
    /// For a component of these parts, of which `calls_max` calls may run at
    /// once on a host with `host_max` places.
    pub(crate) fn new(parts: Parts, calls_max: usize, host_max: u32) -> Self {
        // More than all of them cannot be waited for.
        Self::of(parts.places().min(host_max), calls_max, host_max)
    }

    fn of(each: u32, wanted: usize, host_max: u32) -> Self {
        let calls_max = match each {
            0..=1 => wanted,
            // Half of the host stays for others, however large a call is.
            each => wanted.min((host_max / 2 / each).max(1) as usize),
        };
        Self {
            each,
            host_max,
            calls_max,
            calls: Semaphore::new(calls_max.min(Semaphore::MAX_PERMITS)),
        }
    }

    /// The same component with other settings.
    pub(crate) fn with_calls_max(&self, calls_max: usize) -> Self {
        Self::of(self.each, calls_max, self.host_max)
    }

    /// The host's places that each call takes.
    pub(crate) fn each(&self) -> u32 {
        self.each
    }

    /// Lets one call run, if there is room for it.
    pub(crate) fn enter(&self) -> Option<SemaphorePermit<'_>> {
        self.calls.try_acquire().ok()
    }

    /// Why there is no room, with the key that sets the limit.
    pub(crate) fn full(&self, wanted: usize) -> (String, &'static str) {
        let calls = self.calls_max;
        if calls == wanted {
            let reason = format!("all {calls} instances are busy");
            return (reason, "limits.instances_max");
        }
        let each = self.each;
        let reason = format!(
            "all {calls} instances are busy, each with {each} memories or as many other parts"
        );
        (reason, "host.instances_max")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(memories: u32, calls_max: usize) -> Places {
        let parts = Parts {
            memories,
            tables: 1,
            core_instances: 1,
        };
        Places::new(parts, calls_max, 100)
    }

    #[test]
    fn a_handler_of_many_parts_leaves_half_of_the_host_to_others() {
        assert_eq!(places(1, 200).calls_max, 200);
        assert_eq!(places(10, 200).calls_max, 5);
        assert_eq!(places(10, 2).calls_max, 2);
        assert_eq!(places(64, 200).calls_max, 1);
        assert_eq!((places(200, 7).each(), places(200, 7).calls_max), (100, 1));
        assert_eq!(places(10, 2).with_calls_max(9).calls_max, 5);
    }
}
