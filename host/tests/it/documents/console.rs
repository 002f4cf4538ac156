//! Runs the `console` blocks of a page as its reader would, from top to bottom in
//! one folder, and compares what each command prints with what the page shows.
//!
//! Times, ids, digests and dates differ from run to run: each is compared only by
//! its shape. JSON is compared as JSON, so that a page may lay it out for reading.
//! `pointsman serve` goes on in the background until the end of the page, on a port
//! of its own that stands for 3000.

use std::{
    path::Path,
    process::Command,
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use regex::Regex;
use serde_json::Value;

use crate::{
    host::{Folders, without_settings},
    queue::program::Program,
};

/// One command of a page and what the page says that it prints.
#[derive(Debug, Default)]
struct Step {
    command: String,
    shown: String,
}

/// The commands of all console blocks of `page`, in order. A line that ends in a
/// backslash goes on in the next one.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for part in page.split("\n```console\n").skip(1) {
        let (block, _) = part.split_once("\n```").expect("a block ends");
        let mut unfinished = false;
        for line in block.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step::default());
                unfinished = true;
                continued(&mut steps, command, &mut unfinished);
            } else if unfinished {
                continued(&mut steps, line, &mut unfinished);
            } else {
                let step = steps.last_mut().expect("a block begins with a command");
                step.shown += line;
                step.shown.push('\n');
            }
        }
    }
    assert!(!steps.is_empty(), "the page has no console block");
    steps
}

fn continued(steps: &mut [Step], line: &str, unfinished: &mut bool) {
    let command = &mut steps.last_mut().expect("a step").command;
    command.push_str(line);
    command.push('\n');
    *unfinished = line.ends_with('\\');
}

/// Runs every console block of `page` in `folders`.
pub(super) fn run(page: &str, folders: &Folders) {
    let mut server = None;
    for step in steps(page) {
        if step.command.trim() == "pointsman serve" {
            assert!(step.shown.is_empty(), "{step:?}: its log is not compared");
            server = Some(Program::start(folders));
            continue;
        }
        let port = server.as_ref().map(Program::port);
        let shown = normal(&step.shown);
        let run = || normal(&printed(&step.command, port, folders.path()));
        let mut printed = run();
        // What goes on in the background may take a moment to get there.
        let patience = Instant::now() + Duration::from_secs(30);
        while printed != shown && only_asks(&step.command) && Instant::now() < patience {
            thread::sleep(Duration::from_millis(50));
            printed = run();
        }
        assert!(
            printed == shown,
            "$ {}\nprints:\n{printed}\n\nbut the page shows:\n{shown}",
            step.command
        );
    }
}

/// Whether it changes nothing, and can be asked again.
fn only_asks(command: &str) -> bool {
    [
        "pointsman queue list",
        "pointsman list",
        "curl -s localhost:3000/queue",
    ]
    .iter()
    .any(|asks| command.starts_with(asks))
}

fn printed(command: &str, port: Option<u16>, folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_pointsman"));
    let path = std::env::var("PATH").unwrap_or_default();
    let command = match port {
        Some(port) => command.replace("localhost:3000", &format!("localhost:{port}")),
        None => command.to_owned(),
    };
    let output = without_settings(&mut Command::new("bash"))
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .current_dir(folder)
        .env(
            "PATH",
            format!("{}:{path}", program.parent().unwrap().display()),
        )
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    match port {
        Some(port) => text.replace(&format!(":{port}"), ":3000"),
        None => text,
    }
}

/// The text with all that differs from run to run replaced, or JSON with a value for each such key.
fn normal(text: &str) -> String {
    static CHANGING: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
        [
            (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "DATE"),
            (
                r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}",
                "ID",
            ),
            (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "DIGEST"),
            (r"\b[\d.]+ ?(s|ms|µs)\b", "TIME"),
            (r"(?m)[ \r]+$", ""),
        ]
        .map(|(pattern, name)| (Regex::new(pattern).unwrap(), name))
    });
    let text = match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            measured(&mut value);
            format!("{value:#}")
        }
        Err(_) => text.to_owned(),
    };
    let text = CHANGING.iter().fold(text, |text, (pattern, name)| {
        pattern.replace_all(&text, *name).into_owned()
    });
    text.trim_end().to_owned()
}

/// Leaves out the numbers that are measured.
fn measured(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(measured),
        Value::Object(members) => {
            for (key, value) in members {
                if key.ends_with("Ms") || key == "memoryPeakBytes" {
                    *value = Value::Null;
                }
                measured(value);
            }
        }
        _ => {}
    }
}
