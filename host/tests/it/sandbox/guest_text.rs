//! Text that comes from a guest or from its file: cut while it is made, however
//! long it would be, and what one host call may ask for.

use std::time::Duration;

use pointsman::outcome::{Failure, HandlerReport, Status};

use crate::{
    components::{answering, handler},
    host::{Folders, only},
};

/// The most of a message, and some bytes that say how much is missing.
const MESSAGE_MAX: usize = (16 << 10) + 100;

async fn run(component: Vec<u8>, settings: &str) -> HandlerReport {
    let folders = Folders::new();
    folders.plugin("guest", component);
    folders.settings("guest", settings);
    folders.rules(
        "guest.json",
        r#"{"rules":[{"name":"guest","match":"*","handlers":["guest"]}]}"#,
    );
    let app = folders.start().await;
    only(&app, "{}").await
}

async fn failed(component: Vec<u8>) -> Failure {
    run(component, "").await.outcome.result.unwrap_err()
}

/// Little-endian bytes as the text format writes them.
fn bytes(numbers: &[u32]) -> String {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    bytes.map(|byte| format!("\\{byte:02x}")).collect()
}

/// A handler that fails with a message of `len` zeros.
fn failing(case: u32, len: u32) -> Vec<u8> {
    // err(case(message)), and where it is `unavailable`, some(7) milliseconds.
    let result = bytes(&[1, 0, case, 0, 65_536, len, 1, 0, 7, 0]);
    handler(
        &format!("(data (i32.const 0) \"{result}\")"),
        "(drop (memory.grow (i32.const 500))) i32.const 0",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_cut_and_says_how_much_is_missing() {
    for (case, status) in [(0, Status::Rejected), (1, Status::Unavailable)] {
        let failure = failed(failing(case, 30_000_000)).await;
        assert_eq!(failure.code, status);
        let message = failure.message;
        assert!(message.len() <= MESSAGE_MAX, "{} bytes", message.len());
        assert!(message.ends_with("… (29983616 more bytes)"));
        let retry_after = (status == Status::Unavailable).then_some(Duration::from_millis(7));
        assert_eq!(failure.retry_after, retry_after);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_is_checked_as_a_command_is() {
    let deep = "[".repeat(121) + &"]".repeat(121);
    let just = "[".repeat(120) + &"]".repeat(120);
    for (output, why) in [
        (deep.as_str(), "nested deeper than 120 levels"),
        (r#"{"a":1,"\u0061":2}"#, "duplicate key `a`"),
        (r#"{"b":[{"a":1,"a":1}]}"#, "duplicate key `a`"),
        ("1e400", "number beyond 1.8e308"),
        (r#""\ud800""#, "half of a surrogate pair"),
        (r#"{"\udc00":1}"#, "half of a surrogate pair"),
        ("{} {}", "expected the end of the input"),
        ("", "expected a JSON value, found the end of the input"),
    ] {
        let failure = failed(answering(output)).await;
        assert_eq!(failure.code, Status::InvalidOutput, "{output}");
        assert!(
            failure.message.contains(why),
            "{output}: {}",
            failure.message
        );
    }
    for output in [just.as_str(), r#""\ud83d\ude00\u0000""#, "1e308", "[{},{}]"] {
        let report = run(answering(output), "").await;
        let answer = report.outcome.result.unwrap().unwrap();
        assert_eq!(answer.get(), output);
    }
}

/// A mangled name of less than a kilobyte that stands for a type of 4^30 parts.
fn demangle_bomb() -> String {
    let mut name = "_RINvC1a3b00".to_owned();
    let mut places = Vec::new();
    for level in 0..30_usize {
        places.push(name.len() - "_R".len());
        match places.get(level.wrapping_sub(1)) {
            None => name.push_str("TuuuuE"),
            Some(place) => {
                let reference = format!("B{}", base_62(*place));
                name.push_str(&format!("T{}E", reference.repeat(4)));
            }
        }
    }
    name + "E"
}

/// As the v0 mangling writes numbers: one less, and `_` at the end.
fn base_62(number: usize) -> String {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut text = Vec::new();
    let mut rest = number.checked_sub(1);
    while let Some(number) = rest {
        text.insert(0, DIGITS[number % 62]);
        rest = (number >= 62).then_some(number / 62);
    }
    String::from_utf8(text).unwrap() + "_"
}

/// A handler that traps thirty calls deep in functions of this name.
fn trapping_in(name: &str) -> Vec<u8> {
    let functions: String = (0..30)
        .map(|number| {
            let next = match number {
                29 => "unreachable".to_owned(),
                _ => format!("(call $f{})", number + 1),
            };
            format!("(func $f{number} (@name \"{name}\") {next})")
        })
        .collect();
    handler(&functions, "(call $f0) i32.const 0")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtrace_is_cut_while_it_is_written() {
    for name in [demangle_bomb(), "N".repeat(99_000), "\\1b[2J".repeat(100)] {
        let failure = failed(trapping_in(&name)).await;
        assert_eq!(failure.code, Status::Trapped);
        assert!(!failure.backtrace.is_empty());
        for frame in &failure.backtrace {
            assert!(frame.len() <= 256 + "…".len(), "{} bytes", frame.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_call_gives_no_more_than_a_worker_can_do_between_two_ticks() {
    let import =
        r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))"#;
    let random = |count: u64| {
        handler(
            import,
            &format!("(call $random (i64.const {count}) (i32.const 0)) i32.const 1024"),
        )
    };
    let report = run(random(60_000), "").await;
    assert_eq!(report.outcome.status(), Status::Succeeded, "{report:?}");
    for count in [65_537, 64 << 20, u64::MAX >> 1] {
        let failure = failed(random(count)).await;
        assert_eq!(failure.code, Status::Trapped);
        assert!(
            failure.message.contains("exceeds limit 65536"),
            "{}",
            failure.message
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_polls_as_many_pollables_at_once_as_it_may_hold() {
    let imports = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))"#;
    // The same pollable, over and over, from 65536 on.
    let polling = |count: u32| {
        let body = format!(
            "(local $i i32) (local $timer i32)
             (drop (memory.grow (i32.const 200)))
             (local.set $timer (call $timer (i64.const 1)))
             (loop $fill
                (i32.store (i32.add (i32.const 65536) (i32.mul (local.get $i) (i32.const 4))) (local.get $timer))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $fill (i32.lt_u (local.get $i) (i32.const {count}))))
             (call $poll (i32.const 65536) (i32.const {count}) (i32.const 0))
             i32.const 2048"
        );
        handler(imports, &body)
    };
    let settings = "[limits]\nresources_max = 100\n";
    let report = run(polling(100), settings).await;
    assert_eq!(report.outcome.status(), Status::Succeeded, "{report:?}");
    let failure = run(polling(3_000_000), settings).await.outcome.result;
    let failure = failure.unwrap_err();
    assert_eq!(failure.code, Status::Trapped);
    assert!(
        failure.message.contains("`limits.resources_max`"),
        "{}",
        failure.message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_says_what_a_handler_does_instead_and_its_name_is_its_argument() {
    let folders = Folders::wasi("");
    let app = folders.start().await;
    let failure = only(&app, r#"{"do":"exit","path":"0"}"#).await;
    let failure = failure.outcome.result.unwrap_err();
    assert_eq!(failure.code, Status::Trapped);
    expect_test::expect![
        "`wasi`: called `exit` to end with success: a handler returns from `handle`, also when all is well"
    ]
    .assert_eq(&failure.message);
    let report = only(&app, r#"{"do":"args"}"#).await;
    let output = report.outcome.result.unwrap().unwrap();
    assert_eq!(output.get(), r#"["wasi"]"#);
}
