//! The decisions of the queue, without I/O and the same for every engine: what
//! becomes of a delivery after a run, of a lease that ran out, of a repeated
//! idempotency key, of a command too many, and of what has ended. Engines carry
//! them out.

mod admission;
mod lease;
mod retention;
mod retry;

pub(crate) use admission::{BodyDigest, admit, body_digest, recognise};
pub use lease::HOSTS_LOST_MAX;
pub(crate) use lease::{LeaseEnd, LostLease, settled};
pub(crate) use retention::{Cutoffs, Pass};
pub use retry::RunResult;
pub(crate) use retry::settle;

#[cfg(test)]
mod tests;
