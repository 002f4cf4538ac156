//! `pointsman dev` and `pointsman test --watch`: a change, and what follows.
#![cfg(unix)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::host::{Folders, guest, replace, root, target_folder, without_settings};

/// A program that runs on, and what it has said so far.
struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    fn start(folders: &Folders, args: &[&str]) -> Self {
        let mut child = without_settings(&mut Command::new(env!("CARGO_BIN_EXE_pointsman")))
            .current_dir(folders.path())
            .args(args)
            .env("CARGO_TARGET_DIR", target_folder())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        listen(child.stdout.take().unwrap(), &said);
        listen(child.stderr.take().unwrap(), &said);
        Self { child, said }
    }

    /// What it says until it waits for changes.
    fn round(&self) -> String {
        const WAITING: &str = "waiting for changes";
        for _ in 0..12_000 {
            let mut said = self.said.lock().unwrap();
            if said.contains(WAITING) {
                return std::mem::take(&mut said);
            }
            drop(said);
            thread::sleep(Duration::from_millis(10));
        }
        panic!("never waits: {}", self.said.lock().unwrap());
    }

    fn says(&self, wanted: &str) {
        let said = self.round();
        assert!(said.contains(wanted), "no `{wanted}` in {said}");
    }

    /// Ends it as Ctrl-C does, and gives its exit code.
    fn interrupt(mut self) -> i32 {
        let killed = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Of a test that failed; one that ended is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(mut from: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]);
            said.lock().unwrap().push_str(&text);
        }
    });
}

/// The source of a handler that answers so, which builds with what is built for
/// the other guests already.
fn greeter(folder: &Path, answer: &str) {
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::create_dir_all(folder.join("cases")).unwrap();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let profile = &manifest[manifest.find("[profile.plugin]").unwrap()..];
    let sdk = root().join("plugins/sdk");
    let manifest = format!(
        "[package]\nname = \"dev-greet\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\npointsman-sdk = {{ path = {sdk:?} }}\n\
         [workspace]\n{profile}"
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    save(folder, answer);
}

fn save(folder: &Path, answer: &str) {
    let source = format!(
        "use pointsman_sdk::{{Command, Failure, Handler, Value, export, json}};\n\
         struct Greet;\n\
         impl Handler for Greet {{\n\
             fn handle(command: Command) -> Result<Option<Value>, Failure> {{\n\
                 let name: String = command.field(\"name\")?;\n\
                 Ok(Some(json!({answer})))\n\
             }}\n\
         }}\n\
         export!(Greet);\n"
    );
    fs::write(folder.join("src/lib.rs"), source).unwrap();
}

fn case(folder: &Path, greeting: &str) {
    let case =
        format!(r#"{{"command":{{"name":"Ada"}},"expect":{{"output":{{"hi":"{greeting}"}}}}}}"#);
    replace(&folder.join("cases/greets.json"), case);
}

#[test]
fn dev_builds_installs_and_tests_again_after_each_change() {
    // What it needs is built with the guests.
    guest("probe");
    let folders = Folders::new();
    let source = folders.path().join("greet");
    greeter(&source, r#"{ "hi": name }"#);
    case(&source, "Ada");
    let dev = Running::start(&folders, &["dev", "greet", "--offline"]);
    let said = dev.round();
    assert!(
        said.contains("installed plugins/dev-greet.wasm ("),
        "{said}"
    );
    assert!(said.contains("✓ greets"), "{said}");
    assert!(said.contains("1 case passed"), "{said}");
    let component = folders.plugins().join("dev-greet.wasm");
    let first = fs::read(&component).unwrap();

    // The compiler's own words, and the last good component stays.
    save(&source, "{ \"hi\": nme }");
    let said = dev.round();
    assert!(
        said.contains("cannot find value `nme` in this scope"),
        "{said}"
    );
    assert!(said.contains("src/lib.rs:6"), "{said}");
    assert!(!said.contains("installed"), "{said}");
    assert!(fs::read(&component).unwrap() == first);

    // A burst of saves is one build, of the last one.
    for letter in ["a", "b", "c"] {
        save(&source, &format!(r#"{{ "hi": "{letter}" }}"#));
    }
    let said = dev.round();
    assert_eq!(said.matches("installed").count(), 1, "{said}");
    assert!(said.contains(r#"-   "hi": "Ada""#), "{said}");
    assert!(said.contains(r#"+   "hi": "c""#), "{said}");
    assert!(fs::read(&component).unwrap() != first);

    case(&source, "c");
    let said = dev.round();
    assert!(said.contains("1 case passed"), "{said}");
    assert_eq!(dev.interrupt(), 0);

    // With a command instead of the cases, under the operator's settings.
    folders.settings("dev-greet", "[limits]\noutput_max_bytes = 3");
    let command = r#"{"name":"Ada"}"#;
    let args = ["dev", "greet", "--offline", "--command", command];
    let dev = Running::start(&folders, &args);
    let said = dev.round();
    assert!(said.contains("✗ output-too-large after"), "{said}");
    folders.settings("dev-greet", "");
    let said = dev.round();
    assert!(said.contains("✓ succeeded in"), "{said}");
    assert!(said.contains(r#"{"hi":"c"}"#), "{said}");
    assert_eq!(dev.interrupt(), 0);
}

#[test]
fn a_folder_without_a_handler_is_refused() {
    crate::cli::check(
        &Folders::new(),
        &["dev", "rules"],
        expect_test::expect![[r#"
            error: rules: no build file
              hint: a handler has a `Cargo.toml`, `package.json`, `pyproject.toml` or `handler.toml`; `pointsman new` writes one
            exit 2
        "#]],
    );
}

#[test]
fn test_watches_cases_and_components() {
    let folders = Folders::new();
    folders.plugin("probe", guest("probe"));
    fs::create_dir(folders.plugins().join("cases")).unwrap();
    let case = |text: &str| replace(&folders.plugins().join("cases/probe.json"), text);
    case(r#"{"command":{"do":"nothing"},"expect":{"output":1}}"#);
    let test = Running::start(&folders, &["test", "plugins/probe.wasm", "--watch"]);
    test.says("0 cases passed, 1 failed");
    case(r#"{"command":{"do":"nothing"},"expect":{"output":null}}"#);
    test.says("1 case passed");
    case(r#"{"command":{"do":"nothing"},"#);
    test.says("probe.json:1:29: ");
    folders.plugin("probe", "nonsense");
    case(r#"{"command":{"do":"nothing"}}"#);
    test.says("is no WebAssembly");
    folders.plugin("probe", guest("probe"));
    test.says("1 case passed");
    assert_eq!(test.interrupt(), 0);
}

#[test]
fn watching_ends_where_nobody_reads_what_it_says() {
    let folders = Folders::new();
    folders.plugin("probe", guest("probe"));
    fs::create_dir(folders.plugins().join("cases")).unwrap();
    let case = |text: &str| replace(&folders.plugins().join("cases/probe.json"), text);
    case(r#"{"command":{"do":"nothing"}}"#);
    let mut child = without_settings(&mut Command::new(env!("CARGO_BIN_EXE_pointsman")))
        .current_dir(folders.path())
        .args(["test", "plugins/probe.wasm", "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("waiting for changes") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "it ended");
    }
    drop(output);
    case(r#"{"command":{"do":"nothing"},"expect":{"output":null}}"#);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
