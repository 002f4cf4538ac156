//! What is changed from a page: only with a form of a page of ours, and as it says.

use reqwest::{Client, StatusCode};
use serde_json::json;

use super::page::Page;
use crate::{
    host::{Folders, until},
    queue::host::{config, echo, serve},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_another_page_made_up_changes_nothing() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), false).await;
    let place = host.accepted(echo()).await;
    let page = Page::get(&host.url, &format!("/ui{place}")).await;
    let cancel = format!("/ui{place}/cancel");
    for fields in [&[][..], &[("csrf", "")], &[("csrf", "0000")]] {
        let refused = Page::send(&host.url, &cancel, fields).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{fields:?}");
        assert!(refused.text.contains("stale-form"), "{}", refused.text);
    }
    let csrf = format!("csrf={}", page.csrf());
    let request = |media: &str, origin: &str| {
        let request = Client::new().post(format!("{}{cancel}", host.url));
        let request = request
            .header("Content-Type", media)
            .header("Origin", origin);
        Page::of(request.body(csrf.clone()))
    };
    let form = "application/x-www-form-urlencoded";
    let (plain, foreign) = (
        request("text/plain", &host.url).await,
        request(form, "https://evil.example").await,
    );
    assert_eq!(plain.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    for path in [
        "/ui/dead/retry",
        "/ui/dead/discard",
        "/ui/queue/pause",
        "/ui/queue/resume",
        "/ui/explain",
    ] {
        let refused = Page::send(
            &host.url,
            path,
            &[("which", "matching"), ("confirmed", "yes")],
        )
        .await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(host.get(&place).await["state"], "available");
    let queue = host.get("/queue").await;
    assert_eq!(queue["pauses"], json!([]));

    let done = request(form, &host.url).await;
    assert_eq!(
        done.status,
        StatusCode::OK,
        "led to the command: {}",
        done.text
    );
    assert_eq!(host.get(&place).await["state"], "cancelled");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_that_match_are_retried_once_their_number_is_confirmed() {
    let folders = Folders::probes(&["probe", "other"]);
    let host = serve(config(&folders), true).await;
    for (to, does) in [
        ("probe", "reject"),
        ("probe", "reject"),
        ("probe", "panic"),
        ("other", "reject"),
    ] {
        let place = host.accepted(json!({ "to": to, "do": does })).await;
        host.finished(&place).await;
    }
    let page = Page::get(&host.url, "/ui/dead?handler=probe&status=rejected").await;
    assert_eq!(page.count(r#"name="delivery""#), 2, "{}", page.text);
    assert!(page.text.contains("not today"));
    let fields = [
        ("which", "matching"),
        ("handler", "probe"),
        ("status", "rejected"),
    ];
    let asked = page.post(&host.url, "/ui/dead/retry", &fields).await;
    assert_eq!(asked.status, StatusCode::OK);
    assert!(
        asked
            .text
            .contains("<strong>2 deliveries</strong> will be requeued"),
        "{}",
        asked.text
    );
    let attempts = async |id: &str| {
        host.get(&format!("/commands/{id}")).await["deliveries"][0]["attempt"].clone()
    };
    let ids = page.ids();
    assert_eq!(attempts(&ids[0]).await, 1, "nothing was done yet");

    let until_when = asked.between(r#"name="until" value=""#, "\"").to_owned();
    let fields = [
        &fields[..],
        &[("until", &*until_when), ("confirmed", "yes")],
    ]
    .concat();
    let done = asked.post(&host.url, "/ui/dead/retry", &fields).await;
    assert_eq!(
        (done.status, done.header("location")),
        (StatusCode::SEE_OTHER, "/ui/dead?retried=2")
    );
    for id in &ids {
        host.finished(&format!("/commands/{id}")).await;
        assert_eq!(attempts(id).await, 2);
    }
    let told = Page::get(&host.url, "/ui/dead?retried=2").await;
    assert!(
        told.text.contains("2 deliveries were requeued"),
        "{}",
        told.text
    );
    assert_eq!(told.count(r#"name="delivery""#), 4);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chosen_dead_letters_are_discarded() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    for _ in 0..3 {
        let place = host
            .accepted(json!({ "to": "probe", "do": "reject" }))
            .await;
        host.finished(&place).await;
    }
    let page = Page::get(&host.url, "/ui/dead").await;
    let ids = page.ids();
    let chosen = [0, 2].map(|at| format!("{}.probe", ids[at]));
    let fields = [
        ("which", "chosen"),
        ("delivery", &*chosen[0]),
        ("delivery", &*chosen[1]),
    ];
    let asked = page.post(&host.url, "/ui/dead/discard", &fields).await;
    assert!(
        asked
            .text
            .contains("<strong>2 deliveries</strong> will be discarded"),
        "{}",
        asked.text
    );
    let done = asked
        .post(
            &host.url,
            "/ui/dead/discard",
            &[&fields[..], &[("confirmed", "yes")]].concat(),
        )
        .await;
    assert_eq!(done.header("location"), "/ui/dead?discarded=2");
    let states: Vec<_> = host.get("/commands").await["commands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|command| command["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["cancelled", "discarded", "cancelled"]);
    let none = page
        .post(&host.url, "/ui/dead/discard", &[("which", "chosen")])
        .await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST);
    let unsaid = page
        .post(&host.url, "/ui/dead/discard", &[("confirmed", "yes")])
        .await;
    assert_eq!(unsaid.status, StatusCode::BAD_REQUEST, "{}", unsaid.text);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_paused_and_resumed() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let page = Page::get(&host.url, "/ui/queue").await;
    let fields = [
        ("handler", "probe"),
        ("reason", "the bank is closed"),
        ("for", "1h"),
    ];
    let done = page.post(&host.url, "/ui/queue/pause", &fields).await;
    assert_eq!(
        (done.status, done.header("location")),
        (StatusCode::SEE_OTHER, "/ui/queue")
    );
    let pauses = host.get("/queue").await["pauses"].clone();
    assert_eq!(
        (&pauses[0]["handler"], &pauses[0]["reason"]),
        (&json!("probe"), &json!("the bank is closed"))
    );
    assert!(pauses[0]["until"].is_string(), "{pauses}");
    let place = host.accepted(echo()).await;
    let page = Page::get(&host.url, "/ui/queue").await;
    assert!(page.text.contains("the bank is closed"), "{}", page.text);
    let done = page
        .post(&host.url, "/ui/queue/resume", &[("handler", "probe")])
        .await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    assert_eq!(host.finished(&place).await["state"], "completed");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_runs_is_cancelled_from_its_page() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let place = host
        .accepted(json!({ "to": "probe", "do": "sleep", "amount": 20_000 }))
        .await;
    let queue = host.app.queue().unwrap();
    until("it runs", || queue.running() == 1).await;
    let page = Page::get(&host.url, &format!("/ui{place}")).await;
    assert_eq!(page.count("data-live"), 1, "{}", page.text);
    let done = page
        .post(&host.url, &format!("/ui{place}/cancel"), &[])
        .await;
    assert_eq!(done.header("location"), format!("/ui{place}"));
    assert_eq!(host.finished(&place).await["state"], "cancelled");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_run_again_as_a_new_one_that_names_the_first() {
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let place = host.accepted(echo()).await;
    let first = host.finished(&place).await;
    let page = Page::get(&host.url, &format!("/ui{place}")).await;
    let done = page
        .post(&host.url, &format!("/ui{place}/rerun"), &[])
        .await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let again = done.header("location").strip_prefix("/ui").unwrap();
    let view = host.finished(again).await;
    assert_eq!(view["state"], "completed");
    assert_eq!(
        (&view["attributes"], &view["rerunOf"]),
        (&first["attributes"], &first["commandId"])
    );
    let page = Page::get(&host.url, &format!("/ui{again}")).await;
    assert!(
        page.text
            .contains(&format!("<dt>Repeats</dt><dd><a href=\"/ui{place}\">")),
        "{}",
        page.text
    );
    // The history has both of them.
    let overview = Page::get(&host.url, "/ui?span=day").await;
    assert!(
        overview.text.contains("2 calls in 24 h, 0 failed, at most"),
        "{}",
        overview.text
    );
    let refused = Page::get(&host.url, "/ui?span=year").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_paused_resumed_and_run_from_its_page() {
    let folders = Folders::probes(&["probe"]);
    let nightly = json!({
        "name": "nightly report", "cron": "30 2 * * *", "timezone": "Europe/Berlin",
        "description": "for <b>the bank</b>", "command": { "to": "probe", "do": "echo" },
    });
    let rules = json!({ "rules": [], "schedules": [nightly] });
    folders.rules("schedules.json", &rules.to_string());
    let host = serve(config(&folders), true).await;
    let page = Page::get(&host.url, "/ui/schedules").await;
    page.assert_plain("schedules");
    assert_eq!(page.count(r#"<article class="card""#), 1, "{}", page.text);
    assert_eq!(page.count("<dt>Next</dt><dd><time"), 1, "{}", page.text);
    let post = async |action: &str| {
        let path = format!("/ui/schedules/nightly%20report/{action}");
        assert_eq!(
            page.count(&format!("action=\"{path}\"")),
            usize::from(action != "resume")
        );
        let done = page.post(&host.url, &path, &[]).await;
        assert_eq!(
            done.status,
            StatusCode::SEE_OTHER,
            "{action}: {}",
            done.text
        );
        done.header("location").to_owned()
    };
    assert_eq!(post("pause").await, "/ui/schedules");
    assert_eq!(host.get("/schedules").await["schedules"][0]["paused"], true);
    let paused = Page::get(&host.url, "/ui/schedules").await;
    assert!(
        paused
            .text
            .contains("/ui/schedules/nightly%20report/resume"),
        "{}",
        paused.text
    );
    assert_eq!(post("resume").await, "/ui/schedules");
    assert_eq!(
        host.get("/schedules").await["schedules"][0]["paused"],
        false
    );
    let command = post("run").await;
    let place = command.strip_prefix("/ui").unwrap();
    assert_eq!(host.finished(place).await["state"], "completed");
    let refused = page.post(&host.url, "/ui/schedules/nothing/run", &[]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{}", refused.text);
    host.stop().await;
}
