//! One noun names one idea: no two public types have the same name, whatever the
//! crates that they are in.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

/// All sources of the host and its crates.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_two_public_types_have_one_name() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&host.join("src"), &mut files);
    for crate_ in fs::read_dir(host.join("crates")).unwrap() {
        sources(&crate_.unwrap().path().join("src"), &mut files);
    }
    // The lint `unreachable_pub` has it that a bare `pub` is public.
    let declared = Regex::new(r"(?m)^\s*pub (?:struct|enum|union|trait|type) (\w+)").unwrap();
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in &files {
        let shown = file.strip_prefix(host).unwrap().display().to_string();
        for found in declared.captures_iter(&fs::read_to_string(file).unwrap()) {
            let places = places.entry(found[1].to_owned()).or_default();
            places.push(shown.clone());
        }
    }
    assert!(places.len() > 100, "{places:?}");
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "rename the lesser ones: {places:#?}");
}
