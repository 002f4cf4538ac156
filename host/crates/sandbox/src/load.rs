//! Turns a component's bytes into a [`Handler`]. The only file that uses all parts of
//! the crate.

use std::{path::Path, sync::Arc};

use pointsman_core::{
    name::HandlerName,
    panics,
    text::{MESSAGE_MAX_BYTES, bounded},
};
use wasmtime::component::Component;

use crate::{
    call::{
        bindings::{self, Pre},
        engine::Runtime,
        handler::{Handler, Origin},
    },
    component::{
        compiler::Failure,
        contract::{self, Names},
        header, inspect,
        parts::{self, Outline, Parts},
    },
    error::LoadError,
    grants::{granted::Grants, settings::HandlerSettings},
};

/// A file that may be a component.
#[derive(Clone, Debug)]
pub struct ComponentFile<'a> {
    /// The handler that it provides.
    pub name: HandlerName,
    /// Where it was read from, for messages.
    pub path: &'a Path,
    /// Its content.
    pub bytes: &'a [u8],
    /// The SHA-256 of the content in lower-case hex.
    pub digest: Arc<str>,
}

/// Compiles a component and checks it against the contract. Takes milliseconds to seconds
/// of CPU time, unless the code is in wasmtime's cache, so do not call it from async code.
///
/// # Errors
/// [`LoadError`] if the bytes are not a component, or are one of another contract or with
/// imports that the host does not provide.
pub fn load(
    runtime: &Runtime,
    file: ComponentFile<'_>,
    settings: Arc<HandlerSettings>,
    grants: Arc<Grants>,
) -> Result<Handler, LoadError> {
    let path = file.path;
    // A fault of a library that reads foreign bytes must not cost more than this one file.
    panics::caught(|| checked(runtime, file, settings, grants)).unwrap_or_else(|said| {
        Err(LoadError::new(
            path,
            format!("the compiler failed: {said}"),
            "build it again; if it stays so, report it with the file",
        ))
    })
}

fn checked(
    runtime: &Runtime,
    file: ComponentFile<'_>,
    settings: Arc<HandlerSettings>,
    grants: Arc<Grants>,
) -> Result<Handler, LoadError> {
    header::check(file.bytes).map_err(|(reason, hint)| file.error(reason, hint))?;
    let stack = settings.limits.stack_max_bytes;
    let runtime = &runtime.with_stack(stack).map_err(|cause| {
        file.error(
            format!("cannot allocate a call stack of {stack} bytes: {cause:#}"),
            "give it the usual one: remove `limits.stack_max_bytes` from its settings",
        )
    })?;
    let (component, parts) = file.compile(runtime)?;
    let pre = file.link(runtime, &component)?;
    let (version, description) = inspect::version_and_description(file.bytes);
    let origin = Origin {
        version,
        description,
        size_bytes: file.bytes.len() as u64,
        name: file.name,
        digest: file.digest,
    };
    Ok(Handler::new(
        runtime,
        origin,
        (pre, parts),
        settings,
        grants,
    ))
}

impl ComponentFile<'_> {
    fn compile(&self, runtime: &Runtime) -> Result<(Component, Parts), LoadError> {
        runtime
            .compile(self.bytes, &self.digest)
            .map_err(|failure| match failure {
                Failure::Unreadable(cause) => self.invalid(&cause),
                Failure::Invalid(cause) => self.refused(&cause),
                Failure::Failed { reason, hint } => self.error(reason, hint),
                Failure::Stopped => self.error(
                    "compiling it was stopped",
                    "the host was stopping, or the file has changed since",
                ),
            })?;
        let refused = |refused: parts::Refused| self.error(refused.reason, refused.hint);
        let outline = Outline::of(self.bytes).map_err(refused)?;
        let component = Component::from_binary(&runtime.engine, self.bytes).map_err(|cause| {
            self.refused(&bounded(format_args!("{cause:#}"), MESSAGE_MAX_BYTES))
        })?;
        let parts = Parts::of(&component, &outline).map_err(refused)?;
        Ok((component, parts))
    }

    fn link(&self, runtime: &Runtime, component: &Component) -> Result<Pre, LoadError> {
        let ty = component.component_type();
        let names = Names {
            imports: names(ty.imports(&runtime.engine)),
            exports: names(ty.exports(&runtime.engine)),
        };
        let bound = contract::choose(&names).map(|version| {
            let pre = runtime.linker.instantiate_pre(component);
            pre.and_then(|pre| bindings::bind(version, pre))
        });
        match bound {
            Some(Ok(pre)) => Ok(pre),
            refused => {
                let cause = refused.and_then(Result::err);
                let cause =
                    cause.map(|cause| bounded(format_args!("{cause:#}"), MESSAGE_MAX_BYTES));
                let mismatches = contract::mismatches(&names, self.bytes, cause);
                Err(LoadError::mismatched(self.path, mismatches))
            }
        }
    }

    /// What wasmtime does not take: a file that is damaged, or one that asks for more.
    fn refused(&self, cause: &str) -> LoadError {
        match wasmparser::validate(self.bytes) {
            Err(_) => self.invalid(cause),
            Ok(_) => self.error(
                bounded(
                    format_args!("needs more than the host provides: {cause}"),
                    MESSAGE_MAX_BYTES,
                ),
                "build it as compilers do by default, without proposals that are not standard yet",
            ),
        }
    }

    // Said without validating: a file that cannot even be parsed may not be safe to validate.
    fn invalid(&self, cause: &str) -> LoadError {
        self.error(
            bounded(
                format_args!("no valid component: {cause}"),
                MESSAGE_MAX_BYTES,
            ),
            "the file may be cut short or damaged: copy or build it again",
        )
    }

    fn error(&self, reason: impl Into<String>, hint: impl Into<String>) -> LoadError {
        LoadError::new(self.path, reason, hint)
    }
}

fn names<'a, T>(items: impl Iterator<Item = (&'a str, T)>) -> Vec<String> {
    items.map(|(name, _)| name.to_owned()).collect()
}
