//! Owns the contract's `emit`: follow-up commands, which wait in the call until it
//! has succeeded.

use std::{sync::Arc, time::Duration};

use pointsman_core::outcome::FollowUp;

use super::{bindings::v0_2_0::pointsman::handler::emit, memory::Refused, state::State};
use crate::services::FollowUps;

/// Commands in a row of which each emits the next.
const DEPTH_MAX: u32 = 8;
/// Bytes of an ordering key.
const KEY_MAX_BYTES: usize = 255;
/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Bytes of all commands of one call: they go into one transaction.
const BYTES_MAX: usize = 4 << 20;
/// Commands of one call that are read and then refused: reading costs the host time
/// that is beside the CPU time of the call.
const REFUSED_MAX: usize = 100;

impl emit::Host for State {
    async fn emit(
        &mut self,
        command: String,
        options: emit::Options,
    ) -> wasmtime::Result<Result<String, emit::Error>> {
        let follow_ups = match self.may_emit(&command, &options) {
            Ok(follow_ups) => follow_ups,
            Err(refused) => return Ok(Err(refused)),
        };
        let delay = options.delay_ms.map(Duration::from_millis);
        let command = match follow_ups.admit(command, delay).await {
            Ok(command) => command,
            Err(reason) => {
                self.shared.emitted().refused += 1;
                return Ok(Err(emit::Error::Invalid(reason)));
            }
        };
        let delivery = &self.shared.delivery;
        let mut emitted = self.shared.emitted();
        let index = emitted.commands.len();
        let follow_up = FollowUp {
            id: delivery.command.follow_up(&delivery.handler, index),
            attributes: command.attributes().to_owned(),
            delay,
            ordering_key: options.ordering_key,
            priority: options.priority.unwrap_or(0),
        };
        let id = follow_up.id;
        // It may be large where the guest is small, and waits as long as that does.
        let bytes = (size_of::<FollowUp>() + follow_up.attributes.len()) as u64;
        let held = self.handler.shares.memory(bytes).inspect_err(|_| {
            self.shared.memory.refuse(Refused::Host);
        })?;
        emitted.add(follow_up, held);
        Ok(Ok(id.to_string()))
    }
}

impl State {
    /// Where this call's next follow-up command goes, as far as that can be said
    /// before anyone has read it.
    fn may_emit(
        &self,
        command: &str,
        options: &emit::Options,
    ) -> Result<Arc<dyn FollowUps>, emit::Error> {
        let handler = &self.handler;
        let denied = |reason: String| Err(emit::Error::Denied(reason));
        let Some(grant) = &handler.settings.emit else {
            let denial = handler.grants.no_service("`emit`", "emit");
            return denied(self.deny(denial));
        };
        let Some(follow_ups) = self.shared.services.follow_ups.clone() else {
            let reason = "this host accepts no follow-up commands: the queue is off";
            return denied(reason.to_owned());
        };
        if self.shared.depth >= DEPTH_MAX {
            return denied(format!(
                "a chain of follow-up commands is at most {DEPTH_MAX} long, so that rules cannot loop forever"
            ));
        }
        let emitted = self.shared.emitted();
        if emitted.commands.len() >= grant.commands_max {
            return denied(format!(
                "a call emits at most {} commands; `emit.commands_max` in {} sets the limit",
                grant.commands_max, handler.place
            ));
        }
        if emitted.refused >= REFUSED_MAX {
            return denied(format!(
                "{REFUSED_MAX} commands of this call were refused, and no more are looked at"
            ));
        }
        if emitted.bytes + command.len() > BYTES_MAX {
            return denied(format!(
                "the commands of a call have at most {BYTES_MAX} bytes together"
            ));
        }
        check(options)?;
        Ok(follow_ups)
    }
}

fn check(options: &emit::Options) -> Result<(), emit::Error> {
    let invalid = |reason: String| Err(emit::Error::Invalid(reason));
    let is_key = |key: &String| {
        !key.is_empty() && key.len() <= KEY_MAX_BYTES && !key.contains(char::is_control)
    };
    if options
        .ordering_key
        .as_ref()
        .is_some_and(|key| !is_key(key))
    {
        return invalid(format!(
            "an ordering key has 1 to {KEY_MAX_BYTES} bytes and no control characters"
        ));
    }
    if options
        .delay_ms
        .is_some_and(|ms| Duration::from_millis(ms) > DELAY_MAX)
    {
        return invalid("a delay is at most a year".to_owned());
    }
    Ok(())
}
