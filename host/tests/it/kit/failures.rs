//! Which failures of a request another try may cure: the same in every language,
//! with the real tools of each where `POINTSMAN_LANGUAGES` asks for them.

use std::fs;

use pointsman::{host::Loaded, outcome::Status, sandbox::RequestFailure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    cases::Bench,
    languages::{asked_for, pointsman},
};
use crate::host::{Folders, guest, only};

/// What the server answers, and how the call ends of a handler that wants to read it.
const ANSWERS: [(&str, &str, Status); 7] = [
    (
        "/fits",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Status::Succeeded,
    ),
    // Over `response_max_bytes` by its head, and in the middle of its body.
    (
        "/large",
        "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n",
        Status::Rejected,
    ),
    (
        "/endless",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        Status::Rejected,
    ),
    ("/head", "HTTP/1.1 200 OK\r\nx: ", Status::Rejected),
    ("/broken", "", Status::Unavailable),
    (
        "/short",
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok",
        Status::Unavailable,
    ),
    ("/garbage", "garbage\r\n\r\n", Status::Unavailable),
];

async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The host may close the connection in the middle.
            tokio::spawn(async move { answer(stream).await.ok() });
        }
    });
    url
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let asked = request.split(' ').nth(1).unwrap();
    let known = ANSWERS.iter().find(|(path, ..)| *path == asked);
    let (path, text, _) = known.expect("the tests ask for no other");
    stream.write_all(text.as_bytes()).await?;
    let rest = match *path {
        "/endless" => "4\r\nabcd\r\n",
        "/head" => "yyyyyyyyyyyyyyyy",
        _ => return Ok(()),
    };
    loop {
        stream.write_all(rest.as_bytes()).await?;
    }
}

/// The handler `asks` that gets a URL within 10 s and answers with the text of the response.
fn reader(language: &str) -> Folders {
    let folders = Folders::new();
    match source(language) {
        None => folders.plugin("asks", guest("asks")),
        Some((file, source)) => {
            pointsman(&folders, &["new", "asks", "--lang", language]);
            fs::write(folders.path().join("asks").join(file), source).unwrap();
            pointsman(&folders, &["build", "asks"]);
        }
    }
    folders
}

/// The file of the template, and what it holds; none where the guest `asks` does it.
fn source(language: &str) -> Option<(&'static str, &'static str)> {
    match language {
        "js" => Some((
            "src/handler.js",
            r#"
import { field, handler } from "./pointsman.js";

export const commandHandler = handler(async (command) => {
  const response = await fetch(field(command, "url", "string"), { signal: AbortSignal.timeout(10_000) });
  return response.text();
});
"#,
        )),
        "python" => Some((
            "handler.py",
            r#"
from pointsman import Command, export, http


def handle(command: Command):
    return http.get(command.field("url", str), timeout=10).text


CommandHandler = export(handle)
"#,
        )),
        "c" => Some((
            "src/handler.c",
            r#"
#include "pointsman_http.h"

pm_result pm_handle(const pm_command *command) {
  pm_result failure;
  const char *url = pm_string_field(command, "url", &failure);
  if (!url) return failure;
  pm_http_response response = pm_http_send(&(pm_http_request){.url = url, .timeout_ms = 10000});
  if (!response.status) return pm_http_failure(&response);
  return pm_answer("\"%s\"", response.body);
}
"#,
        )),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_another_try_cannot_mend_rejects_the_command_in_every_language() {
    let mut languages = vec!["rust"];
    languages.extend(asked_for(&["js", "python", "c"]));
    for language in languages {
        let folders = reader(language);
        let component = fs::read(folders.plugins().join("asks.wasm")).unwrap();
        assert_named_failures(language, &Bench::new("asks", &component)).await;
        assert_failures_of_servers(language, &folders).await;
    }
}

/// What is not one of these may pass.
fn is_permanent(failure: &str) -> bool {
    let of_a_response = failure.starts_with("http-response-") && failure.ends_with("-size");
    failure.starts_with("http-request-") || of_a_response || failure == "destination-ip-prohibited"
}

/// Every error of wasi:http, in place of the response and at the end of it; and time.
async fn assert_named_failures(language: &str, bench: &Bench) {
    let case = |request: Value, status: &str| {
        json!({
            "command": { "way": "text", "url": "http://a.example/" },
            "requests": [request], "expect": { "status": status },
        })
    };
    let request = |more: Value| {
        let mut request = json!({ "request": "GET http://a.example/" });
        let (all, more) = (request.as_object_mut().unwrap(), more.as_object().unwrap());
        all.extend(more.clone());
        request
    };
    for failure in RequestFailure::ALL.map(|failure| failure.name()) {
        let status = match is_permanent(failure) {
            true => "rejected",
            false => "unavailable",
        };
        for request in [
            request(json!({ "fails": failure })),
            request(json!({ "fails": failure, "response": { "body": "some" } })),
        ] {
            let verdict = bench.run(&case(request, status).to_string()).await;
            let differences = verdict.differences;
            assert!(
                differences.is_empty(),
                "{language} {failure}: {differences:?}"
            );
        }
    }
    for (delay_ms, status) in [(9_999, "succeeded"), (10_001, "unavailable")] {
        let case = case(request(json!({ "delay_ms": delay_ms })), status);
        let differences = bench.run(&case.to_string()).await.differences;
        assert!(
            differences.is_empty(),
            "{language} {delay_ms} ms: {differences:?}"
        );
    }
}

/// A host with this handler, and the URL of the server that it may ask.
async fn start(folders: &Folders) -> (Loaded, String) {
    let url = server().await;
    folders.settings(
        "asks",
        &format!("[http]\nallow = ['* {url}/*']\nresponse_max_bytes = 1000"),
    );
    folders.rules(
        "asks.json",
        r#"{"rules":[{"name":"asks","match":"*","handlers":["asks"]}]}"#,
    );
    (folders.start().await, url)
}

async fn assert_failures_of_servers(language: &str, folders: &Folders) {
    let (app, url) = start(folders).await;
    for (path, _, status) in ANSWERS {
        let command = json!({ "way": "text", "url": format!("{url}{path}") });
        let outcome = only(&app, &command.to_string()).await.outcome;
        assert_eq!(
            outcome.status(),
            status,
            "{language} {path}: {:?}",
            outcome.result
        );
    }
}
