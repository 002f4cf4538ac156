//! Builds a handler's source folder into a component.
//!
//! The build file determines the language: `Cargo.toml` Rust, `package.json`
//! JavaScript or TypeScript, `pyproject.toml` Python, `handler.toml` C. Each
//! recipe runs the language's own tools and returns bytes; the common steps
//! (lifting, metadata, installing) are in [`component`]. Progress goes to the
//! caller's callback, and a compiler's output is part of the error, except for cargo,
//! which shows the progress of its long builds on standard error.

pub mod component;

mod c;
mod environment;
mod python;
mod rust;
mod script;
mod tool;
mod world;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

pub use component::install;

use pointsman_core::{diagnostic::Diagnostic, name::HandlerName};
use pointsman_machine::files;

/// A language with a template and a build recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, as `wasm32-unknown-unknown`.
    Rust,
    /// TypeScript, on an embedded JavaScript engine.
    TypeScript,
    /// JavaScript, on an embedded JavaScript engine.
    JavaScript,
    /// Python, on an embedded CPython.
    Python,
    /// C, as `wasm32-wasi`.
    C,
}

impl Language {
    /// Every language, in the order of help texts.
    pub const ALL: [Self; 5] = [
        Self::Rust,
        Self::TypeScript,
        Self::JavaScript,
        Self::Python,
        Self::C,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::TypeScript => "ts",
            Self::JavaScript => "js",
            Self::Python => "python",
            Self::C => "c",
        }
    }

    /// Its full name.
    #[must_use]
    pub fn full_name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::TypeScript => "TypeScript",
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
            Self::C => "C",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|language| language.as_str() == text)
            .ok_or_else(|| UnknownLanguage(text.into()))
    }
}

/// A string that is not the name of a [`Language`].
#[derive(Debug, thiserror::Error)]
#[error("no template for `{0}`: the languages are `rust`, `ts`, `js`, `python` and `c`")]
pub struct UnknownLanguage(String);

/// How to build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Does not use the network: a missing tool or dependency is an error.
    pub offline: bool,
    /// The folder for tools that no package manager installs into the handler's folder,
    /// with one folder per tool and version; see [`default_tools_dir`]. Without it, tools
    /// must be on the `PATH`.
    pub tools_dir: Option<PathBuf>,
}

impl Default for BuildOptions {
    /// Fetches what is missing, and keeps tools in [`default_tools_dir`].
    fn default() -> Self {
        Self {
            offline: false,
            tools_dir: default_tools_dir(),
        }
    }
}

/// The description of the handler in its build file, which becomes the component's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The handler's name.
    pub name: HandlerName,
    /// Its own version.
    pub version: Option<String>,
    /// A description: one sentence.
    pub description: Option<String>,
    /// An SPDX licence expression.
    pub license: Option<String>,
}

/// A built handler.
#[derive(Clone, Debug)]
pub struct Built {
    /// The description in its build file.
    pub about: About,
    /// Its language.
    pub language: Language,
    /// The component, including metadata.
    pub component: Vec<u8>,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub enum BuildError {
    /// The folder has no build file.
    NoBuildFile(PathBuf),
    /// It has several build files.
    SeveralBuildFiles {
        /// The folder.
        folder: PathBuf,
        /// Their names.
        files: String,
    },
    /// A build file, or a file that it names, is wrong.
    BuildFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// How to fix it, if known.
        hint: Option<&'static str>,
    },
    /// A tool is missing.
    MissingTool {
        /// The tool, with the required version.
        tool: String,
        /// The command that installs it.
        fix: String,
    },
    /// There is no folder for installing a tool.
    NoToolsFolder {
        /// The tool, with the required version.
        tool: String,
    },
    /// A tool has the wrong version.
    WrongVersion {
        /// The tool.
        tool: String,
        /// Its version.
        found: String,
        /// The required version.
        wanted: String,
        /// The command that installs it.
        fix: String,
    },
    /// A tool could not reach the registry it needs.
    NoNetwork {
        /// The command.
        command: String,
        /// Its output.
        output: String,
    },
    /// A tool failed on the source.
    Failed {
        /// The command.
        command: String,
        /// Its output.
        output: String,
    },
    /// A tool produced something that is not a handler.
    Component {
        /// The file.
        what: String,
        /// What is wrong with it.
        reason: String,
        /// How to fix it, if known.
        hint: Option<&'static str>,
    },
    /// A file could not be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a tool said, in lines of its own that none takes for another's.
fn indented(output: &str) -> String {
    let lines: Vec<_> = output.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

impl BuildError {
    /// The same as each other thing to fix.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let within = |path: &Path, code, message: &str| {
            Diagnostic::error(code, message).within(path.display().to_string())
        };
        match self {
            Self::NoBuildFile(folder) => within(folder, "no-build-file", "no build file").hint(
                "a handler has a `Cargo.toml`, `package.json`, `pyproject.toml` or `handler.toml`; `pointsman new` writes one",
            ),
            Self::SeveralBuildFiles { folder, files } => {
                let message = format!("several build files: {files}");
                within(folder, "several-build-files", &message)
                    .hint("keep the one of the handler's language")
            }
            Self::BuildFile { path, reason, hint } => {
                within(path, "invalid-build-file", reason).maybe_hint(*hint)
            }
            Self::MissingTool { tool, fix } => {
                Diagnostic::error("missing-tool", format!("{tool} is missing"))
                    .hint(format!("install it with `{fix}`"))
            }
            Self::NoToolsFolder { tool } => {
                let message =
                    format!("no folder to install {tool} in: the user has no home folder");
                Diagnostic::error("no-tools-folder", message)
                    .hint("set `XDG_CACHE_HOME` to a folder that only you can write to")
            }
            Self::WrongVersion {
                tool,
                found,
                wanted,
                fix,
            } => {
                let message = format!("{tool} {found} is not supported: {wanted} is required");
                Diagnostic::error("wrong-version", message)
                    .hint(format!("install it with `{fix}`"))
            }
            Self::NoNetwork { command, output } => {
                let message = format!("no network for `{command}`\n{}", indented(output));
                Diagnostic::error("no-network", message)
                    .hint("it fetches what is missing once; try again with a network")
            }
            Self::Failed { command, output } => {
                let message = format!("`{command}` failed\n{}", indented(output));
                Diagnostic::error("build-failed", message)
            }
            Self::Component { what, reason, hint } => {
                Diagnostic::error("no-component", format!("{what}: {reason}")).maybe_hint(*hint)
            }
            // Why is its source.
            Self::Io { path, .. } => Diagnostic::error("unreadable", path.display().to_string()),
        }
    }

    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    fn build_file(path: impl Into<PathBuf>, reason: impl fmt::Display) -> Self {
        Self::BuildFile {
            path: path.into(),
            reason: reason.to_string(),
            hint: None,
        }
    }

    fn build_file_with_hint(
        path: impl Into<PathBuf>,
        reason: impl fmt::Display,
        hint: &'static str,
    ) -> Self {
        Self::BuildFile {
            path: path.into(),
            reason: reason.to_string(),
            hint: Some(hint),
        }
    }
}

/// Checks that the tools that users must install for handlers in `language` are available.
/// The build itself installs whatever only it needs, such as npm packages.
///
/// # Errors
/// [`BuildError::MissingTool`] and [`BuildError::WrongVersion`], with the command that installs it.
pub fn check_tools(language: Language) -> Result<(), BuildError> {
    match language {
        Language::Rust => rust::check_tools(),
        Language::TypeScript | Language::JavaScript => script::check_tools(),
        Language::Python | Language::C => tool::check_python(),
    }
}

/// `pointsman/tools` in the user's cache folder: `$XDG_CACHE_HOME`,
/// `%LOCALAPPDATA%`, or `.cache` in the home folder. `None` without a home: programs
/// run from there, so a folder that others can write to is not an option.
#[must_use]
pub fn default_tools_dir() -> Option<PathBuf> {
    // A relative path would mean another folder, and other programs, in each place.
    let cache = ["XDG_CACHE_HOME", "LOCALAPPDATA"]
        .into_iter()
        .filter_map(std::env::var_os)
        .chain(std::env::home_dir().map(|home| home.join(".cache").into_os_string()))
        .map(PathBuf::from)
        .find(|folder| folder.is_absolute())?;
    Some(cache.join("pointsman").join("tools"))
}

/// The build files, which determine a handler's language.
const BUILD_FILES: [&str; 4] = [
    "Cargo.toml",
    "package.json",
    "pyproject.toml",
    "handler.toml",
];

/// Returns the folders directly below `plugins` that contain sources of handlers, by name.
///
/// # Errors
/// [`BuildError::Io`] if the folder cannot be read.
pub fn sources(plugins: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(plugins).map_err(BuildError::io(plugins))? {
        let path = entry.map_err(BuildError::io(plugins))?.path();
        let has = |file: &&str| path.join(file).is_file();
        // A crate that is no `cdylib` is a library that handlers use.
        if BUILD_FILES.iter().any(has) && (!has(&"Cargo.toml") || rust::is_handler(&path)) {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

/// Returns the language of the handler in `folder`, by its build file.
///
/// # Errors
/// [`BuildError`] if there is no build file, or more than one.
pub fn recognise(folder: &Path) -> Result<Language, BuildError> {
    let found: Vec<_> = BUILD_FILES
        .into_iter()
        .filter(|file| folder.join(file).is_file())
        .collect();
    match found.as_slice() {
        [] => Err(BuildError::NoBuildFile(folder.into())),
        ["Cargo.toml"] => Ok(Language::Rust),
        ["package.json"] => script::language(folder),
        ["pyproject.toml"] => Ok(Language::Python),
        ["handler.toml"] => Ok(Language::C),
        files => Err(BuildError::SeveralBuildFiles {
            folder: folder.into(),
            files: format!("`{}`", files.join("`, `")),
        }),
    }
}

/// Builds the handler in `folder`. Blocks until the build is done; `progress` gets a line
/// before each slow step.
///
/// # Errors
/// [`BuildError`], with the tool, the file or the compiler's output.
pub fn build(
    folder: &Path,
    options: &BuildOptions,
    progress: &dyn Fn(&str),
) -> Result<Built, BuildError> {
    // The tools run in the folder: a path relative to elsewhere means nothing to them.
    let folder = &std::path::absolute(folder).map_err(BuildError::io(folder))?;
    let language = recognise(folder)?;
    let (about, bytes) = match language {
        Language::Rust => rust::build(folder, options, progress)?,
        Language::TypeScript | Language::JavaScript => {
            script::build(folder, language, options, progress)?
        }
        Language::Python => python::build(folder, options, progress)?,
        Language::C => c::build(folder, options, progress)?,
    };
    let component = component::annotate(&component::lift(bytes, &about.name)?, &about, language)?;
    Ok(Built {
        about,
        language,
        component,
    })
}

/// The folder of the contract that a source folder carries.
fn contract(folder: &Path) -> Result<PathBuf, BuildError> {
    let wit = folder.join("wit");
    if wit.is_dir() {
        Ok(wit)
    } else {
        Err(BuildError::build_file_with_hint(
            wit,
            "the contract is missing",
            "`pointsman wit` prints it",
        ))
    }
}

/// A fresh, or emptied, place for what a recipe makes on the way.
fn scratch(folder: &Path) -> Result<PathBuf, BuildError> {
    let build = folder.join("build");
    std::fs::create_dir_all(&build).map_err(BuildError::io(&build))?;
    Ok(build)
}

/// Far more than any `package.json` has.
const BUILD_FILE_MAX_BYTES: u64 = 16 << 20;

fn read_text(path: &Path) -> Result<String, BuildError> {
    files::read_text(path, BUILD_FILE_MAX_BYTES).map_err(BuildError::io(path))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path).map_err(BuildError::io(path))
}
