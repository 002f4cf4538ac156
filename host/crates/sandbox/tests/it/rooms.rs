//! The rooms of the crate stay as its documentation draws them: arrows between
//! them point one way, and no two files of a room need each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A room, and those that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "load",
        &[
            "call",
            "component",
            "error",
            "grants",
            "services",
            "settings",
            "shares",
        ],
    ),
    (
        "call",
        &[
            "component",
            "error",
            "grants",
            "services",
            "settings",
            "shares",
        ],
    ),
    ("component", &["error", "settings"]),
    ("grants", &["error", "settings", "shares"]),
    ("error", &[]),
    ("services", &[]),
    ("settings", &[]),
    ("shares", &[]),
];

type Module = Vec<String>;

/// The modules that stand in files of their own, with their code outside of tests.
fn modules() -> BTreeMap<Module, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeMap::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let module = path.strip_prefix(&src).unwrap().with_extension("");
            let module: Module = module
                .iter()
                .map(|part| part.to_str().unwrap().into())
                .collect();
            if module == ["lib"] || module.ends_with(&["tests".into()]) {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let code = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            modules.insert(module, code.collect::<Vec<_>>().join("\n"));
        }
    }
    modules
}

/// The paths that begin at `rest`, such as `a::{b, c::D}`, each as its parts.
fn paths(rest: &str, before: &[String], found: &mut Vec<Module>) {
    let rest = rest.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    paths(&group[start..at], before, found);
                    start = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
    if name.is_empty() {
        return;
    }
    let path = [before, &[name.to_owned()]].concat();
    match after.strip_prefix("::") {
        Some(after) => paths(after, &path, found),
        None => found.push(path),
    }
}

/// The modules that the code of `module` names.
fn used(module: &Module, code: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let mut found = Vec::new();
    for (word, base) in [
        ("crate::", &[][..]),
        ("super::", &module[..module.len() - 1]),
    ] {
        for (at, _) in code.match_indices(word) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            paths(&code[at + word.len()..], base, &mut found);
        }
    }
    let known = |path: Module| {
        let ends = (1..=path.len()).rev();
        let named = ends
            .map(|end| path[..end].to_vec())
            .find(|path| modules.contains_key(path));
        named.unwrap_or_else(|| panic!("{module:?}: name `{}` by its file", path.join("::")))
    };
    found.into_iter().map(known).collect()
}

/// A file of a room, with the files below it.
fn unit(module: &Module) -> String {
    module[..module.len().min(2)].join("/")
}

/// Which unit uses which.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let modules = modules();
    let mut arrows: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (module, code) in &modules {
        let from = unit(module);
        let used = used(module, code, &modules);
        let used = used.iter().map(unit).filter(|to| *to != from);
        arrows.entry(from.clone()).or_default().extend(used);
    }
    arrows
}

fn room(unit: &str) -> &str {
    unit.split('/').next().unwrap()
}

#[test]
fn arrows_between_rooms_point_one_way() {
    let mut seen = 0;
    for (from, used) in arrows() {
        let from = room(&from);
        let allowed = ARROWS.iter().find(|(room, _)| *room == from);
        let (_, allowed) =
            allowed.unwrap_or_else(|| panic!("`{from}` is no room: draw it in lib.rs"));
        for to in used.iter().map(|to| room(to)).filter(|to| *to != from) {
            assert!(allowed.contains(&to), "`{from}` uses `{to}`");
            seen += 1;
        }
    }
    assert!(seen > 20, "the arrows are not seen any more: {seen}");
}

#[test]
fn no_two_files_need_each_other() {
    // What is left when all that uses nothing that is left is taken away, is in
    // circles or leads into one.
    let mut left = arrows();
    loop {
        let done: Vec<_> = left
            .iter()
            .filter(|(_, used)| used.iter().all(|unit| !left.contains_key(unit)))
            .map(|(unit, _)| unit.clone())
            .collect();
        if done.is_empty() {
            break;
        }
        left.retain(|unit, _| !done.contains(unit));
    }
    for used in left.clone().values_mut() {
        used.retain(|unit| left.contains_key(unit));
    }
    assert!(left.is_empty(), "files that need each other: {left:#?}");
}
