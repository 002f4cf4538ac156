//! Every language from `pointsman new` to an answered command: the whole way of
//! an author, with the real tools. It fetches them and takes minutes, so it
//! runs only where it is asked for, and there a missing tool is a failure.

mod policy_service;
mod raised;
mod services;

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use pointsman::{
    budget::Budgets, config::Config, name::HandlerName, reload::load_file, sandbox::Runtime,
};
use serde_json::Value;

use crate::{
    cli::{self, output},
    host::{Folders, only},
};

/// Each language with a source file of its template.
const LANGUAGES: [(&str, &str); 5] = [
    ("rust", "src/lib.rs"),
    ("ts", "src/handler.ts"),
    ("js", "src/handler.js"),
    ("python", "handler.py"),
    ("c", "src/handler.c"),
];

/// The languages that `POINTSMAN_LANGUAGES` asks for: `1` for all, or names such
/// as `rust,c`. Says loudly where it asks for none of these.
pub(super) fn asked_for(languages: &[&'static str]) -> Vec<&'static str> {
    let asked = std::env::var("POINTSMAN_LANGUAGES").unwrap_or_default();
    let names: Vec<_> = asked.split(',').collect();
    for name in names.iter().filter(|name| !["", "1"].contains(name)) {
        let known = LANGUAGES.iter().any(|(language, _)| language == name);
        assert!(known, "POINTSMAN_LANGUAGES names the unknown `{name}`");
    }
    let wanted = |language: &&str| asked == "1" || names.contains(language);
    let wanted: Vec<_> = languages.iter().copied().filter(wanted).collect();
    if wanted.is_empty() {
        // Not `eprintln!`: the test harness keeps that of a passing test to itself.
        let languages = languages.join(", ");
        let say =
            format!("SKIPPED {languages}: POINTSMAN_LANGUAGES=1 cargo test --test it languages\n");
        std::io::stderr().write_all(say.as_bytes()).unwrap();
    }
    wanted
}

/// Runs the program; what it says on failure is the test's.
pub(super) fn pointsman(folders: &Folders, args: &[&str]) {
    let output = output(folders, args);
    assert!(
        output.status.success(),
        "pointsman {}: {}{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_language_goes_from_new_to_an_answered_command() {
    let asked = asked_for(&LANGUAGES.map(|(language, _)| language));
    if asked.is_empty() {
        return;
    }
    let folders = Folders::new();
    let mut lines = vec![format!(
        "{:9} {:>8} {:>11} {:>11} {:>11} {:>11} {:>11}",
        "", "build", "size", "cold load", "warm load", "fresh call", "reused call"
    )];
    for (language, source) in LANGUAGES {
        if !asked.contains(&language) {
            continue;
        }
        let name = format!("greet-{language}");
        pointsman(&folders, &["new", &name, "--lang", language]);
        let folder = folders.path().join(&name);
        pointsman(&folders, &["build", &name]);
        let build = rebuild(&folders, &name, &folder.join(source));
        pointsman(&folders, &["check", &format!("plugins/{name}.wasm")]);
        pointsman(&folders, &["test", &name]);
        let rule = fs::read_to_string(folder.join("rule.json")).unwrap();
        // One command goes to all of them.
        let request_type = pointsman::new::request_type(&HandlerName::parse(&name).unwrap());
        let rule = rule.replace(&request_type, "Greet");
        folders.rules(&format!("{name}.json"), &rule);
        let measured = measure(&folders, &name).await;
        lines.push(format!("{language:9} {:>8} {measured}", shown(build)));
    }
    let started = answered_by_all(&folders, asked.len()).await;
    lines.push(format!(
        "a host with these {} is ready {} after its start, with a warm compile cache",
        asked.len(),
        shown(started)
    ));
    let table = format!("\n{}\n", lines.join("\n"));
    std::io::stderr().write_all(table.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_has_starlingmonkey_as_its_other_engine() {
    if asked_for(&["js"]).is_empty() {
        return;
    }
    let folders = Folders::new();
    pointsman(&folders, &["new", "greet", "--lang", "js"]);
    let package = folders.path().join("greet/package.json");
    let text = fs::read_to_string(&package).unwrap();
    let (engine, other) = (
        r#""componentize-qjs": "0.4.5""#,
        r#""@bytecodealliance/jco": "1.34.0""#,
    );
    assert!(text.contains(engine), "{text}");
    fs::write(&package, text.replace(engine, other)).unwrap();
    pointsman(&folders, &["test", "greet"]);
}

/// The time of a build after a change, with all tools and packages there.
fn rebuild(folders: &Folders, name: &str, source: &Path) -> Duration {
    let mut file = fs::OpenOptions::new().append(true).open(source).unwrap();
    file.write_all(b"\n").unwrap();
    drop(file);
    let began = Instant::now();
    pointsman(folders, &["build", name, "--offline"]);
    began.elapsed()
}

/// Size, load times and call times of one handler, as a part of a table's line.
async fn measure(folders: &Folders, name: &str) -> String {
    let path = folders.plugins().join(format!("{name}.wasm"));
    let size = fs::metadata(&path).unwrap().len();
    let load = |cache: bool| {
        let mut config: Config = folders.config();
        config.host.sandbox.compile_cache = cache;
        let runtime = Runtime::new(
            &config.host.sandbox,
            &config.limits,
            &Budgets::here(&config.budgets()),
        )
        .unwrap();
        let began = Instant::now();
        let file = load_file(&config, &runtime, &path).unwrap();
        assert!(file.error.is_none(), "{:?}", file.error);
        began.elapsed()
    };
    let cold = load(false);
    load(true);
    let warm = load(true);
    let mut calls = Vec::new();
    for mode in ["fresh", "reuse"] {
        let only_this = Folders::new();
        only_this.plugin(name, fs::read(&path).unwrap());
        only_this.settings(name, &format!("[instances]\nmode = \"{mode}\""));
        only_this.rules(
            "all.json",
            &format!(r#"{{"rules":[{{"name":"all","match":"*","handlers":["{name}"]}}]}}"#),
        );
        let app = only_this.start().await;
        let mut times = Vec::new();
        for _ in 0..50 {
            let report = only(&app, r#"{"name":"Ada"}"#).await;
            let output = report.outcome.result.unwrap().unwrap();
            let output: Value = serde_json::from_str(output.get()).unwrap();
            assert_eq!(output["greeting"], "hello Ada");
            times.push(report.outcome.spent.wall);
        }
        times.sort();
        calls.push(shown(times[times.len() / 2]));
    }
    format!(
        "{:>7} KiB {:>11} {:>11} {:>11} {:>11}",
        size.div_ceil(1024),
        shown(cold),
        shown(warm),
        calls[0],
        calls[1]
    )
}

/// Serves all handlers and sends one command to all of them over HTTP. Gives
/// the time from the start of the process until it is ready for commands.
async fn answered_by_all(folders: &Folders, count: usize) -> Duration {
    let began = Instant::now();
    let mut serve = Served(
        cli::pointsman(folders, &["serve", "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut log = BufReader::new(serve.0.stderr.take().unwrap()).lines();
    let listening = log
        .find_map(|line| Some(line.unwrap().split_once("listening on ")?.1.to_owned()))
        .expect("the host says where it listens");
    let url = listening.split_whitespace().next().unwrap().to_owned();
    let started = began.elapsed();
    std::thread::spawn(move || log.for_each(drop));

    let request = reqwest::Client::new().post(format!("{url}/commands/execute"));
    let response = request
        .header("Content-Type", "application/json")
        .body(r#"{"requestType":"Greet","name":"Ada"}"#)
        .send()
        .await
        .unwrap();
    let report: Value = response.json().await.unwrap();
    let handlers = report["handlers"].as_array().unwrap();
    assert_eq!(handlers.len(), count, "{report:#}");
    for handler in handlers {
        assert_eq!(handler["output"]["greeting"], "hello Ada", "{handler:#}");
        assert_eq!(handler["logs"][0]["message"], "greeting Ada", "{handler:#}");
    }
    started
}

/// A host that ends with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself; the test has failed then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds if seconds >= 1e-3 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{:.0} µs", seconds * 1e6),
    }
}
