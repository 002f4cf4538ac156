//! [`DeliveryId`], the only place that defines the format of a delivery id.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    command::{CommandId, NotACommandId},
    name::{HandlerName, InvalidHandlerName},
};

/// The id of a delivery: its command and handler, `<command id>.<handler>` as
/// text. A command goes to a handler once, so the pair is unique, and it stays
/// the same through all retries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct DeliveryId {
    /// The command.
    pub command: CommandId,
    /// The handler.
    pub handler: HandlerName,
}

impl DeliveryId {
    /// The delivery of this command to this handler.
    #[must_use]
    pub fn new(command: CommandId, handler: HandlerName) -> Self {
        Self { command, handler }
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.command.text())?;
        f.write_str(".")?;
        f.write_str(self.handler.as_str())
    }
}

impl FromStr for DeliveryId {
    type Err = NotADeliveryId;

    fn from_str(text: &str) -> Result<Self, NotADeliveryId> {
        let (command, handler) = text.split_once('.').ok_or(NotADeliveryId::Form)?;
        Ok(Self::new(command.parse()?, HandlerName::parse(handler)?))
    }
}

/// A string that is not the id of a delivery.
#[derive(Debug, thiserror::Error)]
pub enum NotADeliveryId {
    /// It does not have two parts.
    #[error("a delivery id has the form `<command id>.<handler>`")]
    Form,
    /// The first part is wrong.
    #[error(transparent)]
    Command(#[from] NotACommandId),
    /// The second part is wrong.
    #[error(transparent)]
    Handler(#[from] InvalidHandlerName),
}

impl Serialize for DeliveryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeliveryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let text = "01980a5c-7d3e-7f40-8000-0123456789ab.create-policy";
        let id: DeliveryId = text.parse().unwrap();
        assert_eq!(id.handler.as_str(), "create-policy");
        assert_eq!(id.to_string(), text);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<DeliveryId>(&json).unwrap(), id);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let command = "01980a5c-7d3e-7f40-8000-0123456789ab";
        for text in [
            command,
            "1.greet",
            &format!("{command}.Greet"),
            &format!("{command}/greet"),
        ] {
            assert!(text.parse::<DeliveryId>().is_err(), "{text}");
        }
    }
}
