//! Owns what the standard variables `OTEL_*` say, as far as they decide whether
//! and how traces are sent; the rest is read by the library itself.

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};

use super::{
    Telemetry,
    collector::{Client, Told},
};
use crate::diagnostic::Diagnostic;

/// The samplers that the library has; of another it would take every trace.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// The variables, so that tests need not change those of their process.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Telemetry {
    /// Traces as the variables `OTEL_*` of the environment say; none where they name
    /// no collector.
    ///
    /// # Errors
    /// Where a variable cannot be followed: it is named, with what to write.
    pub fn from_environment() -> Result<Option<Self>, Diagnostic> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if !is_wanted(&variable)? {
            return Ok(None);
        }
        let client = Client::new().map_err(|error| wrong("no client for it", error.to_string()))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .build()
            .map_err(|error| wrong("they cannot be followed", error.to_string()))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Told::new(exporter))
            .with_resource(resource(&variable))
            .build();
        Ok(Some(Self::new(provider)))
    }
}

/// Whether traces are to be sent.
fn is_wanted(variable: Variables) -> Result<bool, Diagnostic> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    let exporter = variable("OTEL_TRACES_EXPORTER");
    match exporter.as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(false),
        Some(other) => {
            let message = format!("`OTEL_TRACES_EXPORTER` is `{other}`");
            return Err(wrong(&message, "write `otlp` or `none`".into()));
        }
    }
    let endpoint = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
    if endpoint.is_none() && exporter.is_none() {
        return Ok(false);
    }
    for name in [
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ] {
        if let Some(other) = variable(name).filter(|it| it != "http/protobuf") {
            let message = format!("`{name}` is `{other}`");
            let hint = "traces are sent as `http/protobuf`, which collectors take on port 4318";
            return Err(wrong(&message, hint.into()));
        }
    }
    check_sampler(variable)?;
    Ok(true)
}

fn check_sampler(variable: Variables) -> Result<(), Diagnostic> {
    let Some(sampler) = variable("OTEL_TRACES_SAMPLER") else {
        return Ok(());
    };
    if !SAMPLERS.contains(&sampler.as_str()) {
        let message = format!("`OTEL_TRACES_SAMPLER` is `{sampler}`");
        return Err(wrong(
            &message,
            format!("write one of {}", SAMPLERS.join(", ")),
        ));
    }
    if !sampler.ends_with("traceidratio") {
        return Ok(());
    }
    let argument = variable("OTEL_TRACES_SAMPLER_ARG").unwrap_or_default();
    match argument.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
        _ => {
            let message = format!("`OTEL_TRACES_SAMPLER_ARG` is `{argument}`");
            Err(wrong(
                &message,
                "write a ratio from 0 to 1, such as 0.01".into(),
            ))
        }
    }
}

/// Who sends the traces. The library takes the name from the variables where they have one.
fn resource(variable: Variables) -> Resource {
    let builder = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let attributes = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_named = variable("OTEL_SERVICE_NAME").is_some()
        || attributes
            .split(',')
            .any(|it| it.trim_start().starts_with("service.name="));
    if is_named {
        return builder.build();
    }
    builder.with_service_name(env!("CARGO_PKG_NAME")).build()
}

fn wrong(message: &str, hint: String) -> Diagnostic {
    Diagnostic::error("bad-telemetry", format!("traces: {message}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn wanted(variables: &[(&str, &str)]) -> Result<bool, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        is_wanted(&variable).map_err(|error| error.to_string())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");

    #[test]
    fn traces_are_sent_where_a_collector_is_named() {
        assert_eq!(wanted(&[]), Ok(false));
        assert_eq!(wanted(&[ENDPOINT]), Ok(true));
        assert_eq!(wanted(&[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(true));
        assert_eq!(
            wanted(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]),
            Ok(false)
        );
        assert_eq!(
            wanted(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]),
            Ok(false)
        );
        let sampled = [
            ENDPOINT,
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
        ];
        assert_eq!(wanted(&sampled), Ok(true));
    }

    #[test]
    fn a_variable_that_cannot_be_followed_is_named() {
        let wrong = [
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ];
        let said: Vec<_> = wrong
            .iter()
            .map(|wrong| wanted(&[ENDPOINT, *wrong]).unwrap_err())
            .collect();
        expect![[r#"
            traces: `OTEL_TRACES_EXPORTER` is `zipkin`
              hint: write `otlp` or `none`
            traces: `OTEL_EXPORTER_OTLP_PROTOCOL` is `grpc`
              hint: traces are sent as `http/protobuf`, which collectors take on port 4318
            traces: `OTEL_TRACES_SAMPLER` is `jaeger_remote`
              hint: write one of always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio
            traces: `OTEL_TRACES_SAMPLER_ARG` is ``
              hint: write a ratio from 0 to 1, such as 0.01"#]]
        .assert_eq(&said.join("\n"));
    }
}
