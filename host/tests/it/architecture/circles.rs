//! Whoever reads a file reads those that it uses, and is done: at each level of
//! the modules of a crate, no two of them need each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

type Module = Vec<String>;

/// A path of the code, and the name under which the module knows it.
struct Named {
    path: Module,
    name: String,
}

/// What a file names.
#[derive(Default)]
struct Code {
    // What `use` brings in from below, by its name.
    imports: BTreeMap<String, Module>,
    // Paths from the root of the crate.
    paths: Vec<Module>,
}

/// The modules below `src` that have files of their own, without tests.
fn modules(src: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    let mut folders = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let module = path.strip_prefix(src).unwrap().with_extension("");
            let parts = module.iter().map(|part| part.to_str().unwrap().to_owned());
            let mut module: Module = parts.collect();
            if module == ["main"] || module.ends_with(&["tests".into()]) {
                continue;
            }
            module.retain(|part| part != "lib");
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

/// The paths that begin at `rest`, such as `a::{b, c::D as E}`.
fn paths(rest: &str, before: &[String], found: &mut Vec<Named>) {
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
    let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
    let path = match word {
        "" => return,
        "self" => before.to_vec(),
        word => [before, &[word.to_owned()]].concat(),
    };
    if let Some(after) = after.strip_prefix("::") {
        return paths(after, &path, found);
    }
    let renamed = after.trim_start().strip_prefix("as ");
    let renamed = renamed.and_then(|name| name.split([',', ';', '}', '\n']).next());
    let name = renamed.map_or_else(|| path.last().cloned(), |name| Some(name.trim().to_owned()));
    found.push(Named {
        path,
        name: name.unwrap_or_default(),
    });
}

/// Reads a file: `crate::` and `super::` anywhere, and what `use` brings in from below.
fn read(module: &Module, code: &str) -> Code {
    let mut read = Code::default();
    for (at, _) in code.match_indices("use ") {
        let line = code[..at].rsplit('\n').next().unwrap_or_default();
        if !matches!(
            line.trim_start(),
            "" | "pub " | "pub(crate) " | "pub(super) "
        ) {
            continue;
        }
        let rest = code[at + 4..].trim_start_matches("self::");
        if ["crate::", "super::", "std::"]
            .iter()
            .any(|word| rest.starts_with(word))
        {
            continue;
        }
        let mut found = Vec::new();
        paths(rest, module, &mut found);
        let imports = found.into_iter().map(|named| (named.name, named.path));
        read.imports.extend(imports);
    }
    for (word, up) in [("crate::", module.len()), ("super::", 1)] {
        for (at, _) in code.match_indices(word) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut base = &module[..module.len().saturating_sub(up)];
            let mut rest = &code[at + word.len()..];
            while let Some(further) = rest.strip_prefix("super::") {
                (base, rest) = (&base[..base.len().saturating_sub(1)], further);
            }
            let mut found = Vec::new();
            paths(rest, base, &mut found);
            read.paths.extend(found.into_iter().map(|named| named.path));
        }
    }
    read
}

/// The module in whose file a path ends, through what others have brought in.
fn home(path: &Module, read: &BTreeMap<Module, Code>) -> Module {
    let mut path = path.clone();
    // As many names as any chain of imports has.
    for _ in 0..8 {
        let ends = (0..=path.len()).rev();
        let end = ends
            .into_iter()
            .find(|end| read.contains_key(&path[..*end]));
        let end = end.unwrap_or_default();
        let imported = path
            .get(end)
            .and_then(|name| read[&path[..end]].imports.get(name));
        match imported {
            Some(imported) if imported.len() > end && *imported != path => {
                path = [imported, &path[end + 1..]].concat();
            }
            _ => return path[..end].to_vec(),
        }
    }
    path
}

/// The modules directly below `parent` that need each other, with all below them.
fn circle(parent: &Module, arrows: &[(Module, Module)]) -> BTreeMap<String, BTreeSet<String>> {
    let child = |module: &Module| {
        let inside = module.len() > parent.len() && module.starts_with(parent);
        inside.then(|| module[parent.len()].clone())
    };
    let mut left: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to) in arrows {
        if let (Some(from), Some(to)) = (child(from), child(to))
            && from != to
        {
            left.entry(to.clone()).or_default();
            left.entry(from).or_default().insert(to);
        }
    }
    // What uses nothing that is left is in no circle.
    loop {
        let all: BTreeSet<_> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, used| !used.is_disjoint(&all));
        if left.len() == before {
            break;
        }
    }
    let all: BTreeSet<_> = left.keys().cloned().collect();
    left.values_mut()
        .for_each(|used| used.retain(|used| all.contains(used)));
    left
}

/// The circles of a crate, and how many arrows were seen.
fn circles(src: &Path) -> (Vec<String>, usize) {
    let read: BTreeMap<Module, Code> = modules(src)
        .iter()
        .map(|(module, code)| (module.clone(), read(module, code)))
        .collect();
    let mut arrows = Vec::new();
    for (module, code) in &read {
        let used = code.paths.iter().map(|path| home(path, &read));
        arrows.extend(used.map(|to| (module.clone(), to)));
    }
    let parents: BTreeSet<Module> = read
        .keys()
        .filter(|module| !module.is_empty())
        .map(|module| module[..module.len() - 1].to_vec())
        .collect();
    let mut found = Vec::new();
    for parent in parents {
        let circle = circle(&parent, &arrows);
        if !circle.is_empty() {
            found.push(format!(
                "{}: `{}`: {circle:?}",
                src.display(),
                parent.join("::")
            ));
        }
    }
    (found, arrows.len())
}

#[test]
fn no_modules_of_a_crate_need_each_other() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![host.join("src")];
    for entry in fs::read_dir(host.join("crates")).unwrap() {
        folders.push(entry.unwrap().path().join("src"));
    }
    let (mut all, mut arrows) = (Vec::new(), 0);
    for folder in folders {
        let (found, seen) = circles(&folder);
        all.extend(found);
        arrows += seen;
    }
    assert!(arrows > 500, "the arrows are not seen any more: {arrows}");
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_circle_is_found_also_through_what_a_parent_brings_in() {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod a;\nmod b;\npub use b::{B, Other};\n");
    write("a.rs", "use super::B;\nmod deep;\n");
    write("a/deep.rs", "use super::super::c::C;\n");
    write("b.rs", "fn b() -> usize { 1 }\n");
    write("c.rs", "use crate::b;\n");
    assert_eq!(circles(folder.path()).0, Vec::<String>::new());
    write("b.rs", "fn b() { crate::a::deep::run() }\n");
    let (found, _) = circles(folder.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains(r#"{"a": {"b", "c"}, "b": {"a"}, "c": {"b"}}"#),
        "{found:?}"
    );
}
