//! The [`Budgets`] of a host: how much of the machine all commands, handlers,
//! connections and responses may use together. Each has a named setting, a default
//! from the machine or its cgroup, a typed refusal and a gauge in `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

mod machine;

pub use machine::Machine;

/// A limit on how much of one resource is in use at the same time.
#[derive(Debug)]
pub struct Budget {
    setting: &'static str,
    limit: u64,
    used: AtomicU64,
    refused: AtomicU64,
    freed: Notify,
}

/// A share of a budget, returned when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    amount: u64,
}

/// A budget does not have the requested amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host's limit `{setting}` of {limit} is reached")]
pub struct Exhausted {
    /// The setting of the limit, as a dotted key.
    pub setting: &'static str,
    /// The limit.
    pub limit: u64,
}

impl Budget {
    /// A budget of `limit`, set by `setting`.
    #[must_use]
    pub fn new(setting: &'static str, limit: u64) -> Arc<Self> {
        Arc::new(Self {
            setting,
            limit,
            used: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            freed: Notify::new(),
        })
    }

    /// Takes `amount`, or counts a refusal.
    ///
    /// # Errors
    /// [`Exhausted`], if less than `amount` is free.
    pub fn take(self: &Arc<Self>, amount: u64) -> Result<Share, Exhausted> {
        self.reserve(amount)?;
        Ok(Share {
            budget: Arc::clone(self),
            amount,
        })
    }

    /// Counts `amount` that is already in use and cannot be refused; it reduces what is
    /// free for others, down to nothing.
    #[must_use]
    pub fn hold(self: &Arc<Self>, amount: u64) -> Share {
        self.used.fetch_add(amount, Ordering::Relaxed);
        Share {
            budget: Arc::clone(self),
            amount,
        }
    }

    /// An empty share, to grow later.
    #[must_use]
    pub fn nothing(self: &Arc<Self>) -> Share {
        Share {
            budget: Arc::clone(self),
            amount: 0,
        }
    }

    /// Whether there is room for `amount` at this moment.
    #[must_use]
    pub fn has(&self, amount: u64) -> bool {
        amount <= self.limit.saturating_sub(self.used())
    }

    /// Takes one as soon as one is free, first come, first served.
    /// Having to wait counts as a refusal. For budgets that are taken one at a time.
    pub async fn wait_for_one(self: &Arc<Self>) -> Share {
        if let Ok(share) = self.take(1) {
            return share;
        }
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // From here on a share that comes back is not missed.
            freed.as_mut().enable();
            if self.fits(1) {
                return Share {
                    budget: Arc::clone(self),
                    amount: 1,
                };
            }
            freed.await;
        }
    }

    fn fits(&self, amount: u64) -> bool {
        let taken = self
            .used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(amount)
                    .filter(|total| *total <= self.limit)
            });
        taken.is_ok()
    }

    fn reserve(&self, amount: u64) -> Result<(), Exhausted> {
        if self.fits(amount) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(Exhausted {
            setting: self.setting,
            limit: self.limit,
        })
    }

    /// The setting of the limit, as a dotted key.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// The maximum that may be in use.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How much is in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// How many requests were refused or had to wait.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Takes `more` of the same budget.
    ///
    /// # Errors
    /// [`Exhausted`]; the share stays as it was.
    pub fn grow(&mut self, more: u64) -> Result<(), Exhausted> {
        self.budget.reserve(more)?;
        self.amount += more;
        Ok(())
    }

    /// Grows to at least `amount`, in steps of `step` while there is room for a whole one,
    /// so that growth in small pieces takes from the budget less often.
    ///
    /// # Errors
    /// [`Exhausted`]; the share stays as it was.
    pub fn grow_to(&mut self, amount: u64, step: u64) -> Result<(), Exhausted> {
        let Some(missing) = amount.checked_sub(self.amount).filter(|more| *more > 0) else {
            return Ok(());
        };
        let ahead = missing.checked_next_multiple_of(step).unwrap_or(missing);
        if self.budget.has(ahead) && self.grow(ahead).is_ok() {
            return Ok(());
        }
        self.grow(missing)
    }

    /// The size of the share.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.amount == 0 {
            return;
        }
        self.budget.used.fetch_sub(self.amount, Ordering::Relaxed);
        self.budget.freed.notify_one();
    }
}

/// Every budget of one host.
#[derive(Clone, Debug)]
pub struct Budgets {
    /// Bytes of all guests' memories and tables.
    pub memory: Arc<Budget>,
    /// File descriptors that guests hold: open files, folders, outgoing connections.
    pub descriptors: Arc<Budget>,
    /// Threads that guests' file calls and name look-ups block at once.
    pub blocking: Arc<Budget>,
    /// Outgoing requests in flight.
    pub outgoing: Arc<Budget>,
    /// Connections of HTTP clients.
    pub connections: Arc<Budget>,
    /// Bytes of request bodies in flight.
    pub bodies: Arc<Budget>,
    /// Bytes of lists, reports and events in responses.
    pub answers: Arc<Budget>,
    /// Clients that wait for the end of a command or follow it.
    pub listeners: Arc<Budget>,
}

/// The settings of the budgets. Those that are not set are derived from the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetSettings {
    /// `host.memory_max_bytes`.
    pub memory_max_bytes: Option<u64>,
    /// `host.descriptors_max`.
    pub descriptors_max: Option<u64>,
    /// `host.blocking_max`.
    pub blocking_max: Option<u64>,
    /// `host.outgoing_max`.
    pub outgoing_max: Option<u64>,
    /// `http.connections_max`.
    pub connections_max: Option<u64>,
    /// `http.bodies_max_bytes`.
    pub bodies_max_bytes: Option<u64>,
    /// `http.answers_max_bytes`.
    pub answers_max_bytes: Option<u64>,
    /// `http.listeners_max`.
    pub listeners_max: Option<u64>,
}

impl Budgets {
    /// The default budgets of a host on this machine.
    #[must_use]
    pub fn here(settings: &BudgetSettings) -> Self {
        Self::new(settings, &Machine::here())
    }

    /// The budgets from the settings, with defaults from the machine.
    #[must_use]
    pub fn new(settings: &BudgetSettings, machine: &Machine) -> Self {
        let or = |setting: Option<u64>, default: u64| setting.unwrap_or(default.max(1));
        let memory = machine.memory_bytes;
        let descriptors = machine.descriptors_max;
        // Half of the descriptors stay for handlers, files and the queue.
        let connections = or(settings.connections_max, (descriptors / 2).min(4_096));
        Self {
            // The other half is for the host, the kernel's buffers and neighbours.
            memory: Budget::new(
                "host.memory_max_bytes",
                or(settings.memory_max_bytes, memory / 2),
            ),
            descriptors: Budget::new(
                "host.descriptors_max",
                or(settings.descriptors_max, descriptors / 4),
            ),
            blocking: Budget::new("host.blocking_max", or(settings.blocking_max, 128)),
            outgoing: Budget::new("host.outgoing_max", or(settings.outgoing_max, 256)),
            connections: Budget::new("http.connections_max", connections),
            bodies: Budget::new(
                "http.bodies_max_bytes",
                or(settings.bodies_max_bytes, memory / 16),
            ),
            answers: Budget::new(
                "http.answers_max_bytes",
                or(settings.answers_max_bytes, memory / 16),
            ),
            // The other half is for those who want an answer now.
            listeners: Budget::new(
                "http.listeners_max",
                or(settings.listeners_max, connections / 2),
            ),
        }
    }

    /// All of them, for `/metrics`.
    #[must_use]
    pub fn all(&self) -> [&Budget; 8] {
        // Taken apart, so that a new one is not left out.
        let Self {
            memory,
            descriptors,
            blocking,
            outgoing,
            connections,
            bodies,
            answers,
            listeners,
        } = self;
        [
            memory,
            descriptors,
            blocking,
            outgoing,
            connections,
            bodies,
            answers,
            listeners,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_and_what_is_too_much_is_refused_by_name() {
        let budget = Budget::new("host.memory_max_bytes", 10);
        let mut share = budget.take(6).unwrap();
        assert_eq!(
            budget.take(5).unwrap_err().to_string(),
            "the host's limit `host.memory_max_bytes` of 10 is reached"
        );
        share.grow(4).unwrap();
        share.grow(1).unwrap_err();
        assert_eq!((budget.used(), budget.refused()), (10, 2));
        assert!(budget.take(u64::MAX).is_err());
        drop(share);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_a_share_gets_one_when_it_comes_back() {
        let budget = Budget::new("host.blocking_max", 2);
        let mut held = vec![budget.take(1).unwrap(), budget.take(1).unwrap()];
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let budget = Arc::clone(&budget);
                tokio::spawn(async move { drop(budget.wait_for_one().await) })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(budget.used(), 2);
        held.pop();
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!((budget.used(), held.len()), (1, 1));
    }

    #[test]
    fn a_share_grows_by_whole_steps_while_there_is_room_for_them() {
        let budget = Budget::new("host.memory_max_bytes", 10);
        let mut share = budget.nothing();
        share.grow_to(1, 4).unwrap();
        share.grow_to(4, 4).unwrap();
        assert_eq!(budget.used(), 4);
        share.grow_to(5, 4).unwrap();
        share.grow_to(9, 4).unwrap();
        assert_eq!((budget.used(), share.amount()), (9, 9));
        share.grow_to(11, 4).unwrap_err();
        assert_eq!((budget.used(), budget.refused()), (9, 1));
    }

    #[test]
    fn what_is_there_already_leaves_less_for_others() {
        let budget = Budget::new("http.answers_max_bytes", 10);
        let held = budget.hold(25);
        budget.take(1).unwrap_err();
        drop(held);
        assert!(budget.take(10).is_ok());
    }

    #[test]
    fn settings_come_before_the_machine() {
        let machine = Machine {
            memory_bytes: 1 << 30,
            descriptors_max: 1_024,
        };
        let mut settings = BudgetSettings::default();
        let budgets = Budgets::new(&settings, &machine);
        assert_eq!(budgets.memory.limit(), 512 << 20);
        assert_eq!(budgets.connections.limit(), 512);
        settings.memory_max_bytes = Some(7);
        assert_eq!(Budgets::new(&settings, &machine).memory.limit(), 7);
    }
}
