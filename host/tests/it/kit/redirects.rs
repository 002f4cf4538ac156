//! Where redirects lead, and what goes along: the same in every language, with the
//! real tools of each where `POINTSMAN_LANGUAGES` asks for them.

use std::fs;

use pointsman::{
    host::{Host, Loaded},
    outcome::{HandlerReport, Status},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    languages::{asked_for, pointsman},
    requests::is_whole,
};
use crate::host::{Folders, guest, only};

/// A server that answers `/to/STATUS?URL` with a redirect to the URL, `/hops/N` with N
/// redirects, and everything else with the request as it came.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The handler may be gone.
            tokio::spawn(async move { answer(stream).await.ok() });
        }
    });
    url
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8(request).unwrap();
    let path = text.split(' ').nth(1).unwrap();
    let redirect = path.strip_prefix("/to/").and_then(|to| to.split_once('?'));
    let hops = path
        .strip_prefix("/hops/")
        .and_then(|hops| hops.parse::<u32>().ok());
    let (head, body) = match (redirect, hops) {
        (Some((status, to)), _) => (format!("{status} Moved\r\nLocation: {to}"), ""),
        (None, Some(hops @ 1..)) => (format!("307 Moved\r\nLocation: {}", hops - 1), ""),
        (None, _) => ("200 OK".to_owned(), text.as_str()),
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await
}

/// A host whose handler `follow` posts `end` with a credential to the command's
/// `url`, follows 3 redirects, and answers with status, URL and text of the response.
async fn host(language: &str, allow: &str) -> (Folders, Loaded) {
    let folders = Folders::new();
    match source(language) {
        None => folders.plugin("follow", guest("asks")),
        Some((file, source)) => {
            pointsman(&folders, &["new", "follow", "--lang", language]);
            fs::write(folders.path().join("follow").join(file), source).unwrap();
            pointsman(&folders, &["build", "follow"]);
        }
    }
    folders.settings("follow", &format!("[http]\nallow = [{allow}]"));
    folders.rules(
        "follow.json",
        r#"{"rules":[{"name":"follow","match":"*","handlers":["follow"]}]}"#,
    );
    let app = folders.start().await;
    (folders, app)
}

fn source(language: &str) -> Option<(&'static str, &'static str)> {
    match language {
        "js" => Some((
            "src/handler.js",
            r#"
import { field, handler } from "./pointsman.js";

export const commandHandler = handler(async (command) => {
  const headers = { authorization: "hunter2", "content-type": "text/plain" };
  const response = await fetch(field(command, "url", "string"), { method: "POST", headers, body: "end", follow: 3 });
  return [response.status, response.url, await response.text()];
});
"#,
        )),
        "python" => Some((
            "handler.py",
            r#"
import urllib.request

import pointsman.urllib
from pointsman import Command, export, http

HEADERS = {"authorization": "hunter2", "content-type": "text/plain"}


def handle(command: Command):
    url = command.field("url", str)
    if "urllib" in command.attributes:
        with urllib.request.urlopen(urllib.request.Request(url, headers=HEADERS)) as response:
            return [response.status, response.url, response.read().decode()]
    response = http.post(url, headers=HEADERS, data="end", redirects=3)
    return [response.status, response.url, response.text]


CommandHandler = export(handle)
"#,
        )),
        "c" => Some((
            "src/handler.c",
            r#"
#include <stdlib.h>
#include <string.h>

#include "pointsman_http.h"

// As JSON: the texts of this test have no other characters that need it.
static const char *quoted(const char *text) {
  char *json = malloc(2 * strlen(text) + 1), *to = json;
  for (; *text; text++) {
    if (*text == '\r' || *text == '\n') *to++ = '\\';
    *to++ = *text == '\r' ? 'r' : *text == '\n' ? 'n' : *text;
  }
  *to = 0;
  return json;
}

pm_result pm_handle(const pm_command *command) {
  pm_result failure;
  const char *url = pm_string_field(command, "url", &failure);
  if (!url) return failure;
  pm_http_field headers[] = {{"authorization", "hunter2"}, {"content-type", "text/plain"}, {NULL, NULL}};
  pm_http_response response = pm_http_send(
      &(pm_http_request){.url = url, .headers = headers, .body = "end", .body_bytes = 3, .redirects = 3});
  if (!response.status) return pm_http_failure(&response);
  return pm_answer("[%d,\"%s\",\"%s\"]", response.status, response.url, quoted(response.body));
}
"#,
        )),
        _ => None,
    }
}

async fn sent(app: &Host, command: Value) -> HandlerReport {
    let mut command = command;
    command["way"] = json!("follow");
    only(app, &command.to_string()).await
}

/// What came of a command that succeeds: the URL, and the request as the server got it.
async fn followed(app: &Host, command: Value) -> (String, String) {
    let report = sent(app, command).await;
    let output = report.outcome.result.unwrap_or_else(|it| panic!("{it:?}"));
    let output: Value = serde_json::from_str(output.unwrap().get()).unwrap();
    assert_eq!(output[0], 200);
    let text = |at: usize| output[at].as_str().unwrap().to_owned();
    (text(1), text(2).to_lowercase())
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_within_the_grants_and_without_credentials_for_others() {
    let mut languages = vec!["rust"];
    languages.extend(asked_for(&["js", "python", "c"]));
    for language in languages {
        let (one, other) = (server().await, server().await);
        let allow = format!("'* {one}', 'GET {other}/granted'");
        let (_folders, app) = host(language, &allow).await;
        // To the same origin, with all that belongs to the request.
        let (url, text) =
            followed(&app, json!({ "url": format!("{one}/to/307?/a/./b/../c") })).await;
        assert_eq!(url, format!("{one}/a/c"), "{language}");
        assert!(text.starts_with("post /a/c "), "{language}: {text}");
        assert!(
            text.contains("hunter2") && text.ends_with("end"),
            "{language}: {text}"
        );
        // To a path beside it, as a GET.
        let (url, text) = followed(&app, json!({ "url": format!("{one}/to/303?x") })).await;
        assert_eq!(url, format!("{one}/to/x"), "{language}");
        assert!(text.starts_with("get "), "{language}: {text}");
        assert!(
            !text.contains("content-type") && !text.contains("content-length"),
            "{language}: {text}"
        );
        // To another origin, without credentials.
        let (url, text) = followed(
            &app,
            json!({ "url": format!("{one}/to/302?{other}/granted") }),
        )
        .await;
        assert_eq!(url, format!("{other}/granted"), "{language}");
        assert!(!text.contains("hunter2"), "{language}: {text}");
        if language == "python" {
            let command = json!({ "url": format!("{one}/to/302?{other}/granted"), "urllib": true });
            let (url, text) = followed(&app, command).await;
            assert_eq!(url, format!("{other}/granted"));
            assert!(!text.contains("hunter2"), "{text}");
        }
        // Out of the grants.
        for to in ["granted", "secret"] {
            let report = sent(&app, json!({ "url": format!("{one}/to/307?{other}/{to}") })).await;
            assert_eq!(report.outcome.status(), Status::Denied, "{language} {to}");
            let message = report.outcome.result.unwrap_err().message;
            let pattern = format!("allow = [\"POST {other}/{to}\"]");
            assert!(message.contains(&pattern), "{language}: {message}");
        }
        // So often, and no more.
        for (hops, status) in [(3, Status::Succeeded), (4, Status::Rejected)] {
            let report = sent(&app, json!({ "url": format!("{one}/hops/{hops}") })).await;
            let result = &report.outcome.result;
            assert_eq!(
                report.outcome.status(),
                status,
                "{language} {hops}: {result:?}"
            );
        }
        let report = sent(
            &app,
            json!({ "url": format!("{one}/to/302?ftp://a.example/") }),
        )
        .await;
        assert_eq!(report.outcome.status(), Status::Rejected, "{language}");
    }
}
