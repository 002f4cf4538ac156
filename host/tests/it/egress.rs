//! What a handler cannot make of its requests, tried by one that is written for it.

use pointsman::{app::App, outcome::Report};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::host::{Folders, dispatch, guest};

/// A server that sends back each request as it came, up to its blank line, or up
/// to `end` where a body comes.
pub(crate) async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"end") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", request.len());
                let answer = [head.as_bytes(), b"Connection: close\r\n\r\n", &request].concat();
                // The handler may be gone.
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    url
}

/// The guest `asks` with these settings.
pub(crate) async fn asks(folders: &Folders, toml: &str) -> App {
    folders.plugin("asks", guest("asks"));
    folders.settings("asks", toml);
    folders.rules(
        "asks.json",
        r#"{"rules":[{"name":"asks","match":"*","handlers":["asks"]}]}"#,
    );
    folders.start().await
}

/// Sends one request as `{"url": …, "headers": …}` says.
pub(crate) async fn request(app: &App, mut request: Value) -> Report {
    request["way"] = json!("request");
    dispatch(app, &request.to_string()).await
}

/// What became of it: `{"status", "text"}`, or `{"error", "message"}`.
pub(crate) fn outcome(report: &Report) -> Value {
    let outcome = &report.handlers[0].outcome;
    let output = outcome.result.as_ref();
    let output = output.unwrap_or_else(|error| panic!("{error:?}"));
    let output: Value = serde_json::from_str(output.as_ref().unwrap().get()).unwrap();
    output[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_written_other_than_as_one_with_the_host_that_was_granted() {
    let folders = Folders::new();
    let url = echo().await;
    let app = asks(&folders, &format!("[http]\nallow = ['* {url}']")).await;
    let host = url.strip_prefix("http://").unwrap();
    // What it sends by default.
    let sent = outcome(&request(&app, json!({ "url": url })).await);
    let text = sent["text"].as_str().unwrap();
    assert!(text.starts_with("GET / HTTP/1.1\r\n"), "{text}");
    assert!(text.contains(&format!("host: {host}\r\n")), "{text}");

    for wrong in [
        // Another host behind the granted one.
        json!({ "headers": { "Host": "evil.example" } }),
        json!({ "headers": { "hOST": "evil.example" } }),
        // A header, or a request, in another.
        json!({ "headers": { "x": "a\r\nHost: evil.example" } }),
        json!({ "headers": { "x": "a\nb: c" } }),
        json!({ "headers": { "x": "a\u{0}b" } }),
        json!({ "headers": { "x\r\nHost": "evil.example" } }),
        json!({ "headers": { "x y": "z" } }),
        json!({ "method": "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\nGET" }),
        json!({ "url": format!("{url}/ HTTP/1.1\r\nHost: evil.example\r\n\r\nGET /") }),
        // Two ways to tell where the body ends.
        json!({ "headers": { "Transfer-Encoding": "chunked" }, "body": "0\r\n\r\nend" }),
        json!({ "headers": { "Content-Length": "3" }, "body": "x-end" }),
        json!({ "headers": { "content-length": "+3" } }),
        json!({ "headers": { "content-length": "4" } }),
        // What belongs to the connection.
        json!({ "headers": { "Connection": "upgrade", "Upgrade": "websocket" } }),
        json!({ "headers": { "Keep-Alive": "timeout=1" } }),
        json!({ "headers": { "Proxy-Authorization": "Basic x" } }),
        json!({ "method": "CONNECT" }),
        json!({ "method": "TRACE" }),
        // Another host in the URL.
        json!({ "url": format!("http://user@{host}/") }),
        json!({ "url": format!("http://{host}@evil.example/") }),
        json!({ "url": format!("http://{host}\\@evil.example/") }),
        json!({ "url": "http://[fe80::1%25lo]/" }),
    ] {
        let mut command = json!({ "url": url });
        for (key, value) in wrong.as_object().unwrap() {
            command[key] = value.clone();
        }
        let report = request(&app, command).await;
        let sent = outcome_or_denied(&report);
        assert!(sent.get("error").is_some(), "{wrong}: {sent}");
    }
}

/// As [`outcome`], where the request may also have been denied.
fn outcome_or_denied(report: &Report) -> Value {
    match &report.handlers[0].outcome.result {
        Ok(_) => outcome(report),
        Err(failure) => json!({ "error": failure.code.as_str(), "message": failure.message }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_named_in_the_log_with_the_setting_that_sets_it() {
    let folders = Folders::new();
    let url = echo().await;
    let settings = format!("[http]\nallow = ['* {url}']\nresponse_max_bytes = 10");
    let app = asks(&folders, &settings).await;
    let report = request(&app, json!({ "url": url })).await;
    assert_eq!(outcome(&report)["error"], "TooLarge");
    let log = &report.handlers[0].outcome.logs.lines;
    let setting = "`http.response_max_bytes` in plugins/asks.toml sets the limit";
    let said = log.iter().any(|line| line.message.ends_with(setting));
    assert!(said, "{log:?}");
}
