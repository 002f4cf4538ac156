//! The dashboard, as a browser gets it.

mod access;
mod browser;
mod changes;
mod foreign;
mod lists;
pub(crate) mod page;
mod webdriver;

use reqwest::{StatusCode, header};
use serde_json::json;

use self::page::{PAGES, Page};
use crate::{
    host::{Folders, serve},
    queue::host::{config, echo, serve as serve_queue},
};

#[tokio::test(flavor = "multi_thread")]
async fn each_page_runs_nothing_but_our_own_files_and_no_site_frames_it() {
    let folders = Folders::shipped();
    let (_app, url) = serve(&folders).await;
    for path in PAGES {
        let page = Page::get(&url, path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self'"),
            "{policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("referrer-policy"), "same-origin");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        // What the policy would not let work is not there either.
        page.assert_plain(path);
        assert_eq!(page.count("<h1>"), 1, "{path}");
        assert_eq!(page.count(r#"aria-current="page""#), 1, "{path}");
        assert_eq!(
            page.count(r##"<a class="skip" href="#main">"##),
            1,
            "{path}"
        );
        assert_eq!(page.count("data-search"), 1, "{path}");
    }
    let refused = Page::get(&url, "/ui/commands/1").await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    assert!(refused.header("content-security-policy").contains("'none'"));
    assert!(refused.text.contains("queue-off"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_host_says_on_each_page_what_to_do_next() {
    let folders = Folders::new();
    let host = serve_queue(config(&folders), true).await;
    for (path, wanted) in [
        ("/ui", "pointsman new greet"),
        ("/ui/commands", "curl -s localhost:3000/commands"),
        ("/ui/queue", "Nothing is queued"),
        ("/ui/dead", "No dead letters"),
        ("/ui/schedules", "No schedules yet"),
        ("/ui/handlers", "pointsman new greet"),
        ("/ui/rules", "No rules yet"),
        ("/ui/explain", "Paste a command"),
    ] {
        let page = Page::get(&host.url, path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert_eq!(
            page.count(r#"class="empty""#).min(1),
            1,
            "{path}: {}",
            page.text
        );
        assert!(page.text.contains(wanted), "{path}: {}", page.text);
    }
    host.stop().await;
    let (_app, url) = serve(&folders).await;
    for path in ["/ui/commands", "/ui/queue", "/ui/dead"] {
        let page = Page::get(&url, path).await;
        assert!(page.text.contains("[queue]"), "{path}: {}", page.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_has_the_figures_of_the_queue_and_what_is_wrong() {
    let folders = Folders::probes(&["probe"]);
    folders.plugin("broken", "nonsense");
    let host = serve_queue(config(&folders), true).await;
    for body in [echo(), json!({ "to": "probe", "do": "reject" })] {
        let place = host.accepted(body).await;
        host.finished(&place).await;
    }
    let page = Page::get(&host.url, "/ui").await;
    assert!(page.text.contains("1 problem<"), "{}", page.text);
    assert!(page.text.contains("is no WebAssembly"), "{}", page.text);
    assert!(
        page.text
            .contains(r#"<dt>Dead-lettered</dt><dd><a href="/ui/dead" class="bad">1</a>"#),
        "{}",
        page.text
    );
    assert!(
        page.text.contains("2 calls in 60 min, 1 failed"),
        "{}",
        page.text
    );
    assert!(page.text.contains("rejected: not today"), "{}", page.text);
    assert!(page.text.len() < 100 << 10);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_did_not_change_is_not_sent_again() {
    let (_app, url) = serve(&Folders::shipped()).await;
    for path in ["/ui/handlers", "/ui/style.css", "/ui/script.js"] {
        let first = Page::get(&url, path).await;
        let client = reqwest::Client::new();
        let again = client.get(format!("{url}{path}"));
        let again = again.header(header::IF_NONE_MATCH, first.header("etag"));
        let again = again.send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert!(again.text().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_show_what_they_are_granted_and_no_secret() {
    let folders = Folders::probes(&["probe"]);
    std::fs::write(folders.path().join("token"), "hunter2").unwrap();
    folders.settings(
        "probe",
        "[http]\nallow = [\"GET https://api.example.com/*\"]\n[secrets]\nkey = { file = \"../token\" }\n[config]\nurl = \"hunter3\"\n[state]\nkeys_max = 7",
    );
    let (_app, url) = serve(&folders).await;
    let page = Page::get(&url, "/ui/handlers").await;
    for wanted in [
        "GET https://api.example.com/*",
        "key, which it reads",
        "7 keys",
        r#"id="handler:probe""#,
    ] {
        assert!(page.text.contains(wanted), "{wanted}: {}", page.text);
    }
    assert!(!page.text.contains("hunter"), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_searched_and_explained() {
    let (_app, url) = serve(&Folders::shipped()).await;
    let all = Page::get(&url, "/ui/rules").await;
    assert_eq!(all.count(r#"<article class="card" id="rule:"#), 3);
    let found = Page::get(&url, "/ui/rules?q=UNDERWRITER").await;
    assert_eq!(
        found.count(r#"<article class="card" id="rule:"#),
        1,
        "{}",
        found.text
    );
    let none = Page::get(&url, "/ui/rules?q=nothing").await;
    assert!(none.text.contains("No rule matches"));

    let ask = Page::get(&url, "/ui/explain").await;
    let explained = ask
        .post(
            &url,
            "/ui/explain",
            &[(
                "command",
                r#"{"requestType":"CreatePolicy","productType":"Low"}"#,
            )],
        )
        .await;
    assert_eq!(explained.status, StatusCode::OK);
    assert_eq!(
        explained.count("</svg><span>fired</span>"),
        1,
        "{}",
        explained.text
    );
    assert_eq!(explained.count("</svg><span>did not match</span>"), 2);
    assert!(
        explained.text.contains(
            "<code>productType</code> is <code>&quot;Low&quot;</code>, expected &quot;HighRisk&quot;"
        ),
        "{}",
        explained.text
    );
    let broken = ask.post(&url, "/ui/explain", &[("command", "{")]).await;
    assert!(broken.text.contains("invalid-json"), "{}", broken.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_asks_for_the_root_is_led_to_the_dashboard() {
    let (_app, url) = serve(&Folders::shipped()).await;
    let ask = async |accept: &str| {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let request = client.build().unwrap().get(&url).header("Accept", accept);
        request.send().await.unwrap()
    };
    let browser = ask("text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!(browser.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.headers()["location"], "/ui");
    for program in ["*/*", "application/json"] {
        assert_eq!(ask(program).await.status(), StatusCode::OK, "{program}");
    }
}
