//! The decisions of the queue, without I/O and the same for every engine: what
//! becomes of a delivery after a run, of a lease that ran out, of a repeated
//! idempotency key, of a command too many, and of what has ended; which deliveries
//! wait for others, and when to look for work. Engines carry them out.

mod admission;
mod dead;
mod flow;
mod lease;
mod ordering;
mod prefix;
mod retention;
mod retry;
mod waking;

pub(crate) use admission::{BodyDigest, admit, body_digest, recognise};
pub(crate) use dead::{DEAD_STEP, Fate, next_step, refuse_one};
pub(crate) use flow::{
    Bucket, Candidate, Lane, LaneState, Room, handler_rate, key_rate, rounds, turns,
};
pub use lease::HOSTS_LOST_MAX;
pub(crate) use lease::{LeaseEnd, LostLease, settled};
pub(crate) use ordering::{Entrant, Entry, Placed, place};
pub(crate) use prefix::prefix_end;
pub(crate) use retention::{Cutoffs, Pass, SWEEP_STEP, Sweep};
pub use retry::RunResult;
pub(crate) use retry::settle;
pub(crate) use waking::{DUE_STEP, Due, leaves_work, look_within};

#[cfg(test)]
mod tests;
