//! Owns the way from a component's bytes to a [`Plugin`], and what is said of a
//! file that is none.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::Semaphore;
use wasmtime::component::{Component, types::ComponentItem};

use super::{
    Grants, Plugin, Runtime, bindings, breaker::Breaker, idle::Idle, settings::HandlerSettings,
};
use crate::name::{HandlerName, nearest};

/// Why a file is no plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}\n  hint: {hint}", path.display())]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

impl LoadError {
    /// An error of the file at `path`.
    pub fn new(path: &Path, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            reason: reason.into(),
            hint: hint.into(),
        }
    }
}

/// Compiles `bytes`, which were read from `path`, and checks them against the
/// contract. Takes from milliseconds to seconds of CPU time, unless the code
/// is in wasmtime's cache: not for an async thread.
///
/// # Errors
/// [`LoadError`], where the bytes are no component, or one of another contract,
/// or one that imports what the host does not provide.
pub fn load(
    runtime: &Runtime,
    name: HandlerName,
    path: &Path,
    bytes: &[u8],
    digest: Arc<str>,
    settings: Arc<HandlerSettings>,
    grants: Arc<Grants>,
) -> Result<Plugin, LoadError> {
    let error = |reason: String, hint: String| LoadError::new(path, reason, hint);
    check_header(bytes).map_err(|(reason, hint)| error(reason, hint))?;
    let component =
        Component::from_binary(&runtime.engine, bytes).map_err(
            |cause| match wasmparser::validate(bytes) {
                Err(_) => error(
                    format!("no valid component: {cause:#}"),
                    "the file may be cut short or damaged: copy or build it again".into(),
                ),
                Ok(_) => error(
                    format!("asks for more than the host gives: {cause:#}"),
                    "build it with one memory and one table in each core module, as compilers do"
                        .into(),
                ),
            },
        )?;
    check_imports(runtime, &component).map_err(|(reason, hint)| error(reason, hint))?;
    check_export(runtime, &component).map_err(|(reason, hint)| error(reason, hint))?;
    let mismatch = |cause: wasmtime::Error| {
        error(
            format!("does not fit the contract: {cause:#}"),
            format!(
                "build it against wit/ ({}@{})",
                bindings::PACKAGE,
                bindings::VERSION
            ),
        )
    };
    let pre = runtime
        .linker
        .instantiate_pre(&component)
        .and_then(bindings::HandlerPre::new)
        .map_err(mismatch)?;
    let (version, description) = metadata(bytes);
    Ok(Plugin {
        name,
        version,
        description,
        digest,
        size_bytes: bytes.len() as u64,
        instances: Semaphore::new(settings.limits.instances_max.min(Semaphore::MAX_PERMITS)),
        breaker: Breaker::new(settings.breaker.clone()),
        idle: Idle::new(settings.instances.clone(), Arc::clone(&runtime.idle)),
        table_elements_max: runtime.table_elements_max,
        settings,
        grants,
        pre,
    })
}

type Wrong = (String, String);

/// The first eight bytes tell a component from a core module and from anything else.
fn check_header(bytes: &[u8]) -> Result<(), Wrong> {
    const MAGIC: &[u8] = b"\0asm";
    const MODULE: &[u8] = &[1, 0, 0, 0];
    const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];
    let wrong = |reason: &str, hint: &str| Err((reason.to_owned(), hint.to_owned()));
    if bytes.is_empty() {
        return wrong("is empty", "copy or build it again");
    }
    if bytes.len() < 8 && (MAGIC.starts_with(bytes) || bytes.starts_with(MAGIC)) {
        return wrong("is cut short", "copy or build it again");
    }
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(MAGIC), Some(COMPONENT)) => Ok(()),
        (Some(MAGIC), Some(MODULE)) => wrong(
            "is a core WebAssembly module, not a component",
            "build it with `pointsman build`, or with `wasm-component-ld` as the linker",
        ),
        (Some(MAGIC), _) => wrong(
            "is WebAssembly of an unknown version",
            "build it with `pointsman build`",
        ),
        _ => wrong(
            "is no WebAssembly",
            "only built components belong beside the `.wasm` ending; build the source with `pointsman build`",
        ),
    }
}

fn check_imports(runtime: &Runtime, component: &Component) -> Result<(), Wrong> {
    let contract = format!("{}/", bindings::PACKAGE);
    let known = ["log", "clock", "random", "config", "types"];
    for (import, _) in component.component_type().imports(&runtime.engine) {
        let wrong = |hint: String| {
            Err((
                format!("imports `{import}`, which the host does not provide"),
                hint,
            ))
        };
        if let Some(interface) = import.strip_prefix(&contract) {
            let (interface, version) = interface.split_once('@').unwrap_or((interface, "none"));
            if version != bindings::VERSION {
                return wrong(format!(
                    "it was built against version {version} of the contract, this host serves {}: build it against the WIT that `pointsman` ships",
                    bindings::VERSION
                ));
            }
            if !known.contains(&interface) {
                let near = nearest(interface, known)
                    .map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
                return wrong(format!("the contract has no interface `{interface}`{near}"));
            }
        } else if !(import.starts_with("wasi:") && import.contains("@0.2.")) {
            return wrong(
                "a handler may import the contract's `log`, `clock`, `random` and `config`, and WASI 0.2".into(),
            );
        }
    }
    Ok(())
}

fn check_export(runtime: &Runtime, component: &Component) -> Result<(), Wrong> {
    let engine = &runtime.engine;
    let hint = format!(
        "build it against wit/ ({}@{}), e.g. with `pointsman build`",
        bindings::PACKAGE,
        bindings::VERSION
    );
    let ty = component.component_type();
    let interface = bindings::EXPORT.split('@').next().unwrap_or_default();
    let Some((export, found)) = ty
        .exports(engine)
        .find(|(name, _)| name.split('@').next() == Some(interface))
    else {
        let exports: Vec<_> = ty
            .exports(engine)
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let exports = match exports.as_slice() {
            [] => "it exports nothing".to_owned(),
            exports => format!("it exports {}", exports.join(", ")),
        };
        return Err((
            format!("missing export `{}`; {exports}", bindings::EXPORT),
            hint,
        ));
    };
    if export != bindings::EXPORT {
        return Err((
            format!(
                "exports `{export}`, and this host serves `{}`",
                bindings::EXPORT
            ),
            hint,
        ));
    }
    let function = match &found.ty {
        ComponentItem::ComponentInstance(instance) => {
            instance.get_export(engine, bindings::EXPORT_FUNCTION)
        }
        _ => None,
    };
    match function.map(|function| function.ty) {
        Some(ComponentItem::ComponentFunc(function)) => {
            let fits =
                function.params().len() == 1 && function.results().len() == 1 && !function.async_();
            if fits {
                return Ok(());
            }
            Err((
                format!(
                    "export `{}` takes {} parameters and gives {} results; expected `handle: func(command: command) -> result<option<string>, failure>`",
                    bindings::EXPORT_FUNCTION,
                    function.params().len(),
                    function.results().len()
                ),
                hint,
            ))
        }
        _ => Err((
            format!(
                "missing export `{}` in `{export}`",
                bindings::EXPORT_FUNCTION
            ),
            hint,
        )),
    }
}

/// The version and the description that the component carries.
fn metadata(bytes: &[u8]) -> (Option<Arc<str>>, Option<Arc<str>>) {
    // Metadata is no condition for running: a section that cannot be read is none.
    let Ok(payload) = wasm_metadata::Payload::from_binary(bytes) else {
        return (None, None);
    };
    let metadata = payload.metadata();
    let text = |value: String| Arc::<str>::from(value);
    (
        metadata
            .version
            .as_ref()
            .map(|version| text(version.to_string())),
        metadata
            .description
            .as_ref()
            .map(|description| text(description.to_string())),
    )
}
