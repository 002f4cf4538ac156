//! Owns what a component says of itself, read from its bytes without compiling
//! them: its metadata, what it imports, and which grants that could call for.

use std::{collections::BTreeMap, sync::Arc};

use wasm_metadata::{Metadata, Payload};
use wasmparser::{Parser, Payload as Part};

use super::contract::{self, Names};

/// What a component says of itself. None of it is a condition for running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The version of the contract that it was built for.
    pub contract: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its own version.
    pub version: Option<String>,
    /// One sentence for people.
    pub description: Option<String>,
    /// An SPDX licence expression.
    pub license: Option<String>,
    /// What made it, of the component and of the modules in it: under
    /// `language`, `processed-by` and `sdk`, names with versions.
    pub producers: BTreeMap<String, Vec<String>>,
    /// What it imports, such as `wasi:http/outgoing-handler@0.2.0`.
    pub imports: Vec<String>,
    /// What the operator may have to grant it.
    pub needs: Vec<Need>,
}

/// A section of `plugins/<name>.toml` that some imports can do nothing without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The section and key, such as `[http] allow`.
    pub grant: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// The imports, without versions.
    pub imports: Vec<String>,
}

/// The field of producers with the languages.
const LANGUAGE: &str = "language";

/// Grants by the interfaces that use them.
const NEEDS: [(&str, &str, &[&str]); 4] = [
    (
        "[config], [secrets]",
        "the values that it reads",
        &["pointsman:handler/config"],
    ),
    ("[env]", "environment variables", &["wasi:cli/environment"]),
    (
        "[[folders]]",
        "files of the host",
        &["wasi:filesystem/preopens", "wasi:filesystem/types"],
    ),
    (
        "[http] allow",
        "where HTTP requests may go",
        &["wasi:http/outgoing-handler"],
    ),
];

impl Inspection {
    /// Reads what `bytes` say; of bytes that are no component, as far as they go.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let names = names(bytes);
        let payload = Payload::from_binary(bytes).ok();
        let needs = NEEDS.iter().filter_map(|(grant, purpose, interfaces)| {
            let plain = names
                .imports
                .iter()
                .filter_map(|name| name.split('@').next());
            let imports: Vec<_> = plain
                .filter(|name| interfaces.contains(name))
                .map(ToOwned::to_owned)
                .collect();
            (!imports.is_empty()).then_some(Need {
                grant,
                purpose,
                imports,
            })
        });
        let mut inspection = Self {
            contract: contract::built_for(&names).map(ToOwned::to_owned),
            needs: needs.collect(),
            ..Self::default()
        };
        if let Some(payload) = &payload {
            let metadata = payload.metadata();
            inspection.name.clone_from(&metadata.name);
            inspection.version = metadata.version.as_ref().map(ToString::to_string);
            inspection.description = metadata.description.as_ref().map(ToString::to_string);
            inspection.license = metadata.licenses.as_ref().map(ToString::to_string);
            producers(payload, &mut inspection.producers);
            // A language of the whole is its author's; those of parts may be an interpreter's.
            let own = metadata.producers.as_ref();
            if let Some(languages) = own.and_then(|own| own.get(LANGUAGE)) {
                let names = languages.iter().map(|(name, _)| name.clone());
                inspection
                    .producers
                    .insert(LANGUAGE.into(), names.collect());
            }
        }
        inspection.imports = names.imports;
        inspection
    }
}

/// The version and the description that the component carries.
pub(crate) fn version_and_description(bytes: &[u8]) -> (Option<Arc<str>>, Option<Arc<str>>) {
    // Metadata is no condition for running: a section that cannot be read is none.
    let Ok(payload) = Payload::from_binary(bytes) else {
        return (None, None);
    };
    let Metadata {
        version,
        description,
        ..
    } = payload.metadata();
    let text = |value: String| Arc::<str>::from(value);
    (
        version.as_ref().map(|version| text(version.to_string())),
        description
            .as_ref()
            .map(|description| text(description.to_string())),
    )
}

/// The names at the top level of a component.
fn names(bytes: &[u8]) -> Names {
    let mut names = Names::default();
    let mut depth = 0_usize;
    for part in Parser::new(0).parse_all(bytes) {
        match part {
            Ok(Part::Version { .. }) => depth += 1,
            Ok(Part::End(_)) => depth = depth.saturating_sub(1),
            Ok(Part::ComponentImportSection(section)) if depth == 1 => {
                let imports = section.into_iter().flatten();
                names
                    .imports
                    .extend(imports.map(|import| import.name.name.to_owned()));
            }
            Ok(Part::ComponentExportSection(section)) if depth == 1 => {
                let exports = section.into_iter().flatten();
                names
                    .exports
                    .extend(exports.map(|export| export.name.name.to_owned()));
            }
            Ok(_) => {}
            // The loader says what is wrong with the file.
            Err(_) => break,
        }
    }
    names
}

/// Adds what made a component and each part of it.
fn producers(payload: &Payload, all: &mut BTreeMap<String, Vec<String>>) {
    for (field, values) in payload
        .metadata()
        .producers
        .iter()
        .flat_map(|producers| producers.iter())
    {
        let known = all.entry(field.clone()).or_default();
        for (name, version) in values.iter() {
            let text = format!("{name} {version}").trim().to_owned();
            if !known.contains(&text) {
                known.push(text);
            }
        }
    }
    if let Payload::Component { children, .. } = payload {
        for child in children {
            producers(child, all);
        }
    }
}
