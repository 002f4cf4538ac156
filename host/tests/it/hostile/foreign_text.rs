//! Text of guests, files, clients and other hosts on each surface: no control
//! character reaches a terminal, and no text looks like a line of the program.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    time::Duration,
};

use serde_json::{Value, json};
use wasm_metadata::{AddMetadata, AddMetadataField, Description, Version};

use crate::{
    cli::check_files::fitting_as,
    cli::pointsman,
    host::{Folders, guest, serve},
    kit::contract::released,
    queue::program::Program,
};

/// Sets the clipboard, clears the screen, colours, ends the line, reorders.
const HOSTILE: &str = "x\x1b]52;c;QQ==\x07\x1b[2J\x1b[32m\u{9b}2J\u{7f}\r\nforged\u{202e}\u{2028}y";

/// A command that has the probe log and reject the text.
fn say(text: &str) -> String {
    json!({ "to": "probe", "do": "say", "text": text }).to_string()
}

/// What the program prints, both streams, colours and all.
fn shown(folders: &Folders, args: &[&str]) -> String {
    let mut command = pointsman(folders, &[args, &["--color", "always"]].concat());
    let output = command.env_remove("NO_COLOR").output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// The text, escaped, and nothing of it as it is.
fn assert_safe(shown: &str) {
    assert_no_control(shown);
    let text = without_colours(shown);
    let forged = text.lines().find(|line| line.starts_with("forged"));
    assert_eq!(forged, None, "{shown}");
    let escaped = ["\\u{1b}", "\\u001b"];
    assert!(escaped.iter().any(|it| text.contains(it)), "{shown:?}");
}

/// No character that a terminal obeys.
fn assert_no_control(shown: &str) {
    let text = without_colours(shown);
    for c in text.chars() {
        let is_safe = matches!(c, '\n' | '\t')
            || !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(is_safe, "{c:?} in {shown:?}");
    }
}

/// Without the colours, which the program's own text may have.
fn without_colours(shown: &str) -> String {
    let mut parts = shown.split("\x1b[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match rest.strip_prefix('m') {
            Some(rest) => text.push_str(rest),
            None => text.push_str(&format!("\x1b[{part}")),
        }
    }
    text
}

#[test]
fn what_a_guest_says_is_escaped_by_run() {
    let folders = Folders::probes(&["probe"]);
    let text = shown(&folders, &["run", &say(HOSTILE)]);
    assert_safe(&text);
    assert!(text.contains("✗ rejected"), "{text}");
    // C1 alone, without any other control character.
    let text = shown(&folders, &["run", &say("\u{9b}2J\u{1b}")]);
    assert!(text.contains("\\u{9b}2J"), "{text}");
    // As JSON it is the same text, and safe to look at.
    let text = shown(&folders, &["run", "--json", &say(HOSTILE)]);
    assert_safe(&text);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["handlers"][0]["error"]["message"], HOSTILE);
}

#[test]
fn an_answer_reaches_a_pipe_without_loss_and_a_terminal_without_control() {
    let folders = Folders::probes(&["probe"]);
    let command = "{\"to\":\"probe\",\"do\":\"echo\",\"x\":\"a\u{7f}b\u{9b}\u{202e}\"}";
    let text = shown(&folders, &["run", "--json", command]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let answer = &report["handlers"][0]["output"]["attributes"];
    assert_eq!(answer, command);
    assert!(text.contains("a\\u007fb\\u009b\\u202e"), "{text}");
    let text = shown(&folders, &["run", command]);
    assert!(text.contains("a\\u{7f}b\\u{9b}\\u{202e}"), "{text}");
}

#[test]
fn function_names_in_a_backtrace_are_escaped() {
    let folders = Folders::new();
    let component = fitting_as(&[], |module| {
        module.replace(
            "(func (export \"cabi_realloc\")",
            "(func $\"x\\1b]52;c;QQ==\\07\\1b[2J\\c2\\9b2J\\0d\\0aforged\" (export \"cabi_realloc\")",
        )
    });
    folders.plugin("evil", component);
    folders.rules(
        "evil.json",
        r#"{"rules":[{"name":"evil","match":"*","handlers":["evil"]}]}"#,
    );
    let text = shown(&folders, &["run", "{}"]);
    assert!(text.contains("✗ trapped"), "{text}");
    assert_safe(&text);
}

#[test]
fn what_a_component_says_of_itself_is_escaped() {
    let folders = Folders::new();
    let mut metadata = AddMetadata::default();
    metadata.version = AddMetadataField::Set(Version::new(HOSTILE));
    metadata.description = AddMetadataField::Set(Description::new(HOSTILE));
    metadata.processed_by = vec![(HOSTILE.into(), HOSTILE.into())];
    folders.plugin("evil", metadata.to_wasm(&released("0.1.0")).unwrap());
    assert_safe(&shown(&folders, &["check", "plugins/evil.wasm"]));
    assert_safe(&shown(&folders, &["check", "--json", "plugins/evil.wasm"]));
    let text = shown(&folders, &["list"]);
    assert_safe(&text);
    // A version as long as its author likes does not fill the screen.
    assert!(text.lines().all(|line| line.len() < 1_000), "{text}");
}

#[test]
fn names_of_files_are_escaped() {
    let folders = Folders::new();
    let name = "e\x1b[2J\u{9b}2J\r\nforged\n  hint: do harm\u{202e}";
    folders.plugin(name, "nonsense");
    folders.rules(&format!("{name}.json"), "nonsense");
    folders.settings(&format!("{name}2"), "");
    for args in [
        &["list"][..],
        &["check"],
        &["list", "--json"],
        &["check", &format!("plugins/{name}.wasm")],
    ] {
        let text = shown(&folders, args);
        assert_safe(&text);
        assert!(!text.contains("\n  hint: do harm"), "{text}");
    }
    // A rule file that is good, too.
    let folders = Folders::probes(&["probe"]);
    fs::rename(
        folders.path().join("rules/probes.json"),
        folders.path().join(format!("rules/{name}.json")),
    )
    .unwrap();
    assert_safe(&shown(&folders, &["explain", r#"{"to":"probe"}"#]));
    assert_safe(&shown(&folders, &["explain", r#"{"to":"prob"}"#]));
    // One that looks like a flag.
    let text = shown(&folders, &["test", &format!("--{name}.wasm")]);
    assert_no_control(&text);
    assert!(!text.contains("\nforged"), "{text}");
}

#[test]
fn what_a_command_says_is_escaped_by_explain() {
    let folders = Folders::probes(&["probe"]);
    let command = json!({ "to": HOSTILE, HOSTILE: 1 }).to_string();
    assert_safe(&shown(&folders, &["explain", &command]));
    assert_safe(&shown(&folders, &["run", &command]));
    let command = "{\"to\":\"\u{9b}2J\u{202e}\",\"a\":\"\\u001b\"}";
    let text = shown(&folders, &["explain", command]);
    assert!(!text.contains(['\u{9b}', '\u{202e}']), "{text:?}");
}

#[test]
fn what_a_guest_says_in_a_case_is_escaped() {
    let folders = Folders::new();
    folders.plugin("probe", guest("probe"));
    let cases = folders.plugins().join("probe/cases");
    fs::create_dir_all(&cases).unwrap();
    let case = json!({
        "description": HOSTILE,
        "command": { "do": "say", "text": HOSTILE },
        "expect": { "output": 1, "logs": [] },
    });
    fs::write(cases.join("one\u{1b}[2J\u{202e}.json"), case.to_string()).unwrap();
    fs::write(
        cases.join("broken\r\nforged.json"),
        "{\"\u{1b}[2J\u{9b}\":1}",
    )
    .unwrap();
    let args = ["test", "plugins/probe.wasm", "--junit", "report.xml"];
    let text = shown(&folders, &args);
    assert!(text.contains("0 cases passed, 2 failed"), "{text}");
    assert_safe(&text);
    // The structure of XML needs no lines.
    assert_no_control(&fs::read_to_string(folders.path().join("report.xml")).unwrap());
    assert_safe(&shown(&folders, &["test", "plugins/probe.wasm", "--json"]));
}

#[test]
#[cfg(unix)]
fn what_a_build_says_is_escaped() {
    use std::os::unix::fs::PermissionsExt as _;
    let folders = Folders::new();
    assert!(shown(&folders, &["new", "greet", "--lang", "js"]).contains("created"));
    let bin = folders.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let node = bin.join("node");
    fs::write(
        &node,
        "#!/bin/sh\nprintf 'x\\033[2J\\007\\302\\2332J\\r\\nforged\\n  hint: harm'\nexit 1\n",
    )
    .unwrap();
    fs::set_permissions(&node, fs::Permissions::from_mode(0o755)).unwrap();
    let mut build = pointsman(&folders, &["build", "greet", "--color", "always"]);
    let output = build.env("PATH", &bin).output().unwrap();
    assert_safe(&String::from_utf8(output.stderr).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_one_line_of_the_log() {
    let folders = Folders::probes(&["probe"]);
    let mut host = Program::start(&folders);
    let accepted = host.accepts(&say(HOSTILE)).await;
    host.finishes(Duration::from_secs(30)).await;
    let post = reqwest::Client::new()
        .post(format!("{}/commands/execute", host.url))
        .header("content-type", "application/json")
        .body(say(HOSTILE));
    assert_eq!(post.send().await.unwrap().status(), 502);
    folders.plugin("evil\nforged\x1b[2J\u{9b}\u{202e}", "nonsense");
    assert!(host.says(1, &["forged", ".wasm"]).await);
    // What the queue keeps of it is shown safely, too.
    let id = accepted.rsplit('/').next().unwrap();
    let url = host.url.clone();
    for args in [
        &["queue", "list"][..],
        &["queue", "inspect", id],
        &["queue", "inspect", &format!("{id}.probe")],
        &["queue", "inspect", &format!("{id}.probe"), "--json"],
        &["list"],
    ] {
        let args = [args, &["--url", &url]].concat();
        assert_safe(&tokio::task::block_in_place(|| shown(&folders, &args)));
    }
    host.kill();
    let log = host.log();
    assert_safe(&log);
    for line in log.lines() {
        // A line of the audit log is a JSON object.
        let is_audit = serde_json::from_str::<serde_json::Map<String, Value>>(line).is_ok();
        assert!(
            line.starts_with("20") || is_audit,
            "no event begins so: {line:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_document_quotes_safely() {
    let folders = Folders::probes(&["probe"]);
    let (_app, url) = serve(&folders).await;
    for (path, body) in [
        ("/commands/execute", "{\"to\":\"\u{9b}2J\u{202e}\u{2028}\"}"),
        (
            "/commands/execute",
            "{\"a\u{9b}\u{202e}\":1,\"a\u{9b}\u{202e}\":2}",
        ),
        ("/commands?priority=%C2%9B%0A%E2%80%AE", "{}"),
        ("/commands?%C2%9B%0A%E2%80%AE=1", "{}"),
    ] {
        let post = reqwest::Client::new().post(format!("{url}{path}"));
        let post = post.header("content-type", "application/json").body(body);
        let problem = post.send().await.unwrap();
        assert!(problem.status().is_client_error(), "{path}");
        let text = problem.text().await.unwrap();
        let problem: Value = serde_json::from_str(&text).unwrap();
        for key in ["detail", "hint"] {
            let text = problem[key].as_str().unwrap_or_default();
            assert!(
                !text.contains(['\u{9b}', '\n', '\u{202e}', '\u{2028}']),
                "{problem}"
            );
        }
    }
}

/// A host that answers everything with this JSON.
fn answering(status: &'static str, document: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).unwrap();
        let body = document.to_string();
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
    });
    url
}

#[test]
fn another_host_is_as_foreign_as_a_guest() {
    let folders = Folders::new();
    let plugin = |digest: &str| {
        json!({
            "handler": null, "file": HOSTILE, "state": "failed", "quarantinedMs": null,
            "version": HOSTILE, "description": null, "digest": digest, "sizeBytes": 1,
            "rules": [HOSTILE], "error": null,
        })
    };
    // Digests of any length, and cut within a character.
    let plugins = ["", "abc", "ääääääääääää", HOSTILE].map(plugin);
    let problem = json!({ "severity": "error", "message": HOSTILE });
    let view = json!({ "generation": 1, "plugins": plugins, "problems": [problem] });
    let text = shown(&folders, &["list", "--url", &answering("200 OK", view)]);
    assert_safe(&text);
    assert!(text.contains("HANDLER"), "{text}");

    let problem = json!({ "code": HOSTILE, "detail": HOSTILE, "hint": HOSTILE });
    let url = answering("503 Busy", problem);
    let text = shown(&folders, &["enqueue", "{}", "--url", &url]);
    assert_safe(&text);
    assert_eq!(text.matches("hint:").count(), 1, "{text}");
}

#[test]
fn an_address_that_is_no_hosts_is_refused_with_the_way_to_one_and_without_its_password() {
    let folders = Folders::new();
    for (url, hint) in [
        ("http://user:hunter2@127.0.0.1:1", "http://127.0.0.1:3000"),
        ("user:hunter2@example.com", "http://127.0.0.1:3000"),
        ("http://127.0.0.1/api", "http://127.0.0.1:3000"),
        ("\u{9b}2J", "http://127.0.0.1:3000"),
    ] {
        for command in [&["list"][..], &["queue", "list"], &["enqueue", "{}"]] {
            let text = shown(&folders, &[command, &["--url", url]].concat());
            // clap says which argument it was.
            let reason = text
                .rsplit_once("<URL>'")
                .map_or(&*text, |(_, reason)| reason);
            assert!(reason.contains(hint), "{text}");
            assert!(!reason.contains("hunter2"), "{text}");
            assert_no_control(&text);
        }
    }
    let text = shown(&folders, &["list", "--set", "queue.url:hunter2"]);
    assert!(
        text.contains("--set") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
#[cfg(unix)]
fn what_is_no_text_in_the_environment_is_no_panic() {
    use std::os::unix::ffi::OsStrExt as _;
    let folders = Folders::new();
    let odd = std::ffi::OsStr::from_bytes(b"a\xffb");
    let mut list = pointsman(&folders, &["list"]);
    let output = list.env("SOME_PATH", odd).env(odd, "x").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut list = pointsman(&folders, &["list"]);
    let output = list.env("POINTSMAN_PLUGINS", odd).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("error: environment POINTSMAN_PLUGINS: `plugins` is not UTF-8"),
        "{said}"
    );
}

#[test]
#[cfg(unix)]
fn a_stream_that_is_closed_or_full_is_no_panic() {
    let folders = Folders::probes(&["probe"]);
    let probe = r#"{"to":"probe","do":"nothing"}"#;
    for args in [
        &["completions", "bash"][..],
        &["wit"],
        &["list"],
        &["list", "--json"],
        &["run", probe],
        &["explain", probe],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = pointsman(&folders, args).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{args:?}: {said}");
        assert!(
            said.contains("error: standard output cannot be written: "),
            "{said}"
        );
        // The reader went away before anything was written.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = pointsman(&folders, args).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let status = pointsman(&folders, args)
            .stderr(full)
            .output()
            .unwrap()
            .status;
        assert_eq!(status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn requests_that_fail_write_no_lines_into_the_log_of_the_host() {
    let folders = Folders::new();
    folders.plugin("asks", guest("asks"));
    folders.settings("asks", "[http]\nallow = [\"GET http://127.0.0.1:1/*\"]");
    folders.rules(
        "asks.json",
        r#"{"rules":[{"name":"asks","match":"*","handlers":["asks"]}]}"#,
    );
    let command = r#"{"way":"request","url":"http://127.0.0.1:1/x","times":3}"#;
    let args = ["--log", "info", "run", "--json", command];
    let output = pointsman(&folders, &args).output().unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(answer.matches("connection refused").count(), 3, "{answer}");
    assert_eq!(log, "");
}
