//! What a handler cannot make of its requests, tried by one that is written for it.

use std::fs;

use pointsman::{
    host::{Host, Loaded},
    outcome::Report,
};
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
pub(crate) async fn asks(folders: &Folders, toml: &str) -> Loaded {
    folders.plugin("asks", guest("asks"));
    folders.settings("asks", toml);
    folders.rules(
        "asks.json",
        r#"{"rules":[{"name":"asks","match":"*","handlers":["asks"]}]}"#,
    );
    folders.start().await
}

/// Sends one request as `{"url": …, "headers": …}` says.
pub(crate) async fn request(app: &Host, mut request: Value) -> Report {
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

/// The settings of a handler whose secret goes to `/v1/` of the server alone.
fn with_secret(folders: &Folders, url: &str) -> String {
    fs::write(folders.path().join("token"), "hunter2\n").unwrap();
    format!(
        "[http]\nallow = ['* {url}/*']\n[secrets]\nplain = {{ file = '../token' }}\n\
         token = {{ file = '../token', inject = '{url}/v1/*', header = 'Authorization: Bearer {{}}' }}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_along_with_the_requests_that_are_named_and_with_no_other() {
    let folders = Folders::new();
    let url = echo().await;
    let app = asks(&folders, &with_secret(&folders, &url)).await;
    let sent = async |path: &str, headers: Value| {
        let command = json!({ "url": format!("{url}{path}"), "headers": headers });
        let text = outcome(&request(&app, command).await)["text"].clone();
        let text = text.as_str().unwrap().to_lowercase();
        let lines = text.lines().map(str::to_owned);
        lines
            .filter(|line| line.starts_with("authorization"))
            .collect::<Vec<_>>()
    };
    let secret = vec!["authorization: bearer hunter2".to_owned()];
    let none: Vec<String> = Vec::new();
    assert_eq!(sent("/v1/a", json!({})).await, secret);
    // Whatever the handler puts in its place.
    let own = json!({ "AUTHORIZATION": "mine" });
    assert_eq!(sent("/v1/a", own.clone()).await, secret);
    assert_eq!(sent("/v2/a", own).await, ["authorization: mine"]);
    for path in [
        "/v1",
        "/V1/a",
        "//v1/a",
        "/v2/a?/v1/",
        "/v1%2fa",
        "/%76%31/a",
    ] {
        assert_eq!(sent(path, json!({})).await, none, "{path}");
    }
    for path in ["/v1/../v2", "/v1/%2e%2e/v2"] {
        let command = json!({ "url": format!("{url}{path}") });
        let report = request(&app, command).await;
        assert_eq!(outcome_or_denied(&report)["error"], "Denied", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_added_to_requests_is_seen_by_nobody_else() {
    let folders = Folders::new();
    // Nobody listens there.
    let url = "http://127.0.0.1:9";
    let settings = with_secret(&folders, url);
    let app = asks(&folders, &settings).await;
    let report = request(&app, json!({ "url": format!("{url}/v1/a") })).await;
    let view = serde_json::to_string(&app.snapshot().handlers_view()).unwrap();
    let handler = app.snapshot().handler_files[0].handler.clone().unwrap();
    let shown = format!(
        "{report:?} {view} {handler:?} {:?} {:?}",
        handler.settings, handler.grants
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    // The handler can ask for the plain one alone.
    let config = async |key: &str| {
        let command = json!({ "way": "config", "url": "", "key": key }).to_string();
        let report = dispatch(&app, &command).await;
        let output = report.handlers[0].outcome.result.as_ref().unwrap().clone();
        output.unwrap().get().to_owned()
    };
    assert_eq!(config("plain").await, "\"hunter2\"");
    assert_eq!(config("token").await, "null");
    crate::cli::check(
        &folders,
        &["list"],
        expect_test::expect![[r#"
        HANDLER VERSION DIGEST SIZE STATE RULES
        asks - DIGEST … KiB loaded asks
        `asks`: secret `plain` is readable by the handler
        `asks`: secret `token` is added to requests to http://127.0.0.1:9/v1/*
        exit 0
    "#]],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_the_environment_are_used_where_the_operator_says_so() {
    let folders = Folders::new();
    let proxy = echo().await;
    // The system knows no such name: only the proxy does.
    drop(asks(&folders, "[http]\nallow = ['GET http://a.invalid/*']").await);
    let said = move |proxy: String, settings: &'static [&'static str]| {
        let command = r#"{ "way": "request", "url": "http://a.invalid/b" }"#;
        let args = [&["run", "--json", command], settings].concat();
        let mut program = crate::cli::pointsman(&folders, &args);
        let program = program.env("HTTP_PROXY", proxy).env_remove("NO_PROXY");
        let output = program.env_remove("no_proxy").output().unwrap();
        let shown = [output.stdout, output.stderr].concat();
        String::from_utf8(shown).unwrap()
    };
    let with_proxy = &["--set", "host.outgoing_proxy=environment"];
    let (through, direct, wrong) = tokio::task::spawn_blocking({
        let proxy = proxy.clone();
        move || {
            let wrong = "socks5://user:hunter2@127.0.0.1:9".to_owned();
            (
                said(proxy.clone(), with_proxy),
                said(proxy, &[]),
                said(wrong, with_proxy),
            )
        }
    })
    .await
    .unwrap();
    assert!(
        through.contains("GET http://a.invalid/b HTTP/1.1"),
        "{through}"
    );
    assert!(
        !direct.contains("HTTP/1.1") && direct.contains("Failed"),
        "{direct}"
    );
    assert!(
        wrong.contains("`HTTP_PROXY` is not the URL of an HTTP proxy"),
        "{wrong}"
    );
    assert!(!wrong.contains("hunter2"), "{wrong}");
}
