//! The examples of the documents, run: a pattern or guard that does not do what
//! the page says fails here, with its row.

mod console;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use pointsman::{
    command::Command,
    config::Config,
    rules::{Pattern, RuleFile, RuleSet},
};
use toml::{Table, Value};

use crate::host::{Folders, root};

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of tables whose header ends in the columns `last`: the code in each of those columns.
fn rows(document: &str, last: [&str; 3]) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        let Some(cells) = line
            .strip_prefix('|')
            .and_then(|line| line.strip_suffix(" |"))
        else {
            // The line of dashes below a header begins without a space.
            inside &= line.starts_with("|-");
            continue;
        };
        // A `||` inside code does not end a cell.
        let mut cells: Vec<_> = cells.split(" | ").map(str::trim).collect();
        let cells = cells.split_off(cells.len().saturating_sub(3));
        if cells == last {
            inside = true;
        } else if inside {
            let code = |cell: &str| {
                let code = cell
                    .strip_prefix('`')
                    .and_then(|cell| cell.strip_suffix('`'));
                code.unwrap_or_else(|| panic!("no code in {line}"))
                    .to_owned()
            };
            rows.push([code(cells[0]), code(cells[1]), code(cells[2])]);
        }
    }
    assert!(!rows.is_empty(), "no table with {last:?}");
    rows
}

/// The texts of the fenced blocks whose info string is `info`.
fn blocks<'a>(document: &'a str, info: &str) -> Vec<&'a str> {
    let begin = format!("\n```{info}\n");
    let parts = document.split(&begin).skip(1);
    let blocks: Vec<_> = parts
        .map(|part| part.split_once("\n```").expect("the block ends").0)
        .collect();
    assert!(!blocks.is_empty(), "no block of {info}");
    blocks
}

fn command(text: &str) -> Command {
    Command::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_patterns_of_the_rules_page_match_what_it_says() {
    for [pattern, matching, other] in rows(
        &document("rules.md"),
        ["pattern", "matches", "does not match"],
    ) {
        let read = Pattern::parse(&pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!(
            read.matches(&command(&matching)),
            Ok(true),
            "{pattern} and {matching}"
        );
        assert_eq!(
            read.matches(&command(&other)),
            Ok(false),
            "{pattern} and {other}"
        );
    }
}

#[test]
fn the_guards_of_the_rules_page_hold_where_it_says() {
    for [guard, holds, fails] in rows(&document("rules.md"), ["guard", "true for", "false for"]) {
        let file = serde_json::json!({ "rules": [
            { "name": "a", "match": "*", "guard": guard, "handlers": ["a"] }
        ] });
        let file = RuleFile::parse("rules/guard.json", file.to_string().as_bytes())
            .unwrap_or_else(|error| panic!("{error}"));
        let rules = RuleSet::build([Arc::new(file)]).unwrap();
        let chosen = |text: &str| rules.route(&command(text)).unwrap().len();
        assert_eq!(chosen(&holds), 1, "{guard} and {holds}");
        assert_eq!(chosen(&fails), 0, "{guard} and {fails}");
    }
}

#[test]
fn the_rule_files_of_the_rules_page_load_and_pass_their_tests() {
    let page = document("rules.md");
    for (info, name) in [("json rule-file", "a.json"), ("toml rule-file", "a.toml")] {
        for text in blocks(&page, info) {
            assert!(text.contains("tests"), "it shows how rules are tested");
            // Parsing runs the tests of the file.
            let file = RuleFile::parse(name, text.as_bytes());
            assert!(file.is_ok(), "{}\n{text}", file.unwrap_err());
        }
    }
}

#[test]
fn the_http_page_shows_what_a_server_answers() {
    console::run(&document("http-api.md"), &Folders::shipped());
}

#[test]
fn the_queue_page_shows_what_a_server_answers() {
    console::run(&document("queue.md"), &Folders::shipped());
}

#[test]
fn the_migration_page_shows_what_a_server_answers() {
    let page = document("migrating-from-nestjs-bullmq.md");
    console::run(&page, &Folders::shipped());
    for text in blocks(&page, "json rule-file") {
        let file = RuleFile::parse("a.json", text.as_bytes());
        assert!(file.is_ok(), "{}\n{text}", file.unwrap_err());
    }
}

/// A promise whose test was renamed or removed is no longer held by anything.
#[test]
fn every_test_that_the_security_page_names_is_there() {
    let mut sources = String::new();
    add_sources(Path::new(env!("CARGO_MANIFEST_DIR")), &mut sources);
    let page = document("security.md");
    let names: Vec<_> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.matches('_').count() > 2 && !code.contains('.'))
        .collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        // In tables of outcomes, a macro makes the functions.
        let is_there = [format!("fn {name}()"), format!("    {name}: r#")];
        assert!(
            is_there.iter().any(|text| sources.contains(text)),
            "no test `{name}`"
        );
    }
}

#[test]
fn every_metric_of_the_operations_page_is_there_and_none_is_missing() {
    let page = document("operations.md");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics.rs");
    let sources = fs::read_to_string(sources).unwrap();
    let registered: BTreeSet<_> = sources
        .split(".register")
        .skip(1)
        .filter_map(|call| call.split('"').nth(1))
        .filter(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .collect();
    let named: BTreeSet<_> = page
        .split("`pointsman_")
        .skip(1)
        .filter_map(|name| name.split(['`', '{']).next())
        .map(|name| name.trim_end_matches("_total").trim_end_matches("_seconds"))
        .collect();
    assert_eq!(named, registered);
}

#[test]
fn the_configuration_page_has_every_setting_with_its_default() {
    let mut expected = BTreeMap::new();
    add_settings(
        "",
        &Table::try_from(Config::default()).unwrap(),
        &mut expected,
    );
    let page = document("configuration.md");
    let shown: BTreeMap<_, _> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"))
        .filter(|(key, _)| !key.contains('`'))
        .filter_map(|(key, rest)| Some((key.to_owned(), rest.split_once("` | ")?.0.to_owned())))
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn no_link_of_a_document_leads_nowhere() {
    let root = root();
    let mut documents = vec![root.join("README.md")];
    for folder in ["host", "host/docs", ".github"] {
        documents.extend(in_folder(&root.join(folder)));
    }
    for name in fs::read_dir(root.join("host/crates")).unwrap() {
        documents.extend(in_folder(&name.unwrap().path()));
    }
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(documents.len() > 15, "{documents:?}");
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        let targets = text.split("](").skip(1);
        for target in targets.filter_map(|rest| rest.split([')', ' ']).next()) {
            if target.contains("://") || !target.contains(['.', '/', '#']) {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(file.exists(), "{}: {target}", path.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&file).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|heading| slug(heading) == anchor),
                    "{}: no heading for {target}",
                    path.display()
                );
            }
        }
    }
}

fn in_folder(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
}

/// The anchor of a heading, as GitHub makes it.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

fn add_settings(prefix: &str, table: &Table, settings: &mut BTreeMap<String, String>) {
    for (name, value) in table {
        match value {
            Value::Table(inner) => add_settings(&format!("{prefix}{name}."), inner, settings),
            value => {
                settings.insert(format!("{prefix}{name}"), value.to_string());
            }
        }
    }
}

fn add_sources(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            add_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
