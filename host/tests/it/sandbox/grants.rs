//! What a handler may reach: nothing, unless its settings say so.

use std::{fs, net::SocketAddr};

use expect_test::{Expect, expect};
use pointsman::{
    host::Host,
    outcome::{HandlerReport, Level, Status},
};
use serde_json::{Value, json};

use crate::host::{Folders, only};

/// What `wasi` answers to a command, or how it ended and why.
async fn ask(app: &Host, command: Value) -> Result<Value, (Status, String)> {
    answer(&only(app, &command.to_string()).await)
}

fn answer(report: &HandlerReport) -> Result<Value, (Status, String)> {
    match &report.outcome.result {
        Ok(None) => Ok(Value::Null),
        Ok(Some(output)) => Ok(serde_json::from_str(output.get()).unwrap()),
        Err(failure) => Err((failure.code, failure.message.clone())),
    }
}

/// A server on this machine that answers 200 to every `GET`.
async fn server() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(|| async { "hello" });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn get(what: &str, server: SocketAddr, path: &str) -> Value {
    json!({ "do": what, "authority": server.to_string(), "path": path })
}

/// The error of the one handler file, with `{}` for the folder of the test.
async fn load_error(folders: &Folders) -> String {
    let app = folders.start().await;
    let snapshot = app.snapshot();
    let error = snapshot.handler_files[0].error.as_ref().expect("an error");
    folders.without_path(&error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_granted_by_itself() {
    let folders = Folders::wasi("");
    let app = folders.start().await;
    assert_eq!(ask(&app, json!({"do":"env"})).await, Ok(json!([])));
    for what in ["read", "write"] {
        let path = folders.path().join("rules/wasi.json");
        let (status, _) = ask(&app, json!({"do":what,"path":path})).await.unwrap_err();
        assert_eq!(status, Status::Rejected, "{what}");
    }
    let command = json!({"do":"connect","path":server().await.to_string()});
    let (status, _) = ask(&app, command).await.unwrap_err();
    assert_eq!(status, Status::Rejected);
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_output_and_standard_error_become_log_lines() {
    let app = Folders::wasi("").start().await;
    let report = only(&app, r#"{"do":"print"}"#).await;
    let lines = report.outcome.logs.lines.iter();
    let lines: Vec<_> = lines.map(|line| (line.level, &*line.message)).collect();
    assert_eq!(
        lines,
        [
            (Level::Info, "to standard output"),
            (Level::Warn, "to standard error")
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_sees_the_variables_that_its_settings_name_and_no_other() {
    let app = Folders::wasi("[env]\nREGION = \"eu\"\nWORKERS = 3")
        .start()
        .await;
    assert_eq!(
        ask(&app, json!({"do":"env"})).await,
        Ok(json!([["REGION", "eu"], ["WORKERS", "3"]]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_read_only_unless_writing_is_granted() {
    let folders = Folders::wasi(
        "[[folders]]\nhost = \"../in\"\nguest = \"/in\"\n\
         [[folders]]\nhost = \"../out\"\nguest = \"/out\"\nwrite = true",
    );
    for folder in ["in", "out"] {
        fs::create_dir(folders.path().join(folder)).unwrap();
    }
    fs::write(folders.path().join("in/file"), "text").unwrap();
    let app = folders.start().await;
    let path = |what: &str, path: &str| json!({ "do": what, "path": path });
    assert_eq!(ask(&app, path("read", "/in/file")).await, Ok(json!("text")));
    assert!(ask(&app, path("write", "/in/file")).await.is_err());
    assert!(
        ask(&app, path("read", "/in/../rules/wasi.json"))
            .await
            .is_err()
    );
    assert_eq!(ask(&app, path("write", "/out/new")).await, Ok(Value::Null));
    assert_eq!(
        fs::read_to_string(folders.path().join("in/file")).unwrap(),
        "text"
    );
    assert_eq!(
        fs::read_to_string(folders.path().join("out/new")).unwrap(),
        "written"
    );

    fs::remove_dir_all(folders.path().join("out")).unwrap();
    let (status, message) = ask(&app, path("read", "/in/file")).await.unwrap_err();
    assert_eq!(status, Status::Unavailable);
    assert!(message.contains("/out` cannot be opened"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_comes_from_a_file_or_the_environment_and_is_never_printed() {
    let folders = Folders::wasi(
        "[config]\nplain = 1\n[secrets]\ntoken = { file = \"../token\" }\npath = { env = \"PATH\" }",
    );
    fs::write(folders.path().join("token"), "hunter2\n").unwrap();
    let app = folders.start().await;
    let config = |key: &str| json!({ "do": "config", "path": key });
    assert_eq!(ask(&app, config("token")).await, Ok(json!("hunter2")));
    assert_eq!(ask(&app, config("plain")).await, Ok(json!("1")));
    assert_eq!(
        ask(&app, config("path")).await,
        Ok(json!(std::env::var("PATH").unwrap()))
    );
    assert_eq!(ask(&app, config("other")).await, Ok(Value::Null));

    let snapshot = app.snapshot();
    let handler = snapshot.handler_files[0].handler.as_ref().unwrap();
    let shown = format!(
        "{handler:?} {:?} {:?} {} {}",
        handler.settings,
        handler.grants,
        serde_json::to_string(&*handler.settings).unwrap(),
        serde_json::to_string(&snapshot.handlers_view()).unwrap(),
    );
    assert!(
        shown.contains("token") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_without_its_source_is_a_load_error_that_names_the_fix() {
    let check = async |toml: &str, wanted: Expect| {
        wanted.assert_eq(&load_error(&Folders::wasi(toml)).await);
    };
    check(
        "[secrets]\ntoken = { env = \"POINTSMAN_TEST_UNSET\" }",
        expect![[r#"
            plugins/wasi.toml: handler `wasi`: secret `token`: the environment variable `POINTSMAN_TEST_UNSET` is not set
              hint: set `POINTSMAN_TEST_UNSET` in the server's environment and restart it, or remove the secret"#]],
    )
    .await;
    check("[secrets]\ntoken = { file = \"token\" }", expect![[r#"
        plugins/wasi.toml: handler `wasi`: secret `token`: the file `plugins/token` cannot be read: No such file or directory (os error 2)
          hint: create the file with the secret as its text, readable for the host; a relative path starts at this file's folder"#]]).await;
    check(
        "[[folders]]\nhost = \"data\"\nguest = \"/data\"",
        expect![[r#"
            plugins/wasi.toml: handler `wasi`: folder `plugins/data` for `/data`: No such file or directory (os error 2)
              hint: create the folder, make it readable for the host, or fix `host` in `[[folders]]`; a relative path starts at this file's folder"#]],
    )
    .await;
    check("[http]\nallow = [\"example.com\"]", expect![[r#"
        plugins/wasi.wasm: invalid settings: plugins/wasi.toml: `http.allow[0]`: a pattern has no method before the URL; expected `METHOD URL`, such as `GET https://api.example.com/v1/*` or `* https://*.example.com`
          hint: fix the settings: the handler is not loaded until then"#]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_out_where_a_pattern_allows_it() {
    let server = server().await;
    let app = Folders::wasi(&format!("[http]\nallow = [\"GET http://{server}/open/*\"]"))
        .start()
        .await;
    assert_eq!(
        ask(&app, get("get", server, "/open/door?a=b")).await,
        Ok(json!(200))
    );
    for path in ["/closed", "/open/../closed"] {
        let (status, _) = ask(&app, get("get", server, path)).await.unwrap_err();
        assert_eq!(status, Status::Denied, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_request_names_the_line_that_grants_it() {
    let server = server().await;
    let folders = Folders::wasi("[http]\nallow = [\"GET https://example.com\"]");
    let app = folders.start().await;
    let report = only(&app, &get("get", server, "/door?key=hidden").to_string()).await;
    let (status, message) = answer(&report).unwrap_err();
    let plain = |text: &str| text.replace(&server.to_string(), "SERVER");
    assert_eq!(status, Status::Denied);
    expect![[r#"`wasi`: HTTP request `GET http://SERVER/door` is not granted; to grant it, add to `[http]` in plugins/wasi.toml: allow = ["GET http://SERVER/door"]; then it ended as rejected: ErrorCode::HttpRequestDenied"#]].assert_eq(&plain(&message));
    let lines = &report.outcome.logs.lines;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].level, Level::Warn);
    assert!(message.contains(&lines[0].message) && !message.contains("hidden"));

    // The line does what it says.
    let (_, line) = lines[0].message.split_once("plugins/wasi.toml: ").unwrap();
    let granted = Folders::wasi(&format!("[http]\n{line}"));
    let app = granted.start().await;
    assert_eq!(ask(&app, get("get", server, "/door")).await, Ok(json!(200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_denied_only_if_it_fails_for_it() {
    let server = server().await;
    let app = Folders::wasi("").start().await;
    let denied = ask(&app, get("get-or-trap", server, "/")).await;
    assert_eq!(denied.unwrap_err().0, Status::Denied);
    let report = only(&app, &get("get-if-i-may", server, "/").to_string()).await;
    assert_eq!(answer(&report), Ok(Value::Null));
    assert_eq!(report.outcome.logs.lines.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_costs_no_more_than_the_timeout() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let app = Folders::wasi(&format!(
        "[limits]\ntimeout = '200ms'\n[http]\nallow = [\"* http://{server}\"]"
    ))
    .start()
    .await;
    let (status, _) = ask(&app, get("get", server, "/")).await.unwrap_err();
    assert!(
        // Whichever of the two equal limits is looked at first.
        [Status::TimedOut, Status::Rejected].contains(&status),
        "{status:?}"
    );
}
