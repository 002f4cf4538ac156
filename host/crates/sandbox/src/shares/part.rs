//! Owns one handler's part of one budget, and what is held of both.

use std::{any::Any, sync::Arc};

use pointsman_machine::budget::{Budget, Exhausted, Share};

/// One handler has at most one of so many parts of a budget: three that take
/// all they can leave one for the others.
const PARTS: u64 = 4;

/// A budget of the host, and the part of it that is one handler's.
#[derive(Debug)]
pub(super) struct Part {
    own: Arc<Budget>,
    host: Arc<Budget>,
}

/// What a handler took, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _own: Share,
    _host: Share,
    // The handler's shares, so that what is held counts after a reload.
    _shares: Arc<dyn Any + Send + Sync>,
}

impl Part {
    pub(super) fn of(host: &Arc<Budget>) -> Self {
        Self {
            own: Budget::new(host.setting(), (host.limit() / PARTS).max(1)),
            host: Arc::clone(host),
        }
    }

    /// Takes `amount` for the handler whose `shares` this part is among.
    pub(super) fn take(
        &self,
        amount: u64,
        shares: Arc<dyn Any + Send + Sync>,
    ) -> Result<Held, Exhausted> {
        Ok(Held {
            _own: self.own.take(amount)?,
            _host: self.host.take(amount)?,
            _shares: shares,
        })
    }

    /// Takes one as soon as one is free.
    pub(super) async fn wait(&self, shares: Arc<dyn Any + Send + Sync>) -> Held {
        Held {
            _own: self.own.wait_for_one().await,
            _host: self.host.wait_for_one().await,
            _shares: shares,
        }
    }
}
