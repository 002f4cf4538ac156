//! Reads what a host answers of its queue back into the same views, so that
//! the command line shows both alike. Keys that are not known are left out: the
//! host may be newer.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::value::RawValue;

use crate::{
    Accepted, CommandView, DeliveryDetail, DeliveryId, DeliveryView, Ending, Failure, LastFailure,
    State, Timestamp,
};
use pointsman_core::command::CommandId;

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Text(jiff::Timestamp),
            Millis(i64),
        }
        Ok(Self::from_millis(match Wire::deserialize(deserializer)? {
            Wire::Text(time) => time.as_millisecond(),
            Wire::Millis(millis) => millis,
        }))
    }
}

/// What a text stands for.
fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

impl<'de> Deserialize<'de> for Ending {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

/// The JSON text of a value, as the host wrote it.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Box::<RawValue>::deserialize(deserializer)?.get().to_owned())
}

/// The same of one that may be missing: `null` is a value like any other.
fn text_where_there<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    text(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Accepted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct One {
            delivery_id: DeliveryId,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            command_id: CommandId,
            repeated: bool,
            deliveries: Vec<One>,
            #[serde(default)]
            removed: bool,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            id: wire.command_id,
            repeated: wire.repeated,
            removed: wire.removed,
            deliveries: wire.deliveries.into_iter().map(|d| d.delivery_id).collect(),
        })
    }
}

impl<'de> Deserialize<'de> for CommandView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Without `state`, which the deliveries say.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            command_id: CommandId,
            created_at: Timestamp,
            generation: u64,
            idempotency_key: Option<String>,
            #[serde(default, deserialize_with = "text")]
            attributes: String,
            attributes_bytes: Option<u64>,
            deliveries: Vec<DeliveryView>,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            id: wire.command_id,
            attributes_bytes: wire
                .attributes_bytes
                .unwrap_or(wire.attributes.len() as u64),
            attributes: wire.attributes,
            idempotency_key: wire.idempotency_key,
            rules_generation: wire.generation,
            created: wire.created_at,
            deliveries: wire.deliveries,
        })
    }
}

impl<'de> Deserialize<'de> for DeliveryView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            delivery_id: DeliveryId,
            state: State,
            attempt: u32,
            digest: String,
            rules: Vec<String>,
            priority: i32,
            ordering_key: Option<String>,
            run_at: Timestamp,
            finished_at: Option<Timestamp>,
            #[serde(default)]
            cancel_requested: bool,
            #[serde(default, deserialize_with = "text_where_there")]
            output: Option<String>,
            output_bytes: Option<u64>,
            last_failure: Option<LastFailure>,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            id: wire.delivery_id,
            digest: wire.digest,
            rules: wire.rules,
            state: wire.state,
            attempt: wire.attempt,
            priority: wire.priority,
            run_at: wire.run_at,
            ordering_key: wire.ordering_key,
            cancel_requested: wire.cancel_requested,
            output_bytes: wire
                .output_bytes
                .unwrap_or(wire.output.as_ref().map_or(0, |output| output.len() as u64)),
            output: wire.output,
            finished: wire.finished_at,
            last_failure: wire.last_failure,
        })
    }
}

impl<'de> Deserialize<'de> for DeliveryDetail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Rest {
            #[serde(deserialize_with = "text")]
            attributes: String,
            failures: Vec<Failure>,
        }
        // Read twice: `flatten` would not keep the text of the output.
        let whole = Box::<RawValue>::deserialize(deserializer)?;
        let mut delivery: DeliveryView =
            serde_json::from_str(whole.get()).map_err(D::Error::custom)?;
        let rest: Rest = serde_json::from_str(whole.get()).map_err(D::Error::custom)?;
        delivery.last_failure = rest.failures.last().cloned().map(Into::into);
        Ok(Self {
            delivery,
            attributes: rest.attributes,
            failures: rest.failures,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cancellation;

    /// Reads the JSON as `T` and writes it again.
    fn again<T: serde::Serialize + for<'de> Deserialize<'de>>(json: &str) -> String {
        serde_json::to_string(&serde_json::from_str::<T>(json).unwrap()).unwrap()
    }

    #[test]
    fn what_is_read_is_written_again_to_the_letter() {
        let id = "01980a5c-7d3e-7f40-8000-0123456789ab";
        // A number that no float holds, a null answer, a key out of order, a far time.
        let delivery = format!(
            r#"{{"deliveryId":"{id}.probe","handler":"probe","state":"running","attempt":2,"digest":"d","rules":["r"],"priority":-1,"orderingKey":"k","runAt":253402300800000,"finishedAt":"2030-01-01T00:00:00.5Z","cancelRequested":true,"output":null}}"#
        );
        assert_eq!(again::<DeliveryView>(&delivery), delivery);
        let failures = r#"[{"attempt":1,"at":"2030-01-01T00:00:00Z","status":"timed-out","message":"m","logs":[{"level":"info","message":"l"}]}]"#;
        let last =
            r#"{"attempt":1,"at":"2030-01-01T00:00:00Z","status":"host-lost","message":"m"}"#;
        let open = delivery.trim_end_matches('}');
        let failed = format!(r#"{open},"lastFailure":{last}}}"#);
        assert_eq!(again::<DeliveryView>(&failed), failed);
        let attributes = r#"{"z":1.0,"a":123456789012345678901234567890}"#;
        let command = format!(
            r#"{{"commandId":"{id}","state":"running","createdAt":"2030-01-01T00:00:00Z","generation":3,"idempotencyKey":"k","attributes":{attributes},"deliveries":[{delivery}]}}"#
        );
        assert_eq!(again::<CommandView>(&command), command);
        // As a list shows what is long.
        let short = command
            .replace(
                &format!(r#""attributes":{attributes}"#),
                r#""attributesBytes":70000"#,
            )
            .replace(r#""output":null"#, r#""outputBytes":70000"#);
        assert_eq!(again::<CommandView>(&short), short);
        let detail = format!(r#"{open},"attributes":{attributes},"failures":{failures}}}"#);
        assert_eq!(again::<DeliveryDetail>(&detail), detail);
        let accepted = format!(
            r#"{{"commandId":"{id}","repeated":true,"deliveries":[{{"deliveryId":"{id}.probe","handler":"probe"}}]}}"#
        );
        assert_eq!(again::<Accepted>(&accepted), accepted);
        let removed =
            format!(r#"{{"commandId":"{id}","repeated":true,"deliveries":[],"removed":true}}"#);
        assert_eq!(again::<Accepted>(&removed), removed);
        let cancellation = r#"{"cancelled":1,"interrupting":2}"#;
        assert_eq!(again::<Cancellation>(cancellation), cancellation);
    }
}
