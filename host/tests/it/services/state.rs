//! What a handler remembers from call to call.

use pointsman::{
    config::Config,
    host::{Loaded, Unloaded},
    outcome::Status,
    reload::Wait,
};
use serde_json::{Value, json};

use super::sql::{answer, folders};
use crate::{
    host::{Folders, guest},
    queue,
};

/// A host with a queue, in whose store the entries are.
pub(crate) async fn with_queue(folders: &Folders) -> Loaded {
    with_queue_and(folders, |_| {}).await
}

/// The same with other settings.
pub(super) async fn with_queue_and(folders: &Folders, set: impl FnOnce(&mut Config)) -> Loaded {
    let mut config = queue::host::config(folders);
    set(&mut config);
    let host = Unloaded::new(config).unwrap().with_queue().await.unwrap();
    host.load(Wait::ForAll).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_remembers_outlives_its_calls_and_the_host() {
    let folders = folders("[state]");
    let count = r#"{"do":"count"}"#;
    for start in [0, 2] {
        let app = with_queue(&folders).await;
        assert_eq!(answer(&app, count).await, Ok(json!(start + 1)));
        assert_eq!(answer(&app, count).await, Ok(json!(start + 2)));
        app.stop().await;
    }
    let app = with_queue(&folders).await;
    let remember = r#"{"do":"remember","key":"k","value":{"a":[1,null]}}"#;
    assert_eq!(answer(&app, remember).await, Ok(Value::Null));
    let recall = r#"{"do":"recall","key":"k"}"#;
    assert_eq!(answer(&app, recall).await, Ok(json!({"a":[1,null]})));
    let forget = r#"{"do":"forget","key":"k"}"#;
    assert_eq!(answer(&app, forget).await, Ok(json!(true)));
    assert_eq!(answer(&app, recall).await, Ok(Value::Null));
    let briefly = answer(&app, r#"{"do":"remember-briefly"}"#).await;
    assert_eq!(briefly, Ok(Value::Null));
    let compared = answer(&app, r#"{"do":"compare"}"#).await;
    assert_eq!(compared, Ok(json!([true, false, true])));
    let listed = answer(&app, r#"{"do":"list"}"#).await;
    assert_eq!(listed, Ok(json!([["p/a", "p/a"], ["p/b", "p/b"]])));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_handler_has_a_space_of_its_own_unless_it_shares_one() {
    let folders = folders("[state]");
    folders.plugin("other", guest("keeps"));
    folders.rules(
        "other.json",
        r#"{"rules":[{"name":"other","match":{"other":[true]},"handlers":["other"]},
            {"name":"keeps","match":{"keeps":[true]},"handlers":["keeps"]}]}"#,
    );
    std::fs::remove_file(folders.path().join("rules/keeps.json")).unwrap();
    for (other, wanted) in [("[state]", 1), ("[state]\nshared = \"keeps\"", 1)] {
        folders.settings("other", other);
        let app = with_queue(&folders).await;
        answer(&app, r#"{"keeps":true,"do":"count"}"#)
            .await
            .unwrap();
        let count = answer(&app, r#"{"other":true,"do":"count"}"#).await;
        // A shared space is nobody's own, whatever its name is.
        assert_eq!(count, Ok(json!(wanted)), "{other}");
        app.stop().await;
    }
    for handler in ["keeps", "other"] {
        folders.settings(handler, "[state]\nshared = \"both\"");
    }
    let app = with_queue(&folders).await;
    answer(&app, r#"{"keeps":true,"do":"count"}"#)
        .await
        .unwrap();
    let count = answer(&app, r#"{"other":true,"do":"count"}"#).await;
    assert_eq!(count, Ok(json!(2)));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_granted_is_kept_and_each_refusal_says_why() {
    let limited = folders("[state]\nkeys_max = 1\nbytes_max = 100");
    let app = with_queue(&limited).await;
    let remember =
        |key: &str, value: Value| json!({"do": "remember", "key": key, "value": value}).to_string();
    answer(&app, &remember("a", json!(1))).await.unwrap();
    for (key, value, wanted) in [
        ("b", json!(1), "`state.keys_max` sets the limit"),
        (
            "a",
            json!("x".repeat(100)),
            "`state.bytes_max` sets the limit",
        ),
        ("", json!(1), "a key has 1 to 512 bytes"),
        ("k\u{0}", json!(1), "a key has 1 to 512 bytes"),
    ] {
        let (status, message) = answer(&app, &remember(key, value)).await.unwrap_err();
        assert_eq!(status, Status::Rejected, "{message}");
        assert!(message.contains(wanted), "{message}");
    }
    app.stop().await;

    let denied = folders("");
    let app = with_queue(&denied).await;
    let (status, message) = answer(&app, r#"{"do":"count"}"#).await.unwrap_err();
    assert_eq!(status, Status::Denied);
    assert!(
        message.contains("add to plugins/keeps.toml: [state]"),
        "{message}"
    );
    app.stop().await;

    // Without a queue there is no store.
    let app = folders("[state]").start().await;
    let (status, message) = answer(&app, r#"{"do":"count"}"#).await.unwrap_err();
    assert_eq!(status, Status::Unavailable);
    assert!(message.contains("without the queue"), "{message}");
    app.stop().await;
}
