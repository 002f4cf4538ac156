//! Owns how the queue looks as JSON (camelCase, times in RFC 3339), in answers
//! over HTTP and from the command line. [`read`] is the way back.

mod read;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

use super::{
    Accepted, CommandView, DeadLetter, DeliveryDetail, DeliveryId, DeliveryView, Ending, Failure,
    LastFailure, State, Timestamp,
};

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match jiff::Timestamp::from_millisecond(self.as_millis()) {
            Ok(time) => time.serialize(serializer),
            // Past the year 9999, which RFC 3339 cannot write.
            Err(_) => serializer.serialize_i64(self.as_millis()),
        }
    }
}

impl Serialize for Ending {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// JSON text as it was stored; as a string where it is no JSON.
struct Json<'a>(&'a str);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(self.0) {
            Ok(value) => value.serialize(serializer),
            Err(_) => serializer.serialize_str(self.0),
        }
    }
}

impl Serialize for Accepted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct One<'a> {
            delivery_id: &'a DeliveryId,
            handler: &'a str,
        }
        let deliveries = self.deliveries.iter().map(|delivery| One {
            delivery_id: delivery,
            handler: delivery.handler.as_str(),
        });
        let mut map = serializer.serialize_map(Some(3 + usize::from(self.removed)))?;
        map.serialize_entry("commandId", &self.id)?;
        map.serialize_entry("repeated", &self.repeated)?;
        map.serialize_entry("deliveries", &deliveries.collect::<Vec<_>>())?;
        if self.removed {
            map.serialize_entry("removed", &true)?;
        }
        map.end()
    }
}

impl Serialize for CommandView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            command_id: super::CommandId,
            state: State,
            created_at: Timestamp,
            generation: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            idempotency_key: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            attributes: Option<Json<'a>>,
            // In place of attributes that were left out.
            #[serde(skip_serializing_if = "Option::is_none")]
            attributes_bytes: Option<u64>,
            deliveries: &'a [DeliveryView],
        }
        let there = !self.attributes.is_empty();
        let wire = Wire {
            command_id: self.id,
            state: self.state(),
            created_at: self.created,
            generation: self.rules_generation,
            idempotency_key: self.idempotency_key.as_deref(),
            attributes: there.then(|| Json(&self.attributes)),
            attributes_bytes: (!there).then_some(self.attributes_bytes),
            deliveries: &self.deliveries,
        };
        wire.serialize(serializer)
    }
}

/// The keys of a delivery, alone and within more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryWire<'a> {
    delivery_id: &'a DeliveryId,
    handler: &'a str,
    state: State,
    attempt: u32,
    digest: &'a str,
    rules: &'a [String],
    priority: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<&'a str>,
    run_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cancel_requested: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Json<'a>>,
    // In place of an output that was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<&'a LastFailure>,
}

impl<'a> From<&'a DeliveryView> for DeliveryWire<'a> {
    fn from(view: &'a DeliveryView) -> Self {
        Self {
            delivery_id: &view.id,
            handler: view.id.handler.as_str(),
            state: view.state,
            attempt: view.attempt,
            digest: &view.digest,
            rules: &view.rules,
            priority: view.priority,
            ordering_key: view.ordering_key.as_deref(),
            run_at: view.run_at,
            finished_at: view.finished,
            cancel_requested: view.cancel_requested,
            output: view.output.as_deref().map(Json),
            output_bytes: (view.output.is_none() && view.output_bytes > 0)
                .then_some(view.output_bytes),
            last_failure: view.last_failure.as_ref(),
        }
    }
}

impl Serialize for DeliveryView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        DeliveryWire::from(self).serialize(serializer)
    }
}

impl Serialize for DeliveryDetail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            #[serde(flatten)]
            delivery: DeliveryWire<'a>,
            attributes: Json<'a>,
            failures: &'a [Failure],
        }
        let wire = Wire {
            // The failures say it.
            delivery: DeliveryWire {
                last_failure: None,
                ..(&self.delivery).into()
            },
            attributes: Json(&self.attributes),
            failures: &self.failures,
        };
        wire.serialize(serializer)
    }
}

impl Serialize for DeadLetter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.delivery.serialize(serializer)
    }
}
