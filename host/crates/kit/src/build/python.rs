//! Python: `componentize-py` puts `handler.py`, what it imports and CPython
//! into one component, about 18 MiB. WASI stays unstubbed: stubbed, `random`
//! would give the same numbers in every call.

mod packages;

use std::{path::Path, process::Command};

use serde::Deserialize;

use super::{
    About, BuildError, BuildOptions, contract, read_bytes, read_text, scratch, tool, world,
};
use pointsman_core::name::HandlerName;

const COMPONENTIZE: tool::Packaged = tool::Packaged {
    package: "componentize-py",
    version: "0.25.1",
    program: "componentize-py",
    version_argument: "--version",
    module: None,
    wheels: &[
        "8623cd8cab8453cb0cd8bf03f3c7103420d06f2f3d360186a280a70a1ca5e89f", // Linux x86_64
        "7b6a87c520358166843af0daa86d2312d7af4cbcbbf1e598951085cf7f2991ca", // Linux aarch64
        "65fbc4a94df1de8acf7da50a1f5ed1711230188844e53e6332d99029be4e0afa", // macOS x86_64
        "a556991534cc496207a9d2ca733c4b0f17ed38ef56a8d6b5f1847fdf1225dd1b", // macOS arm64
        "c7fd552fb0849858b0c1e8981543ed5dff4b0cc1597a8ea0bc26a495786dc0c6", // Windows x86_64
    ],
};

/// What this recipe reads of `pyproject.toml`.
#[derive(Deserialize)]
struct Pyproject {
    project: Project,
}

#[derive(Deserialize)]
struct Project {
    name: String,
    version: Option<String>,
    description: Option<String>,
    license: Option<License>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// An SPDX expression, or the table that came before it.
#[derive(Deserialize)]
#[serde(untagged)]
enum License {
    Expression(String),
    Table { text: Option<String> },
}

pub(super) fn build(
    folder: &Path,
    options: &BuildOptions,
    progress: &dyn Fn(&str),
) -> Result<(About, Vec<u8>), BuildError> {
    let path = folder.join("pyproject.toml");
    let Pyproject { project } =
        toml::from_str(&read_text(&path)?).map_err(|error| BuildError::build_file(&path, error))?;
    let wit = contract(folder)?;
    if !folder.join("handler.py").is_file() {
        return Err(BuildError::build_file(
            folder.join("handler.py"),
            "the module with the handler is missing",
        ));
    }
    let program = COMPONENTIZE.command(options, progress)?;
    let build = scratch(folder)?;
    // Imports that a handler does not call cost it nothing: there is one world for all.
    let world = match folder.join("pointsman").is_dir() {
        true => world::with_http(&wit, &build, world::Versions::True)?,
        // A folder of an earlier release knows the contract alone.
        false => wit,
    };
    let packages = if project.dependencies.is_empty() {
        None
    } else {
        let python = COMPONENTIZE.python(options);
        let fetch = packages::Fetch {
            folder,
            build: &build,
            python: &python,
            offline: options.offline,
        };
        Some(fetch.packages(&project.dependencies, progress)?)
    };
    progress("componentize-py");
    let component = build.join("handler.wasm");
    let mut command: Command = tool::command(&program);
    command
        .current_dir(folder)
        // The tool's own backtrace would follow what Python says.
        .env("RUST_BACKTRACE", "0")
        .arg("--wit-path")
        .arg(world)
        .args(["--world", "handler", "componentize", "--python-path", "."]);
    if let Some(packages) = &packages {
        command.arg("--python-path").arg(&packages.folder);
    }
    command.args(["handler", "--output"]).arg(&component);
    let compiled = packages.map_or(Vec::new(), |packages| packages.compiled);
    tool::run(&mut command, "pip install componentize-py")
        .map_err(without_wrapper)
        .map_err(|error| without_compiled(error, &compiled))?;
    let about = About {
        name: HandlerName::parse(&project.name)
            .map_err(|error| BuildError::build_file(&path, error))?,
        version: project.version,
        description: project.description,
        license: project.license.and_then(|license| match license {
            License::Expression(text) => Some(text),
            License::Table { text } => text,
        }),
    };
    Ok((about, read_bytes(&component)?))
}

/// Leaves out the traceback of the tool's own start script: it names no line of the author.
fn without_wrapper(error: BuildError) -> BuildError {
    match error {
        BuildError::Failed { command, output } => BuildError::Failed {
            command,
            output: output
                .split_once("AssertionError: ")
                .map_or(output.clone(), |(_, said)| said.into()),
        },
        other => other,
    }
}

/// Says which packages lost their compiled parts, where something could not be imported.
fn without_compiled(error: BuildError, compiled: &[String]) -> BuildError {
    match error {
        BuildError::Failed { command, output }
            if !compiled.is_empty() && IMPORT_ERRORS.iter().any(|it| output.contains(it)) =>
        {
            let names = compiled.join("`, `");
            BuildError::Failed {
                command,
                output: format!(
                    "{}\nhint: compiled for a processor, and so left out: parts of `{names}`; use packages that are written in Python, or do without these parts",
                    output.trim_end()
                ),
            }
        }
        other => other,
    }
}

const IMPORT_ERRORS: [&str; 2] = ["ImportError", "ModuleNotFoundError"];
