//! Runs the tools of the languages: finds them, checks their versions, keeps
//! those that no package manager puts into the handler's folder, and tells a
//! missing network from a refused source.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::{BuildError, BuildOptions, environment};

/// Where a Python environment keeps its programs.
const BIN: &str = if cfg!(windows) { "Scripts" } else { "bin" };

/// What tools say when they cannot reach a registry, in lower case: cargo and
/// rustup, npm, pip.
const NO_NETWORK: [&str; 12] = [
    "could not resolve host",
    "couldn't resolve host",
    "couldn't connect to server",
    "could not connect to server",
    "failed to connect to",
    "error sending request",
    "dns error",
    "enotfound",
    "eai_again",
    "econnrefused",
    "failed to establish a new connection",
    "temporary failure in name resolution",
];

/// A command as a user would type it, without its environment.
fn display(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs `command` to its end and gives its standard output. `fix` is the
/// command that installs the program, should it be missing. For what needs no
/// network: `ModuleNotFoundError` of a compiler's words is not npm's `ENOTFOUND`.
pub(super) fn run(command: &mut Command, fix: &str) -> Result<String, BuildError> {
    let output = output(command, fix)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let command = display(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Compilers complain on standard error, but for `tsc`. What stands beside it
    // on standard output is for machines. One ended by a signal says nothing.
    let said = [stderr.trim_end(), stdout.trim_end()]
        .into_iter()
        .find(|text| !text.is_empty());
    let output_text = said.map_or_else(|| output.status.to_string(), Into::into);
    Err(BuildError::Failed {
        command,
        output: output_text,
    })
}

/// Runs `command`, which fetches, as [`run`] does, and says where it had no network.
pub(super) fn fetch(command: &mut Command, fix: &str) -> Result<String, BuildError> {
    run(command, fix).map_err(|error| match error {
        BuildError::Failed { command, output } if says_no_network(&output) => {
            BuildError::NoNetwork { command, output }
        }
        other => other,
    })
}

fn says_no_network(output: &str) -> bool {
    let lower = output.to_lowercase();
    NO_NETWORK.iter().any(|sign| lower.contains(sign))
}

/// Runs `command` as [`run`] does, with its standard error shown as it comes.
pub(super) fn run_shown(command: &mut Command, fix: &str) -> Result<String, BuildError> {
    let output = output(command.stderr(Stdio::inherit()), fix)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(BuildError::Failed {
        command: display(command),
        output: "its messages are above".into(),
    })
}

fn output(command: &mut Command, fix: &str) -> Result<Output, BuildError> {
    command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BuildError::MissingTool {
            tool: format!("`{}`", command.get_program().to_string_lossy()),
            fix: fix.into(),
        },
        _ => BuildError::io(command.get_program())(error),
    })
}

/// The first thing in `text` that looks like a version: `v20.1.0` → `[20, 1, 0]`.
pub(super) fn version(text: &str) -> Option<Vec<u32>> {
    text.split_whitespace().find_map(|word| {
        let numbers = word
            .strip_prefix('v')
            .unwrap_or(word)
            .split(['-', '+'])
            .next()?;
        let parts: Vec<u32> = numbers
            .split('.')
            .map_while(|part| part.parse().ok())
            .collect();
        (parts.len() >= 2).then_some(parts)
    })
}

/// Runs `program --version` and refuses it below `least`.
pub(super) fn require(
    program: &str,
    least: &[u32],
    folder: &Path,
    fix: &str,
) -> Result<(), BuildError> {
    let said = run(
        environment::command(program)
            .arg("--version")
            .current_dir(folder),
        fix,
    )?;
    let wanted = least
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(".");
    if version(&said).is_some_and(|found| found.as_slice() >= least) {
        return Ok(());
    }
    Err(BuildError::WrongVersion {
        tool: format!("`{program}`"),
        // `cargo 1.70.0 (...)` names itself, `v16.20.2` does not.
        found: said.trim().trim_start_matches(program).trim().into(),
        wanted: format!("{wanted} or later"),
        fix: fix.into(),
    })
}

/// The Python that runs the tools of the Python Package Index.
const PYTHON: &str = if cfg!(windows) { "python" } else { "python3" };
const PYTHON_FIX: &str = "apt install python3 python3-venv";

/// Whether Python is there, with what makes its environments.
pub(super) fn check_python() -> Result<(), BuildError> {
    run(environment::command(PYTHON).arg("--version"), PYTHON_FIX)?;
    let asked = run(
        environment::command(PYTHON).args(["-c", "import venv, ensurepip"]),
        PYTHON_FIX,
    );
    asked.map(drop).map_err(|error| match error {
        BuildError::Failed { .. } => BuildError::MissingTool {
            tool: format!("`{PYTHON} -m venv`"),
            fix: PYTHON_FIX.into(),
        },
        error => error,
    })
}

/// A program of the Python Package Index, at exactly one version.
pub(super) struct Packaged {
    /// The package's name.
    pub(super) package: &'static str,
    /// Its version.
    pub(super) version: &'static str,
    /// The program's own name, as it may stand on the `PATH`.
    pub(super) program: &'static str,
    /// The argument that makes it say its version.
    pub(super) version_argument: &'static str,
    /// The Python module to run where the package brings no program.
    pub(super) module: Option<&'static str>,
    /// The SHA-256 of its wheels, one per platform; what the index gives must be one of them.
    pub(super) wheels: &'static [&'static str],
}

impl Packaged {
    /// The program: from the `PATH` if its version is the wanted one, else from
    /// the tools folder, where it is installed first if it is not there.
    pub(super) fn command(
        &self,
        options: &BuildOptions,
        progress: &dyn Fn(&str),
    ) -> Result<Vec<PathBuf>, BuildError> {
        let on_path = self.version_of(&[self.program.into()]);
        if on_path.as_deref() == Some(self.version) {
            return Ok(vec![self.program.into()]);
        }
        let Some(environment) = self.environment(options) else {
            let tool = format!("`{}` {}", self.package, self.version);
            return Err(BuildError::NoToolsFolder { tool });
        };
        let python = environment.join(BIN).join("python");
        let kept = match self.module {
            Some(module) => vec![python.clone(), "-m".into(), module.into()],
            None => vec![environment.join(BIN).join(self.program)],
        };
        if self.version_of(&kept).as_deref() == Some(self.version) {
            return Ok(kept);
        }
        let requirement = format!("{}=={}", self.package, self.version);
        let fix = format!(
            "{PYTHON} -m venv {} && {} -m pip install {requirement}",
            environment.display(),
            python.display()
        );
        match on_path {
            Some(found) if options.offline => Err(BuildError::WrongVersion {
                tool: format!("`{}`", self.program),
                found,
                wanted: self.version.into(),
                fix,
            }),
            None if options.offline => Err(BuildError::MissingTool {
                tool: format!("`{}` {}", self.package, self.version),
                fix,
            }),
            _ => {
                progress(&format!(
                    "installing {} {}, once: {fix}",
                    self.package, self.version
                ));
                self.install(&environment, &python, &fix)?;
                Ok(kept)
            }
        }
    }

    /// Where the tool is kept.
    fn environment(&self, options: &BuildOptions) -> Option<PathBuf> {
        let tools = options.tools_dir.as_ref()?;
        Some(tools.join(format!("{}-{}", self.package, self.version)))
    }

    /// Installs the wheel that this version of Pointsman knows: no other file of
    /// the index, and no source whose build would run code.
    fn install(&self, environment: &Path, python: &Path, fix: &str) -> Result<(), BuildError> {
        fetch(
            environment::command(PYTHON)
                .args(["-m", "venv", "--clear"])
                .arg(environment),
            PYTHON_FIX,
        )?;
        let mut requirement = format!("{}=={}", self.package, self.version);
        for wheel in self.wheels {
            requirement += &format!(" --hash=sha256:{wheel}");
        }
        let requirements = environment.join("requirements.txt");
        std::fs::write(&requirements, requirement).map_err(BuildError::io(&requirements))?;
        fetch(
            pip(python)
                .args(["--only-binary=:all:", "--require-hashes", "--requirement"])
                .arg(requirements),
            fix,
        )?;
        Ok(())
    }

    /// The version that a program says it has, if it runs at all.
    fn version_of(&self, program: &[PathBuf]) -> Option<String> {
        let said = command(program).arg(self.version_argument).output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.split_whitespace().last().map(Into::into)
    }

    /// The Python that the tool was installed with, or the machine's own.
    pub(super) fn python(&self, options: &BuildOptions) -> PathBuf {
        let kept = self.environment(options);
        let kept = kept.map(|environment| environment.join(BIN).join("python"));
        kept.filter(|python| python.is_file())
            .unwrap_or_else(|| PYTHON.into())
    }
}

/// A command of a program and its first arguments.
pub(super) fn command(program: &[PathBuf]) -> Command {
    let (program, arguments) = program.split_first().expect("a command has a program");
    let mut command = environment::command(program);
    command.args(arguments);
    command
}

/// `pip install`, quiet, in the environment of `python`.
pub(super) fn pip(python: &Path) -> Command {
    let mut command = environment::command(python);
    command.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]);
    // What a `pip.conf` may say of every other install.
    command.envs([("PIP_USER", "0"), ("PIP_DRY_RUN", "0")]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_tools_say() {
        assert_eq!(version("v20.20.2"), Some(vec![20, 20, 2]));
        assert_eq!(
            version("cargo 1.95.0 (f2d3ce0bd 2026-03-21)"),
            Some(vec![1, 95, 0])
        );
        assert_eq!(version("Python 3.11.7"), Some(vec![3, 11, 7]));
        assert_eq!(version("rustc 1.97.0-nightly"), Some(vec![1, 97, 0]));
        assert_eq!(version("none"), None);
    }

    #[test]
    fn a_missing_program_names_the_command_that_installs_it() {
        let error = run(&mut Command::new("no-such-program"), "apt install it").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`no-such-program` is missing\n  hint: install it with `apt install it`"
        );
    }
}
