//! The program as a user runs it: output, exit code, signals.

mod access;
mod cases;
pub(crate) mod check_files;
mod dev;
mod faults;
mod packaging;
mod rules;
mod setup;
mod tls;

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Output, Stdio},
};

use expect_test::{Expect, expect};
use serde_json::Value;

use crate::host::{Folders, only, serve_with, without_settings};

pub(crate) fn pointsman(folders: &Folders, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command
        .current_dir(folders.path())
        .args(args)
        .env("NO_COLOR", "1");
    without_settings(&mut command);
    command
}

pub(crate) fn output(folders: &Folders, args: &[&str]) -> Output {
    pointsman(folders, args).output().unwrap()
}

/// Exit code, standard output and standard error.
pub(crate) fn said(folders: &Folders, args: &[&str]) -> (Option<i32>, String, String) {
    let output = output(folders, args);
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Standard output, standard error and the exit code, with times and digests left out.
pub(crate) fn check(folders: &Folders, args: &[&str], wanted: Expect) {
    let output = output(folders, args);
    let text = format!(
        "{}{}exit {}\n",
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap()
    );
    let mut shown = String::new();
    for line in text.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let words: Vec<_> = line.split_whitespace().map(filter).collect();
        shown.push_str(&format!("{indent}{}\n", words.join(" ")));
    }
    // The units of a time depend on the time.
    for unit in ["µs", "ms", "s"] {
        shown = shown.replace(&format!("… {unit}"), "TIME");
    }
    wanted.assert_eq(&shown);
}

/// A number of a time or a size, or a digest, whole or in twelve hex digits.
fn filter(word: &str) -> String {
    let number = word.trim_start_matches('(');
    let is_number = number.parse::<f64>().is_ok() && (number.contains('.') || number.len() > 1);
    let is_digest = [12, 64].contains(&word.len()) && word.bytes().all(|b| b.is_ascii_hexdigit());
    match (is_number, is_digest) {
        (true, _) => word.replace(number, "…"),
        (_, true) => "DIGEST".into(),
        _ => word.into(),
    }
}

const HIGH_RISK: &str = r#"{"requestType":"CreatePolicy","productType":"HighRisk"}"#;

#[test]
fn run_shows_the_lines_and_the_outcomes_as_they_come() {
    let folders = Folders::shipped();
    let shown = String::from_utf8(output(&folders, &["run", HIGH_RISK]).stdout).unwrap();
    let at = |text: &str| {
        shown
            .find(text)
            .unwrap_or_else(|| panic!("no `{text}` in {shown}"))
    };
    assert!(at("Creating default policy...") < at("Default policy created"));
    assert!(at("Default policy created") < at("default-create-policy  ✓ succeeded in"));
    assert!(
        at("default-create-policy  ✓ succeeded in") < at("Underwriter notified"),
        "the shorter one ends first"
    );
    assert!(at("notify-underwriter     ✓ succeeded in") < at("2 of 2 handlers succeeded in"));
    assert!(shown.ends_with("one after another)\n"));
}

#[test]
fn run_json_prints_the_report_and_nothing_else() {
    let folders = Folders::shipped();
    let output = output(&folders, &["run", "--json", HIGH_RISK]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["status"], "succeeded");
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
}

#[test]
fn run_reads_standard_input_and_files() {
    let folders = Folders::shipped();
    std::fs::write(folders.path().join("command.json"), HIGH_RISK).unwrap();
    assert_eq!(
        output(&folders, &["run", "--json", "@command.json"])
            .status
            .code(),
        Some(0)
    );
    let mut run = pointsman(&folders, &["run", "--json", "-"]);
    let mut run = run
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    run.stdin
        .take()
        .unwrap()
        .write_all(HIGH_RISK.as_bytes())
        .unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0));
}

#[test]
fn every_way_to_fail_has_its_exit_code() {
    let folders = Folders::probes(&["probe"]);
    check(
        &folders,
        &["run", r#"{"to":"probe","do":"reject"}"#],
        expect![[r#"
            probe ✗ rejected after TIME: not today
            0 of 1 handlers succeeded in TIME (TIME one after another)
            exit 1
        "#]],
    );
    check(
        &folders,
        &["run", r#"{"to":"prob","do":"reject"}"#],
        expect![[r#"
            error: no matching handler found
              hint: the nearest is rule `probe` (rules/probes.json:1): `to` is "prob", expected "probe"
            exit 3
        "#]],
    );
    check(
        &folders,
        &["run", "[]"],
        expect![[r#"
        error: the command is an array: send one JSON object, such as {"requestType":"CreatePolicy"}
        exit 2
    "#]],
    );
    check(
        &folders,
        &["run", "@missing.json"],
        expect![[r#"
        error: missing.json: cannot be read: No such file or directory (os error 2)
        exit 2
    "#]],
    );
    check(
        &folders,
        &["run", "{}", "--set", "limits.timout=1s"],
        expect![[r#"
            error: command line: unknown key `limits.timout`
              hint: did you mean `limits.timeout`?
            exit 2
        "#]],
    );
    check(
        &folders,
        &["list"],
        expect![[r#"
        HANDLER VERSION DIGEST SIZE STATE RULES
        probe - DIGEST … KiB loaded probe
        exit 0
    "#]],
    );
    assert_eq!(output(&folders, &["run"]).status.code(), Some(2));
}

#[test]
fn list_shows_what_is_broken_and_how_to_mend_it() {
    let folders = Folders::probes(&["probe"]);
    folders.plugin("broken", "nonsense");
    folders.plugin("unused", crate::host::guest("probe"));
    check(
        &folders,
        &["list"],
        expect![[r#"
        HANDLER VERSION DIGEST SIZE STATE RULES
        broken - - - failed -
        probe - DIGEST … KiB loaded probe
        unused - DIGEST … KiB loaded -
        error: plugins/broken.wasm: is no WebAssembly
          hint: only built components belong beside the `.wasm` ending; build the source with `pointsman build`
        warning: plugins/unused.wasm: no rule routes commands to `unused`
          hint: write rules/unused.json, such as {"rules":[{"name":"unused","match":{"requestType":["…"]},"handlers":["unused"]}]}
        exit 1
    "#]],
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let folders = Folders::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = output(&folders, &["serve", "--listen", &address]);
    let shown = String::from_utf8(output.stderr)
        .unwrap()
        .replace(&address, "ADDRESS");
    expect![[r#"
        error: cannot listen on ADDRESS: Address already in use (os error 98)
          hint: stop the other process, or choose another address with `--listen`
    "#]]
    .assert_eq(&shown);
    assert_eq!(output.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn a_signal_lets_commands_in_flight_finish() {
    let folders = Folders::probes(&["probe"]);
    let mut serve = pointsman(&folders, &["serve", "--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(serve.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let listening = log.find(|line| line.contains("listening on")).unwrap();
    let url = listening
        .split("http://")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    let client = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(url).unwrap();
        let body = r#"{"to":"probe","do":"sleep","amount":700}"#;
        write!(
            stream,
            "POST /commands/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        std::io::read_to_string(stream).unwrap()
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    let killed = Command::new("kill")
        .args(["-TERM", &serve.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let answer = client.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(serve.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn list_asks_a_host_that_serves_and_shows_a_quarantine() {
    let folders = Folders::probes(&["probe"]);
    folders.settings("probe", "[breaker]\nfailures = 1");
    let (app, url) = serve_with(folders.config()).await;
    only(&app, r#"{"to":"probe","do":"trap"}"#).await;
    let list =
        |url: &str| tokio::task::block_in_place(|| output(&folders, &["list", "--url", url]));
    let shown = list(&url);
    assert_eq!(shown.status.code(), Some(0));
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("quarantined"), "{shown}");

    let refused = list("localhost:3000");
    assert_eq!(refused.status.code(), Some(2));
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.contains("write it as http://127.0.0.1:3000"),
        "{refused}"
    );
    let nobody = list("http://127.0.0.1:1");
    assert_eq!(nobody.status.code(), Some(2));
    let nobody = String::from_utf8(nobody.stderr).unwrap();
    assert!(nobody.contains("http://127.0.0.1:1/plugins"), "{nobody}");
}
