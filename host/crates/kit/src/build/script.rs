//! JavaScript and TypeScript: checked by `tsc` (TypeScript only), bundled by
//! `esbuild`, put on an embedded engine by `componentize-qjs` (QuickJS, about
//! 1 MiB) or, where `devDependencies` name it, by `jco` (StarlingMonkey, about
//! 12 MiB). All of them are packages of the handler's own folder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use super::{
    About, BuildError, BuildOptions, Language, contract, environment, read_bytes, read_text,
    scratch, tool, world,
};
use pointsman_core::name::HandlerName;

const QUICKJS: (&str, &str) = ("componentize-qjs", "0.4.5");
/// 1.35.0 does not install on a clean machine.
const STARLINGMONKEY: (&str, &str) = ("@bytecodealliance/jco", "1.34.0");
const ESBUILD: &str = "esbuild";
const TYPESCRIPT: &str = "typescript";

/// What esbuild and the engines ask for.
const NODE_LEAST: &[u32] = &[18, 0];
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };
const NODE_FIX: &str = "apt install nodejs npm";

/// What this recipe reads of `package.json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PackageJson {
    name: String,
    version: Option<String>,
    description: Option<String>,
    license: Option<String>,
    main: Option<String>,
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, String>,
}

fn package_json(folder: &Path) -> Result<PackageJson, BuildError> {
    let path = folder.join("package.json");
    serde_json::from_str(&read_text(&path)?).map_err(|error| BuildError::build_file(path, error))
}

/// The file with the handler.
fn main_file(folder: &Path, package: &PackageJson) -> Result<String, BuildError> {
    let path = folder.join("package.json");
    let Some(main) = &package.main else {
        return Err(BuildError::build_file(
            path,
            "has no `main`: it names the handler's file, such as `src/handler.js`",
        ));
    };
    if !folder.join(main).is_file() {
        return Err(BuildError::build_file(
            path,
            format!("`main` is `{main}`, which does not exist"),
        ));
    }
    Ok(main.clone())
}

/// TypeScript where `main` of `package.json` is a TypeScript file.
pub(super) fn language(folder: &Path) -> Result<Language, BuildError> {
    let main = main_file(folder, &package_json(folder)?)?;
    let typed = [".ts", ".mts"].iter().any(|suffix| main.ends_with(suffix));
    Ok(if typed {
        Language::TypeScript
    } else {
        Language::JavaScript
    })
}

/// Whether Node.js is there, new enough and with npm.
pub(super) fn check_tools() -> Result<(), BuildError> {
    tool::require("node", NODE_LEAST, Path::new("."), NODE_FIX)?;
    tool::run(environment::command(NPM).arg("--version"), NODE_FIX).map(drop)
}

pub(super) fn build(
    folder: &Path,
    language: Language,
    options: &BuildOptions,
    progress: &dyn Fn(&str),
) -> Result<(About, Vec<u8>), BuildError> {
    let package = package_json(folder)?;
    let main = main_file(folder, &package)?;
    let wit = contract(folder)?;
    let (engine, version) = match &package.dev_dependencies {
        dependencies if dependencies.contains_key(STARLINGMONKEY.0) => STARLINGMONKEY,
        _ => QUICKJS,
    };
    tool::require("node", NODE_LEAST, folder, NODE_FIX)?;
    let typed = language == Language::TypeScript;
    let tools = [Some(engine), Some(ESBUILD), typed.then_some(TYPESCRIPT)];
    fetch(
        folder,
        &tools
            .into_iter()
            .flatten()
            .chain(package.dependencies.keys().map(String::as_str))
            .collect::<Vec<_>>(),
        options,
        progress,
    )?;
    pinned(folder, engine, version)?;

    if typed {
        progress("tsc");
        tool::run(
            program(folder, TYPESCRIPT, "tsc")?.args(["--noEmit", "--project", "."]),
            NODE_FIX,
        )?;
    }
    progress("esbuild");
    let build = scratch(folder)?;
    let bundle = build.join("handler.js");
    let http = bundled(folder, &main, &bundle)?;
    let world = if http {
        world::with_http(&wit, &build, world::Versions::Masked)?
    } else {
        wit
    };
    progress(engine);
    let component = bundle.with_extension("wasm");
    let (mut command, output) = if engine == QUICKJS.0 {
        let mut command = program(folder, engine, "componentize-qjs")?;
        command
            .args(["--sync", "--opt-size", "--world", "handler", "--js"])
            .arg(&bundle);
        (command, "--output")
    } else {
        let mut command = program(folder, engine, "jco")?;
        // Nothing of WASI is granted but what the host links: no timers, no fetch.
        command.arg("componentize").arg(&bundle).args([
            "--disable",
            "all",
            "--world-name",
            "handler",
        ]);
        (command, "--out")
    };
    tool::run(
        command.arg("--wit").arg(world).arg(output).arg(&component),
        NODE_FIX,
    )?;
    let mut bytes = read_bytes(&component)?;
    if http {
        world::unmask(&mut bytes);
    }
    Ok((about(folder, package)?, bytes))
}

/// The engine runs no promise jobs during a synchronous call: functions that wait
/// become code that uses the promises of the template's `async.js`.
const NOT_ASYNC: [&str; 3] = [
    "--supported:async-await=false",
    "--supported:async-generator=false",
    "--supported:for-await=false",
];

/// What a bundle names that waits for something.
const WAITING: [&str; 8] = [
    "Promise",
    "setTimeout",
    "setInterval",
    "queueMicrotask",
    "__async",
    "__asyncGenerator",
    "__forAwait",
    "__await",
];

/// Makes one file of the handler and all that it imports. A handler that waits
/// for nothing carries neither promises nor `fetch`. Gives whether it imports wasi:http.
fn bundled(folder: &Path, main: &str, bundle: &Path) -> Result<bool, BuildError> {
    let runtime = Path::new(main).with_file_name("pointsman");
    let (waits, fetches) = (runtime.join("async.js"), runtime.join("fetch.js"));
    // A folder of an earlier release has none.
    let has_runtime = folder.join(&waits).is_file() && folder.join(&fetches).is_file();
    let esbuild = |injected: &[&Path]| {
        let mut command = program(folder, ESBUILD, ESBUILD)?;
        command
            .arg(main)
            .args([
                "--bundle",
                "--format=esm",
                "--platform=neutral",
                "--main-fields=module,main",
            ])
            .args(["--target=es2023", "--log-level=warning"])
            // The host's: they are there when the component runs.
            .args(["--external:pointsman:*", "--external:wasi:*"])
            .arg(format!("--outfile={}", bundle.display()));
        if has_runtime {
            command.args(NOT_ASYNC);
        }
        for file in injected {
            command.arg(format!("--inject:{}", file.display()));
        }
        tool::run(&mut command, NODE_FIX)?;
        read_text(bundle)
    };
    if !has_runtime {
        esbuild(&[])?;
        return Ok(false);
    }
    let mut text = esbuild(&[&fetches])?;
    if words(&text).any(|word| WAITING.contains(&word)) {
        // First: what packages do as they are loaded may wait, too.
        text = esbuild(&[&waits, &fetches])?;
    }
    let http = text.contains("\"wasi:http/");
    if http {
        std::fs::write(bundle, world::mask(&text)).map_err(BuildError::io(bundle))?;
    }
    Ok(http)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_'))
}

fn about(folder: &Path, package: PackageJson) -> Result<About, BuildError> {
    // `@scope/name`: the scope says whose it is.
    let name = package.name.rsplit('/').next().unwrap_or_default();
    let name = HandlerName::parse(name)
        .map_err(|error| BuildError::build_file(folder.join("package.json"), error))?;
    Ok(About {
        name,
        version: package.version,
        description: package.description,
        license: package.license,
    })
}

/// The `node_modules` that holds `package`: the folder's own or, in a workspace,
/// one further up, as node finds it. One of another user is none: programs run from it.
fn installed(folder: &Path, package: &str) -> Option<PathBuf> {
    let ancestors = folder.ancestors().filter(|it| same_owner(folder, it));
    ancestors
        .map(|ancestor| ancestor.join("node_modules"))
        .find(|modules| modules.join(package).join("package.json").is_file())
}

#[cfg(unix)]
fn same_owner(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let owner = |path: &Path| path.metadata().map(|metadata| metadata.uid()).ok();
    owner(one).is_some() && owner(one) == owner(other)
}

#[cfg(not(unix))]
fn same_owner(_: &Path, _: &Path) -> bool {
    true
}

/// The arguments of every `npm install`: nothing of a package runs before the
/// build uses it, and its tools are there whatever npm's settings leave out.
const NPM_FLAGS: [&str; 2] = ["--ignore-scripts", "--include=dev"];

/// What a `.npmrc` may say of every other install: elsewhere, nothing, or without
/// the programs of the packages.
const NPM_SETTINGS: [(&str, &str); 5] = [
    ("npm_config_bin_links", "true"),
    ("npm_config_dry_run", "false"),
    ("npm_config_global", "false"),
    ("npm_config_location", "project"),
    ("npm_config_package_lock_only", "false"),
];

/// Installs what `package.json` names, where a tool or a dependency is not there yet:
/// the versions of the lock file, and what was added to `package.json` since.
fn fetch(
    folder: &Path,
    packages: &[&str],
    options: &BuildOptions,
    progress: &dyn Fn(&str),
) -> Result<(), BuildError> {
    let missing = |tool: &&&str| installed(folder, tool).is_none();
    let Some(first) = packages.iter().find(missing) else {
        return Ok(());
    };
    let flags = NPM_FLAGS.join(" ");
    if options.offline {
        let fix = format!("cd {} && npm install {flags}", folder.display());
        return Err(BuildError::MissingTool {
            tool: format!("`{first}`"),
            fix,
        });
    }
    progress(&format!(
        "installing the packages of `package.json`, once: npm install {flags}"
    ));
    tool::fetch(
        environment::command(NPM)
            .arg("install")
            .args(NPM_FLAGS)
            .args(["--no-fund", "--no-audit", "--loglevel=error"])
            .envs(NPM_SETTINGS)
            .current_dir(folder),
        NODE_FIX,
    )?;
    match packages.iter().find(missing) {
        None => Ok(()),
        Some(tool) => Err(BuildError::MissingTool {
            tool: format!("`{tool}`"),
            fix: format!(
                "cd {} && npm install --save-dev {flags} {tool}",
                folder.display()
            ),
        }),
    }
}

/// Refuses an engine of another version than the one this host was tried with.
fn pinned(folder: &Path, engine: &str, wanted: &str) -> Result<(), BuildError> {
    #[derive(Deserialize)]
    struct Installed {
        version: String,
    }
    let path = modules(folder, engine)?.join(engine).join("package.json");
    let found: Installed = serde_json::from_str(&read_text(&path)?)
        .map_err(|error| BuildError::build_file(path, error))?;
    if found.version == wanted {
        return Ok(());
    }
    Err(BuildError::WrongVersion {
        tool: format!("`{engine}`"),
        found: found.version,
        wanted: wanted.into(),
        fix: format!(
            "cd {} && npm install --save-dev --save-exact {} {engine}@{wanted}",
            folder.display(),
            NPM_FLAGS.join(" ")
        ),
    })
}

/// The `node_modules` that holds `package`, which was looked for before.
fn modules(folder: &Path, package: &str) -> Result<PathBuf, BuildError> {
    installed(folder, package).ok_or_else(|| {
        BuildError::build_file_with_hint(
            folder.join("package.json"),
            format!("`{package}` is missing from `node_modules`"),
            "build again",
        )
    })
}

/// The program `name` of an installed package.
fn program(folder: &Path, package: &str, name: &str) -> Result<Command, BuildError> {
    let suffix = if cfg!(windows) { ".cmd" } else { "" };
    let programs = modules(folder, package)?.join(".bin");
    let mut command = environment::command(programs.join(format!("{name}{suffix}")));
    command.current_dir(folder);
    Ok(command)
}
