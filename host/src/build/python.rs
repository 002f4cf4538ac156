//! Python: `componentize-py` puts `handler.py`, what it imports and CPython
//! into one component, about 18 MiB. WASI stays unstubbed: stubbed, `random`
//! would give the same numbers in every call.

use std::{path::Path, process::Command};

use serde::Deserialize;

use super::{About, BuildError, Options, contract, read_bytes, read_text, scratch, tool};
use crate::name::HandlerName;

const COMPONENTIZE: tool::Packaged = tool::Packaged {
    package: "componentize-py",
    version: "0.25.1",
    program: "componentize-py",
    version_argument: "--version",
    module: None,
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
    options: &Options,
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
    let packages = build.join("packages");
    if !project.dependencies.is_empty() && !options.offline {
        progress("pip install: the dependencies of `pyproject.toml`");
        tool::run(
            tool::pip(&COMPONENTIZE.python(options))
                // Pure Python only: a compiled extension is for another machine than this one.
                .args([
                    "--upgrade",
                    "--only-binary=:all:",
                    "--platform=any",
                    "--target",
                ])
                .arg(&packages)
                .args(&project.dependencies),
            "apt install python3-pip",
        )?;
    }
    progress("componentize-py");
    let component = build.join("handler.wasm");
    let mut command: Command = tool::command(&program);
    command
        .current_dir(folder)
        // The tool's own backtrace would follow what Python says.
        .env("RUST_BACKTRACE", "0")
        .arg("--wit-path")
        .arg(wit)
        .args(["--world", "handler", "componentize", "--python-path", "."]);
    if packages.is_dir() {
        command.arg("--python-path").arg(&packages);
    }
    command.args(["handler", "--output"]).arg(&component);
    tool::run(&mut command, "pip install componentize-py").map_err(without_wrapper)?;
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
