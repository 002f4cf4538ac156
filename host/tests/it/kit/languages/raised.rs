//! Whatever a handler of a language throws, raises or answers is a failure with
//! its words, and no trap of its engine. Runs only where it is asked for.

use std::{fs, time::Duration};

use pointsman::outcome::{Outcome, Report, Status};

use super::{asked_for, pointsman};
use crate::host::{Folders, dispatch};

/// A handler of this language whose source is `source`, in folders of its own,
/// and what came of each of `ways` to fail.
async fn failing(language: &str, file: &str, source: &str, ways: &[&str]) -> Vec<(String, Report)> {
    let folders = Folders::new();
    pointsman(&folders, &["new", "bad", "--lang", language]);
    fs::write(folders.path().join("bad").join(file), source).unwrap();
    pointsman(&folders, &["build", "bad"]);
    folders.rules(
        "bad.json",
        r#"{"rules":[{"name":"bad","match":"*","handlers":["bad"]}]}"#,
    );
    let app = folders.start().await;
    let mut reports = Vec::new();
    for way in ways {
        let report = dispatch(&app, &format!(r#"{{"way":"{way}"}}"#)).await;
        reports.push(((*way).to_owned(), report));
    }
    reports
}

/// The names of the ways in a source: what stands in quotes before `mark`.
fn ways<'a>(source: &'a str, mark: &str) -> Vec<&'a str> {
    let lines = source.lines().filter_map(|line| line.split_once(mark));
    lines
        .filter_map(|(name, _)| name.trim().strip_prefix('"')?.strip_suffix('"'))
        .collect()
}

fn assert_each_is_a_failure(reports: &[(String, Report)]) {
    assert!(reports.len() > 5, "the ways are not found any more");
    for (way, report) in reports {
        let outcome = &report.handlers[0].outcome;
        let wanted = match way.split(' ').next().unwrap() {
            "unavailable" => Status::Unavailable,
            // The engine never sees it: the stack of WebAssembly ends first.
            "trapped" => Status::Trapped,
            _ => Status::Rejected,
        };
        assert_eq!(outcome.status(), wanted, "{way}: {:?}", outcome.result);
        if let Err(failure) = &outcome.result
            && way.ends_with("for a while")
        {
            assert_eq!(failure.retry_after, Some(Duration::from_millis(1500)));
        }
        if let Err(failure) = &outcome.result
            && way.ends_with("at least half a millisecond")
        {
            assert_eq!(failure.retry_after, Some(Duration::from_millis(1)));
        }
    }
}

/// What the handler did in one of the ways.
fn outcome<'a>(reports: &'a [(String, Report)], way: &str) -> &'a Outcome {
    let (_, report) = reports.iter().find(|(known, _)| known == way).unwrap();
    &report.handlers[0].outcome
}

/// The error's message in each of these ways.
fn assert_said(reports: &[(String, Report)], wanted: &[(&str, &str)]) {
    for (way, message) in wanted {
        let failure = outcome(reports, way).result.as_ref().unwrap_err();
        assert_eq!(failure.message, *message, "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn whatever_javascript_throws_is_a_failure_and_no_trap() {
    if asked_for(&["js"]).is_empty() {
        return;
    }
    let source = r#"
import { config, field, handler, log, randomBytes, Rejected, sleepMs, Unavailable } from "./pointsman.js";
const raise = (error) => { throw error; };
const ways = {
  "number": () => raise(42),
  "undefined": () => raise(undefined),
  "null": () => raise(null),
  "symbol": () => raise(Symbol("s")),
  "without prototype": () => raise(Object.create(null)),
  "without text": () => raise({ toString() { throw 1; } }),
  "bad stack": () => raise({ get stack() { throw 1; } }),
  "revoked proxy": () => { const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); throw proxy; },
  "message is a number": () => raise(Object.assign(new Rejected("x"), { message: 5 })),
  "message is a symbol": () => raise(Object.assign(new Rejected("x"), { message: Symbol("s") })),
  "unavailable without message": () => raise(Object.assign(new Unavailable("x"), { message: undefined })),
  "unavailable for at least half a millisecond": () => raise(new Unavailable("x", { retryAfterMs: 0.5 })),
  "unavailable at any time": () => raise(new Unavailable("x", { retryAfterMs: null })),
  "unavailable with a text for a time": () => raise(Object.assign(new Unavailable("x"), { retryAfterMs: "10" })),
  "a bigint to retry after": () => raise(new Unavailable("x", { retryAfterMs: 10n })),
  "a text to retry after": () => raise(new Unavailable("x", { retryAfterMs: "10" })),
  "a time to retry after that is past": () => raise(new Unavailable("x", { retryAfterMs: -1 })),
  "no number to retry after": () => raise(new Unavailable("x", { retryAfterMs: NaN })),
  "for ever to retry after": () => raise(new Unavailable("x", { retryAfterMs: Infinity })),
  "no text for a message": () => raise(new Unavailable(Symbol("s"))),
  "unavailable for a while": () => raise(new Unavailable("x", { retryAfterMs: 1500 })),
  "of the contract, and wrong": () => raise({ tag: "rejected", val: 5 }),
  "type error": () => undefined.x,
  "trapped by endless recursion": () => { const f = () => f() + 1; return f(); },
  "half a surrogate": () => raise(new Rejected("\ud800")),
  "log half a surrogate": () => { log.info("\ud800"); console.log("\ud800"); config("\ud800"); throw "\ud800"; },
  "sleeps less than nothing": () => sleepMs(-1),
  "sleeps a text": () => sleepMs("10"),
  "sleeps a bigint": () => sleepMs(10n),
  "sleeps no number": () => sleepMs(NaN),
  "sleeps for ever": () => sleepMs(Infinity),
  "sleeps past the exact integers": () => sleepMs(2 ** 53),
  "sleeps nothing known": () => sleepMs(),
  "sleeps an object": () => sleepMs({ valueOf: () => 1 }),
  "too many random bytes": () => randomBytes(70_000),
  "random bytes of a text": () => randomBytes("x"),
  "random bytes less than none": () => randomBytes(-1),
  "random bytes and a half": () => randomBytes(1.5),
  "random bytes of a bigint": () => randomBytes(1n),
  "random bytes of a list": () => randomBytes([8]),
  "logs without text": () => log.info(Object.create(null)),
  "reads a key without text": () => config({ toString: () => ({}) }),
  "a field that objects inherit": () => field({ attributes: {} }, "constructor", "function"),
  "a field of no known type": () => field({ attributes: { a: 1 } }, "a", "integer"),
  "a handler that is none": () => handler({}),
  "logs a symbol, sleeps a fraction": () => { log.info(Symbol("s")); sleepMs(1.5); randomBytes(0); throw 1; },
  "answers itself": () => { const a = {}; a.a = a; return a; },
  "answers a bigint": () => 1n,
  "answers a function": () => () => 1,
  "awaits what never comes": () => new Promise(() => {}),
  "rejects with nothing": () => Promise.reject(),
  "unavailable later": async () => { await null; raise(new Unavailable("x")); },
  "throws in a timer": () => new Promise(() => setTimeout(() => raise(1))),
  "a handler with a function that is no function": async () => setTimeout("x"),
  "answers no number": () => ({ total: NaN }),
  "answers infinity": () => [Infinity],
};
export const commandHandler = handler((command) => ways[command.attributes.way]());
"#;
    let reports = failing("js", "src/handler.js", source, &ways(source, ": ")).await;
    assert_each_is_a_failure(&reports);
    assert_said(
        &reports,
        &[
            (
                "a bigint to retry after",
                "TypeError: `retryAfterMs` must be a number, not a bigint",
            ),
            (
                "a time to retry after that is past",
                "RangeError: `retryAfterMs` must be from 0 to 9007199254740991, not -1",
            ),
            (
                "a field of no known type",
                "TypeError: `field` knows no type `integer`, only string, number, boolean, array, object",
            ),
            (
                "a handler that is none",
                "TypeError: `handler` takes a function, not object",
            ),
            (
                "awaits what never comes",
                "Error: the handler awaits a promise that can never settle",
            ),
            (
                "answers no number",
                "the answer holds NaN in `total`, which is not JSON",
            ),
            ("unavailable with a text for a time", "x"),
        ],
    );
    let log = &outcome(&reports, "unavailable with a text for a time")
        .logs
        .lines;
    assert_eq!(
        log[0].message,
        "`retryAfterMs` must be a number, not a string"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn whatever_python_raises_is_a_failure_and_no_trap() {
    if asked_for(&["python"]).is_empty() {
        return;
    }
    let source = r#"
import sys
from pointsman import Command, Rejected, Unavailable, config, export, log, random_bytes, sleep_ms

class Untextual(Exception):
    def __str__(self):
        raise ValueError("no text")

class Odd(BaseException):
    pass

def throw(error):
    raise error

def deep():
    return deep() + 1

def late():
    error = Unavailable("x")
    error.retry_after_ms = "10"
    raise error

async def later():
    return 1

def price():
    command = Command("", {"price": 5, "sold": True}, 1, "", None)
    assert command.field("price", float) == 5.0
    return command.field("sold", float)

WAYS = {
    "key error": lambda: {}["x"],
    "exit": lambda: sys.exit(3),
    "interrupt": lambda: throw(KeyboardInterrupt()),
    "generator exit": lambda: throw(GeneratorExit()),
    "no Exception": lambda: throw(Odd("odd")),
    "group": lambda: throw(ExceptionGroup("g", [ValueError("v")])),
    "without text": lambda: throw(Untextual()),
    "rejected with a number": lambda: throw(Rejected(5)),
    "half a surrogate": lambda: throw(Rejected("\ud800")),
    "log half a surrogate": lambda: (log.info("\ud800"), throw(ValueError("\ud800"))),
    "endless recursion": deep,
    "unavailable with none": lambda: throw(Unavailable(None)),
    "unavailable for a while": lambda: throw(Unavailable("x", retry_after_ms=1500)),
    "unavailable with a text for a time": late,
    "for ever to retry after": lambda: throw(Unavailable("x", retry_after_ms=2**70)),
    "half a millisecond to retry after": lambda: throw(Unavailable("x", retry_after_ms=0.5)),
    "a bool to retry after": lambda: throw(Unavailable("x", retry_after_ms=True)),
    "a text to retry after": lambda: throw(Unavailable("x", retry_after_ms="10")),
    "a time to retry after that is past": lambda: throw(Unavailable("x", retry_after_ms=-1)),
    "sleeps less than nothing": lambda: sleep_ms(-1),
    "sleeps a fraction": lambda: sleep_ms(1.5),
    "sleeps a bool": lambda: sleep_ms(True),
    "sleeps a text": lambda: sleep_ms("10"),
    "sleeps longer than numbers go": lambda: sleep_ms(2**64),
    "sleeps infinity": lambda: sleep_ms(float("inf")),
    "sleeps none": lambda: sleep_ms(None),
    "too many random bytes": lambda: random_bytes(70_000),
    "random bytes less than none": lambda: random_bytes(-1),
    "random bytes of a float": lambda: random_bytes(8.0),
    "random bytes of a bool": lambda: random_bytes(True),
    "random bytes of a text": lambda: random_bytes("x"),
    "random bytes without end": lambda: random_bytes(2**80),
    "logs without text": lambda: log.info(Untextual()),
    "reads a key without text": lambda: config(Untextual()),
    "answers an object": lambda: object(),
    "answers no number": lambda: float("nan"),
    "answers bytes": lambda: b"x",
    "answers a coroutine": later,
    "a bool for a float": price,
    "a field of no known type": lambda: Command("", {"a": 1}, 1, "", None).field("a", "int"),
    "a handler that is none": lambda: export(None),
}

def handle(command: Command):
    return WAYS[command.attributes["way"]]()

CommandHandler = export(handle)
"#;
    let reports = failing("python", "handler.py", source, &ways(source, ": ")).await;
    assert_each_is_a_failure(&reports);
    assert_said(
        &reports,
        &[
            (
                "half a millisecond to retry after",
                "TypeError: `retry_after_ms` must be an int, not a float",
            ),
            (
                "a time to retry after that is past",
                "ValueError: `retry_after_ms` must be from 0 to 18446744073709551615",
            ),
            (
                "answers a coroutine",
                "the handler returned a coroutine, but is not `async`: write `async def` and return the answer itself",
            ),
            (
                "a bool for a float",
                "`sold` of the command is of type bool, not float",
            ),
            (
                "a handler that is none",
                "TypeError: `export` takes a function, not a NoneType",
            ),
            ("unavailable with a text for a time", "x"),
        ],
    );
    let log = &outcome(&reports, "unavailable with a text for a time")
        .logs
        .lines;
    assert_eq!(log[0].message, "`retry_after_ms` must be an int, not a str");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_c_says_is_a_failure_and_no_trap() {
    if asked_for(&["c"]).is_empty() {
        return;
    }
    let source = r#"
#include "pointsman.h"
#include <string.h>

pm_result pm_handle(const pm_command *command) {
  static uint8_t bytes[200000];
  pm_result failure;
  const char *way = pm_string_field(command, "way", &failure);
  if (!way) return failure;
  if (!strcmp(way, "rejected without UTF-8")) return pm_rejected("a\xff\xc3(\xed\xa0\x80z");
  if (!strcmp(way, "logs without UTF-8")) pm_log(PM_INFO, "\xf8\x80 %s", "\xe2\x82");
  if (!strcmp(way, "logs at no level")) pm_log((pm_level)77, "x");
  if (!strcmp(way, "reads a key without UTF-8")) pm_config("\xff");
  if (!strcmp(way, "many random bytes")) {
    pm_random(bytes, sizeof bytes);
    if (!memcmp(bytes, bytes + 65536, 65536)) return pm_no_answer();
  }
  if (!strcmp(way, "sleeps less than nothing")) pm_sleep_ms(-1);
  if (!strcmp(way, "no text at all")) {
    pm_log(PM_INFO, NULL);
    if (pm_config(NULL) || pm_raw_field(command, NULL)) return pm_no_answer();
    if (!pm_string_field(command, NULL, &failure)) return failure;
  }
  if (!strcmp(way, "rejected by hand")) return (pm_result){PM_REJECTED, NULL, 0};
  if (!strcmp(way, "unavailable without UTF-8")) return pm_unavailable(1, "\xff");
  return pm_rejected("no");
}
"#;
    let ways = [
        "rejected without UTF-8",
        "logs without UTF-8",
        "logs at no level",
        "reads a key without UTF-8",
        "many random bytes",
        "sleeps less than nothing",
        "no text at all",
        "rejected by hand",
        "unavailable without UTF-8",
    ];
    let reports = failing("c", "src/handler.c", source, &ways).await;
    assert_each_is_a_failure(&reports);
    assert_said(
        &reports,
        &[
            ("rejected without UTF-8", "a??(???z"),
            ("no text at all", "the command has no `(null)`"),
            ("rejected by hand", "(null)"),
        ],
    );
    let log = &outcome(&reports, "sleeps less than nothing").logs.lines;
    assert_eq!(
        log[0].message,
        "pm_sleep_ms: the duration must be 0 or more, not -1"
    );
}
