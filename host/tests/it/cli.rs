//! The program as a user runs it: output, exit code, signals.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Output, Stdio},
};

use expect_test::{Expect, expect};
use serde_json::Value;

use crate::host::Folders;

fn pointsman(folders: &Folders, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command
        .current_dir(folders.path())
        .args(args)
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1");
    command
}

fn output(folders: &Folders, args: &[&str]) -> Output {
    pointsman(folders, args).output().unwrap()
}

/// Standard output, standard error and the exit code, with times and digests left out.
fn check(folders: &Folders, args: &[&str], wanted: Expect) {
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

/// A number of a time or a size, or twelve hex digits of a digest.
fn filter(word: &str) -> String {
    let number = word.trim_start_matches('(');
    let is_number = number.parse::<f64>().is_ok() && (number.contains('.') || number.len() > 1);
    let is_digest = word.len() == 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
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
              hint: the nearest is rule `probe` (rules/probes.json:1): `to` is "prob", wanted "probe"
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
        &["run", "{}", "--set", "limits.timout_ms=1"],
        expect![[r#"
            error: command line: unknown key `limits.timout_ms`
              hint: did you mean `limits.timeout_ms`?
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
        warning: plugins/unused.wasm: no rule sends commands to `unused`
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
        error: cannot listen on ADDRESS; choose another address with `--listen`: Address already in use (os error 98)
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
            "POST /commands/execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
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

#[test]
fn explain_says_why_each_rule_did_or_did_not_fire() {
    let folders = Folders::shipped();
    check(
        &folders,
        &[
            "explain",
            r#"{"requestType":"CreatePolicy","productType":"Low","source":"web"}"#,
        ],
        expect![[r#"
            goes to `create-policy`
            ✓ fired web-policy rules/policy.json:9 → create-policy
                `requestType` is "CreatePolicy", wanted "CreatePolicy"
                `source` is "web", wanted "web"
            ~ overruled any-policy rules/policy.json:16 a fallback, and `web-policy` fired in group `create`
            ✗ missed high-risk rules/policy.json:3
                `productType` is "Low", wanted "HighRisk"
            exit 0
        "#]],
    );
    check(
        &folders,
        &["explain", r#"{"requestType":"Nothing"}"#],
        expect![[r#"
            goes to no handler
            ✗ missed any-policy rules/policy.json:16
                `requestType` is "Nothing", wanted "CreatePolicy"
            ✗ missed high-risk rules/policy.json:3
                `productType` is absent, wanted "HighRisk"
                `requestType` is "Nothing", wanted "CreatePolicy"
            ✗ missed web-policy rules/policy.json:9
                `requestType` is "Nothing", wanted "CreatePolicy"
                `source` is absent, wanted "web"
            exit 3
        "#]],
    );
}

#[test]
fn check_tests_and_lints_the_rules_against_the_loaded_handlers() {
    let folders = Folders::probes(&["probe"]);
    check(
        &folders,
        &["check", "--strict"],
        expect![[r#"
        warning: rules/probes.json:1: no test of this file has the field `to` of rule `probe`
          hint: the file has no `tests`: add `{"command": {…}, "handlers": […]}`
        checked 1 rules in 1 files against 1 handlers: 0 errors, 1 warnings
        exit 1
    "#]],
    );
    folders.rules(
        "odd.json",
        r#"{"rules":[
          { "name": "lost", "match": { "a": ["b"] }, "handlers": ["prob"] },
          { "name": "never", "match": { "c": ["d"] }, "guard": "false", "handlers": ["probe"] },
          { "name": "again", "match": { "c": ["d"], "e": ["f"] }, "handlers": ["probe"] },
          { "name": "tested", "match": { "c": ["d"] }, "handlers": ["probe"] }],
         "tests": [{ "command": { "c": "d" }, "handlers": ["probe"] }]}"#,
    );
    check(
        &folders,
        &["check"],
        expect![[r#"
            error: rules/odd.json:2: rule `lost` names the unknown handler `prob`
              hint: did you mean `probe`? loaded handlers: `probe`
            warning: rules/odd.json:2: no test of this file has the field `a` of rule `lost`
              hint: add a test whose command has it
            warning: rules/odd.json:3: rule `never` can never match: its guard is false for every command
            warning: rules/odd.json:3: rule `never` changes nothing: rule `tested` (rules/odd.json:5) matches whenever it does and names its handlers
            warning: rules/odd.json:4: rule `again` changes nothing: rule `tested` (rules/odd.json:5) matches whenever it does and names its handlers
            warning: rules/odd.json:4: no test of this file has the field `e` of rule `again`
              hint: add a test whose command has it
            warning: rules/probes.json:1: no test of this file has the field `to` of rule `probe`
              hint: the file has no `tests`: add `{"command": {…}, "handlers": […]}`
            checked 5 rules in 2 files against 1 handlers: 1 errors, 6 warnings
            exit 1
        "#]],
    );
    folders.rules(
        "failing.json",
        r#"{"rules":[{ "name": "f", "match": { "a": ["b"] }, "handlers": ["probe"] }],
         "tests": [{ "command": { "a": "c" }, "handlers": ["probe"] }]}"#,
    );
    check(
        &folders,
        &["check"],
        expect![[r#"
            error: rules/failing.json:2:20: test failed: the rules choose no handler, the test wants `probe`
              hint: nearest miss: rule `f` (rules/failing.json:1): `a` is "c", wanted "b"
            error: rules/odd.json:2: rule `lost` names the unknown handler `prob`
              hint: did you mean `probe`? loaded handlers: `probe`
            warning: rules/odd.json:2: no test of this file has the field `a` of rule `lost`
              hint: add a test whose command has it
            warning: rules/odd.json:3: rule `never` can never match: its guard is false for every command
            warning: rules/odd.json:3: rule `never` changes nothing: rule `tested` (rules/odd.json:5) matches whenever it does and names its handlers
            warning: rules/odd.json:4: rule `again` changes nothing: rule `tested` (rules/odd.json:5) matches whenever it does and names its handlers
            warning: rules/odd.json:4: no test of this file has the field `e` of rule `again`
              hint: add a test whose command has it
            warning: rules/probes.json:1: no test of this file has the field `to` of rule `probe`
              hint: the file has no `tests`: add `{"command": {…}, "handlers": […]}`
            checked 5 rules in 3 files against 1 handlers: 2 errors, 6 warnings
            exit 1
        "#]],
    );
}

#[test]
fn rules_diff_shows_which_commands_go_elsewhere() {
    let folders = Folders::probes(&["probe"]);
    folders.rules(
        "new.json",
        r#"{"rules":[{"name":"n","match":{"to":[{"prefix":"p"}]},"handlers":["probe","other"]}]}"#,
    );
    let commands = "{\"to\":\"probe\"}\n\n{\"to\":\"nobody\"}\n{\"to\":\"p\"}\n";
    std::fs::write(folders.path().join("commands.jsonl"), commands).unwrap();
    let args = [
        "rules",
        "diff",
        "rules/probes.json",
        "rules/new.json",
        "--commands",
        "commands.jsonl",
    ];
    check(
        &folders,
        &args,
        expect![[r#"
        commands.jsonl:1 {"to":"probe"}
          + other
        commands.jsonl:4 {"to":"p"}
          + other
          + probe
        2 of 3 commands go elsewhere
        exit 1
    "#]],
    );
    let same = [
        "rules",
        "diff",
        "rules",
        "rules",
        "--commands",
        "commands.jsonl",
    ];
    check(
        &folders,
        &same,
        expect![[r#"
        0 of 3 commands go elsewhere
        exit 0
    "#]],
    );
    std::fs::write(folders.path().join("commands.jsonl"), "{}\n[]\n").unwrap();
    check(
        &folders,
        &same,
        expect![[r#"
        error: commands.jsonl:2: the command is an array: send one JSON object, such as {"requestType":"CreatePolicy"}
        exit 2
    "#]],
    );
}

#[test]
fn rule_files_that_would_take_too_much_are_refused() {
    let folders = Folders::probes(&["probe"]);
    let rule = |pattern: &str| {
        format!(r#"{{"rules":[{{"name":"big","match":{pattern},"handlers":["probe"]}}]}}"#)
    };
    let check = |text: Vec<u8>, wanted: Expect| {
        std::fs::write(folders.path().join("rules/big.json"), text).unwrap();
        let shown = String::from_utf8(output(&folders, &["check"]).stdout).unwrap();
        let shown: String = shown
            .lines()
            .filter(|line| line.contains("big.json"))
            .map(|line| {
                let cut: String = line.chars().take(200).collect();
                cut + "\n"
            })
            .collect();
        wanted.assert_eq(&shown);
    };
    check(
        vec![b' '; 11 << 20],
        expect![[r#"
        error: rules/big.json:1:1: a rule file has at most 10485760 bytes, found 11534336
    "#]],
    );
    check(
        "[".repeat(100_000).into(),
        expect![[r#"
        error: rules/big.json:1:129: nested deeper than 128 levels
    "#]],
    );
    check(
        rule(&format!(
            r#"{{"a":{}1{}}}"#,
            r#"{"a":"#.repeat(100_000),
            "}".repeat(100_000)
        ))
        .into(),
        expect![[r#"
            error: rules/big.json:1:658: nested deeper than 128 levels
        "#]],
    );
    check(
        rule(&format!(
            r#"{{"a":[{{"wildcard":"{}"}}]}}"#,
            "*a".repeat(500)
        ))
        .into(),
        expect![[r#"
            error: rules/big.json:1:51: bad wildcard "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a…" for `a`: it has more than 64 `*`
        "#]],
    );
    check(
        rule(&format!(
            r#"{{"a":[{{"numeric":["=",1e{}]}}]}}"#,
            "9".repeat(50)
        ))
        .into(),
        expect![[r#"
            error: rules/big.json:1:55: the number 1e99999999999999999999999999999999999999999999999999 for `a` is out of range
        "#]],
    );
    let branches = format!(
        r#"[{}]"#,
        (0..1_000)
            .map(|n| format!(r#"{{"b":["{n}"]}}"#))
            .collect::<Vec<_>>()
            .join(",")
    );
    check(
        rule(&format!(r#"{{"$or":{branches},"c":{{"$or":{branches}}}}}"#)).into(),
        expect![[r#"
            error: rules/big.json:1:13943: the `$or`s of this pattern multiply to more than 1000 combinations
        "#]],
    );
    check(
        b"{\"rules\":[{\"name\":\"\xff\"}]}".into(),
        expect![[r#"
        error: rules/big.json:1:20: the file is not UTF-8 text
    "#]],
    );
}
