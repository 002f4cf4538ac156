//! Creates the folder of a new handler: the template of its language, the contract
//! that this host serves, a rule that routes commands to it, and test cases. `{{name}}` in a template is the handler's name, `{{type}}` the
//! `requestType` that it is for, and `{{rule}}` where its rule is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pointsman_core::{diagnostic::Diagnostic, name::HandlerName};

use crate::build::Language;

/// The contract that this host serves.
pub const CONTRACT: &str = include_str!("../../../../wit/handler.wit");

/// A path in the new folder, and the template of the file.
type File = (&'static str, &'static str);

macro_rules! template {
    ($($path:literal: $source:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../templates/", $source)))),*]
    };
}

const SHARED: &[File] = template! {
    "cases/greets.json": "shared/cases/greets.json",
    "cases/rejects-nobody.json": "shared/cases/rejects-nobody.json",
};

const RULE: &str = include_str!("../templates/shared/rule.json");

/// Where the rule of a new handler is written.
#[derive(Clone, Copy, Debug)]
pub enum NewRule<'a> {
    /// In `rule.json` in the handler's folder, for the author to copy.
    Beside,
    /// In `<name>.json` in this rules folder, where it takes effect.
    In(&'a Path),
}

impl NewRule<'_> {
    fn path(self, handler: &Path, name: &HandlerName) -> PathBuf {
        match self {
            Self::Beside => handler.join("rule.json"),
            Self::In(folder) => folder.join(name.as_str()).with_extension("json"),
        }
    }

    /// For the README of the handler.
    fn about(self, name: &HandlerName) -> String {
        match self {
            Self::Beside => "`rule.json` routes commands here: copy it into `rules/`.".into(),
            Self::In(folder) => {
                let folder = folder.file_name().unwrap_or_default().to_string_lossy();
                format!("`{folder}/{name}.json` routes commands here.")
            }
        }
    }
}

/// Returns the `requestType` that the rule of a new handler matches: `CreateInvoice` for
/// `create-invoice`.
#[must_use]
pub fn request_type(name: &HandlerName) -> String {
    let words = name.as_str().split('-');
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    words.map(capital).collect()
}

const RUST: &[File] = &[
    ("Cargo.toml", include_str!("../templates/rust/Cargo.toml")),
    ("README.md", include_str!("../templates/rust/README.md")),
    (".gitignore", include_str!("../templates/rust/gitignore")),
    ("src/lib.rs", include_str!("../templates/rust/src/lib.rs")),
    (
        "vendor/pointsman-sdk/Cargo.toml",
        include_str!("../templates/rust/sdk.toml"),
    ),
    // The SDK itself, with the bindings that were made from the contract.
    (
        "vendor/pointsman-sdk/src/lib.rs",
        include_str!("../../../../plugins/sdk/src/lib.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/heap.rs",
        include_str!("../../../../plugins/sdk/src/heap.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/bindings.rs",
        include_str!("../../../../plugins/sdk/src/bindings.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/emit.rs",
        include_str!("../../../../plugins/sdk/src/emit.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/sql.rs",
        include_str!("../../../../plugins/sdk/src/sql.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/sql/row.rs",
        include_str!("../../../../plugins/sdk/src/sql/row.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/state.rs",
        include_str!("../../../../plugins/sdk/src/state.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/http.rs",
        include_str!("../../../../plugins/sdk/src/http.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/http/error.rs",
        include_str!("../../../../plugins/sdk/src/http/error.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/http/exchange.rs",
        include_str!("../../../../plugins/sdk/src/http/exchange.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/http/redirect.rs",
        include_str!("../../../../plugins/sdk/src/http/redirect.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/http/request.rs",
        include_str!("../../../../plugins/sdk/src/http/request.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/http/response.rs",
        include_str!("../../../../plugins/sdk/src/http/response.rs"),
    ),
    (
        "vendor/pointsman-sdk/src/http/target.rs",
        include_str!("../../../../plugins/sdk/src/http/target.rs"),
    ),
];

const TYPESCRIPT: &[File] = template! {
    "package.json": "ts/package.json",
    "package-lock.json": "ts/package-lock.json",
    "tsconfig.json": "ts/tsconfig.json",
    "README.md": "ts/README.md",
    "test/handler.test.ts": "ts/test/handler.test.ts",
    "src/handler.ts": "ts/src/handler.ts",
};

const JAVASCRIPT: &[File] = template! {
    "package.json": "js/package.json",
    "package-lock.json": "js/package-lock.json",
    "README.md": "js/README.md",
    "jsconfig.json": "script/jsconfig.json",
    "test/handler.test.js": "js/test/handler.test.js",
    "src/handler.js": "js/src/handler.js",
};

/// What both of them have.
const SCRIPT: &[File] = template! {
    ".gitignore": "script/gitignore",
    "src/pointsman.js": "script/pointsman.js",
    "src/pointsman.d.ts": "ts/src/pointsman.d.ts",
    "src/globals.d.ts": "script/globals.d.ts",
    "src/pointsman/package.json": "script/pointsman/package.json",
    "src/pointsman/async.js": "script/pointsman/async.js",
    "src/pointsman/abort.js": "script/pointsman/abort.js",
    "src/pointsman/fetch.js": "script/pointsman/fetch.js",
    "src/pointsman/node.js": "script/pointsman/node.js",
    "src/pointsman/headers.js": "script/pointsman/headers.js",
    "src/pointsman/text.js": "script/pointsman/text.js",
    "src/pointsman/url.js": "script/pointsman/url.js",
    "src/pointsman/host.js": "script/pointsman/host.js",
    "src/pointsman/emit.js": "script/pointsman/emit.js",
    "src/pointsman/emit.d.ts": "ts/src/pointsman/emit.d.ts",
    "src/pointsman/sql.js": "script/pointsman/sql.js",
    "src/pointsman/sql.d.ts": "ts/src/pointsman/sql.d.ts",
    "src/pointsman/state.js": "script/pointsman/state.js",
    "src/pointsman/state.d.ts": "ts/src/pointsman/state.d.ts",
};

const PYTHON: &[File] = template! {
    "pyproject.toml": "python/pyproject.toml",
    "README.md": "python/README.md",
    ".gitignore": "python/gitignore",
    "handler.py": "python/handler.py",
    "pointsman/__init__.py": "python/pointsman/__init__.py",
    "pointsman/emit.py": "python/pointsman/emit.py",
    "pointsman/http.py": "python/pointsman/http.py",
    "pointsman/loop.py": "python/pointsman/loop.py",
    "pointsman/outside.py": "python/pointsman/outside.py",
    "pointsman/sql.py": "python/pointsman/sql.py",
    "pointsman/state.py": "python/pointsman/state.py",
    "tests/__init__.py": "python/tests/__init__.py",
    "tests/test_handler.py": "python/tests/test_handler.py",
    "pointsman/urllib.py": "python/pointsman/urllib.py",
};

const C: &[File] = template! {
    "handler.toml": "c/handler.toml",
    "README.md": "c/README.md",
    ".gitignore": "c/gitignore",
    "src/handler.c": "c/src/handler.c",
    "src/pointsman.c": "c/src/pointsman.c",
    "src/pointsman.h": "c/src/pointsman.h",
    "src/pointsman_http.c": "c/src/pointsman_http.c",
    "src/pointsman_http.h": "c/src/pointsman_http.h",
    "src/pointsman_services.c": "c/src/pointsman_services.c",
    "src/pointsman_services.h": "c/src/pointsman_services.h",
};

/// Why a handler could not be created.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub enum NewError {
    /// The path already exists.
    Exists(PathBuf),
    /// The language does not allow the name.
    Reserved {
        /// The name.
        name: HandlerName,
        /// The language.
        language: Language,
        /// What uses the name.
        reason: &'static str,
    },
    /// A file could not be written.
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl NewError {
    /// The same as each other thing to fix.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Exists(path) => Diagnostic::error("exists", "exists already")
                .within(path.display().to_string())
                .hint("choose another name, or remove it first"),
            Self::Reserved {
                name,
                language,
                reason,
            } => {
                let language = language.full_name();
                let message =
                    format!("`{name}` cannot be the name of a handler in {language}: {reason}");
                Diagnostic::error("reserved-name", message).hint("choose another name")
            }
            // Why is its source.
            Self::Io { path, .. } => Diagnostic::error("unwritable", path.display().to_string()),
        }
    }
}

/// Names that a package of the language cannot have. Names of the standard library and of
/// dependencies, and keywords, are fine: nothing imports a handler.
const RESERVED: &[(Language, &str, &str)] = &[(
    Language::Rust,
    "pointsman-sdk",
    "the crate that every handler depends on has it",
)];

/// Creates a new handler in `<parent>/<name>` and returns that path. `parent` must exist,
/// and so must the folder that `rule` names.
///
/// # Errors
/// [`NewError::Exists`] if the path exists; it is not changed.
/// [`NewError::Reserved`] if the language does not allow the name; nothing is written.
/// [`NewError::Io`] names the file that could not be written.
pub fn create(
    parent: &Path,
    name: &HandlerName,
    language: Language,
    rule: NewRule<'_>,
) -> Result<PathBuf, NewError> {
    let reserved = RESERVED
        .iter()
        .find(|(of, reserved, _)| *of == language && name.as_str() == *reserved);
    if let Some((_, _, reason)) = reserved {
        return Err(NewError::Reserved {
            name: name.clone(),
            language,
            reason,
        });
    }
    let folder = parent.join(name.as_str());
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| NewError::Io { path, source }
    };
    // `create_dir` is the check: no one can come in between.
    fs::create_dir(&folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => NewError::Exists(folder.clone()),
        _ => wrong(&folder)(error),
    })?;
    let (own, runtime): (_, &[File]) = match language {
        Language::Rust => (RUST, &[]),
        Language::TypeScript => (TYPESCRIPT, SCRIPT),
        Language::JavaScript => (JAVASCRIPT, SCRIPT),
        Language::Python => (PYTHON, &[]),
        Language::C => (C, &[]),
    };
    let files = own.iter().chain(runtime).chain(SHARED);
    let files = files.chain(&[("wit/handler.wit", CONTRACT)]);
    let files = files.map(|(path, template)| (folder.join(path), *template));
    for (path, template) in files.chain([(rule.path(&folder, name), RULE)]) {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(wrong(parent))?;
        }
        let text = template.replace("{{rule}}", &rule.about(name));
        let text = text.replace("{{type}}", &request_type(name));
        let text = text.replace("{{name}}", name.as_str());
        fs::write(&path, text).map_err(wrong(&path))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_type_follows_the_name() {
        let of = |name: &str| request_type(&HandlerName::parse(name).unwrap());
        assert_eq!(of("greet"), "Greet");
        assert_eq!(of("create-invoice"), "CreateInvoice");
        assert_eq!(of("v2-import"), "V2Import");
    }
}
