//! The program where its output, its log, its environment or its end is not as
//! it should be.

#![cfg(unix)]

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read, Write as _},
    os::unix::ffi::OsStrExt as _,
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    cli::{pointsman, said},
    host::{Folders, without_settings},
    raw::{connect, get, post},
};

/// A host in a process of its own, and the reader of its log.
pub(super) struct Serving {
    child: Child,
    pub(super) url: String,
    log: Option<BufReader<ChildStderr>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(folders: &Folders, args: &[&str]) -> Serving {
    let serving = serve_as(pointsman(
        folders,
        &[
            &["serve", "--listen", "127.0.0.1:0", "--color", "never"],
            args,
        ]
        .concat(),
    ));
    // A handler that must be compiled comes a little later.
    serving.takes_up("probe");
    serving
}

/// Starts it, and reads its log up to where it listens.
pub(super) fn serve_as(mut command: Command) -> Serving {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    let url = loop {
        let before = said.len();
        assert_ne!(log.read_line(&mut said).unwrap(), 0, "it ended: {said}");
        if let Some((_, url)) = said[before..].split_once("listening on ") {
            break url.split_whitespace().next().unwrap().to_owned();
        }
    };
    Serving {
        child,
        url,
        log: Some(log),
    }
}

impl Serving {
    fn execute(&self, body: &str) -> u16 {
        post(&self.url, "/commands/execute", body).status
    }

    /// What it logged since, to its end.
    pub(super) fn rest_of_log(&mut self) -> String {
        let mut log = String::new();
        let mut pipe = self.log.take().unwrap();
        pipe.read_to_string(&mut log).unwrap();
        log
    }

    /// Sends a signal, and waits for the end.
    pub(super) fn ended_by(&mut self, name: &str) -> Option<i32> {
        signal(&self.child, name);
        self.child.wait().unwrap().code()
    }

    /// Waits until the handler is reached as `to`.
    fn takes_up(&self, to: &str) {
        let body = format!(r#"{{"to":"{to}","do":"nothing"}}"#);
        let began = Instant::now();
        while self.execute(&body) != 200 {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{to} never comes"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

fn rule(folders: &Folders, to: &str) {
    let rule = format!(r#"{{"name":"{to}","match":{{"to":["{to}"]}},"handlers":["probe"]}}"#);
    folders.rules(&format!("{to}.json"), &format!(r#"{{"rules":[{rule}]}}"#));
}

/// What a host must still do, whatever became of its log.
fn works_and_stops(serving: &mut Serving, folders: &Folders) {
    for _ in 0..3 {
        assert_eq!(serving.execute(r#"{"to":"probe","do":"nothing"}"#), 200);
        // That is logged.
        assert_eq!(serving.execute(r#"{"to":"probe","do":"reject"}"#), 502);
        let kept = post(&serving.url, "/commands", r#"{"to":"probe","do":"reject"}"#);
        assert_eq!(kept.status, 202, "{kept:?}");
        let kept: Value = serde_json::from_str(&kept.body).unwrap();
        let path = format!("/commands/{}?wait=30s", kept["commandId"].as_str().unwrap());
        let ended: Value = serde_json::from_str(&get(&serving.url, &path).body).unwrap();
        assert_eq!(ended["deliveries"][0]["state"], "discarded", "{ended}");
    }
    for to in ["first", "second"] {
        rule(folders, to);
        serving.takes_up(to);
    }
    assert_eq!(get(&serving.url, "/readyz").status, 200);
    assert_eq!(serving.ended_by("TERM"), Some(0));
}

#[test]
fn a_log_whose_reader_went_away_costs_nothing_but_the_log() {
    for level in ["info", "debug"] {
        let folders = Folders::probes(&["probe"]);
        let mut serving = serve(&folders, &["--log", level]);
        serving.log = None;
        works_and_stops(&mut serving, &folders);
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_command_and_is_counted() {
    let folders = Folders::probes(&["probe"]);
    let mut serving = serve(&folders, &["--log", "debug"]);
    for _ in 0..10 {
        let body = r#"{"to":"probe","do":"log-flood","amount":1000}"#;
        assert_eq!(serving.execute(body), 200);
    }
    let metrics = get(&serving.url, "/metrics").body;
    let lost = metrics
        .lines()
        .find_map(|line| line.strip_prefix("pointsman_host_log_lines_lost_total "));
    assert!(lost.unwrap().parse::<u64>().unwrap() > 1_000, "{metrics}");
    // Read again, it says what is missing, once.
    let log = serving.log.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = log.lines().map_while(Result::ok);
        lines
            .filter(|line| line.contains("log lines were lost"))
            .count()
    });
    works_and_stops(&mut serving, &folders);
    assert_eq!(reader.join().unwrap(), 1);
}

#[test]
fn a_full_disk_under_the_log_costs_nothing_but_the_log() {
    let folders = Folders::probes(&["probe"]);
    // The log is `/dev/full` from the first line on: the port must be known before.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    drop(port);
    let mut command = pointsman(&folders, &["serve", "--listen", &address]);
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let child = command.stderr(full).spawn().unwrap();
    let mut serving = Serving {
        child,
        url: format!("http://{address}"),
        log: None,
    };
    let began = Instant::now();
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "never listens");
        std::thread::sleep(Duration::from_millis(10));
    }
    serving.takes_up("probe");
    works_and_stops(&mut serving, &folders);
}

const PRINTING: [&[&str]; 11] = [
    &["--help"],
    &["--version"],
    &["help", "serve"],
    &["list"],
    &["list", "--json"],
    &["wit"],
    &["completions", "bash"],
    &["check"],
    &["run", "--json", r#"{"to":"probe","do":"nothing"}"#],
    &["run", r#"{"to":"probe","do":"log"}"#],
    &["explain", r#"{"to":"probe"}"#],
];

#[test]
fn a_full_disk_under_the_output_is_an_error_with_an_exit_code_of_its_own() {
    let folders = Folders::probes(&["probe"]);
    for args in PRINTING {
        let full = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = pointsman(&folders, args).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{args:?}: {said}");
        let wanted = "error: standard output cannot be written: No space left on device";
        assert!(said.contains(wanted), "{args:?}: {said}");
        // Both at once: nothing is left but the exit code.
        let full = || {
            fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap()
        };
        let mut both = pointsman(&folders, args);
        let status = both.stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(4), "{args:?}");
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let folders = Folders::probes(&["probe"]);
    for args in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = pointsman(&folders, args).stdout(writer).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), said.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}

#[test]
fn a_json_document_leaves_with_each_of_its_bytes() {
    let folders = Folders::probes(&["probe"]);
    // DEL stands in JSON as it is, and a filter of colours takes it away.
    let echoed = "{\"to\":\"probe\",\"do\":\"echo\",\"x\":\"a\u{7f}b\u{9b}31mc\"}";
    let output = pointsman(&folders, &["run", "--json", echoed])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let attributes = &report["handlers"][0]["output"]["attributes"];
    let text = attributes.to_string();
    assert!(text.contains("a\u{7f}b\u{9b}31mc"), "{text}");
}

#[test]
fn each_signal_ends_each_command_with_its_own_code() {
    let folders = Folders::probes(&["probe"]);
    let sleep = r#"{"to":"probe","do":"sleep","amount":20000}"#;
    for (name, code) in [("HUP", 129), ("INT", 130), ("TERM", 143)] {
        // One that waits for its handlers, and one that waits for its input.
        for command in [sleep, "-"] {
            let mut child = pointsman(&folders, &["run", command])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // Open until the end: else it has an empty command.
            let _stdin = child.stdin.take();
            hears_signals(&child);
            signal(&child, name);
            assert_eq!(child.wait().unwrap().code(), Some(code), "{name} {command}");
            let mut said = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            assert!(!said.contains("panicked"), "{said}");
        }
    }
}

/// Waits until the process has handlers for the three signals.
fn hears_signals(child: &Child) {
    let path = format!("/proc/{}/status", child.id());
    let began = Instant::now();
    loop {
        let status = fs::read_to_string(&path).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        // Signals 1, 2 and 15.
        if [1, 2, 15]
            .iter()
            .all(|signal| caught & 1 << (signal - 1) != 0)
        {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{status}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_terminal_that_closes_drains_a_host_too() {
    let folders = Folders::probes(&["probe"]);
    let mut serving = serve(&folders, &[]);
    assert_eq!(serving.ended_by("HUP"), Some(0));
}

#[test]
fn a_host_under_nohup_outlives_the_terminal() {
    let folders = Folders::probes(&["probe"]);
    let mut command = Command::new("nohup");
    command
        .arg(env!("CARGO_BIN_EXE_pointsman"))
        .args(["serve", "--listen", "127.0.0.1:0", "--color", "never"])
        .current_dir(folders.path())
        .stdout(Stdio::null());
    without_settings(&mut command);
    let mut serving = serve_as(command);
    serving.takes_up("probe");
    signal(&serving.child, "HUP");
    assert_eq!(serving.execute(r#"{"to":"probe","do":"nothing"}"#), 200);
    assert_eq!(serving.ended_by("TERM"), Some(0));
}

#[test]
fn a_host_that_still_starts_stops_at_once() {
    let folders = Folders::new();
    // It waits for a server that accepts and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "queue.url=postgres://u:p@{}/d?sslmode=disable",
        silent.local_addr().unwrap()
    );
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--set",
        "queue.engine=postgres",
        "--set",
    ];
    let mut child = pointsman(&folders, &[&args[..], &[&url]].concat())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    silent.set_nonblocking(true).unwrap();
    let began = Instant::now();
    let _connection = loop {
        if let Ok((connection, _)) = silent.accept() {
            break connection;
        }
        assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
        assert!(began.elapsed() < Duration::from_secs(60), "never connects");
        std::thread::sleep(Duration::from_millis(10));
    };
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn variables_of_other_programs_and_empty_ones_change_nothing() {
    let folders = Folders::probes(&["probe"]);
    let mut command = pointsman(&folders, &["list"]);
    command
        .envs([
            ("POINTSMAN_SERVICE_HOST", "10.0.0.1"),
            ("POINTSMAN_SERVICE_PORT_HTTP", "3000"),
            ("POINTSMAN_PORT", "tcp://10.0.0.1:3000"),
            ("POINTSMAN_PORT_3000_TCP_ADDR", "10.0.0.1"),
            ("POINTSMAN_METRICS_SERVICE_PORT", "9090"),
            ("POINTSMAN_PLUGINS", ""),
            ("POINTSMAN_LIMITS_TIMEOUT", ""),
            ("RUST_LOG", ""),
        ])
        .env("BROKEN", OsStr::from_bytes(b"\xa3"))
        .env(OsStr::from_bytes(b"B\xa3D"), "1");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let mut serving = pointsman(&folders, &["serve", "--listen", "localhost:0"]);
    serving.env("RUST_LOG", "");
    // It says where it listens, as without the variable.
    let mut serving = serve_as(serving);
    assert_eq!(serving.ended_by("TERM"), Some(0));

    let refused = pointsman(&folders, &["list"])
        .env("POINTSMAN_HTTP_PORT", "3000")
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn more_clients_than_descriptors_close_idle_ones_and_are_told_of_once() {
    let folders = Folders::probes(&["probe"]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 80; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_pointsman"))
        .args(["serve", "--listen", "127.0.0.1:0", "--color", "never"])
        .current_dir(folders.path());
    without_settings(&mut command);
    let mut serving = serve_as(command);
    serving.takes_up("probe");
    let idle: Vec<_> = (0..200).map(|_| connect(&serving.url)).collect();
    for _ in 0..5 {
        assert_eq!(serving.execute(r#"{"to":"probe","do":"nothing"}"#), 200);
        assert_eq!(get(&serving.url, "/readyz").status, 200);
    }
    drop(idle);
    assert_eq!(serving.ended_by("TERM"), Some(0));
    let log = serving.rest_of_log();
    assert!(log.matches("could not be accepted").count() <= 1, "{log}");
}

#[test]
fn a_command_is_read_from_a_regular_file_or_standard_input_and_nothing_else() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folders = Folders::probes(&["probe"]);
    let pipe = folders.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for path in ["pipe", "/dev/zero", "rules"] {
        let command = format!("@{path}");
        for args in [
            &["run", &command][..],
            &["enqueue", &command],
            &["explain", &command],
            &["rules", "diff", "rules", "rules", "--commands", path],
        ] {
            let (exit, _, error) = said(&folders, args);
            assert_eq!(
                (exit, error),
                (
                    Some(2),
                    format!(
                        "error: {path}: cannot be read: is not a regular file\n  hint: pipe it in, and write `-` to read standard input\n"
                    )
                )
            );
        }
    }
    std::fs::write(folders.path().join("long"), " ".repeat(11)).unwrap();
    let args = ["run", "@long", "--set", "host.command_max_bytes=10"];
    let (exit, _, error) = said(&folders, &args);
    assert_eq!(exit, Some(2));
    assert!(error.contains("more than 10 bytes"), "{error}");
    let mut diff = pointsman(
        &folders,
        &["rules", "diff", "rules", "rules", "--commands", "-"],
    );
    let mut diff = diff
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    diff.stdin.take().unwrap().write_all(b"{}\n{}\n").unwrap();
    let output = diff.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "0 of 2 commands are routed differently\n"
    );
}

#[test]
fn a_panic_of_the_reader_of_components_is_no_fault_of_the_host_in_the_log() {
    let folders = Folders::new();
    // The reader takes all imports of functions for ones with plain names.
    let odd = wat::parse_str(r#"(component (import "url=<https://x.y>" (func)))"#).unwrap();
    fs::write(folders.path().join("plugins/odd.wasm"), odd).unwrap();
    let (exit, _, error) = said(&folders, &["list"]);
    assert_eq!(exit, Some(1));
    assert!(error.contains("imports `url=<https://x.y>`"), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    let (_, _, error) = said(&folders, &["list", "--log", "pointsman_sandbox=debug"]);
    assert_eq!(error.matches("panicked").count(), 1, "{error}");
    assert!(!error.contains("ERROR"), "{error}");
}
