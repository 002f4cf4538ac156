//! The shares of the host's budgets that one handler may use, so that no handler
//! starves another. Shares survive reloads: whatever an earlier version of the
//! handler still uses counts.

mod lanes;
mod part;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

pub(crate) use lanes::Lane;
use lanes::Lanes;
pub(crate) use part::Held;
use part::Part;
use pointsman_core::name::HandlerName;
use pointsman_machine::budget::{Budgets, Exhausted};

/// The shares of all handlers of a host, by name.
#[derive(Debug)]
pub(crate) struct AllShares {
    host: Budgets,
    lanes: Arc<Lanes>,
    handlers: Mutex<BTreeMap<HandlerName, Weak<Shares>>>,
}

impl AllShares {
    pub(crate) fn new(host: Budgets) -> Self {
        Self {
            host,
            lanes: Arc::default(),
            handlers: Mutex::default(),
        }
    }

    /// Those of the handler `name`.
    pub(crate) fn of(&self, name: &HandlerName) -> Arc<Shares> {
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shares) = handlers.get(name).and_then(Weak::upgrade) {
            return shares;
        }
        handlers.retain(|_, shares| shares.strong_count() > 0);
        let shares = Arc::new(Shares {
            descriptors: Part::of(&self.host.descriptors),
            blocking: Part::of(&self.host.blocking),
            outgoing: Part::of(&self.host.outgoing),
            memory: Part::of(&self.host.memory),
            lanes: Arc::clone(&self.lanes),
        });
        handlers.insert(name.clone(), Arc::downgrade(&shares));
        shares
    }
}

/// The shares of one handler.
#[derive(Debug)]
pub(crate) struct Shares {
    descriptors: Part,
    blocking: Part,
    outgoing: Part,
    memory: Part,
    lanes: Arc<Lanes>,
}

impl Shares {
    /// File descriptors.
    pub(crate) fn descriptors(self: &Arc<Self>, amount: u64) -> Result<Held, Exhausted> {
        self.descriptors.take(amount, self.clone())
    }

    /// A file descriptor, as soon as one is free.
    pub(crate) async fn descriptor(self: &Arc<Self>) -> Held {
        self.descriptors.wait(self.clone()).await
    }

    /// Bytes of the host's memory that a guest requested.
    pub(crate) fn memory(self: &Arc<Self>, bytes: u64) -> Result<Held, Exhausted> {
        self.memory.take(bytes, self.clone())
    }

    /// An outgoing request.
    pub(crate) async fn outgoing(self: &Arc<Self>) -> Held {
        self.outgoing.wait(self.clone()).await
    }

    /// A thread for what may block, as soon as one is free.
    pub(crate) async fn lane(self: &Arc<Self>) -> Lane {
        self.lanes.lane(self.blocking.wait(self.clone()).await)
    }

    /// A thread for what may block, if one is free.
    pub(crate) fn free_lane(self: &Arc<Self>) -> Option<Lane> {
        let held = self.blocking.take(1, self.clone()).ok()?;
        Some(self.lanes.lane(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_machine::budget::{BudgetSettings, Machine};

    fn shares(descriptors_max: u64) -> AllShares {
        let settings = BudgetSettings {
            descriptors_max: Some(descriptors_max),
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
