//! Owns what a component must be to fit the contract: which versions this host
//! serves, which of them a component was built for, and where it differs.
//!
//! wasmtime decides whether a component fits. What is said of one that does
//! not is worked out here, from its bytes, so that a good one pays nothing.

mod compare;
mod type_text;

use wit_parser::{InterfaceId, Resolve, WorldItem, decoding::DecodedWasm};

use crate::error::{MISMATCH_MAX_BYTES, Mismatch};
use pointsman_core::{name::nearest, panics, text};

/// The package of the contract, without its version.
const PACKAGE: &str = "pointsman:handler";
/// The interface that a handler exports.
const EXPORT: &str = "command-handler";
/// The interfaces of WASI 0.2 that the host provides, by package. What is not
/// stable in WASI, such as `wasi:clocks/timezone`, is not among them.
const WASI: [(&str, &[&str]); 7] = [
    (
        "cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
    ),
    ("clocks", &["monotonic-clock", "wall-clock"]),
    ("filesystem", &["preopens", "types"]),
    ("http", &["outgoing-handler", "types"]),
    ("io", &["error", "poll", "streams"]),
    ("random", &["insecure", "insecure-seed", "random"]),
    (
        "sockets",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
];

/// Places that are named where a component differs from the contract in more.
const MISMATCHES_MAX: usize = 20;

/// A released version of the contract that this host serves.
struct Served {
    id: Version,
    /// Such as `0.1.0`.
    version: &'static str,
    /// Its text.
    wit: &'static str,
}

/// A released version of the contract; each has bindings of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V0_1_0,
    V0_2_0,
}

/// Every released version, oldest first. A new one is an entry here, its text
/// in `wit/` of this crate, a [`Version`], and
/// its bindings in `call/bindings.rs`.
const SERVED: &[Served] = &[
    Served {
        id: Version::V0_1_0,
        version: "0.1.0",
        wit: include_str!("../../wit/handler@0.1.0.wit"),
    },
    Served {
        id: Version::V0_2_0,
        version: "0.2.0",
        wit: include_str!("../../wit/handler@0.2.0.wit"),
    },
];

/// What a component imports and exports at its top level, as full names such
/// as `pointsman:handler/log@0.1.0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// The versions that this host serves: `0.1.0, 0.2.0`.
fn served_versions() -> String {
    let versions: Vec<_> = SERVED.iter().map(|served| served.version).collect();
    versions.join(", ")
}

/// The version that a component was built for: the newest that it exports and
/// this host serves, else whatever it names.
pub(crate) fn built_for(names: &Names) -> Option<&str> {
    let exported = || names.exports.iter().filter_map(|name| exported(name));
    let imported = || names.imports.iter().filter_map(|name| own(name));
    SERVED
        .iter()
        .rev()
        .map(|served| served.version)
        .find(|served| exported().any(|version| version == *served))
        .or_else(|| exported().next())
        .or_else(|| imported().map(|(_, version)| version).next())
}

/// The version whose bindings call the component. None where it was built for
/// one that is not served: wasmtime alone would take 0.1.7 for 0.1.0.
pub(crate) fn choose(names: &Names) -> Option<Version> {
    let mut imports = names.imports.iter().filter_map(|name| own(name));
    if imports.any(|(_, version)| find(version).is_none()) {
        return None;
    }
    find(built_for(names)?).map(|served| served.id)
}

fn find(version: &str) -> Option<&'static Served> {
    SERVED.iter().find(|served| served.version == version)
}

/// Interface and version of a name that belongs to the contract.
fn own(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(name.split_once('@').unwrap_or((name, "none")))
}

fn exported(name: &str) -> Option<&str> {
    own(name)
        .filter(|(interface, _)| *interface == EXPORT)
        .map(|(_, version)| version)
}

/// Every place where a component with these bytes does not fit. `cause` is what
/// wasmtime says, should nothing else be found.
pub(crate) fn mismatches(names: &Names, bytes: &[u8], cause: Option<String>) -> Vec<Mismatch> {
    let version = built_for(names);
    if let Some(version) = version
        && find(version).is_none()
    {
        // All else would follow from it.
        return vec![other_version(version)];
    }
    let mut found: Vec<_> = names
        .imports
        .iter()
        .filter_map(|name| unknown_import(name))
        .take(MISMATCHES_MAX + 1)
        .collect();
    let newest = &SERVED[SERVED.len() - 1];
    let served = version.and_then(find).unwrap_or(newest);
    if !names.exports.iter().any(|name| exported(name).is_some()) {
        found.push(no_export(names, served));
    }
    match differences(served, bytes) {
        Ok(differences) => found.extend(differences),
        // What wasmtime says has to do.
        Err(error) => tracing::debug!("the types of a component cannot be compared: {error:#}"),
    }
    if found.is_empty() {
        let cause = cause.unwrap_or_else(|| "it was refused without a reason".into());
        found.push(Mismatch::new(
            format!("does not match {PACKAGE}@{}: {cause}", served.version),
            rebuild(served.version),
        ));
    }
    if found.len() > MISMATCHES_MAX {
        found.truncate(MISMATCHES_MAX);
        found.push(Mismatch::new("and more", ""));
    }
    for mismatch in &mut found {
        mismatch.what = text::cut(std::mem::take(&mut mismatch.what), MISMATCH_MAX_BYTES);
    }
    found
}

fn rebuild(version: &str) -> String {
    format!("build it against wit/ ({PACKAGE}@{version}), e.g. with `pointsman build`")
}

fn other_version(version: &str) -> Mismatch {
    let serves = served_versions();
    let newest = SERVED[SERVED.len() - 1].version;
    if numbers(version) > numbers(newest) {
        return Mismatch::new(
            format!(
                "was built for {PACKAGE}@{version}, newer than what this host serves: {serves}"
            ),
            format!(
                "use a newer `pointsman`, or build it against the contract of this one: `pointsman wit` prints {newest}"
            ),
        );
    }
    Mismatch::new(
        format!(
            "was built for {PACKAGE}@{version}, which this host does not serve: it serves {serves}"
        ),
        format!(
            "put what `pointsman wit` prints ({newest}) into its `wit/` folder, and build it again with `pointsman build`"
        ),
    )
}

/// The numbers of a version; what is none comes first.
fn numbers(version: &str) -> Vec<u64> {
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    numbers
        .split('.')
        .map_while(|number| number.parse().ok())
        .collect()
}

fn unknown_import(name: &str) -> Option<Mismatch> {
    let wrong = |hint: String| {
        Some(Mismatch::new(
            format!("imports `{name}`, which the host does not provide"),
            hint,
        ))
    };
    if let Some((interface, version)) = own(name) {
        let Some(served) = find(version) else {
            return wrong(format!(
                "this host serves version {} of the contract: build it against the WIT that `pointsman wit` prints",
                served_versions()
            ));
        };
        let known = interfaces(served);
        if known.iter().any(|known| known == interface) {
            return None;
        }
        let near = nearest(interface, known.iter().map(String::as_str))
            .map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
        return wrong(format!("the contract has no interface `{interface}`{near}"));
    }
    let wasi = name.strip_prefix("wasi:");
    let Some((package, rest)) = wasi.and_then(|name| name.split_once('/')) else {
        return wrong("a handler may import the interfaces of the contract, and WASI 0.2".into());
    };
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    let provided = WASI.iter().find(|(name, _)| *name == package);
    match provided {
        None => wrong(format!(
            "WASI 0.2 has no package `{package}` that the host provides"
        )),
        Some(_) if !version.starts_with("0.2.") => {
            wrong("the host provides WASI 0.2: build it for that version".into())
        }
        Some((_, interfaces)) if !interfaces.contains(&interface) => wrong(format!(
            "of `wasi:{package}` the host provides {}: build it without `{interface}`, which may \
             not be stable in WASI 0.2 yet",
            interfaces.join(", ")
        )),
        Some(_) => None,
    }
}

fn no_export(names: &Names, served: &Served) -> Mismatch {
    let wanted = format!("{PACKAGE}/{EXPORT}@{}", served.version);
    let exports: Vec<_> = names
        .exports
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    let what = match exports.as_slice() {
        [] => format!("missing export `{wanted}`; it exports nothing"),
        exports => format!(
            "was built for another world: it exports {}, not `{wanted}`",
            exports.join(", ")
        ),
    };
    let exports = |prefix: &str| names.exports.iter().any(|name| name.starts_with(prefix));
    let hint = if exports("wasi:cli/run@") {
        "a program with `main` is not a handler: build a library that exports the contract; `pointsman new` writes one".into()
    } else if exports("wasi:http/incoming-handler@") {
        "a handler gets commands from the host, not HTTP requests: `pointsman new` writes one"
            .into()
    } else {
        rebuild(served.version)
    };
    Mismatch::new(what, hint)
}

/// The interfaces of a served version.
fn interfaces(served: &Served) -> Vec<String> {
    let contract = contract(served);
    let names = contract.interfaces.iter();
    names
        .filter_map(|(_, interface)| interface.name.clone())
        .collect()
}

fn contract(served: &Served) -> Resolve {
    let mut resolve = Resolve::default();
    resolve
        .push_str("handler.wit", served.wit)
        .expect("a released contract is valid WIT");
    resolve
}

/// Where the functions of a component differ from those of the contract.
/// Nothing can be said of a component whose types have no WIT.
fn differences(served: &Served, bytes: &[u8]) -> anyhow::Result<Vec<Mismatch>> {
    let expected = contract(served);
    // The reader panics on some types that no compiler writes.
    let decoded = panics::caught(|| wit_component::decode(bytes))
        .map_err(|said| anyhow::anyhow!("its types cannot be read: {said}"))??;
    let DecodedWasm::Component(found, world) = decoded else {
        return Ok(Vec::new());
    };
    let mut mismatches = Vec::new();
    let world = &found.worlds[world];
    let items = |items: &'_ wit_parser::IndexMap<wit_parser::WorldKey, WorldItem>| {
        let interface = |(key, item): (&wit_parser::WorldKey, &WorldItem)| match item {
            WorldItem::Interface { id, .. } => Some((found.name_world_key(key), *id)),
            _ => None,
        };
        items.iter().filter_map(interface).collect::<Vec<_>>()
    };
    let known = |name: &str| -> Option<InterfaceId> {
        let (interface, version) = own(name)?;
        let named = |id: &InterfaceId| expected.interfaces[*id].name.as_deref() == Some(interface);
        let ids = expected.interfaces.iter().map(|(id, _)| id);
        ids.filter(|_| version == served.version).find(named)
    };
    let hint = rebuild(served.version);
    for (name, id) in items(&world.imports) {
        if let Some(wanted) = known(&name) {
            let imported = compare::imported((&expected, wanted), (&found, id), &name, &hint);
            mismatches.extend(imported);
        }
    }
    for (name, id) in items(&world.exports) {
        if let Some(wanted) = known(&name) {
            let exported = compare::exported((&expected, wanted), (&found, id), &name, &hint);
            mismatches.extend(exported);
        }
    }
    // One type can be wrong in many functions.
    let mut seen = Vec::new();
    mismatches.retain(|mismatch| {
        let new = !seen.contains(mismatch);
        seen.push(mismatch.clone());
        new
    });
    Ok(mismatches)
}
