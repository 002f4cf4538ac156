//! Owns the way from a component's bytes to a [`Plugin`], and what is said of a
//! file that is none.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use wasmtime::component::Component;

use super::{
    Grants, Mismatch, Plugin, Runtime,
    breaker::Breaker,
    compiler::Failure,
    contract::{self, Names},
    idle::Idle,
    inspect,
    parts::{self, Outline, Parts},
    places::Places,
    settings::HandlerSettings,
};
use pointsman_core::{
    diagnostic::Diagnostic,
    name::HandlerName,
    text::{self, MESSAGE_MAX_BYTES, bounded},
};

/// Why a file is no plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub struct LoadError {
    /// What is at fault.
    pub fault: LoadFault,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
    /// Each place where it does not fit the contract, if that is what is wrong.
    pub mismatches: Vec<Mismatch>,
}

/// What is at fault where a file is no plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFault {
    /// The component itself.
    Component,
    /// The component is one of another contract.
    Contract,
    /// The settings beside it.
    Settings,
}

impl LoadError {
    /// An error of the file at `path`.
    pub fn new(path: &Path, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        // Much of it comes from the file.
        Self {
            fault: LoadFault::Component,
            path: path.into(),
            reason: text::cut(reason.into(), MESSAGE_MAX_BYTES),
            hint: text::cut(hint.into(), MESSAGE_MAX_BYTES),
            mismatches: Vec::new(),
        }
    }

    /// The same, where the settings are at fault.
    #[must_use]
    pub fn of_settings(self) -> Self {
        Self {
            fault: LoadFault::Settings,
            ..self
        }
    }

    /// The same as each other thing to fix.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let code = match self.fault {
            LoadFault::Component => "invalid-component",
            LoadFault::Contract => "contract-mismatch",
            LoadFault::Settings => "invalid-settings",
        };
        Diagnostic::error(code, self.reason.as_str())
            .within(text::path(&self.path).to_string())
            .hint(self.hint.as_str())
    }

    /// An error of a component that does not fit the contract, in each of these places.
    fn mismatched(path: &Path, mismatches: Vec<Mismatch>) -> Self {
        let reason = match mismatches.as_slice() {
            [only] => only.to_string(),
            several => {
                let count = several.len();
                let indented = |mismatch: &Mismatch| mismatch.to_string().replace('\n', "\n  ");
                let places = several
                    .iter()
                    .map(|mismatch| format!("\n  {}", indented(mismatch)));
                let places: String = places.collect();
                format!("does not fit the contract in {count} places{places}")
            }
        };
        let hints = mismatches.iter().map(|one| one.hint.as_str());
        let mut hints: Vec<_> = hints.filter(|hint| !hint.is_empty()).collect();
        hints.dedup();
        let hint = hints.join("; ");
        Self {
            fault: LoadFault::Contract,
            mismatches,
            ..Self::new(path, reason, hint)
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
    let stack = settings.limits.stack_max_bytes;
    let runtime = &runtime.with_stack(stack).map_err(|cause| {
        error(
            format!("no call stack of {stack} bytes: {cause:#}"),
            "give it the usual one: remove `limits.stack_max_bytes` from its settings".into(),
        )
    })?;
    // A file that cannot even be parsed may not be safe to validate.
    let invalid = |cause: &str| {
        error(
            bounded(
                format_args!("no valid component: {cause}"),
                MESSAGE_MAX_BYTES,
            ),
            "the file may be cut short or damaged: copy or build it again".into(),
        )
    };
    let refused = |cause: &str| match wasmparser::validate(bytes) {
        Err(_) => invalid(cause),
        Ok(_) => error(
            bounded(
                format_args!("asks for more than the host gives: {cause}"),
                MESSAGE_MAX_BYTES,
            ),
            "build it as compilers do by default, without proposals that are not standard yet"
                .into(),
        ),
    };
    runtime
        .compile(bytes, &digest)
        .map_err(|failure| match failure {
            Failure::Unreadable(cause) => invalid(&cause),
            Failure::Invalid(cause) => refused(&cause),
            Failure::Failed { reason, hint } => error(reason, hint),
            Failure::Stopped => error(
                "compiling it was stopped".into(),
                "the host was stopping, or the file has changed since".into(),
            ),
        })?;
    let refused_part = |refused: parts::Refused| error(refused.reason, refused.hint.into());
    let outline = Outline::of(bytes).map_err(refused_part)?;
    let component = Component::from_binary(&runtime.engine, bytes)
        .map_err(|cause| refused(&bounded(format_args!("{cause:#}"), MESSAGE_MAX_BYTES)))?;
    let parts = Parts::of(&component, &outline).map_err(refused_part)?;
    let ty = component.component_type();
    let names = Names {
        imports: names(ty.imports(&runtime.engine)),
        exports: names(ty.exports(&runtime.engine)),
    };
    let bound = contract::choose(&names).map(|served| {
        let pre = runtime.linker.instantiate_pre(&component);
        pre.and_then(served.bind)
    });
    let pre = match bound {
        Some(Ok(pre)) => pre,
        refused => {
            let cause = refused.and_then(Result::err);
            let cause = cause.map(|cause| bounded(format_args!("{cause:#}"), MESSAGE_MAX_BYTES));
            let mismatches = contract::mismatches(&names, bytes, cause);
            return Err(LoadError::mismatched(path, mismatches));
        }
    };
    let (version, description) = inspect::version_and_description(bytes);
    Ok(Plugin {
        place: format!("plugins/{name}.toml").into(),
        shares: runtime.shares.of(&name),
        resolver: runtime.resolver.clone(),
        name,
        version,
        description,
        digest,
        size_bytes: bytes.len() as u64,
        places: Places::new(parts, settings.limits.instances_max, runtime.places_max),
        breaker: Breaker::new(settings.breaker.clone()),
        idle: Idle::new(
            settings.instances.clone(),
            Arc::clone(&runtime.idle),
            parts.places(),
            Arc::clone(&runtime.budgets.memory),
        ),
        turns: runtime.turns.clone(),
        budgets: Arc::clone(&runtime.budgets),
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

fn names<'a, T>(items: impl Iterator<Item = (&'a str, T)>) -> Vec<String> {
    items.map(|(name, _)| name.to_owned()).collect()
}
