//! Components that cost a compiler far more than their length: each is refused
//! in bounded time and memory, and nothing else suffers from it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use pointsman::{
    budget::Budgets,
    config::Config,
    host::{Host, Unloaded},
    outcome::Status,
    reload::{Wait, load_file},
    sandbox::Runtime,
    snapshot::FileState,
};
use serde_json::Value;

use crate::{
    cli::{output, pointsman, said},
    components::{answering, beside, section},
    host::{Folders, only, until},
};

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A handler with one more module in it, whose functions have these bodies.
pub(crate) fn with_functions(count: usize, body: &str) -> Vec<u8> {
    let functions = format!("(func {body})").repeat(count);
    beside(answering("{}"), format!("(module {functions})"), 0)
}

/// Within all bounds of its shape, and some seconds of CPU time.
pub(crate) fn slow() -> Vec<u8> {
    with_functions(60_000, "")
}

fn nested_components(depth: usize) -> Vec<u8> {
    (0..depth).fold(COMPONENT.to_vec(), |inner, _| {
        let mut outer = COMPONENT.to_vec();
        section(&mut outer, 4, &inner);
        outer
    })
}

/// Instance types in each other: wasmparser reads them by recursion.
fn nested_types(depth: usize) -> Vec<u8> {
    let content = [[1].as_slice(), &[0x42, 1, 1].repeat(depth), &[0x42, 0]].concat();
    let mut component = COMPONENT.to_vec();
    section(&mut component, 7, &content);
    component
}

/// Each component has two instances of the one before.
fn doubled_instances(times: u8) -> Vec<u8> {
    let mut component = COMPONENT.to_vec();
    section(&mut component, 4, COMPONENT);
    for before in 0..times {
        let mut inner = COMPONENT.to_vec();
        // An alias of the component before, one level out, and two instances of it.
        section(&mut inner, 6, &[1, 4, 2, 1, before]);
        section(&mut inner, 5, &[2, 0, 0, 0, 0, 0, 0]);
        section(&mut component, 4, &inner);
    }
    section(&mut component, 5, &[1, 0, times, 0]);
    component
}

fn reason(folders: &Folders, args: &[&str], file: &Path) -> String {
    let file = file.to_str().unwrap();
    let (code, out, err) = said(folders, &[&["check", "--json", file], args].concat());
    assert_eq!(code, Some(1), "{out}{err}");
    let document: Value = serde_json::from_str(&out).unwrap();
    let error = &document["files"][0]["error"];
    let hint = error["hint"].as_str().unwrap();
    assert!(!hint.is_empty(), "{out}");
    let reason = error["reason"].as_str().unwrap();
    format!("{reason}\n{hint}")
}

#[test]
fn a_component_over_a_bound_of_its_shape_is_refused_before_it_is_compiled() {
    let folders = Folders::new();
    let loops = |locals: usize, depth: usize| {
        let locals = "i64 ".repeat(locals);
        let code = format!("{}{}", "loop ".repeat(depth), "end ".repeat(depth));
        with_functions(1, &format!("(local {locals}) {code}"))
    };
    for (component, wanted) in [
        (
            nested_components(20_000),
            "the nesting of components exceeds the limit of 32",
        ),
        (
            nested_types(200_000),
            "the nesting of component types exceeds the limit of 32",
        ),
        (
            with_functions(100_001, ""),
            "the number of functions exceeds the limit of 100000",
        ),
        (
            loops(100, 300),
            "the nesting of loops in a function exceeds the limit of 100",
        ),
        (
            loops(4_000, 50),
            "the number of locals times the number of loops of a function exceeds the limit of 100000",
        ),
        (
            with_functions(1, &"nop ".repeat(2_000_000)),
            "the size of a function in bytes exceeds the limit of 1048576",
        ),
    ] {
        let file = folders.path().join("bomb.wasm");
        fs::write(&file, component).unwrap();
        // So little that any compilation would be told as one.
        let found = reason(&folders, &["--set", "host.compile_timeout=1ms"], &file);
        assert!(found.starts_with(wanted), "{found}");
    }
}

/// With a cache of its own, which remembers.
fn checked(folders: &Folders, set: &[&str], file: &str) -> (Option<i32>, String) {
    let mut command = pointsman(folders, &["check", file]);
    for set in set {
        command.args(["--set", set]);
    }
    let output = command
        .env("XDG_CACHE_HOME", folders.path().join("cache"))
        .env("HOME", folders.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), folders.without_path(&said))
}

#[test]
fn what_is_too_slow_to_compile_is_ended_remembered_and_tried_again_with_more_time() {
    let folders = Folders::new();
    fs::write(folders.path().join("slow.wasm"), slow()).unwrap();
    let (code, said) = checked(&folders, &["host.compile_timeout=1ms"], "slow.wasm");
    assert_eq!(code, Some(1));
    let by_the_clock = "compiling took longer than 30 ms, 30 times `host.compile_timeout`";
    assert!(said.contains(by_the_clock), "{said}");
    // The machine may only have been busy: that counts for one run.
    let second = ["host.compile_timeout=1s"];
    let (_, said) = checked(&folders, &second, "slow.wasm");
    let by_cpu = "compiling took longer than 1000 ms of CPU time (`host.compile_timeout`)";
    assert!(said.contains(by_cpu) && !said.contains("again"), "{said}");
    let (_, said) = checked(&folders, &second, "slow.wasm");
    assert!(
        said.contains("; it is not tried again with the same limits"),
        "{said}"
    );
    let record = said.split("remove ").nth(1).unwrap();
    let record = record.split(" to try again").next().unwrap();
    assert!(folders.path().join(record).is_file(), "{said}");
    let (_, said) = checked(&folders, &["host.compile_timeout=1001ms"], "slow.wasm");
    assert!(!said.contains("not tried again"), "{said}");
}

#[test]
fn what_needs_too_much_memory_to_compile_is_ended() {
    let folders = Folders::new();
    fs::write(folders.path().join("large.wasm"), slow()).unwrap();
    // One that instantiates 2^25 components while it is compiled.
    fs::write(folders.path().join("doubled.wasm"), doubled_instances(25)).unwrap();
    for file in ["large.wasm", "doubled.wasm"] {
        let set = [
            "host.compile_memory_max_bytes=67108864",
            "host.compile_cache=false",
        ];
        let (code, said) = checked(&folders, &set, file);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("`host.compile_memory_max_bytes`"), "{said}");
    }
}

#[test]
fn a_small_component_is_compiled_within_little_memory() {
    let folders = Folders::new();
    fs::write(folders.path().join("small.wasm"), answering("{}")).unwrap();
    let set = ["host.compile_memory_max_bytes=67108864"];
    let (code, said) = checked(&folders, &set, "small.wasm");
    assert_eq!(code, Some(0), "{said}");
    // Its code is where the next run finds it.
    let (code, said) = checked(&folders, &["host.compile_timeout=1ms"], "small.wasm");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn the_subcommand_that_compiles_is_not_shown() {
    let folders = Folders::new();
    let help = output(&folders, &["--help"]);
    assert!(
        !String::from_utf8(help.stdout)
            .unwrap()
            .contains("compile-component")
    );
}

/// Within all bounds of its shape, and minutes of CPU time.
fn bomb() -> Vec<u8> {
    let locals = "i64 ".repeat(1_000);
    let uses: String = (0..1_000)
        .map(|at| {
            let (from, to) = ((7 * at + 3) % 1_000, at % 99);
            format!(
                "(local.set {at} (i64.add (local.get {from}) (i64.const 1))) \
                 (br_if {to} (i32.wrap_i64 (local.get {at})))"
            )
        })
        .collect();
    let code = format!("{}{uses}{}", "loop ".repeat(99), "end ".repeat(99));
    with_functions(150, &format!("(local {locals}) {code}"))
}

/// A good handler `good` with a rule, and settings under which components are
/// compiled in processes of their own, with nothing known of any.
fn good() -> (Folders, Config) {
    let folders = Folders::new();
    folders.plugin("good", answering("1"));
    folders.rules("good.json", &rule("good"));
    let mut config = folders.config();
    config.host.sandbox.compile_program = Some(env!("CARGO_BIN_EXE_pointsman").into());
    config.host.sandbox.compile_cache = false;
    (folders, config)
}

pub(super) fn rule(handler: &str) -> String {
    let rule = format!(
        r#"{{"name":"{handler}","match":{{"to":["{handler}"]}},"handlers":["{handler}"]}}"#
    );
    format!(r#"{{"rules":[{rule}]}}"#)
}

fn state(app: &Host, handler: &str) -> Option<FileState> {
    let snapshot = app.snapshot();
    let is = |stem: &std::ffi::OsStr| stem == handler;
    let mut files = snapshot.handler_files.iter();
    let file = files.find(|file| file.path.file_stem().is_some_and(is));
    file.map(pointsman::snapshot::HandlerFile::state)
}

#[test]
fn the_host_loads_what_a_child_compiled_and_compiles_nothing_itself() {
    let (folders, config) = good();
    let runtime = Runtime::new(
        &config.host.sandbox,
        &config.limits,
        &Budgets::here(&config.budgets()),
    )
    .unwrap();
    for _ in 0..2 {
        let file = load_file(&config, &runtime, &folders.plugins().join("good.wasm")).unwrap();
        assert_eq!(file.error, None);
    }
    assert_eq!(runtime.compiled_here(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_and_a_reload_wait_for_nothing_that_is_slow_to_compile() {
    let (folders, config) = good();
    folders.plugin("bomb", bomb());
    folders.rules("bomb.json", &rule("bomb"));
    let loading = Unloaded::new(config).unwrap().share();
    assert_eq!(loading.host().snapshot().generation, 0);
    // Ends long before the bomb does, which would be told as failed.
    let app = loading.load(Wait::WhileLoading).await;
    assert_eq!(state(&app, "bomb"), Some(FileState::Compiling));
    let refused = only(&app, r#"{"to":"bomb"}"#).await.outcome;
    assert_eq!(
        refused.result.unwrap_err().message,
        "handler `bomb` is not loaded: its file is still being compiled"
    );
    let app = app.watch(|_| {});
    let good = r#"{"to":"good"}"#;
    assert_eq!(only(&app, good).await.outcome.status(), Status::Succeeded);

    folders.plugin("other", answering("2"));
    folders.rules("other.json", &rule("other"));
    until("another handler and its rule are in force", || {
        app.snapshot().handlers.contains_key("other") && app.snapshot().rules.len() == 3
    })
    .await;
    // A handler whose new version is slow keeps the one before meanwhile.
    folders.plugin("good", bomb());
    until("the new version is being compiled", || {
        state(&app, "good") == Some(FileState::Compiling)
    })
    .await;
    assert_eq!(only(&app, good).await.outcome.status(), Status::Succeeded);
    folders.remove("plugins/bomb.wasm");
    until("the file that is gone is gone", || {
        state(&app, "bomb").is_none()
    })
    .await;
    folders.plugin("good", answering("3"));
    until("a version that is quick takes its place", || {
        state(&app, "good") == Some(FileState::Loaded)
    })
    .await;

    folders.plugin("bomb", bomb());
    until("it is being compiled again", || {
        state(&app, "bomb") == Some(FileState::Compiling)
    })
    .await;
    let stopped = tokio::time::timeout(Duration::from_secs(60), app.stop());
    assert!(stopped.await.expect("the stop does not wait for it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_while_the_host_starts_waits_for_its_rules() {
    let (_folders, config) = good();
    let loading = Unloaded::new(config).unwrap().share();
    let app = Arc::clone(loading.host());
    let early = only(&app, r#"{"to":"good"}"#);
    let (report, _) = tokio::join!(early, loading.load(Wait::WhileLoading));
    assert_eq!(report.outcome.status(), Status::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_slow_to_compile_is_taken_up_when_it_is_done() {
    let (folders, config) = good();
    let app = Unloaded::new(config).unwrap();
    let app = app.load(Wait::WhileLoading).await.watch(|_| {});
    folders.plugin("slow", slow());
    until("it shows as compiling", || {
        state(&app, "slow") == Some(FileState::Compiling)
    })
    .await;
    let generation = app.snapshot().generation;
    let name = pointsman::name::HandlerName::parse("slow").unwrap();
    let loaded = async {
        while !app.snapshot().handlers.contains_key(&name) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let loaded = tokio::time::timeout(Duration::from_secs(300), loaded);
    loaded.await.expect("it is taken up");
    assert!(app.snapshot().generation > generation);
}

/// Ends with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn with_cache(command: &mut Command, folders: &Folders) {
    command
        .env("XDG_CACHE_HOME", folders.path().join("cache"))
        .env("HOME", folders.path());
}

fn records(folders: &Folders) -> Vec<String> {
    let Ok(groups) = fs::read_dir(folders.path().join("cache/pointsman")) else {
        return Vec::new();
    };
    let groups = groups
        .flatten()
        .filter_map(|group| fs::read_dir(group.path()).ok());
    let files = groups.flatten().flatten();
    files
        .filter_map(|file| fs::read_to_string(file.path()).ok())
        .collect()
}

#[tokio::test]
async fn a_file_that_three_hosts_died_on_is_not_tried_again_and_one_that_they_stopped_on_is() {
    let folders = Folders::new();
    folders.plugin("bomb", bomb());
    let serve = async |deaths: u32| {
        let options = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--set",
            "queue.engine=off",
        ];
        let mut command = pointsman(&folders, &options);
        with_cache(&mut command, &folders);
        let child = command
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the compilation is noted", || {
            let noted = format!(r#"{{"compiling":{{"deaths":{deaths}}}}}"#);
            records(&folders).contains(&noted)
        })
        .await;
        Serving(child)
    };
    let said = |args: &[&str]| {
        let mut command = pointsman(&folders, args);
        with_cache(&mut command, &folders);
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    let died = "the host died 3 times while it compiled this file: it is not tried again";

    let mut stopped = serve(0).await;
    let pid = rustix::process::Pid::from_child(&stopped.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    until("it stops", || stopped.0.try_wait().unwrap().is_some()).await;
    assert_eq!(records(&folders), Vec::<String>::new());

    for deaths in 0..3 {
        drop(serve(deaths).await);
    }
    let list = said(&["list"]);
    assert!(
        list.contains(died) && list.contains("to try again"),
        "{list}"
    );
}

#[test]
fn one_command_waits_for_the_handlers_that_it_needs_alone() {
    let folders = Folders::new();
    folders.plugin("good", answering("1"));
    folders.plugin("bomb", bomb());
    folders.plugin("slow", slow());
    for handler in ["good", "bomb", "slow"] {
        folders.rules(&format!("{handler}.json"), &rule(handler));
    }
    let cache = ["--set", "host.compile_cache=false"];
    for handler in ["good", "slow"] {
        let command = format!(r#"{{"to":"{handler}"}}"#);
        let (code, out, err) = said(&folders, &[&["run", &command], &cache[..]].concat());
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(!err.contains("compiling took longer"), "{err}");
    }
}
