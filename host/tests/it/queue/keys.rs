//! Keys of deliveries as operators meet them: in the settings of a handler.

use serde_json::{Value, json};

use crate::{
    host::Folders,
    queue::host::{config, serve},
};

/// A command of this tenant.
fn of(tenant: Value) -> Value {
    json!({ "to": "probe", "do": "echo", "tenant": tenant })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_a_rate_for_itself_until_the_settings_change() {
    let folders = Folders::probes(&["probe"]);
    let settings = "[queue.rate]\nlimit = 1\nper = \"1h\"\nkey = \"command.tenant\"";
    folders.settings("probe", settings);
    let host = serve(config(&folders), true).await;
    let first = host.accepted(of(json!("acme"))).await;
    assert_eq!(host.finished(&first).await["state"], "completed");
    let second = host.accepted(of(json!("acme"))).await;
    // A number is a key, too; what has no tenant goes without one.
    for other in [json!(7), json!(null)] {
        let other = host.accepted(of(other)).await;
        assert_eq!(host.finished(&other).await["state"], "completed");
    }
    assert_eq!(host.get(&second).await["state"], "available");
    let without = host.accepted(of(json!([]))).await;
    let seven = host.accepted(of(json!(7.0))).await;
    host.stop().await;
    folders.settings("probe", "");
    let host = serve(config(&folders), true).await;
    for place in [second, without, seven] {
        assert_eq!(host.finished(&place).await["state"], "completed");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_expression_is_a_problem_of_the_handler() {
    let folders = Folders::probes(&["probe"]);
    folders.settings("probe", "[queue]\nkey = \"command.\"");
    let problems = folders.problems().await;
    assert!(problems.contains("`queue.key`: at byte "), "{problems}");
}
