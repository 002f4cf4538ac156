//! The dashboard in a real browser, by keyboard alone, where `POINTSMAN_BROWSER` asks
//! for it: it needs chromium and chromedriver.

use serde_json::{Value, json};

use super::webdriver::{Browser, ENTER};
use crate::{
    host::Folders,
    queue::host::{Serving, config, echo, serve},
};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_done_by_keyboard() {
    if std::env::var_os("POINTSMAN_BROWSER").is_none() {
        // Past the harness, which keeps what a test prints that passes.
        use std::io::Write;
        let said = "SKIPPED the browser: POINTSMAN_BROWSER=1 cargo test --test it browser\n";
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    }
    let folders = Folders::probes(&["probe"]);
    let host = serve(config(&folders), true).await;
    let browser = Browser::start().await;
    finds_a_command_by_its_id(&browser, &host).await;
    watches_one_finish(&browser, &host).await;
    retries_what_matches(&browser, &host).await;
    asks_where_a_command_goes(&browser).await;
    walks_the_rows(&browser).await;
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    browser.close().await;
    host.stop().await;
}

async fn finds_a_command_by_its_id(browser: &Browser, host: &Serving) {
    let place = host.accepted(echo()).await;
    host.finished(&place).await;
    browser.open(&format!("{}/", host.url)).await;
    // The page loads its script after its text.
    browser.until("document.readyState == 'complete'").await;
    let id = place.rsplit_once('/').unwrap().1;
    browser.press("/").await;
    browser.press(&format!("{id}{ENTER}")).await;
    browser
        .until(&format!("location.pathname == '/ui{place}'"))
        .await;
    browser
        .until("document.querySelectorAll('.gantt .runs').length == 2")
        .await;
}

async fn watches_one_finish(browser: &Browser, host: &Serving) {
    let command = json!({ "to": "probe", "do": "sleep", "amount": 4_000 });
    let place = host.accepted(command).await;
    browser.open(&format!("{}/ui{place}", host.url)).await;
    browser
        .until("document.querySelector('.head-state .busy')")
        .await;
    // Not by loading the page again.
    browser.says("window.isSame = true").await;
    browser
        .until("document.querySelector('.head-state .good')")
        .await;
    assert_eq!(browser.says("window.isSame").await, true);
}

async fn retries_what_matches(browser: &Browser, host: &Serving) {
    for does in ["reject", "reject", "panic"] {
        let place = host.accepted(json!({ "to": "probe", "do": does })).await;
        host.finished(&place).await;
    }
    browser.press("gd").await;
    browser
        .until("location.pathname == '/ui/dead' && document.readyState == 'complete'")
        .await;
    browser.tab_to("it.name == 'status'").await;
    browser.press("rej").await;
    browser.tab_to("it.textContent == 'Filter'").await;
    browser.press(&ENTER.to_string()).await;
    browser
        .until("location.search.includes('status=rejected')")
        .await;
    browser
        .until("document.querySelectorAll('input[name=delivery]').length == 2")
        .await;
    browser
        .tab_to("it.textContent == 'Retry all that match'")
        .await;
    browser.press(&ENTER.to_string()).await;
    // The confirmation has the focus.
    browser
        .until("document.activeElement.textContent == 'Retry 2 deliveries'")
        .await;
    browser.press(&ENTER.to_string()).await;
    browser.until("location.search == '?retried=2'").await;
    let dead: Value = host.get("/commands?state=discarded").await;
    assert!(!dead["commands"].as_array().unwrap().is_empty());
}

async fn asks_where_a_command_goes(browser: &Browser) {
    browser.press("ge").await;
    browser
        .until("location.pathname == '/ui/explain' && document.readyState == 'complete'")
        .await;
    browser.tab_to("it.id == 'command'").await;
    browser.choose_all().await;
    browser.press(r#"{"to":"probe"}"#).await;
    browser
        .tab_to("it.textContent == 'Explain' && it.tagName == 'BUTTON'")
        .await;
    browser.press(&ENTER.to_string()).await;
    browser
        .until("[...document.querySelectorAll('.card .badge')].some(it => it.innerText == 'fired')")
        .await;
}

async fn walks_the_rows(browser: &Browser) {
    browser.press("gc").await;
    browser
        .until("location.pathname == '/ui/commands' && document.readyState == 'complete'")
        .await;
    let row = |number: usize| {
        format!(
            "document.querySelectorAll('[data-row]')[{number}].contains(document.activeElement)"
        )
    };
    browser.press("jj").await;
    browser.until(&row(1)).await;
    browser.press("k").await;
    browser.until(&row(0)).await;
    browser.press(&ENTER.to_string()).await;
    browser
        .until("location.pathname.startsWith('/ui/commands/')")
        .await;
}
