//! The decisions of the queue, without I/O and the same for every engine: what happens
//! to a delivery after an attempt, to an expired lease, to a repeated idempotency
//! key, to a command beyond the limit, and to ended commands; which deliveries wait
//! for others, and when to poll. Engines carry them out.

mod admission;
mod dead;
mod dedup;
mod flow;
mod lease;
mod ordering;
mod prefix;
mod retention;
mod retry;
mod turn;
mod waking;

pub(crate) use admission::{BodyDigest, admit, body_digest, recognise};
pub(crate) use dead::{DEAD_STEP, Fate, next_step, refuse_one};
pub(crate) use dedup::{DEDUP_CHECK, DEDUP_STEP, Earlier, Verdict, dedup_until, judge};
pub(crate) use flow::{Lane, LaneState, Room, key_rate};
pub use lease::HOSTS_LOST_MAX;
pub(crate) use lease::{LeaseEnd, LostLease, settled};
pub(crate) use ordering::{Entrant, Entry, Placed, place};
pub(crate) use prefix::prefix_end;
pub(crate) use retention::{Cutoffs, Pass, SWEEP_STEP, Sweep};
pub use retry::RunResult;
pub(crate) use retry::settle;
pub(crate) use turn::{Open, Running, Turn};
pub(crate) use waking::{DUE_STEP, Due, leaves_work, look_within};

#[cfg(test)]
mod tests;
