//! Owns what one handler may take of the host's budgets: of each a part, so
//! that none is without because of another. A reload changes nothing about it:
//! what an earlier version of the handler still holds counts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::lanes::{Lane, Lanes};
use pointsman_core::name::HandlerName;
use pointsman_machine::budget::{Budget, Budgets, Exhausted, Share};

/// One handler has at most one of so many parts of a budget: three that take
/// all they can leave one for the others.
const PARTS: u64 = 4;

/// The shares of all handlers of a host, by name.
#[derive(Debug)]
pub(super) struct AllShares {
    host: Budgets,
    lanes: Arc<Lanes>,
    handlers: Mutex<BTreeMap<HandlerName, Weak<Shares>>>,
}

impl AllShares {
    pub(super) fn new(host: Budgets) -> Self {
        Self {
            host,
            lanes: Arc::default(),
            handlers: Mutex::default(),
        }
    }

    /// Those of the handler `name`.
    pub(super) fn of(&self, name: &HandlerName) -> Arc<Shares> {
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shares) = handlers.get(name).and_then(Weak::upgrade) {
            return shares;
        }
        handlers.retain(|_, shares| shares.strong_count() > 0);
        let shares = Arc::new(Shares {
            descriptors: Part::new(&self.host.descriptors),
            blocking: Part::new(&self.host.blocking),
            outgoing: Part::new(&self.host.outgoing),
            memory: Part::new(&self.host.memory),
            lanes: Arc::clone(&self.lanes),
        });
        handlers.insert(name.clone(), Arc::downgrade(&shares));
        shares
    }
}

/// What one handler may take.
#[derive(Debug)]
pub(super) struct Shares {
    descriptors: Part,
    blocking: Part,
    outgoing: Part,
    memory: Part,
    lanes: Arc<Lanes>,
}

/// A budget of the host, and the part of it that is this handler's.
#[derive(Debug)]
struct Part {
    own: Arc<Budget>,
    host: Arc<Budget>,
}

/// What a handler took, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    _own: Share,
    _host: Share,
    // So that what is held counts after a reload.
    _shares: Arc<Shares>,
}

impl Shares {
    /// File descriptors.
    pub(super) fn descriptors(self: &Arc<Self>, amount: u64) -> Result<Held, Exhausted> {
        self.take(&self.descriptors, amount)
    }

    /// Bytes of the host's memory for what a guest asked for.
    pub(super) fn memory(self: &Arc<Self>, bytes: u64) -> Result<Held, Exhausted> {
        self.take(&self.memory, bytes)
    }

    /// An outgoing request.
    pub(super) async fn outgoing(self: &Arc<Self>) -> Held {
        self.wait(&self.outgoing).await
    }

    /// A thread for what may block, as soon as one is free.
    pub(super) async fn lane(self: &Arc<Self>) -> Lane {
        self.lanes.lane(self.wait(&self.blocking).await)
    }

    /// A thread for what may block, if one is free.
    pub(super) fn free_lane(self: &Arc<Self>) -> Option<Lane> {
        let held = self.take(&self.blocking, 1).ok()?;
        Some(self.lanes.lane(held))
    }

    fn take(self: &Arc<Self>, part: &Part, amount: u64) -> Result<Held, Exhausted> {
        Ok(Held {
            _own: part.own.take(amount)?,
            _host: part.host.take(amount)?,
            _shares: Arc::clone(self),
        })
    }

    async fn wait(self: &Arc<Self>, part: &Part) -> Held {
        Held {
            _own: part.own.wait_for_one().await,
            _host: part.host.wait_for_one().await,
            _shares: Arc::clone(self),
        }
    }
}

impl Part {
    fn new(host: &Arc<Budget>) -> Self {
        Self {
            own: Budget::new(host.setting(), (host.limit() / PARTS).max(1)),
            host: Arc::clone(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_machine::budget::{BudgetSettings, Machine};

    fn shares(descriptors_max: u64) -> AllShares {
        let settings = BudgetSettings {
            descriptors_max,
            ..BudgetSettings::default()
        };
        let machine = Machine {
            memory_bytes: 1 << 30,
            descriptors_max: 1_024,
        };
        AllShares::new(Budgets::new(&settings, &machine))
    }

    #[test]
    fn one_handler_leaves_something_for_the_others_whatever_it_takes_and_reloads() {
        let all = shares(8);
        let of = |name: &str| all.of(&HandlerName::parse(name).unwrap());
        let greedy = of("greedy").descriptors(2).unwrap();
        // Dropped by its handler, and held by what it took.
        of("greedy").descriptors(1).unwrap_err();
        let other = of("other").descriptors(2).unwrap();
        drop(greedy);
        of("greedy").descriptors(2).unwrap();
        drop(other);
        assert_eq!(all.host.descriptors.used(), 0);
    }
}
