//! Owns the world that a handler is built against: the contract in its folder,
//! and beside it, for handlers that speak HTTP, the part of WASI that this takes.

use std::{fs, path::Path, path::PathBuf};

use super::{BuildError, read_text};

/// The packages of WASI, each trimmed to what the templates import.
const WASI: [(&str, &str); 3] = [
    ("io.wit", include_str!("../../wit/io.wit")),
    ("clocks.wit", include_str!("../../wit/clocks.wit")),
    ("http.wit", include_str!("../../wit/http.wit")),
];

/// What the templates import of WASI, in this version.
const INTERFACES: [&str; 6] = [
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:clocks/monotonic-clock",
    "wasi:http/types",
    "wasi:http/outgoing-handler",
];
const VERSION: &str = "0.2.6";
/// As long as [`VERSION`], and of no WASI there is.
const MASKED_VERSION: &str = "0.9.6";

/// Under which version the world imports WASI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Versions {
    /// The true one.
    True,
    /// One that stands for it, see [`unmask`].
    Masked,
}

/// Writes the world `handler` with HTTP into `build`; gives its folder.
pub(super) fn with_http(
    wit: &Path,
    build: &Path,
    versions: Versions,
) -> Result<PathBuf, BuildError> {
    let world = build.join("wit");
    let deps = world.join("deps");
    // What an earlier contract left would be read along with this one.
    if world.is_dir() {
        fs::remove_dir_all(&world).map_err(BuildError::io(&world))?;
    }
    let contract = copy_contract(wit, &deps.join("contract"))?;
    let version = match versions {
        Versions::True => VERSION,
        Versions::Masked => MASKED_VERSION,
    };
    for (name, text) in WASI {
        write(&deps.join(name), &text.replace(VERSION, version))?;
    }
    let imports: String = INTERFACES
        .iter()
        .map(|interface| format!("  import {interface}@{version};\n"))
        .collect();
    write(
        &world.join("world.wit"),
        &format!(
            "package pointsman:build;\n\nworld handler {{\n  include pointsman:handler/handler{contract};\n{imports}}}\n"
        ),
    )?;
    Ok(world)
}

/// Copies the contract's files; gives its version, as `@0.1.0`.
fn copy_contract(wit: &Path, into: &Path) -> Result<String, BuildError> {
    let mut version = None;
    for entry in fs::read_dir(wit).map_err(BuildError::io(wit))? {
        let path = entry.map_err(BuildError::io(wit))?.path();
        if path.extension().is_none_or(|extension| extension != "wit") {
            continue;
        }
        let text = read_text(&path)?;
        let package = text.lines().find_map(|line| {
            let rest = line.strip_prefix("package pointsman:handler")?;
            rest.trim_end().strip_suffix(';').map(str::to_owned)
        });
        version = version.or(package);
        write(&into.join(path.file_name().unwrap_or_default()), &text)?;
    }
    version.ok_or_else(|| {
        BuildError::build_file_with_hint(
            wit,
            "contains no package `pointsman:handler`",
            "`pointsman wit > wit/handler.wit` writes it",
        )
    })
}

fn write(path: &Path, text: &str) -> Result<(), BuildError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(BuildError::io(folder))?;
    }
    fs::write(path, text).map_err(BuildError::io(path))
}

/// Puts the masked version into what a bundle imports. componentize-qjs runs
/// a bundle at build time with a `wasi:io` of its own and no `wasi:http`, and then
/// refuses their resources as two of a kind. Packages that it does not know it replaces whole.
pub(super) fn mask(bundle: &str) -> String {
    let mut bytes = bundle.as_bytes().to_vec();
    replace(&mut bytes, VERSION, MASKED_VERSION);
    String::from_utf8(bytes).unwrap_or_else(|_| bundle.to_owned())
}

/// Puts the true version of WASI into a component that was built with the
/// masked one. They have the same length: nothing else in the file moves.
pub(super) fn unmask(component: &mut [u8]) {
    replace(component, MASKED_VERSION, VERSION);
}

fn replace(bytes: &mut [u8], from: &str, to: &str) {
    for at in 0..bytes.len() {
        let (before, rest) = bytes.split_at_mut(at);
        if rest[0] == b'@'
            && rest[1..].starts_with(from.as_bytes())
            && INTERFACES.iter().any(|it| before.ends_with(it.as_bytes()))
        {
            rest[1..=to.len()].copy_from_slice(to.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_versions_of_what_is_imported_are_masked() {
        let bundle = r#"import "wasi:http/types@0.2.6"; "mail@0.2.6"; "wasi:io/poll@0.2.0""#;
        let masked = mask(bundle);
        assert_eq!(
            masked,
            r#"import "wasi:http/types@0.9.6"; "mail@0.2.6"; "wasi:io/poll@0.2.0""#
        );
        let mut bytes = masked.into_bytes();
        unmask(&mut bytes);
        assert_eq!(bytes, bundle.as_bytes());
    }
}
