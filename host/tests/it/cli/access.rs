//! The program and tokens: how one is made, who needs one, what is told of it.

#![cfg(unix)]

use std::fs;

use expect_test::{Expect, expect};
use serde_json::Value;

use super::{
    faults::{Serving, serve_as},
    pointsman, said,
};
use crate::{host::Folders, raw::request};

/// A token that `token new` makes: its secret, and the line that lets it in.
fn made(folders: &Folders, name: &str, roles: &[&str]) -> [String; 2] {
    let mut args = vec!["token", "new", name, "--json"];
    args.extend(roles.iter().flat_map(|role| ["--role", role]));
    let (exit, printed, error) = said(folders, &args);
    assert_eq!((exit, error.as_str()), (Some(0), ""));
    let printed: Value = serde_json::from_str(&printed).unwrap();
    ["token", "line"].map(|key| printed[key].as_str().unwrap().to_owned())
}

fn serving(folders: &Folders, more: &[&str]) -> Serving {
    let args = ["serve", "--listen", "127.0.0.1:0", "--color", "never"];
    serve_as(pointsman(folders, &[&args, more].concat()))
}

#[test]
fn a_token_is_printed_once_with_the_line_that_lets_it_in() {
    let folders = Folders::new();
    let check = |args: &[&str], wanted: Expect| {
        let (exit, printed, error) = said(&folders, &[&["token", "new"], args].concat());
        let hidden = regex::Regex::new("[0-9a-f]{64}").unwrap();
        let shown = hidden.replace_all(&printed, "HEX").into_owned();
        wanted.assert_eq(&format!("{shown}{error}exit {}\n", exit.unwrap()));
    };
    check(
        &["ci", "--role", "execute", "--role", "read"],
        expect![[r#"
            pmt_HEX

            The token is not shown again. Clients send it as `Authorization: Bearer TOKEN`;
            the command line takes it from POINTSMAN_TOKEN or --token-file.

            To let it in, add to pointsman.toml and restart the server:
              [http]
              tokens = ["ci:execute+read:HEX"]
            or add this line to the file that `http.tokens_file` names, which is followed:
              ci:execute+read:HEX
            exit 0
        "#]],
    );
    check(
        &["ci"],
        expect![[r#"
            error: the following required arguments were not provided:
              --role <ROLE>

            Usage: pointsman token new --role <ROLE> <NAME>

            For more information, try '--help'.
            exit 2
        "#]],
    );
    check(
        &["a b", "--role", "read"],
        expect![[r#"
        error: no token was made: the name is not 1 to 64 letters, digits, `-`, `_` and `.`
        exit 2
    "#]],
    );
    check(
        &["ci", "--role", "write"],
        expect![[r#"
            error: invalid value 'write' for '--role <ROLE>'
              [possible values: execute, read, admin]

            For more information, try '--help'.
            exit 2
        "#]],
    );
    check(
        &["ci", "--role", "read", "--expires", "soon"],
        expect![[r#"
            error: invalid value 'soon' for '--expires <DURATION>': write a number with its unit, such as `12h` or `90d`

            For more information, try '--help'.
            exit 2
        "#]],
    );
    let args = ["token", "new", "ci", "--role", "read", "--expires", "90d"];
    let (_, printed, _) = said(&folders, &args);
    let line = printed.lines().last().unwrap().trim();
    let token: pointsman::access::Token = line.parse().unwrap();
    assert!(token.expires.is_some(), "{line}");
}

#[test]
fn a_host_off_loopback_starts_with_a_token_or_where_the_settings_say_so() {
    let folders = Folders::new();
    let [_, line] = made(&folders, "ci", &["execute"]);
    let (exit, _, error) = said(&folders, &["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(exit, Some(2));
    expect![[r#"
        error: 0.0.0.0:0 can be reached from other machines, and without tokens whoever reaches it may run, read and discard commands
          hint: make a token with `pointsman token new`, or set `http.allow_unauthenticated=true` where a firewall, a network policy or a proxy lets only those through that may
    "#]].assert_eq(&error);
    let metrics = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--set",
        "http.metrics_listen=0.0.0.0:0",
    ];
    let (exit, _, error) = said(&folders, &metrics);
    assert_eq!(exit, Some(2));
    expect![[r#"
        error: 0.0.0.0:0 can be reached from other machines, and whoever reaches it may read the metrics without a token
          hint: listen on 127.0.0.1, or set `http.allow_unauthenticated=true` where a firewall or a network policy lets only those through that may; commands need a token all the same, where there are tokens
    "#]].assert_eq(&error);
    let allowed = [&metrics[..], &["--set", "http.allow_unauthenticated=true"]].concat();
    assert_eq!(
        serve_as(pointsman(&folders, &allowed)).ended_by("TERM"),
        Some(0)
    );
    fs::write(folders.path().join("tokens"), &line).unwrap();
    for setting in [
        "http.allow_unauthenticated=true",
        "http.tokens_file=tokens",
        &format!("http.tokens={line}"),
    ] {
        let args = ["serve", "--listen", "0.0.0.0:0", "--set", setting];
        let mut serving = serve_as(pointsman(&folders, &args));
        assert_eq!(serving.ended_by("TERM"), Some(0), "{setting}");
    }
}

#[test]
fn the_command_line_sends_the_token_of_a_file_or_of_the_environment() {
    let folders = Folders::probes(&["probe"]);
    let [read, reads] = made(&folders, "reader", &["read"]);
    let [execute, executes] = made(&folders, "ci", &["execute"]);
    let tokens = format!("http.tokens={reads},{executes}");
    let serving = serving(&folders, &["--set", &tokens]);
    let asked = |command: &[&str], more: &[&str], variable: Option<&str>| {
        let mut asking = pointsman(
            &folders,
            &[command, &["--url", &serving.url], more].concat(),
        );
        asking.env("POINTSMAN_TOKEN", variable.unwrap_or_default());
        let output = asking.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            !error.contains(&read) && !error.contains(&execute),
            "{error}"
        );
        (output.status.code(), error)
    };
    let (exit, error) = asked(&["list"], &[], None);
    assert_eq!(exit, Some(2));
    expect![[r#"
        error: the request has no token, and this host asks for one
          hint: send `Authorization: Bearer TOKEN`; `pointsman token new` makes one
    "#]]
    .assert_eq(&error);
    assert_eq!(asked(&["list"], &[], Some(&read)).0, Some(0));
    fs::write(folders.path().join("secret"), format!("{execute}\n")).unwrap();
    // The file wins.
    let (exit, error) = asked(&["list"], &["--token-file", "secret"], Some(&read));
    assert_eq!(exit, Some(2));
    expect![[r#"
        error: the token may not do this: it needs the role read
          hint: `http.tokens` or `http.tokens_file` gives a token its roles
    "#]]
    .assert_eq(&error);
    let enqueue = ["enqueue", r#"{"to":"probe","do":"nothing"}"#];
    assert_eq!(
        asked(&enqueue, &["--token-file", "secret"], None),
        (Some(0), String::new())
    );
    fs::write(folders.path().join("secret"), "two words").unwrap();
    let (exit, error) = asked(&["queue", "list"], &["--token-file", "secret"], None);
    assert_eq!(exit, Some(2));
    expect![[r#"
        error: secret: is not a token
          hint: write what `pointsman token new` printed
    "#]]
    .assert_eq(&error);
    // Health is nobody's secret.
    assert_eq!(asked(&["health"], &[], None).0, Some(0));
    // It is no setting, and a host that is started beside it does not mind.
    let mut beside = pointsman(&folders, &["config", "show"]);
    let shown = beside.env("POINTSMAN_TOKEN", &read).output().unwrap();
    assert!(shown.status.success());
    assert!(!String::from_utf8(shown.stdout).unwrap().contains(&read));
}

#[test]
fn the_audit_log_says_who_did_what_and_never_a_token() {
    let folders = Folders::probes(&["probe"]);
    let [execute, executes] = made(&folders, "ci", &["execute"]);
    let [admin, admins] = made(&folders, "ops", &["admin"]);
    let tokens = format!("http.tokens={executes},{admins}");
    let mut serving = serving(&folders, &["--set", &tokens, "--log", "trace"]);
    let ask = |line: &str, secret: &str, body: &str| {
        let headers =
            format!("Authorization: Bearer {secret}\r\nContent-Type: application/json\r\n");
        request(&serving.url, line, &headers, body).status
    };
    let nothing = r#"{"to":"probe","do":"nothing"}"#;
    assert_eq!(ask("POST /commands", &execute, nothing), 202);
    assert_eq!(
        ask("POST /commands/execute", &execute, r#"{"no":"match"}"#),
        404
    );
    assert_eq!(ask("POST /queue/dead/discard?all=true", &execute, ""), 403);
    assert_eq!(
        ask(
            "POST /queue/pause?handler=probe&reason=a%20%22b",
            &admin,
            ""
        ),
        200
    );
    assert_eq!(ask("POST /queue/resume?all=true", &admin, ""), 200);
    assert_eq!(
        ask("POST /queue/resume?all=true", &format!("{admin}0"), ""),
        401
    );
    assert_eq!(serving.ended_by("TERM"), Some(0));
    let log = serving.rest_of_log();
    for secret in [
        &execute,
        &admin,
        &executes[executes.len() - 64..].to_owned(),
    ] {
        assert!(!log.contains(secret), "{log}");
    }
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains(r#""log":"audit""#))
        .collect();
    let told = told.iter().map(|line| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        assert!(event["time"].as_str().unwrap().ends_with('Z'));
        event["time"].take();
        // It is new each time.
        if event["command"].is_string() {
            event["command"] = "ID".into();
        }
        event.to_string()
    });
    expect![[r#"
        {"action":"enqueue","address":"127.0.0.1","command":"ID","log":"audit","request":"/commands","status":202,"time":null,"token":"ci"}
        {"action":"execute","address":"127.0.0.1","log":"audit","request":"/commands/execute","status":404,"time":null,"token":"ci"}
        {"action":"discard","address":"127.0.0.1","log":"audit","request":"/queue/dead/discard?all=true","status":403,"time":null,"token":"ci"}
        {"action":"pause","address":"127.0.0.1","log":"audit","request":"/queue/pause?handler=probe&reason=a%20%22b","status":200,"time":null,"token":"ops"}
        {"action":"resume","address":"127.0.0.1","log":"audit","request":"/queue/resume?all=true","status":200,"time":null,"token":"ops"}"#]].assert_eq(&told.collect::<Vec<_>>().join("\n"));
}

#[test]
fn on_a_host_without_tokens_the_audit_log_tells_of_changes_to_the_queue() {
    let folders = Folders::probes(&["probe"]);
    let log = |filter: &str| {
        let mut serving = serving(&folders, &["--log", filter]);
        let resumed = request(&serving.url, "POST /queue/resume?all=true", "", "");
        assert_eq!(resumed.status, 200);
        assert_eq!(serving.ended_by("TERM"), Some(0));
        serving.rest_of_log()
    };
    let told = log("info");
    assert!(told.contains(r#""action":"resume""#), "{told}");
    assert!(!told.contains(r#""token""#), "{told}");
    // It is a target of its own.
    let untold = log("info,audit=off");
    assert!(!untold.contains("resume\""), "{untold}");
}
