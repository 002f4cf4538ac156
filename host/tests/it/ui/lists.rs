//! Lists and single commands: what is found, and how it is shown.

use regex::Regex;
use reqwest::StatusCode;
use serde_json::json;

use super::page::Page;
use crate::{
    host::Folders,
    queue::host::{config, echo, serve},
};

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_found_by_id_text_state_handler_and_time() {
    let folders = Folders::probes(&["probe", "other"]);
    let host = serve(config(&folders), false).await;
    let place = host
        .accepted(json!({ "to": "probe", "do": "echo", "customer": "Ada Lovelace" }))
        .await;
    let id = place.rsplit_once('/').unwrap().1;
    host.accepted(json!({ "to": "other", "do": "echo" })).await;
    let found = async |query: &str| {
        Page::get(&host.url, &format!("/ui/commands{query}"))
            .await
            .ids()
    };
    assert_eq!(found("").await.len(), 2);
    let mine = [id.to_owned()];
    assert_eq!(found("?q=ada+love").await, mine);
    assert_eq!(found("?q=&state=&handler=probe&from=&until=").await, mine);
    assert_eq!(found("?state=available&handler=probe&q=ADA").await, mine);
    assert_eq!(found("?state=completed").await.len(), 0);
    assert_eq!(found("?from=2020-01-01T00:00").await.len(), 2);
    assert_eq!(found("?until=2020-01-01T00:00").await.len(), 0);
    let none = Page::get(&host.url, "/ui/commands?q=nobody").await;
    assert!(none.text.contains("No command matches"), "{}", none.text);
    for (query, place) in [
        (id.to_owned(), format!("/ui/commands/{id}")),
        (
            format!("{id}.probe"),
            format!("/ui/commands/{id}#handler:probe"),
        ),
    ] {
        let led = Page::get(&host.url, &format!("/ui/commands?q={query}")).await;
        assert_eq!(
            (led.status, led.header("location")),
            (StatusCode::SEE_OTHER, &*place)
        );
    }
    let refused = Page::get(&host.url, "/ui/commands?from=yesterday").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text.contains("is not a time"), "{}", refused.text);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_page_of_a_list_leads_to_the_next_with_its_filter() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    for _ in 0..120 {
        host.accepted(echo()).await;
    }
    let mut path = "/ui/commands?state=available&handler=probe".to_owned();
    let mut ids = Vec::new();
    let mut pages = 0;
    let next = Regex::new(r#"href="([^"]*)" rel="next""#).unwrap();
    loop {
        let page = Page::get(&host.url, &path).await;
        ids.extend(page.ids());
        pages += 1;
        let Some(next) = next.captures(&page.text) else {
            break;
        };
        path = next[1].replace("&amp;", "&");
        assert!(
            path.contains("state=available&handler=probe&after="),
            "{path}"
        );
    }
    assert_eq!((ids.len(), pages), (120, 3));
    assert!(ids.is_sorted_by(|a, b| a > b), "newest first, none twice");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_shows_its_handlers_side_by_side() {
    let folders = Folders::shipped();
    let host = serve(config(&folders), true).await;
    let command = json!({ "requestType": "CreatePolicy", "productType": "HighRisk" });
    let place = host.accepted(command).await;
    host.finished(&place).await;
    let page = Page::get(&host.url, &format!("/ui{place}")).await;
    assert_eq!(page.count(r#"<a class="track-name""#), 2);
    assert_eq!(
        page.count(r#" class="runs"></rect></g>"#),
        2,
        "{}",
        page.text
    );
    // The one that took longer, to the end of the picture.
    let bars =
        Regex::new(r#"<rect x="(\d+)" y="2" width="(\d+)" height="16" class="runs">"#).unwrap();
    let ends: Vec<u64> = bars
        .captures_iter(&page.text)
        .map(|bar| bar[1].parse::<u64>().unwrap() + bar[2].parse::<u64>().unwrap())
        .collect();
    assert!(ends.contains(&1_000), "{ends:?}");
    assert!(
        page.text
            .contains("&quot;notified&quot;: &quot;underwriter&quot;"),
        "{}",
        page.text
    );
    assert_eq!(page.count("data-live"), 0, "it has ended");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_command_shows_each_attempt_with_its_log() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let place = host
        .accepted(json!({ "to": "probe", "do": "unavailable" }))
        .await;
    host.finished(&place).await;
    let page = Page::get(&host.url, &format!("/ui{place}")).await;
    assert_eq!(
        page.count(r#"<details class="attempt""#),
        3,
        "{}",
        page.text
    );
    assert_eq!(
        page.count(r#"class="fails-end"></rect></g>"#),
        3,
        "{}",
        page.text
    );
    assert!(page.text.contains("come back"));
    let unknown = Page::get(
        &host.url,
        "/ui/commands/01980a5c-7d3e-7f40-8000-0123456789ab",
    )
    .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.text.contains("unknown-command"), "{}", unknown.text);
    assert_eq!(unknown.count("<nav"), 1, "there is a way on");
    host.stop().await;
}
