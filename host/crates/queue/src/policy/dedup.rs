//! Which command a deduplication key means: a new one, one that was stored before, or one
//! that is changed as it has not begun.

use std::time::Duration;

use pointsman_core::command::CommandId;

use crate::{
    clock::Timestamp,
    dedup::{Dedup, DedupMode},
};

/// After that a key is looked at again, and forgotten if its command has ended.
pub(crate) const DEDUP_CHECK: Duration = Duration::from_secs(3600);
/// Keys that one step of a sweep looks at.
pub(crate) const DEDUP_STEP: i64 = 1_000;

/// Until when the key holds, or is not looked at again.
pub(crate) fn dedup_until(dedup: &Dedup, run_at: Option<Timestamp>, now: Timestamp) -> Timestamp {
    match dedup.mode {
        DedupMode::Throttle(ttl) => now.after(ttl),
        DedupMode::UntilDone | DedupMode::Replace => {
            run_at.unwrap_or(now).max(now).after(DEDUP_CHECK)
        }
    }
}

/// The command that a key named before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Earlier {
    pub(crate) command: CommandId,
    pub(crate) until: Timestamp,
    /// How many deliveries it has, how many of them have not ended, and how many have not begun.
    pub(crate) deliveries: i64,
    pub(crate) unfinished: i64,
    pub(crate) untouched: i64,
}

/// What becomes of the new command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    New,
    Repeats(CommandId),
    Replaces(CommandId),
}

/// What becomes of a command with this key.
pub(crate) fn judge(dedup: &Dedup, earlier: Option<Earlier>, now: Timestamp) -> Verdict {
    let Some(earlier) = earlier else {
        return Verdict::New;
    };
    let is_untouched = earlier.deliveries > 0 && earlier.untouched == earlier.deliveries;
    match dedup.mode {
        DedupMode::UntilDone if earlier.unfinished > 0 => Verdict::Repeats(earlier.command),
        DedupMode::Throttle(_) if earlier.until > now => Verdict::Repeats(earlier.command),
        DedupMode::Replace if is_untouched => Verdict::Replaces(earlier.command),
        DedupMode::UntilDone | DedupMode::Throttle(_) | DedupMode::Replace => Verdict::New,
    }
}
