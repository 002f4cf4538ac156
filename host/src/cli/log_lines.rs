//! Owns the form of a log line: text for people, and JSON for the audit log, which
//! programs read.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

use crate::{
    http::audit,
    text::{MESSAGE_MAX_BYTES, bounded, escaped_json},
};

/// Writes each event as its target wants it.
pub(super) struct Lines(Format<Full>);

impl Default for Lines {
    fn default() -> Self {
        Self(Format::default().with_target(false))
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if event.metadata().target() != audit::TARGET {
            return self.0.format_event(context, writer, event);
        }
        let mut fields = Fields(Map::new());
        fields.put("time", jiff::Timestamp::now().to_string().into());
        fields.put("log", audit::TARGET.into());
        event.record(&mut fields);
        let line = Value::Object(fields.0).to_string();
        writeln!(writer, "{}", escaped_json(&line))
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: Value) {
        self.0.insert(name.into(), value);
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = bounded(format_args!("{value:?}"), MESSAGE_MAX_BYTES);
        self.put(field.name(), value.to_string().into());
    }
}
