//! Why a file cannot be loaded as a handler.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use pointsman_core::{
    diagnostic::Diagnostic,
    text::{self, MESSAGE_MAX_BYTES},
};

/// Bytes of what is said of one place that does not fit: names come from the file.
pub(crate) const MISMATCH_MAX_BYTES: usize = 4 << 10;

/// Why a file cannot be loaded as a handler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub struct LoadError {
    /// The kind of fault.
    pub fault: LoadFault,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
    /// Each mismatch with the contract, if that is the problem.
    pub mismatches: Vec<Mismatch>,
}

/// The kind of fault of a file that cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFault {
    /// The component itself.
    Component,
    /// The component was built for another contract.
    Contract,
    /// Its settings.
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
    pub(crate) fn mismatched(path: &Path, mismatches: Vec<Mismatch>) -> Self {
        let reason = match mismatches.as_slice() {
            [only] => only.to_string(),
            several => {
                let count = several.len();
                let indented = |mismatch: &Mismatch| mismatch.to_string().replace('\n', "\n  ");
                let places = several
                    .iter()
                    .map(|mismatch| format!("\n  {}", indented(mismatch)));
                let places: String = places.collect();
                format!("does not match the contract in {count} places{places}")
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

/// A mismatch between a component and the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What is wrong, in one line.
    pub what: String,
    /// What the contract has there, as WIT.
    pub expected: Option<String>,
    /// What the component has there, as WIT.
    pub found: Option<String>,
    /// What to do about it.
    pub hint: String,
}

impl Mismatch {
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            expected: None,
            found: None,
            hint: text::cut(hint.into(), MISMATCH_MAX_BYTES),
        }
    }
}

/// The hint is left out: several places have one together.
impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for (label, wit) in [("expected:", &self.expected), ("found:", &self.found)] {
            if let Some(wit) = wit {
                let wit = wit.replace('\n', "\n            ");
                write!(f, "\n  {label:9} {wit}")?;
            }
        }
        Ok(())
    }
}
