//! Owns how the queue looks as JSON (camelCase, times in RFC 3339), in answers over
//! HTTP and from the command line, and reads it again into the same views. Keys
//! that are not known are left out: the host may be newer.

use std::ops::Not;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::value::RawValue;

use super::{
    CommandView, DeadLetter, DeliveryDetail, DeliveryId, DeliveryView, FailedAttempt, LastFailure,
    State, Timestamp,
};
use pointsman_core::{command::CommandId, name::HandlerName};

/// The keys of a command, in their order.
#[derive(Serialize, Deserialize)]
#[serde(remote = "CommandView", rename_all = "camelCase")]
struct CommandJson {
    #[serde(rename = "commandId")]
    id: CommandId,
    #[serde(getter = "CommandView::state")]
    state: State,
    #[serde(rename = "createdAt")]
    created: Timestamp,
    #[serde(rename = "generation")]
    rules_generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
    attributes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes_bytes: Option<u64>,
    #[serde(
        rename = "causationId",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    causation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rerun_of: Option<CommandId>,
    deliveries: Vec<DeliveryView>,
}

impl From<CommandJson> for CommandView {
    fn from(json: CommandJson) -> Self {
        Self {
            id: json.id,
            created: json.created,
            rules_generation: json.rules_generation,
            idempotency_key: json.idempotency_key,
            attributes: json.attributes,
            attributes_bytes: json.attributes_bytes,
            causation: json.causation,
            rerun_of: json.rerun_of,
            deliveries: json.deliveries,
        }
    }
}

/// The keys of a delivery, in their order.
#[derive(Serialize, Deserialize)]
#[serde(remote = "DeliveryView", rename_all = "camelCase")]
struct DeliveryJson {
    #[serde(rename = "deliveryId")]
    id: DeliveryId,
    #[serde(getter = "handler")]
    handler: HandlerName,
    state: State,
    attempt: u32,
    digest: String,
    rules: Vec<String>,
    priority: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<String>,
    run_at: Timestamp,
    #[serde(rename = "startedAt", default, skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
    #[serde(rename = "finishedAt", skip_serializing_if = "Option::is_none")]
    finished: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Not::not")]
    cancel_requested: bool,
    #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<LastFailure>,
}

fn handler(view: &DeliveryView) -> &HandlerName {
    &view.id.handler
}

impl From<DeliveryJson> for DeliveryView {
    fn from(json: DeliveryJson) -> Self {
        Self {
            id: json.id,
            digest: json.digest,
            rules: json.rules,
            state: json.state,
            attempt: json.attempt,
            priority: json.priority,
            run_at: json.run_at,
            ordering_key: json.ordering_key,
            cancel_requested: json.cancel_requested,
            output: json.output,
            output_bytes: json.output_bytes,
            started: json.started,
            finished: json.finished,
            last_failure: json.last_failure,
        }
    }
}

macro_rules! written_as {
    ($($view:ty: $json:ty),*) => {$(
        impl Serialize for $view {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$json>::serialize(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $view {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$json>::deserialize(deserializer)
            }
        }
    )*};
}

written_as!(CommandView: CommandJson, DeliveryView: DeliveryJson);

/// The keys of a delivery with all its failures.
#[derive(Serialize)]
#[serde(remote = "DeliveryDetail")]
struct DetailJson {
    #[serde(flatten)]
    delivery: DeliveryView,
    #[serde(serialize_with = "written")]
    attributes: String,
    failures: Vec<FailedAttempt>,
}

impl Serialize for DeliveryDetail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        DetailJson::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for DeliveryDetail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Rest {
            #[serde(deserialize_with = "read")]
            attributes: String,
            failures: Vec<FailedAttempt>,
        }
        // Read twice: `flatten` would not keep the text of the output.
        let whole = Box::<RawValue>::deserialize(deserializer)?;
        let delivery = serde_json::from_str(whole.get()).map_err(D::Error::custom)?;
        let rest: Rest = serde_json::from_str(whole.get()).map_err(D::Error::custom)?;
        Ok(Self::new(delivery, rest.attributes, rest.failures))
    }
}

impl Serialize for DeadLetter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.delivery.serialize(serializer)
    }
}

/// JSON text as it was stored; as a string where it is no JSON.
fn written<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => value.serialize(serializer),
        Err(_) => serializer.serialize_str(text),
    }
}

/// The JSON text of a value, as the host wrote it.
fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Box::<RawValue>::deserialize(deserializer)?.get().to_owned())
}

/// The same of one that may be missing: `null` is a value like any other.
mod text {
    use super::{Deserializer, Serializer, read, written};

    pub(super) fn serialize<S: Serializer>(
        text: &Option<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match text {
            Some(text) => written(text, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<String>, D::Error> {
        read(deserializer).map(Some)
    }
}
