//! The house stays as drawn: no arrow points up, and each library has its room.

mod circles;
mod type_names;

use std::{fs, path::Path};

/// The floors, top first; what stands on a line may use what stands below it.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["http"],
    &["host"],
    &["cloudevents"],
    &["queue"],
    &["dispatcher", "reload"],
    &["snapshot"],
    &["metrics", "telemetry"],
    &["tls"],
    &["config", "log"],
    &["access"],
    // Crates of their own, which cargo keeps apart.
    &[
        "rules",
        "delivery",
        "sandbox",
        "build",
        "cases",
        "new",
        "sources",
        "budget",
        "shutdown",
        "files",
        "command",
        "outcome",
        "name",
        "text",
        "diagnostic",
    ],
];

/// A library, and the only rooms that name it.
const ROOMS: &[(&str, &[&str])] = &[
    ("axum", &["http"]),
    ("clap", &["cli"]),
    ("notify", &["reload"]),
    ("opentelemetry", &["telemetry"]),
    ("prometheus_client", &["metrics"]),
];

/// The source files in `folder`; each belongs to `room`, or to one of its own name.
fn walk(folder: &Path, room: Option<&str>, sources: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let room = room.unwrap_or(stem);
        if stem == "tests" {
            continue;
        }
        if path.is_dir() {
            walk(&path, Some(room), sources);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            sources.push((room.to_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Every source file with the room it belongs to.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    walk(&host.join("src"), None, &mut sources);
    sources.retain(|(room, _)| room != "lib");
    sources
}

fn floor(room: &str) -> usize {
    let floor = FLOORS.iter().position(|rooms| rooms.contains(&room));
    floor.unwrap_or_else(|| panic!("`{room}` stands on no floor: draw it in here and in lib.rs"))
}

/// The rooms that a file names as `crate::room`, in `use` lines and elsewhere.
fn uses(text: &str) -> Vec<String> {
    let mut used = Vec::new();
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    for (at, mark) in code.match_indices("crate::") {
        let rest = &code[at + mark.len()..];
        // `use crate::{a::B, c::{D, E}}`: the rooms stand at the first level.
        let Some(group) = rest.strip_prefix('{') else {
            used.push(
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect(),
            );
            continue;
        };
        let mut depth = 0;
        let mut word = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                word.push(c);
            }
        }
        used.extend(word.split(',').filter_map(|item| {
            let room = item.trim().split("::").next()?;
            (!room.is_empty()).then(|| room.trim_end_matches('}').to_owned())
        }));
    }
    used
}

#[test]
fn no_arrow_points_up_and_neighbours_do_not_know_each_other() {
    let mut arrows = 0;
    for (room, text) in sources() {
        for used in uses(&text).into_iter().filter(|used| *used != room) {
            arrows += 1;
            assert!(floor(&room) < floor(&used), "`{room}` uses `{used}`");
        }
    }
    assert!(arrows > 30, "the arrows are not seen any more: {arrows}");
}

/// What is printed is escaped and survives a stream that is closed; only these
/// rooms write to a standard stream by themselves.
#[test]
fn all_that_is_printed_goes_through_the_terminal() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let printing = [
        "println!(",
        "eprintln!(",
        "print!(",
        "eprint!(",
        "io::stdout()",
        "io::stderr()",
    ];
    // `cases` prints in the test of a handler's author, beside its harness.
    let may_print = ["cli/terminal.rs", "cli/screen.rs", "cases.rs", "log.rs"];
    let mut files = 0;
    let mut folders = vec![folder.join("src")];
    for entry in fs::read_dir(folder.join("crates")).unwrap() {
        folders.push(entry.unwrap().path().join("src"));
    }
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let name = path.strip_prefix(folder).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let prints = |line: &str| {
                printing.iter().any(|print| line.contains(print)) && !line.contains("is_terminal")
            };
            let found: Vec<_> = code.filter(|line| prints(line)).collect();
            assert!(
                found.is_empty() || may_print.iter().any(|it| name.ends_with(it)),
                "{}: print with the macros of cli/terminal.rs: {found:?}",
                name.display()
            );
        }
    }
    assert!(files > 100, "the files are not seen any more: {files}");
}

/// What an error says of its cause it says once: in its text, or as its source.
#[test]
fn no_error_says_its_cause_twice() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let mut of_crates = Vec::new();
    for entry in fs::read_dir(crates).unwrap() {
        walk(&entry.unwrap().path().join("src"), None, &mut of_crates);
    }
    for (room, text) in sources().into_iter().chain(of_crates) {
        let twice = text.contains("{source}\"") || text.contains("{source}\\n");
        assert!(!twice, "`{room}`: name the field `cause`, and no source");
        for error in text.split("#[error(").skip(1) {
            let (message, variant) = error.split_once(")]").unwrap();
            let variant = variant.split("),").next().unwrap_or_default();
            let is_source = variant.contains("#[from]") || variant.contains("#[source]");
            let twice = message.contains("{0") && is_source;
            assert!(
                !twice,
                "`{room}`: {message} says its source: write `From` by hand"
            );
        }
    }
}

/// What stands in a message is for people: what the program decides by, an error
/// carries as a code or a field.
#[test]
fn no_code_decides_by_the_text_of_a_message() {
    const TEXTS: [&str; 7] = [
        "message",
        "message()",
        "reason",
        "detail",
        "hint",
        "hint_text()",
        "to_string()",
    ];
    const READS: [&str; 7] = [
        "contains",
        "starts_with",
        "ends_with",
        "strip_prefix",
        "strip_suffix",
        "split_once",
        "find",
    ];
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let mut of_crates = Vec::new();
    for entry in fs::read_dir(crates).unwrap() {
        walk(&entry.unwrap().path().join("src"), None, &mut of_crates);
    }
    let mut files = 0;
    for (room, text) in sources().into_iter().chain(of_crates) {
        // `cases` compares what a guest says with what its author expects.
        if ["tests", "cases"].contains(&room.as_str()) {
            continue;
        }
        files += 1;
        let code = text.split("#[cfg(test)]\nmod").next().unwrap();
        // A chain of calls goes over several lines.
        let code: String = code.split_whitespace().collect();
        for (text, read) in TEXTS.iter().flat_map(|text| READS.map(|read| (text, read))) {
            let reading = format!("{text}.{read}(");
            assert!(
                !code.contains(&reading),
                "`{room}` decides by the text of a message: `{reading}`"
            );
        }
        for read in ["split", "split_once", "rsplit_once", "find"] {
            let reading = format!("{read}(\"\\nhint:");
            assert!(
                !code.contains(&reading),
                "`{room}` takes a message apart at its hint"
            );
        }
    }
    assert!(files > 100, "the files are not seen any more: {files}");
}

/// A hint is a field of a diagnostic, which alone prints it.
#[test]
fn no_message_has_its_hint_in_its_text() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let mut all = sources();
    for entry in fs::read_dir(crates).unwrap() {
        walk(&entry.unwrap().path().join("src"), None, &mut all);
    }
    let mut printers = 0;
    for (room, text) in all.iter().filter(|(room, _)| room != "tests") {
        let code = text.split("#[cfg(test)]").next().unwrap();
        // Tests in a file of their own.
        let code = code.split("#[test]").next().unwrap();
        let code = code.lines().map(str::trim_start);
        let code: Vec<_> = code.filter(|line| !line.starts_with("//")).collect();
        let has = |line: &&&str| line.contains(r"\n  hint:") || line.starts_with("hint: {");
        let found = code.iter().filter(has).count();
        if room == "diagnostic" {
            printers += found;
        } else {
            assert_eq!(found, 0, "`{room}`: write `Diagnostic::hint`");
        }
    }
    assert_eq!(printers, 1, "the one place that prints hints is not seen");
}

#[test]
fn each_library_has_its_room() {
    for (library, rooms) in ROOMS {
        let named = |text: &str| {
            text.lines().any(|line| {
                let line = line.trim_start();
                line.starts_with(&format!("use {library}::"))
                    || line.contains(&format!(" {library}::")) && !line.starts_with("//")
            })
        };
        let users: Vec<_> = sources()
            .into_iter()
            .filter(|(_, text)| named(text))
            .map(|(room, _)| room)
            .collect();
        assert!(!users.is_empty(), "nothing names `{library}` any more");
        for user in users {
            assert!(rooms.contains(&user.as_str()), "`{user}` names `{library}`");
        }
    }
}

/// `.ci/check` tries the oldest Rust that the workspace promises; no crate may promise another one.
#[test]
fn every_crate_takes_its_oldest_rust_and_its_lints_from_the_workspace() {
    let root = crate::host::root();
    let manifest: toml::Table = read_manifest(&root);
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let mut folders = Vec::new();
    for member in members.iter().map(|member| member.as_str().unwrap()) {
        match member.strip_suffix("/*") {
            None => folders.push(root.join(member)),
            Some(parent) => {
                let entries = fs::read_dir(root.join(parent)).unwrap();
                folders.extend(entries.map(|entry| entry.unwrap().path()));
            }
        }
    }
    assert!(folders.len() > 8, "the crates are not seen any more");
    for folder in folders {
        let manifest = read_manifest(&folder);
        let own = &manifest["package"]["rust-version"];
        let inherited = |value: &toml::Value| value.get("workspace") == Some(&true.into());
        assert!(
            inherited(own),
            "{}: write `rust-version.workspace = true`",
            folder.display()
        );
        assert!(
            inherited(&manifest["lints"]),
            "{}: write `workspace = true` under `[lints]`",
            folder.display()
        );
    }
}

fn read_manifest(folder: &Path) -> toml::Table {
    let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    text.parse().unwrap()
}

/// A destructor runs while a test that failed unwinds: if it panicked, too, the
/// process would be aborted, and with it every test that is not done.
#[test]
fn no_destructor_of_the_tests_panics() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(&host.join("tests"), None, &mut files);
    for entry in fs::read_dir(host.join("crates")).unwrap() {
        let tests = entry.unwrap().path().join("tests");
        if tests.is_dir() {
            walk(&tests, None, &mut files);
        }
    }
    let panicking = [
        ".unwrap()",
        ".expect(",
        "assert",
        "panic!(",
        "print!(",
        "println!(",
    ];
    let mut destructors = 0;
    // This file names them.
    files.retain(|(room, _)| room != "architecture");
    for (room, text) in &files {
        for destructor in text.split("\nimpl Drop for ").skip(1) {
            let body = destructor.split("\n}\n").next().unwrap();
            destructors += 1;
            let found = panicking.iter().find(|it| body.contains(**it));
            assert!(
                found.is_none(),
                "`{room}`: {found:?} in impl Drop for {body}"
            );
        }
    }
    assert!(destructors > 5, "they are not seen any more: {destructors}");
}

/// `ARCHITECTURE.md` leads through the code by `file:function`; a hop that is gone misleads.
#[test]
fn every_path_and_hop_of_the_architecture_is_there() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(host.join("ARCHITECTURE.md")).unwrap();
    let mut hops = 0;
    for words in text.split('`').skip(1).step_by(2) {
        let in_host = ["src/", "crates/", "tests/"];
        if !in_host.iter().any(|folder| words.starts_with(folder)) {
            continue;
        }
        let (path, item) = words.split_once(':').unwrap_or((words, ""));
        let path = host.join(path);
        assert!(path.exists(), "`{words}`: there is no such path");
        if item.is_empty() {
            continue;
        }
        hops += 1;
        let code = fs::read_to_string(&path).unwrap();
        let kinds = ["fn", "struct", "enum", "trait"];
        let is_there = kinds.iter().any(|kind| defines(&code, kind, item));
        assert!(is_there, "`{words}`: the file has no such item");
    }
    assert!(hops > 40, "the hops are not seen any more: {hops}");
}

fn defines(code: &str, kind: &str, item: &str) -> bool {
    let start = format!("{kind} {item}");
    code.match_indices(&start).any(|(at, _)| {
        let next = code[at + start.len()..].chars().next();
        // Not the beginning of a longer name.
        !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}
