//! Owns the packages of a Python handler: `dependencies` of `pyproject.toml`,
//! resolved once into `requirements.lock`, which is kept with the source, and
//! installed into the build folder from there.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{BuildError, read_text, tool};

/// Where packages come from and go to.
pub(super) struct Fetch<'a> {
    pub(super) folder: &'a Path,
    pub(super) build: &'a Path,
    pub(super) python: &'a Path,
    pub(super) offline: bool,
}

/// Packages that are there.
pub(super) struct Packages {
    pub(super) folder: PathBuf,
    /// Those that lost compiled parts.
    pub(super) compiled: Vec<String>,
}

/// Wheels in Python alone run anywhere.
const PURE: &[&str] = &["--platform=any"];
/// Many packages come compiled, with the same in Python beside it: the compiled
/// part is removed. One platform for all machines, so that one lock file fits all.
const COMPILED: &[&str] = &[
    "--platform=any",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_27_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
    "--implementation=cp",
    // That of componentize-py.
    "--python-version=3.14",
];

/// The first line of a lock file, before the dependencies that it locks.
const LOCKS: &str = "# locks: ";

impl Fetch<'_> {
    /// The folder with the `dependencies`. They are fetched when they or their
    /// lock file change, and never offline.
    pub(super) fn packages(
        &self,
        dependencies: &[String],
        progress: &dyn Fn(&str),
    ) -> Result<Packages, BuildError> {
        let folder = self.build.join("packages");
        let lock = self.folder.join("requirements.lock");
        let locks = format!("{LOCKS}{}", dependencies.join("; "));
        let locked = lock.is_file() && read_text(&lock)?.starts_with(&format!("{locks}\n"));
        // Beside the folder, and written last: what it names is there whole.
        let installed = self.build.join("packages.txt");
        if locked && fs::read_to_string(&installed).ok() == Some(read_text(&lock)?) {
            let compiled = fs::read_to_string(self.build.join("packages-compiled.txt"));
            return Ok(Packages {
                folder,
                compiled: compiled
                    .unwrap_or_default()
                    .lines()
                    .map(Into::into)
                    .collect(),
            });
        }
        if self.offline {
            return Err(BuildError::MissingTool {
                tool: format!("`{}` of `dependencies`", dependencies.join("`, `")),
                fix: format!("pointsman build {}", self.folder.display()),
            });
        }
        progress("pip install: the dependencies of `pyproject.toml`, once");
        if locked {
            let mut arguments = vec!["--no-deps".to_owned(), "--require-hashes".into()];
            arguments.extend(["--requirement".into(), lock.display().to_string()]);
            self.install(&folder, COMPILED, &arguments)?;
        } else {
            let report = self.build.join("packages.json");
            let mut arguments = vec!["--report".to_owned(), report.display().to_string()];
            arguments.extend_from_slice(dependencies);
            match self.install(&folder, PURE, &arguments) {
                Err(BuildError::Failed { .. }) => self.install(&folder, COMPILED, &arguments)?,
                other => other?,
            }
            let text = format!("{locks}\n{}", requirements(&report)?);
            fs::write(&lock, text).map_err(BuildError::io(&lock))?;
        }
        let compiled = remove_compiled(&folder)?;
        let names = self.build.join("packages-compiled.txt");
        fs::write(&names, compiled.join("\n")).map_err(BuildError::io(&names))?;
        fs::write(&installed, read_text(&lock)?).map_err(BuildError::io(&installed))?;
        Ok(Packages { folder, compiled })
    }

    fn install(
        &self,
        into: &Path,
        platforms: &[&str],
        arguments: &[String],
    ) -> Result<(), BuildError> {
        match fs::remove_dir_all(into) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BuildError::io(into)(error));
            }
            _ => {}
        }
        let mut pip = tool::pip(self.python);
        // Wheels alone: nothing of a package runs before the build uses it.
        pip.arg("--only-binary=:all:")
            .args(platforms)
            .arg("--target")
            .arg(into)
            .args(arguments);
        tool::fetch(&mut pip, "apt install python3-pip").map(|_| ())
    }
}

/// What this reads of pip's report of an installation.
#[derive(Deserialize)]
struct Report {
    install: Vec<Installed>,
}

#[derive(Deserialize)]
struct Installed {
    metadata: Metadata,
    download_info: DownloadInfo,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct DownloadInfo {
    archive_info: ArchiveInfo,
}

#[derive(Deserialize)]
struct ArchiveInfo {
    hashes: Hashes,
}

#[derive(Deserialize)]
struct Hashes {
    sha256: String,
}

/// The lines of a lock file: each package in its version, by its digest.
fn requirements(report: &Path) -> Result<String, BuildError> {
    let mut report: Report = serde_json::from_str(&read_text(report)?)
        .map_err(|error| BuildError::build_file(report, error))?;
    report
        .install
        .sort_by_key(|package| package.metadata.name.to_lowercase());
    let mut lines = String::new();
    for Installed {
        metadata,
        download_info,
    } in report.install
    {
        let Metadata { name, version } = metadata;
        let digest = download_info.archive_info.hashes.sha256;
        // Writing to a `String` does not fail.
        let _ = writeln!(lines, "{name}=={version} --hash=sha256:{digest}");
    }
    Ok(lines)
}

/// Removes what is compiled for a processor; gives the packages that had some.
fn remove_compiled(folder: &Path) -> Result<Vec<String>, BuildError> {
    let mut packages = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).map_err(BuildError::io(&next))? {
            let path = entry.map_err(BuildError::io(&next))?.path();
            if path.is_dir() {
                open.push(path);
            } else if path
                .extension()
                .is_some_and(|it| it == "so" || it == "pyd" || it == "dylib")
            {
                fs::remove_file(&path).map_err(BuildError::io(&path))?;
                let top = path
                    .strip_prefix(folder)
                    .ok()
                    .and_then(|it| it.iter().next());
                packages.extend(top.map(|name| name.to_string_lossy().into_owned()));
            }
        }
    }
    packages.sort();
    packages.dedup();
    Ok(packages)
}
