use serde_json::json;

use super::*;

fn structured(event: &serde_json::Value) -> Result<CloudEvent, EventError> {
    super::structured(event.to_string().as_bytes())
}

/// The code and the text of the error of this event.
fn refused(event: &serde_json::Value) -> (&'static str, String) {
    let error = structured(event).unwrap_err();
    (error.code(), error.to_string())
}

fn with(name: &str, value: serde_json::Value) -> serde_json::Value {
    let mut event = json!({ "specversion": "1.0", "id": "17", "source": "/orders", "type": "a.b" });
    event[name] = value;
    event
}

#[test]
fn the_data_is_the_command_with_what_describes_it_under_event() {
    let text = br#"{"specversion":"1.0","type":"order.placed","id":"1","source":"/o","retries":2,
        "comment":null,"traceparent":"00-1","partitionkey":"k","data": {"amount": 1.00, "a": "\u00e9"} }"#;
    let event = super::structured(text).unwrap();
    assert_eq!(
        event.command.attributes(),
        r#"{"$event":{"id":"1","partitionkey":"k","retries":2,"source":"/o","specversion":"1.0","traceparent":"00-1","type":"order.placed"},"amount": 1.00, "a": "\u00e9"}"#
    );
    assert_eq!(event.command.traceparent.as_deref(), Some("00-1"));
    assert_eq!(event.idempotency_key, "event:/o 1");
    assert_eq!(event.ordering_key.as_deref(), Some("k"));
    for empty in [with("time", json!(null)), with("data", json!({}))] {
        let event = structured(&empty).unwrap();
        let described =
            r#"{"$event":{"id":"17","source":"/orders","specversion":"1.0","type":"a.b"}}"#;
        assert_eq!(event.command.attributes(), described);
    }
}

#[test]
fn keys_that_are_too_long_are_hashed() {
    let long = |id: &str| structured(&with("id", json!(id.repeat(300)))).unwrap();
    let (first, second) = (long("a").idempotency_key, long("b").idempotency_key);
    assert!(first.starts_with("event:sha256:"), "{first}");
    assert!(first.len() <= KEY_MAX_BYTES);
    assert_ne!(first, second);
    let key = structured(&with("partitionkey", json!("é".repeat(200)))).unwrap();
    assert!(key.ordering_key.unwrap().starts_with("sha256:"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_no_event_says_why() {
    for (event, code, wanted) in [
        (
            with("specversion", json!("0.3")),
            "unsupported-event-version",
            "`0.3`",
        ),
        (
            with("specversion", json!(1)),
            "invalid-event",
            "`specversion` is not a string",
        ),
        (
            with("specversion", json!(null)),
            "invalid-event",
            "`specversion` is missing",
        ),
        (with("id", json!("")), "invalid-event", "`id` is empty"),
        (
            with("id", json!("a\nb")),
            "invalid-event",
            "`id` has a control character",
        ),
        (
            with("source", json!("a b")),
            "invalid-event",
            "`source` has a space",
        ),
        (
            with("type", json!({})),
            "invalid-event",
            "`type` is an object",
        ),
        (
            with("time", json!("yesterday")),
            "invalid-event",
            "`time` is not a time",
        ),
        (
            with("traceParent", json!("x")),
            "invalid-event",
            "other characters",
        ),
        (
            with("data", json!([1])),
            "unsupported-event-data",
            "not a JSON object",
        ),
        (
            with("data", json!("{}")),
            "unsupported-event-data",
            "not a JSON object",
        ),
        (
            with("data", json!(null)),
            "unsupported-event-data",
            "not a JSON object",
        ),
        (
            with("data_base64", json!("e30=")),
            "unsupported-event-data",
            "`data_base64`",
        ),
        (
            with("data", json!({ "$event": 1 })),
            "unsupported-event-data",
            "a key `$event`",
        ),
        (json!([]), "not-an-object", "an array"),
    ] {
        let (found, told) = refused(&event);
        assert_eq!(found, code, "{event}: {told}");
        assert!(told.contains(wanted), "{event}: {told}");
    }
}

#[test]
fn headers_are_decoded_once_and_carry_no_control_characters() {
    let event = |id: &'static [u8], body: &[u8]| {
        let headers: [(&str, &[u8]); 4] = [
            ("specversion", b"1.0"),
            ("id", id),
            ("source", b"/o"),
            ("type", b"t"),
        ];
        super::binary(headers, body)
    };
    for (id, wanted) in [
        (&b"a%20b"[..], "a b"),
        (b"%2520", "%20"),
        (b"\"a\\\"%C3%A9\"", "a\"é"),
        (b"100%", "100%"),
        ("é".as_bytes(), "é"),
    ] {
        let event = event(id, b" {\"a\": 1e2}").unwrap();
        assert_eq!(event.idempotency_key, format!("event:/o {wanted}"));
        let (_, rest) = event.command.attributes().split_once("},").unwrap();
        assert_eq!(rest, "\"a\": 1e2}");
    }
    for (id, wanted) in [
        (&b"a%0d%0aX-Injected: 1"[..], "has a control character"),
        (b"%00", "has a control character"),
        (b"%ff", "is not UTF-8"),
        (b"\xff", "is not UTF-8"),
        (b"", "is empty"),
    ] {
        let error = event(id, b"{}").unwrap_err();
        assert_eq!(error.code(), "invalid-event");
        assert!(error.to_string().contains(wanted), "{error}");
    }
    assert_eq!(event(b"1", b"").unwrap().idempotency_key, "event:/o 1");
    let refused = event(b"1", b"[]").unwrap_err();
    assert_eq!(refused.code(), "unsupported-event-data");
    let twice: [(&str, &[u8]); 2] = [("id", b"1"), ("id", b"2")];
    let refused = super::binary(twice, b"").unwrap_err();
    assert!(refused.to_string().contains("is given twice"), "{refused}");
}

#[test]
fn a_batch_is_an_array_of_events() {
    let batch = json!([with("id", json!("1")), with("id", json!("2"))]).to_string();
    let events = super::batch(batch.as_bytes()).unwrap();
    let keys: Vec<_> = events
        .iter()
        .map(|(number, one)| (*number, &*one.idempotency_key))
        .collect();
    assert_eq!(keys, [(1, "event:/orders 1"), (2, "event:/orders 2")]);
    assert!(super::batch(b"[]").unwrap().is_empty());
    let wrong = json!([with("id", json!("1")), 2, with("id", json!(3))]).to_string();
    let Err(BulkError::Lines(faults)) = super::batch(wrong.as_bytes()) else {
        panic!("it was taken");
    };
    let faults: Vec<_> = faults
        .told
        .iter()
        .map(|(at, fault)| (*at, fault.code()))
        .collect();
    assert_eq!(faults, [(2, "not-an-object"), (3, "invalid-event")]);
    for wrong in [&b"{}"[..], b"", b"[1", b"\xff"] {
        assert_eq!(super::batch(wrong).unwrap_err().code(), "invalid-lines");
    }
}
