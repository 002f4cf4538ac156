//! Owns the way from a handler's source folder to its component: runs the
//! language's own tools, shows what they say as they say it, writes name,
//! version and description into the component, and installs it by a rename.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use wasm_metadata::{AddMetadata, AddMetadataField};

use crate::name::HandlerName;

const TARGET: &str = "wasm32-unknown-unknown";
/// Turns the core module into a component while linking; rustup ships it.
const LINKER: &str = "wasm-component-ld";
/// Guests are built with this cargo profile where their workspace has it.
const PROFILE: &str = "plugin";

/// Why a source folder did not become a component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The folder is no source of a handler.
    #[error("{}: {reason}\n  hint: {hint}", path.display())]
    NoSource {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// A tool is missing or of the wrong kind.
    #[error("`{tool}` {reason}\n  hint: {hint}")]
    Tool {
        /// The program.
        tool: String,
        /// What is wrong with it.
        reason: String,
        /// The command that mends it.
        hint: String,
    },
    /// The compiler said no; it has said why.
    #[error("{}: does not compile: the compiler's messages are above", path.display())]
    Failed {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A component that was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// The handler's name: that of its package.
    pub name: HandlerName,
    /// The component.
    pub bytes: Vec<u8>,
}

/// The folders directly below `plugins` that are sources of handlers, by name.
///
/// # Errors
/// [`BuildError::Io`] if the folder cannot be read.
pub fn sources(plugins: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let io = |source| BuildError::Io {
        path: plugins.into(),
        source,
    };
    let mut sources = Vec::new();
    for entry in fs::read_dir(plugins).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if is_handler_crate(&path) {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

/// A crate that makes a `cdylib`: a guest, and not the library that guests use.
fn is_handler_crate(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = manifest.parse().unwrap_or_default();
    let kinds = manifest
        .get("lib")
        .and_then(|lib| lib.get("crate-type")?.as_array());
    kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind.as_str() == Some("cdylib")))
}

/// Builds the handler in `folder`. What the tools write goes to standard error
/// as it comes; `say` hears what this does besides.
///
/// # Errors
/// [`BuildError`].
pub fn build(folder: &Path, say: &dyn Fn(&str)) -> Result<Built, BuildError> {
    if !folder.join("Cargo.toml").is_file() {
        return Err(BuildError::NoSource {
            path: folder.into(),
            reason: "has no `Cargo.toml`".into(),
            hint: "name the folder of a handler's source".into(),
        });
    }
    add_target(folder, say)?;
    let package = package(folder)?;
    let name = HandlerName::parse(&package.name).map_err(|error| BuildError::NoSource {
        path: folder.join("Cargo.toml"),
        reason: error.to_string(),
        hint: "rename the package".into(),
    })?;
    let artifact = compile(folder, &package)?;
    let bytes = fs::read(&artifact).map_err(|source| BuildError::Io {
        path: artifact,
        source,
    })?;
    Ok(Built {
        name,
        bytes: package.describe(&bytes),
    })
}

/// Installs a component as `<plugins>/<name>.wasm`: whoever watches the folder
/// sees the old file or the new one, never half of one.
///
/// # Errors
/// [`BuildError::Io`].
pub fn install(built: &Built, plugins: &Path) -> Result<PathBuf, BuildError> {
    let path = plugins.join(format!("{}.wasm", built.name));
    let temporary = plugins.join(format!(".{}.wasm.{}", built.name, std::process::id()));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::Io { path, source }
    };
    fs::create_dir_all(plugins).map_err(io(plugins))?;
    fs::write(&temporary, &built.bytes).map_err(io(&temporary))?;
    fs::rename(&temporary, &path).map_err(io(&path))?;
    Ok(path)
}

/// Adds the rustup target if it is missing.
fn add_target(folder: &Path, say: &dyn Fn(&str)) -> Result<(), BuildError> {
    let mut rustc = Command::new("rustc");
    rustc
        .current_dir(folder)
        .args(["--print", "target-libdir", "--target", TARGET]);
    let output = run(&mut rustc, "install Rust: https://rustup.rs")?;
    if Path::new(String::from_utf8_lossy(&output).trim()).is_dir() {
        return Ok(());
    }
    say(&format!(
        "adding the Rust target {TARGET}: rustup target add {TARGET}"
    ));
    let mut rustup = Command::new("rustup");
    rustup
        .current_dir(folder)
        .args(["target", "add", TARGET])
        .stderr(Stdio::inherit());
    run(
        &mut rustup,
        &format!(
            "install the target {TARGET} for this toolchain, with rustup or the system's packages"
        ),
    )?;
    Ok(())
}

/// What cargo knows of the crate in a folder.
struct Package {
    name: String,
    manifest: PathBuf,
    profile: &'static str,
    metadata: Value,
}

impl Package {
    /// The component with the crate's name, version, description and licence in it.
    fn describe(&self, bytes: &[u8]) -> Vec<u8> {
        let text = |key: &str| self.metadata.get(key).and_then(Value::as_str);
        let mut add = AddMetadata::default();
        add.name = AddMetadataField::Set(self.name.clone());
        if let Some(version) = text("version") {
            add.version = AddMetadataField::Set(wasm_metadata::Version::new(version.to_owned()));
        }
        if let Some(description) = text("description") {
            add.description =
                AddMetadataField::Set(wasm_metadata::Description::new(description.to_owned()));
        }
        if let Some(Ok(licenses)) = text("license").map(str::parse) {
            add.licenses = AddMetadataField::Set(licenses);
        }
        // What cannot be described is a component all the same.
        add.to_wasm(bytes).unwrap_or_else(|_| bytes.into())
    }
}

fn package(folder: &Path) -> Result<Package, BuildError> {
    let manifest = folder.join("Cargo.toml");
    let unreadable = |reason: String| BuildError::NoSource {
        path: manifest.clone(),
        reason,
        hint: "`cargo metadata` must be able to read it".into(),
    };
    let absolute = fs::canonicalize(&manifest).map_err(|error| unreadable(error.to_string()))?;
    let mut cargo = Command::new("cargo");
    cargo
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(&absolute)
        .stderr(Stdio::inherit());
    let output = run(&mut cargo, "install Rust: https://rustup.rs")?;
    let cargo: Value =
        serde_json::from_slice(&output).map_err(|error| unreadable(error.to_string()))?;
    let packages = cargo["packages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let metadata = packages
        .iter()
        .find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&absolute))
        .ok_or_else(|| unreadable("is no package".into()))?;
    let root = Path::new(cargo["workspace_root"].as_str().unwrap_or_default()).join("Cargo.toml");
    let root: toml::Table = fs::read_to_string(root)
        .unwrap_or_default()
        .parse()
        .unwrap_or_default();
    let has_profile = root
        .get("profile")
        .is_some_and(|profiles| profiles.get(PROFILE).is_some());
    Ok(Package {
        name: metadata["name"].as_str().unwrap_or_default().to_owned(),
        manifest: absolute,
        profile: if has_profile { PROFILE } else { "release" },
        metadata: metadata.clone(),
    })
}

/// Runs cargo and finds the artifact in its messages.
fn compile(folder: &Path, package: &Package) -> Result<PathBuf, BuildError> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--target", TARGET, "--profile", package.profile])
        .args([
            "--message-format",
            "json-render-diagnostics",
            "--manifest-path",
        ])
        .arg(&package.manifest)
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", LINKER)
        .stdout(Stdio::piped());
    let mut child = cargo
        .spawn()
        .map_err(|error| tool("cargo", &error, "install Rust: https://rustup.rs"))?;
    let mut artifact = None;
    let output = BufReader::new(child.stdout.take().expect("piped"));
    for line in output.lines().map_while(Result::ok) {
        let message: Value = serde_json::from_str(&line).unwrap_or_default();
        let ours = message["manifest_path"].as_str().map(Path::new) == Some(&package.manifest);
        if message["reason"] == "compiler-artifact" && ours {
            let files = message["filenames"].as_array().into_iter().flatten();
            artifact = files
                .filter_map(|file| file.as_str().map(PathBuf::from))
                .find(|file| file.extension().is_some_and(|ending| ending == "wasm"))
                .or(artifact);
        }
    }
    let status = child
        .wait()
        .map_err(|error| tool("cargo", &error, "try again"))?;
    if !status.success() {
        return Err(BuildError::Failed {
            path: folder.into(),
        });
    }
    artifact.ok_or_else(|| BuildError::NoSource {
        path: package.manifest.clone(),
        reason: "makes no WebAssembly file".into(),
        hint: "add `crate-type = [\"cdylib\"]` under `[lib]`".into(),
    })
}

/// Runs a tool to its end and gives its standard output.
fn run(command: &mut Command, hint: &str) -> Result<Vec<u8>, BuildError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdout(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .map_err(|error| tool(&name, &error, hint))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(BuildError::Tool {
        tool: name,
        reason: format!("failed: {}", output.status),
        hint: hint.into(),
    })
}

fn tool(name: &str, error: &io::Error, hint: &str) -> BuildError {
    BuildError::Tool {
        tool: name.into(),
        reason: format!("cannot be run: {error}"),
        hint: hint.into(),
    }
}
