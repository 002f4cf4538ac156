//! Owns the contract's `emit`: follow-up commands, which wait in the call until it
//! has succeeded.

use std::time::Duration;

use pointsman_core::{command::Command, outcome::FollowUp};

use super::{bindings::v0_2_0::pointsman::handler::emit, state::State};

/// Commands in a row of which each emits the next.
const DEPTH_MAX: u32 = 8;
/// Bytes of an ordering key.
const KEY_MAX_BYTES: usize = 255;
/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Bytes of all commands of one call: they go into one transaction.
const BYTES_MAX: usize = 4 << 20;

impl emit::Host for State {
    async fn emit(
        &mut self,
        command: String,
        options: emit::Options,
    ) -> Result<String, emit::Error> {
        let handler = &self.handler;
        let Some(grant) = &handler.settings.emit else {
            let denial = handler.grants.no_service("`emit`", "emit");
            return Err(emit::Error::Denied(self.deny(denial)));
        };
        let Some(follow_ups) = self.shared.services.follow_ups.clone() else {
            return Err(emit::Error::Denied(
                "this host takes no follow-up commands: it runs without the queue".to_owned(),
            ));
        };
        if self.shared.depth >= DEPTH_MAX {
            return Err(emit::Error::Denied(format!(
                "commands emit commands {DEPTH_MAX} times in a row at most, so that no circle of rules goes on for ever"
            )));
        }
        let (count, bytes) = {
            let emitted = self.shared.emitted();
            let bytes = emitted.iter().map(|emitted| emitted.attributes.len());
            (emitted.len(), bytes.sum::<usize>())
        };
        if count >= grant.commands_max {
            return Err(emit::Error::Denied(format!(
                "a call emits at most {} commands; `emit.commands_max` in {} sets the limit",
                grant.commands_max, handler.place
            )));
        }
        if bytes + command.len() > BYTES_MAX {
            return Err(emit::Error::Denied(format!(
                "the commands of a call have at most {BYTES_MAX} bytes together"
            )));
        }
        check(&options)?;
        let command = Command::parse(&command)
            .map_err(|error| emit::Error::Invalid(format!("no command: {error}")))?;
        follow_ups
            .admit(&command)
            .await
            .map_err(emit::Error::Invalid)?;
        let delivery = &self.shared.delivery;
        let id = delivery.command.follow_up(&delivery.handler, count);
        self.shared.emitted().push(FollowUp {
            id,
            attributes: command.attributes().to_owned(),
            delay: options.delay_ms.map(Duration::from_millis),
            ordering_key: options.ordering_key,
            priority: options.priority.unwrap_or(0),
        });
        Ok(id.to_string())
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
