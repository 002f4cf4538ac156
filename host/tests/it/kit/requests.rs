//! Handlers that wait: several requests at once, timers, and what becomes of a
//! request that fails. With the real tools of each language, where
//! `POINTSMAN_LANGUAGES` asks for them.

use std::{fs, sync::Arc, time::Duration};

use pointsman::outcome::{Report, Status};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Barrier,
    time::timeout,
};

use super::languages::{asked_for, pointsman};
use crate::host::{Folders, dispatch, guest, root};

/// A server that answers `/both` once two requests for it are open, never answers
/// `/never`, closes the connection of `/broken`, and answers others with 404.
pub(super) async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let both = Arc::new(Barrier::new(2));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&both)));
        }
    });
    url
}

async fn answer(mut stream: TcpStream, both: Arc<Barrier>) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let text = String::from_utf8_lossy(&request);
    let path = text.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path {
        "/both" => {
            both.wait().await;
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            ("200 OK", json!({ "sent": body }).to_string())
        }
        "/never" => std::future::pending().await,
        "/broken" => return,
        _ => ("404 Not Found", "none".to_owned()),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // The handler may be gone.
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Whether the head is there, and as much of a body as it says.
pub(super) fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|it| it.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// What became of the command `{"way": <way>, "url": <the server>}` in each of
/// the ways, with the handler that `source` is.
async fn ways(language: &str, file: &str, source: &str, ways: &[&str]) -> Vec<Report> {
    let folders = Folders::new();
    pointsman(&folders, &["new", "asks", "--lang", language]);
    fs::write(folders.path().join("asks").join(file), source).unwrap();
    pointsman(&folders, &["build", "asks"]);
    ways_of(&folders, ways).await
}

/// As [`ways`], of the handler `asks` in these folders.
async fn ways_of(folders: &Folders, ways: &[&str]) -> Vec<Report> {
    let url = server().await;
    folders.settings(
        "asks",
        &format!("[http]\nallow = [\"* {url}/*\"]\n[limits]\ntimeout = \"10s\""),
    );
    folders.rules(
        "asks.json",
        r#"{"rules":[{"name":"asks","match":"*","handlers":["asks"]}]}"#,
    );
    let app = folders.start().await;
    let mut reports = Vec::new();
    for way in ways {
        let command = json!({ "way": way, "url": url }).to_string();
        let report = timeout(Duration::from_secs(60), dispatch(&app, &command)).await;
        reports.push(report.expect("the handler's own timeout ends it"));
    }
    reports
}

fn output(report: &Report) -> Value {
    let result = &report.handlers[0].outcome.result;
    let output = result.as_ref().unwrap_or_else(|error| panic!("{error:?}"));
    serde_json::from_str(output.as_ref().unwrap().get()).unwrap()
}

/// The ways that every language has, and what must come of them.
const WAYS: [&str; 6] = ["both", "sleeps", "missing", "caught", "uncaught", "ended"];

fn assert_ways(reports: &[Report]) {
    let [both, sleeps, missing, caught, uncaught, ended] = reports else {
        panic!("{} reports", reports.len());
    };
    // The server answers neither before it has both.
    assert_eq!(
        output(both),
        json!([{ "sent": "" }, { "sent": "{\"a\":1}" }])
    );
    assert_eq!(output(sleeps), json!([10, 20, 30]));
    assert_eq!(output(missing), json!(404));
    assert_eq!(output(caught), json!("caught"));
    let failure = &uncaught.handlers[0].outcome;
    assert_eq!(
        failure.status(),
        Status::Unavailable,
        "{:?}",
        failure.result
    );
    assert_eq!(output(ended), json!("timed out"));
}

const SCRIPT: &str = r#"
import { handler } from "./pointsman.js";

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const ways = {
  async both(url) {
    const post = { method: "POST", body: JSON.stringify({ a: 1 }), headers: { "content-type": "application/json" } };
    const responses = await Promise.all([fetch(`${url}/both`), fetch(new Request(`${url}/both`, post))]);
    return Promise.all(responses.map((response) => response.json()));
  },
  async sleeps() {
    const done = [];
    const stopped = setTimeout(() => done.push("stopped"), 5);
    clearTimeout(stopped);
    await Promise.all([30, 10, 20].map((ms) => sleep(ms).then(() => done.push(ms))));
    return done;
  },
  missing: async (url) => (await fetch(`${url}/missing`)).status,
  async caught(url) {
    try {
      await fetch(`${url}/broken`);
    } catch (error) {
      return error instanceof TypeError && "caught";
    }
  },
  uncaught: (url) => fetch(`${url}/broken`),
  async ended(url) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 10);
    const aborted = await fetch(`${url}/never`, { signal: controller.signal }).catch((error) => error.name);
    try {
      await fetch(`${url}/never`, { signal: AbortSignal.timeout(10) });
    } catch (error) {
      return aborted === "AbortError" && error.name === "TimeoutError" && "timed out";
    }
  },
  async standard(url) {
    const seen = [];
    const settled = await Promise.allSettled([1, Promise.reject(new Error("two"))]);
    seen.push(settled.map(({ status }) => status).join());
    seen.push(await Promise.any([Promise.reject(1), sleep(1).then(() => "any")]));
    seen.push(await Promise.race([sleep(50), sleep(1).then(() => "race")]));
    async function* numbers() {
      for (let number = 1; number < 4; number++) {
        await null;
        yield number;
      }
    }
    let sum = 0;
    for await (const number of numbers()) sum += number;
    seen.push(sum, (await Array.fromAsync(numbers())).length);
    const link = new URL("../b c?x=ä#y", "HTTP://Example.com:80/a/b/");
    link.searchParams.append("z", "1 2");
    seen.push(link.href);
    const headers = new Headers({ "X-One": "1" });
    headers.append("x-one", "2");
    seen.push(headers.get("X-ONE"), new TextDecoder().decode(new TextEncoder().encode("ä€😀")));
    seen.push(await new Response("{}").json(), typeof (await fetch(`${url}/none`)).headers.get("content-length"));
    for (const wrong of ["ftp://a/", "nothing", "http://user:pw@a/"]) {
      seen.push(await fetch(wrong).catch((error) => error instanceof TypeError));
    }
    const chunks = [];
    for await (const bytes of (await fetch(`${url}/none`)).body) chunks.push(...bytes);
    seen.push(String.fromCharCode(...chunks));
    return seen;
  },
  async left(url) {
    fetch(`${url}/never`);
    Promise.reject(new Error("nobody looks"));
    setInterval(() => {}, 1);
    return "done";
  },
};

export const commandHandler = handler(({ attributes }) => ways[attributes.way](attributes.url));
"#;

#[tokio::test(flavor = "multi_thread")]
async fn javascript_waits_for_several_things_at_once() {
    if asked_for(&["js"]).is_empty() {
        return;
    }
    let all = [&WAYS[..], &["standard", "left"]].concat();
    let reports = ways("js", "src/handler.js", SCRIPT, &all).await;
    assert_ways(&reports[..WAYS.len()]);
    assert_eq!(
        output(&reports[6]),
        json!([
            "fulfilled,rejected",
            "any",
            "race",
            6,
            3,
            "http://example.com/a/b%20c?x=%C3%A4&z=1+2#y",
            "1, 2",
            "ä€😀",
            {},
            "string",
            true,
            true,
            true,
            "none"
        ])
    );
    // What was left over ends with the call, and is said.
    assert_eq!(output(&reports[7]), json!("done"));
    let log = &reports[7].handlers[0].outcome.logs.lines;
    assert!(
        log.iter().any(|line| line.message.contains("nobody looks")),
        "{log:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_waits_for_several_things_at_once() {
    if asked_for(&["ts"]).is_empty() {
        return;
    }
    // The types that the template brings must hold; those of the ways need not.
    let source = r#"
import { field, handler } from "./pointsman.js";

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function both(url: string) {
  const post: RequestInit = { method: "POST", body: JSON.stringify({ a: 1 }) };
  const responses: Response[] = await Promise.all([fetch(`${url}/both`), fetch(new Request(new URL("/both", url), post))]);
  return Promise.all(responses.map((response) => response.json()));
}

async function sleeps() {
  const done: number[] = [];
  await Promise.all([30, 10, 20].map((ms) => sleep(ms).then(() => done.push(ms))));
  return done;
}

async function caught(url: string) {
  try {
    return (await fetch(`${url}/broken`)).statusText;
  } catch (error) {
    return error instanceof TypeError ? "caught" : "other";
  }
}

async function ended(url: string) {
  const signal: AbortSignal = AbortSignal.any([AbortSignal.timeout(10), new AbortController().signal]);
  const error: unknown = await fetch(`${url}/never`, { signal }).catch((error: unknown) => error);
  return error instanceof DOMException && error.name === "TimeoutError" ? "timed out" : "other";
}

export const commandHandler = handler(async (command) => {
  const url = field(command, "url", "string");
  switch (field(command, "way", "string")) {
    case "both":
      return both(url);
    case "sleeps":
      return sleeps();
    case "missing":
      return (await fetch(`${url}/missing`)).status;
    case "caught":
      return caught(url);
    case "uncaught":
      return (await fetch(`${url}/broken`)).text();
    default:
      return ended(url);
  }
});
"#;
    let reports = ways("ts", "src/handler.ts", source, &WAYS).await;
    assert_ways(&reports);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_waits_for_several_things_at_once() {
    if asked_for(&["python"]).is_empty() {
        return;
    }
    let source = r#"
import asyncio
import urllib.error
import urllib.request

import pointsman.urllib
from pointsman import Command, Rejected, Unavailable, export, http


async def both(url):
    one, two = await asyncio.gather(http.aget(f"{url}/both"), http.apost(f"{url}/both", data='{"a":1}'))
    return [one.json(), two.json()]


async def sleeps(url):
    done = []

    async def sleep(ms):
        await asyncio.sleep(ms / 1000)
        done.append(ms)

    await asyncio.gather(sleep(30), sleep(10), sleep(20))
    return done


async def missing(url):
    return (await http.aget(f"{url}/missing")).status


async def caught(url):
    try:
        http.get(f"{url}/broken")
    except http.RequestFailed:
        return "caught"


async def uncaught(url):
    return http.get(f"{url}/broken").text


async def ended(url):
    try:
        async with asyncio.timeout(0.01):
            await http.aget(f"{url}/never")
    except TimeoutError:
        return "timed out"


async def urllib_(url):
    try:
        urllib.request.urlopen(f"{url}/missing")
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode(), http.get(f"{url}/a", params={"b": "c d"}).url.split("/")[-1]]


async def urllib_uncaught(url):
    urllib.request.urlopen(f"{url}/broken")


async def status(url):
    http.get(f"{url}/missing").raise_for_status()


async def left(url):
    asyncio.create_task(http.aget(f"{url}/never"))
    await asyncio.sleep(0)
    return "done"


WAYS = {way.__name__: way for way in (both, sleeps, missing, caught, uncaught, ended, urllib_, urllib_uncaught, status, left)}


async def handle(command: Command):
    return await WAYS[command.field("way", str)](command.field("url", str))


CommandHandler = export(handle)
"#;
    let more = ["urllib_", "urllib_uncaught", "status", "left"];
    let all = [&WAYS[..], &more].concat();
    let reports = ways("python", "handler.py", source, &all).await;
    assert_ways(&reports[..WAYS.len()]);
    assert_eq!(output(&reports[6]), json!([404, "none", "a?b=c+d"]));
    let status = |index: usize| reports[index].handlers[0].outcome.status();
    assert_eq!(status(7), Status::Unavailable);
    assert_eq!(status(8), Status::Rejected);
    assert_eq!(output(&reports[9]), json!("done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn c_sends_several_requests_at_once() {
    if asked_for(&["c"]).is_empty() {
        return;
    }
    let source = r#"
#include <stdio.h>
#include <string.h>

#include "pointsman_http.h"

pm_result pm_handle(const pm_command *command) {
  pm_result failure;
  const char *url = pm_string_field(command, "url", &failure);
  const char *way = pm_string_field(command, "way", &failure);
  if (!url || !way) return failure;
  char target[200];
  snprintf(target, sizeof target, "%s/%s", url, way);
  if (!strcmp(way, "both")) {
    const char *body = "{\"a\":1}";
    pm_http_request requests[] = {{.url = target}, {.url = target, .body = body, .body_bytes = strlen(body)}};
    pm_http_response responses[2];
    pm_http_send_all(requests, 2, responses);
    if (!responses[0].status) return pm_http_failure(&responses[0]);
    return pm_answer("[%s,%s]", responses[0].body, responses[1].body);
  }
  pm_http_response response = pm_http_send(&(pm_http_request){.url = target, .timeout_ms = 200});
  if (!response.status) return pm_http_failure(&response);
  return pm_answer("[%d,%s]", response.status, pm_http_header(&response, "CONTENT-LENGTH"));
}
"#;
    let all = ["both", "missing", "broken", "never"];
    let reports = ways("c", "src/handler.c", source, &all).await;
    assert_eq!(
        output(&reports[0]),
        json!([{ "sent": "" }, { "sent": "{\"a\":1}" }])
    );
    assert_eq!(output(&reports[1]), json!([404, 4]));
    for index in [2, 3] {
        let outcome = &reports[index].handlers[0].outcome;
        assert_eq!(
            outcome.status(),
            Status::Unavailable,
            "{:?}",
            outcome.result
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_sends_several_requests_at_once() {
    let folders = Folders::new();
    folders.plugin("asks", guest("asks"));
    let all = ["both", "missing", "caught", "uncaught", "ended", "status"];
    let reports = ways_of(&folders, &all).await;
    // The server answers neither before it has both.
    assert_eq!(
        output(&reports[0]),
        json!([{ "sent": "" }, { "sent": "{\"a\":1}" }])
    );
    assert_eq!(output(&reports[1]), json!(404));
    assert_eq!(output(&reports[2]), json!("caught"));
    let status = |index: usize| reports[index].handlers[0].outcome.status();
    assert_eq!(status(3), Status::Unavailable);
    assert_eq!(output(&reports[4]), json!([true, 404]));
    assert_eq!(status(5), Status::Rejected);
}

#[test]
fn the_examples_of_the_document_build() {
    let document = root().join("host/docs/handlers.md");
    let document = fs::read_to_string(document).unwrap();
    for (language, file) in [
        ("rust", "src/lib.rs"),
        ("js", "src/handler.js"),
        ("python", "handler.py"),
        ("c", "src/handler.c"),
    ] {
        if asked_for(&[language]).is_empty() {
            continue;
        }
        let begin = format!("\n```{language}\n");
        let (_, example) = document.split_once(&begin).expect(language);
        let (example, _) = example.split_once("\n```").unwrap();
        let folders = Folders::new();
        pointsman(&folders, &["new", "shown", "--lang", language]);
        fs::write(folders.path().join("shown").join(file), example).unwrap();
        pointsman(&folders, &["build", "shown"]);
    }
}
