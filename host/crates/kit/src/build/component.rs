//! What is common to the components of all languages: a core module that
//! carries WIT metadata is lifted, the build file's words go in as metadata,
//! and the file is put in place whole or not at all.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasm_metadata::{AddMetadata, AddMetadataField, Description, Licenses, Version};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::{About, BuildError, Language};
use pointsman_core::name::HandlerName;

/// Makes a component of a core module that says which world it fits; a
/// component stays as it is. Imports of WASI preview 1 become imports of WASI 0.2.
///
/// # Errors
/// [`BuildError::Component`] where the bytes are neither.
pub fn lift(bytes: Vec<u8>, name: &HandlerName) -> Result<Vec<u8>, BuildError> {
    let wrong = |reason: String, hint| BuildError::Component {
        what: format!("`{name}`"),
        reason,
        hint,
    };
    if Parser::is_component(&bytes) {
        return Ok(bytes);
    }
    if !Parser::is_core_wasm(&bytes) {
        return Err(wrong("the build made no WebAssembly".into(), None));
    }
    if !says_its_world(&bytes) {
        return Err(wrong(
            "the build made a core module that does not say which WIT world it fits".into(),
            Some("link the bindings of the contract into it"),
        ));
    }
    ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )
        })
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| wrong(format!("cannot be lifted to a component: {error:#}"), None))
}

/// Whether a core module carries the section that binding generators leave.
fn says_its_world(module: &[u8]) -> bool {
    Parser::new(0).parse_all(module).any(|payload| {
        matches!(payload, Ok(Payload::CustomSection(section)) if section.name().starts_with("component-type"))
    })
}

/// Puts name, version, description, licence and language into a component.
///
/// # Errors
/// [`BuildError::Component`] where the licence is no SPDX expression.
pub fn annotate(
    component: &[u8],
    about: &About,
    language: Language,
) -> Result<Vec<u8>, BuildError> {
    let wrong = |reason: String| BuildError::Component {
        what: format!("`{}`", about.name),
        reason,
        hint: None,
    };
    let mut metadata = AddMetadata::default();
    metadata.name = AddMetadataField::Set(about.name.to_string());
    // What is embedded says its own: CPython and the JavaScript engines say Rust.
    metadata.language = vec![(language.full_name().into(), String::new())];
    metadata.processed_by = vec![("pointsman".into(), env!("CARGO_PKG_VERSION").into())];
    if let Some(version) = &about.version {
        metadata.version = AddMetadataField::Set(Version::new(version.clone()));
    }
    if let Some(description) = &about.description {
        metadata.description = AddMetadataField::Set(Description::new(description.clone()));
    }
    if let Some(license) = &about.license {
        let licenses = Licenses::new(license).map_err(|error| {
            wrong(format!(
                "licence `{license}` is no SPDX expression, such as `MIT OR Apache-2.0`: {error:#}"
            ))
        })?;
        metadata.licenses = AddMetadataField::Set(licenses);
    }
    metadata
        .to_wasm(component)
        .map_err(|error| wrong(format!("metadata cannot be added: {error:#}")))
}

/// Writes `<plugins_dir>/<name>.wasm` and gives its path. A reader sees the old
/// file or the new one, never a half: the bytes go to a temporary name in the
/// same folder, which is then renamed.
///
/// # Errors
/// The file that could not be written, and why.
pub fn install(
    component: &[u8],
    plugins_dir: &Path,
    name: &HandlerName,
) -> Result<PathBuf, BuildError> {
    let path = plugins_dir.join(format!("{name}.wasm"));
    // Not `.wasm`: whoever watches the folder must not load it.
    let temporary = plugins_dir.join(format!(".{name}.wasm.{}.tmp", std::process::id()));
    fs::create_dir_all(plugins_dir).map_err(BuildError::io(plugins_dir))?;
    let written = write_whole(&temporary, component).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // The first error is the one to report; the temporary may not even exist.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(BuildError::io(&path))?;
    Ok(path)
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
