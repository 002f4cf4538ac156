//! How the queue looks as JSON: what a host answers is read again by the command
//! line, and written again to the letter.

use pointsman_queue::{Accepted, Cancellation, CommandView, DeliveryDetail, DeliveryView};
use serde::Deserialize;

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
    let last = r#"{"attempt":1,"at":"2030-01-01T00:00:00Z","status":"host-lost","message":"m"}"#;
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
