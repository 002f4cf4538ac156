//! Owns what a call has emitted, until it has succeeded.

use pointsman_core::outcome::FollowUp;

use crate::shares::Held;

/// What a call has emitted so far.
#[derive(Default)]
pub(crate) struct Emitted {
    pub(crate) commands: Vec<FollowUp>,
    // Of their attributes.
    pub(super) bytes: usize,
    pub(super) refused: usize,
    // Of the host's memory, until the call is over.
    held: Vec<Held>,
}

impl Emitted {
    pub(super) fn add(&mut self, follow_up: FollowUp, held: Held) {
        self.bytes += follow_up.attributes.len();
        self.commands.push(follow_up);
        self.held.push(held);
    }
}
