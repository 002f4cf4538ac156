//! Rust: `cargo build` for `wasm32-unknown-unknown`, linked to a component by
//! `wasm-component-ld`, which every Rust toolchain brings along.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use super::{About, BuildError, BuildOptions, environment, read_bytes, read_text, tool};
use pointsman_core::name::HandlerName;

const TARGET: &str = "wasm32-unknown-unknown";
/// The environment variable that names a linker for [`TARGET`].
const LINKER_VARIABLE: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER";
const LINKER: &str = "wasm-component-ld";
/// What wit-bindgen 0.60 asks for.
const CARGO_LEAST: &[u32] = &[1, 88];
const CARGO_FIX: &str = "rustup toolchain install stable";

/// The stack in the component's own memory, below all else: what overflows it
/// traps. A command of 120 levels needs about half of it. Each call begins
/// with a cleared one, so Rust's own default of 1 MiB would be most of what the
/// host clears.
const STACK_DEFAULT_BYTES: u32 = 96 << 10;
const STACK_BYTES: RangeInclusive<u32> = 16 << 10..=16 << 20;

/// What this recipe reads of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    description: Option<String>,
    license: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    metadata: Option<OwnMetadata>,
}

/// `[package.metadata]`: what belongs to other tools is left alone.
#[derive(Deserialize)]
struct OwnMetadata {
    pointsman: Option<Own>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Own {
    /// Bytes of the stack in the component's own memory.
    stack_bytes: u32,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            stack_bytes: STACK_DEFAULT_BYTES,
        }
    }
}

#[derive(Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

impl Target {
    fn is_cdylib(&self) -> bool {
        self.crate_types.iter().any(|kind| kind == "cdylib")
    }
}

/// One line of `cargo build --message-format=json`.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        manifest_path: PathBuf,
        target: Target,
        filenames: Vec<PathBuf>,
    },
    #[serde(other)]
    Other,
}

/// Whether cargo is there and new enough.
pub(super) fn check_tools() -> Result<(), BuildError> {
    tool::require("cargo", CARGO_LEAST, Path::new("."), CARGO_FIX)
}

pub(super) fn build(
    folder: &Path,
    options: &BuildOptions,
    progress: &dyn Fn(&str),
) -> Result<(About, Vec<u8>), BuildError> {
    tool::require("cargo", CARGO_LEAST, folder, CARGO_FIX)?;
    let manifest = folder.join("Cargo.toml");
    let (package, workspace_root) = package(&manifest, options)?;
    if !package.targets.iter().any(Target::is_cdylib) {
        return Err(BuildError::build_file_with_hint(
            manifest,
            "builds no component",
            "add `crate-type = [\"cdylib\"]` under `[lib]`",
        ));
    }
    let own = package.metadata.and_then(|metadata| metadata.pointsman);
    let stack_bytes = own.unwrap_or_default().stack_bytes;
    if !STACK_BYTES.contains(&stack_bytes) || stack_bytes % 16 != 0 {
        let reason = format!(
            "`package.metadata.pointsman.stack_bytes` is {stack_bytes}, expected a multiple of 16 from {} to {}",
            STACK_BYTES.start(),
            STACK_BYTES.end()
        );
        return Err(BuildError::build_file(manifest, reason));
    }
    let about = About {
        name: HandlerName::parse(&package.name)
            .map_err(|error| BuildError::build_file(&manifest, error))?,
        version: Some(package.version),
        description: package.description,
        license: package.license,
    };
    add_target(folder, options, progress)?;
    let profile = profile(&workspace_root)?;
    progress(&format!(
        "cargo rustc --profile {profile} --target {TARGET}"
    ));
    let messages = tool::run_shown(
        cargo(folder, options)
            .args(["rustc", "--message-format=json-render-diagnostics"])
            .args([
                "--lib",
                "--target",
                TARGET,
                "--profile",
                profile,
                "--manifest-path",
            ])
            .arg(&manifest)
            // For the component alone: what it depends on is compiled as always.
            .args(["--", "-C"])
            .arg(format!("link-arg=-zstack-size={stack_bytes}"))
            .env(LINKER_VARIABLE, LINKER),
        CARGO_FIX,
    )?;
    let component = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find_map(|message| match message {
            Message::CompilerArtifact {
                manifest_path,
                target,
                filenames,
            } if target.is_cdylib() && manifest_path == package.manifest_path => filenames
                .into_iter()
                .find(|file| file.extension().is_some_and(|it| it == "wasm")),
            _ => None,
        })
        .ok_or_else(|| BuildError::build_file(&manifest, "cargo built no `.wasm` file"))?;
    Ok((about, read_bytes(&component)?))
}

/// Whether the crate in `folder` makes a `cdylib`: a handler, not a library.
pub(super) fn is_handler(folder: &Path) -> bool {
    let manifest = read_text(&folder.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = manifest.parse().unwrap_or_default();
    let kinds = manifest
        .get("lib")
        .and_then(|lib| lib.get("crate-type")?.as_array());
    kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind.as_str() == Some("cdylib")))
}

fn cargo(folder: &Path, options: &BuildOptions) -> Command {
    let mut cargo = environment::command("cargo");
    cargo.current_dir(folder);
    if options.offline {
        cargo.arg("--offline");
    }
    cargo
}

/// The package that `manifest` defines, and the root of its workspace.
fn package(manifest: &Path, options: &BuildOptions) -> Result<(Package, PathBuf), BuildError> {
    let folder = manifest.parent().unwrap_or(manifest);
    let json = tool::fetch(
        cargo(folder, options)
            .args([
                "metadata",
                "--no-deps",
                "--format-version",
                "1",
                "--manifest-path",
            ])
            .arg(manifest),
        CARGO_FIX,
    )?;
    let metadata: Metadata =
        serde_json::from_str(&json).map_err(|error| BuildError::build_file(manifest, error))?;
    // Cargo gives the path with links resolved, and ours may go through one.
    let same =
        |path: &Path| path == manifest || path.canonicalize().ok() == manifest.canonicalize().ok();
    let package = metadata
        .packages
        .into_iter()
        .find(|package| same(&package.manifest_path))
        .ok_or_else(|| BuildError::build_file(manifest, "defines a workspace and no package"))?;
    Ok((package, metadata.workspace_root))
}

/// `plugin` where the workspace defines that profile, else `release`.
fn profile(workspace_root: &Path) -> Result<&'static str, BuildError> {
    let manifest = workspace_root.join("Cargo.toml");
    let table: toml::Table = read_text(&manifest)?
        .parse()
        .map_err(|error| BuildError::build_file(&manifest, error))?;
    let defined = table
        .get("profile")
        .and_then(|profiles| profiles.get("plugin"))
        .is_some();
    Ok(if defined { "plugin" } else { "release" })
}

/// Adds the target's standard library where the toolchain lacks it: a
/// `rust-toolchain.toml` alone does not fetch it where rustup's automatic
/// installation is off.
fn add_target(
    folder: &Path,
    options: &BuildOptions,
    progress: &dyn Fn(&str),
) -> Result<(), BuildError> {
    let libraries = tool::fetch(
        environment::command("rustc")
            .args(["--print", "target-libdir", "--target", TARGET])
            .current_dir(folder),
        CARGO_FIX,
    )?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    let fix = format!("rustup target add {TARGET}");
    if options.offline {
        return Err(BuildError::MissingTool {
            tool: format!("the Rust target `{TARGET}`"),
            fix,
        });
    }
    progress(&format!("adding the Rust target, once: {fix}"));
    tool::fetch(
        environment::command("rustup")
            .args(["target", "add", TARGET])
            .current_dir(folder),
        // A toolchain of a Linux distribution has no rustup: its package then.
        "apt install libstd-rust-dev-wasm32",
    )
    .map(drop)
}
