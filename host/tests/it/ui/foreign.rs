//! Strings of handlers, clients, rules, components and files on the pages.

use serde_json::json;
use wasm_metadata::{AddMetadata, AddMetadataField, Description, Version};

use super::page::{PAGES, Page};
use crate::{
    host::{Folders, guest},
    queue::host::{config, serve},
};

/// Ends a tag, an attribute or a script, and hides or reorders what is around it.
const HOSTILE: &str = "x\"'><b>&lt;</pre></textarea><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J\u{202e}\u{2028}\u{200b}javascript:alert(1)";

fn hostile_folders() -> Folders {
    let folders = Folders::probes(&["probe"]);
    let mut metadata = AddMetadata::default();
    metadata.version = AddMetadataField::Set(Version::new(HOSTILE));
    metadata.description = AddMetadataField::Set(Description::new(HOSTILE));
    folders.plugin("evil", metadata.to_wasm(&guest("probe")).unwrap());
    folders.settings("evil", &format!("[config]\n{} = \"x\"", json!(HOSTILE)));
    let name = HOSTILE.replace('/', "|");
    folders.plugin(&name, "nonsense");
    folders.rules(&format!("{name}.json"), "nonsense");
    let rule = json!({ "rules": [{
        "name": "evil", "description": HOSTILE, "group": HOSTILE, "handlers": ["evil"],
        "match": { HOSTILE: [HOSTILE] }, "guard": format!("command.a == {}", json!("<b>")),
    }] });
    folders.rules("evil.json", &rule.to_string());
    folders
}

#[tokio::test(flavor = "multi_thread")]
async fn no_string_of_anyone_becomes_a_part_of_a_page() {
    let folders = hostile_folders();
    let host = serve(config(&folders), true).await;
    let said = json!({ "to": "probe", "do": "say", "text": HOSTILE, HOSTILE: HOSTILE });
    let (_, place, _) = host.send(&said, Some("<b>\"'&")).await;
    host.finished(&place).await;
    let echoed = json!({ "to": "probe", "do": "echo", HOSTILE: HOSTILE });
    let echoed = host.accepted(echoed).await;
    host.finished(&echoed).await;
    let queue = Page::get(&host.url, "/ui/queue").await;
    // A reason has no control characters; the rest of it may be anything.
    let reason = HOSTILE.replace('\x1b', "");
    queue
        .post(
            &host.url,
            "/ui/queue/pause",
            &[("handler", "evil"), ("reason", &reason)],
        )
        .await;

    let id = place.rsplit_once('/').unwrap().1;
    let encoded: String = form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    let mut paths: Vec<_> = PAGES.map(str::to_owned).into();
    paths.extend([
        format!("/ui{place}"),
        format!("/ui{echoed}"),
        format!("/ui/explain?command={id}"),
        format!("/ui/commands?q={encoded}"),
        format!("/ui/commands?from={encoded}"),
        format!("/ui/commands?handler={encoded}"),
        format!("/ui/dead?status={encoded}"),
        format!("/ui/rules?q={encoded}"),
        format!("/ui/commands/{}", encoded.replace('+', "%20")),
    ]);
    let mut shown = 0;
    for path in paths {
        let page = Page::get(&host.url, &path).await;
        page.assert_plain(&path);
        shown += page.count("&lt;img src=x");
    }
    assert!(shown > 20, "the strings are not shown any more: {shown}");
    let explained = queue
        .post(&host.url, "/ui/explain", &[("command", &echoed_text())])
        .await;
    explained.assert_plain("explain");
    assert!(
        explained.text.contains("&lt;/textarea&gt;"),
        "{}",
        explained.text
    );
    host.stop().await;
}

/// A command that is valid, with what ends a text field.
fn echoed_text() -> String {
    json!({ "to": "</textarea><script>alert(1)</script>" }).to_string()
}
