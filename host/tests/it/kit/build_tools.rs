//! `pointsman build` where a tool is missing, old, or cannot reach its
//! registry. The tools are shell scripts in a folder that is the whole `PATH`.
#![cfg(unix)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use expect_test::{Expect, expect};

use crate::{
    cli::{output, pointsman},
    host::Folders,
    kit::contract::released,
};

/// A new handler, and the tools that its build finds.
struct Bench {
    folders: Folders,
}

impl Bench {
    fn new(language: &str) -> Self {
        let folders = Folders::new();
        let made = output(&folders, &["new", "greet", "--lang", language]);
        assert!(made.status.success());
        fs::create_dir(folders.path().join("bin")).unwrap();
        Self { folders }
    }

    /// A tool that is this shell script.
    fn tool(self, name: &str, script: &str) -> Self {
        self.script(&format!("bin/{name}"), script)
    }

    fn script(self, path: &str, script: &str) -> Self {
        let bench = self.file(path, &format!("#!/bin/sh\n{script}\n"));
        let path = bench.folders.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        bench
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path: PathBuf = self.folders.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A build with these tools alone.
    fn build(&self) -> Command {
        let mut build = pointsman(&self.folders, &["build", "greet"]);
        build
            .env("PATH", self.folders.path().join("bin"))
            .env("XDG_CACHE_HOME", self.folders.path().join("cache"));
        build
    }

    /// What a build says that fails, without the path of the folders.
    fn says(&self, flags: &[&str], wanted: Expect) {
        let output = self.build().args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            fs::read_dir(self.folders.plugins())
                .unwrap()
                .next()
                .is_none()
        );
        let text = String::from_utf8(output.stderr).unwrap();
        let resolved = self.folders.path().canonicalize().unwrap();
        let text = text.replace(&format!("{}/", resolved.display()), "");
        wanted.assert_eq(&self.folders.without_path(&text));
    }
}

#[test]
fn a_missing_tool_is_named_with_the_command_that_installs_it() {
    Bench::new("rust").says(
        &[],
        expect![[r#"
        error: `cargo` is missing
          hint: install it with `rustup toolchain install stable`
    "#]],
    );
    Bench::new("js").says(
        &[],
        expect![[r#"
        error: `node` is missing
          hint: install it with `apt install nodejs npm`
    "#]],
    );
    Bench::new("python").says(&[], expect![[r#"
        installing componentize-py 0.25.1, once: python3 -m venv cache/pointsman/tools/componentize-py-0.25.1 && cache/pointsman/tools/componentize-py-0.25.1/bin/python -m pip install componentize-py==0.25.1
        error: `python3` is missing
          hint: install it with `apt install python3 python3-venv`
    "#]]);
    Bench::new("c").says(&[], expect![[r#"
        installing ziglang 0.17.1, once: python3 -m venv cache/pointsman/tools/ziglang-0.17.1 && cache/pointsman/tools/ziglang-0.17.1/bin/python -m pip install ziglang==0.17.1
        error: `python3` is missing
          hint: install it with `apt install python3 python3-venv`
    "#]]);
}

#[test]
fn offline_nothing_is_fetched_and_what_is_missing_is_named() {
    let node = "echo v22.1.0";
    let offline = ["--offline"];
    Bench::new("rust")
        .tool("cargo", r#"case "$1" in --version) echo "cargo 1.95.0";; *) printf '{"packages":[{"name":"greet","version":"0.1.0","manifest_path":"%s/Cargo.toml","targets":[{"crate_types":["cdylib"]}]}],"workspace_root":"%s"}' "$PWD" "$PWD";; esac"#)
        .tool("rustc", "echo /no/such/folder")
        .says(&offline, expect![[r#"
            error: the Rust target `wasm32-unknown-unknown` is missing
              hint: install it with `rustup target add wasm32-unknown-unknown`
        "#]]);
    Bench::new("ts").tool("node", node).says(
        &offline,
        expect![[r#"
            error: `componentize-qjs` is missing
              hint: install it with `cd greet && npm install --ignore-scripts --include=dev`
        "#]],
    );
    Bench::new("python").says(&offline, expect![[r#"
        error: `componentize-py` 0.25.1 is missing
          hint: install it with `python3 -m venv cache/pointsman/tools/componentize-py-0.25.1 && cache/pointsman/tools/componentize-py-0.25.1/bin/python -m pip install componentize-py==0.25.1`
    "#]]);
    Bench::new("c").says(&offline, expect![[r#"
        error: `ziglang` 0.17.1 is missing
          hint: install it with `python3 -m venv cache/pointsman/tools/ziglang-0.17.1 && cache/pointsman/tools/ziglang-0.17.1/bin/python -m pip install ziglang==0.17.1`
    "#]]);
    let pyproject = "[project]\nname = \"greet\"\ndependencies = [\"attrs\", \"iso8601>=2\"]\n";
    Bench::new("python")
        .tool("componentize-py", "echo componentize-py 0.25.1")
        .file("greet/pyproject.toml", pyproject)
        // What an earlier list of dependencies left behind does not do.
        .file("greet/build/packages.txt", "attrs")
        .file("greet/build/packages/attrs.py", "")
        .says(
            &offline,
            expect![[r#"
                error: `attrs`, `iso8601>=2` of `dependencies` is missing
                  hint: install it with `pointsman build greet`
            "#]],
        );
}

#[test]
fn a_tool_of_the_wrong_version_is_named_with_the_right_one() {
    Bench::new("rust")
        .tool("cargo", "echo 'cargo 1.70.0 (ec8a8a0ca 2023-04-25)'")
        .says(
            &[],
            expect![[r#"
                error: `cargo` 1.70.0 (ec8a8a0ca 2023-04-25) is not supported: 1.88 or later is required
                  hint: install it with `rustup toolchain install stable`
            "#]],
        );
    Bench::new("js").tool("node", "echo v16.20.2").says(
        &[],
        expect![[r#"
            error: `node` v16.20.2 is not supported: 18.0 or later is required
              hint: install it with `apt install nodejs npm`
        "#]],
    );
    Bench::new("js")
        .tool("node", "echo v22.1.0")
        .file(
            "greet/node_modules/componentize-qjs/package.json",
            r#"{"version":"0.3.0"}"#,
        )
        .file(
            "greet/node_modules/esbuild/package.json",
            r#"{"version":"0.28.2"}"#,
        )
        .says(
            &[],
            expect![[r#"
                error: `componentize-qjs` 0.3.0 is not supported: 0.4.5 is required
                  hint: install it with `cd greet && npm install --save-dev --save-exact --ignore-scripts --include=dev componentize-qjs@0.4.5`
            "#]],
        );
    Bench::new("python")
        .tool("componentize-py", "echo componentize-py 0.17.0")
        .says(&["--offline"], expect![[r#"
            error: `componentize-py` 0.17.0 is not supported: 0.25.1 is required
              hint: install it with `python3 -m venv cache/pointsman/tools/componentize-py-0.25.1 && cache/pointsman/tools/componentize-py-0.25.1/bin/python -m pip install componentize-py==0.25.1`
        "#]]);
    Bench::new("c")
        .tool("zig", "echo 0.13.0")
        .says(&["--offline"], expect![[r#"
            error: `zig` 0.13.0 is not supported: 0.17.1 is required
              hint: install it with `python3 -m venv cache/pointsman/tools/ziglang-0.17.1 && cache/pointsman/tools/ziglang-0.17.1/bin/python -m pip install ziglang==0.17.1`
        "#]]);
}

#[test]
fn without_a_network_that_is_what_is_said() {
    Bench::new("js")
        .tool("node", "echo v22.1.0")
        .tool("npm", "echo 'npm error code ENOTFOUND' >&2\necho 'npm error network request to https://registry.npmjs.org/esbuild failed' >&2\nexit 1")
        .says(&[], expect![[r#"
            installing the packages of `package.json`, once: npm install --ignore-scripts --include=dev
            error: no network for `npm install --ignore-scripts --include=dev --no-fund --no-audit --loglevel=error`
              npm error code ENOTFOUND
              npm error network request to https://registry.npmjs.org/esbuild failed
              hint: it fetches what is missing once; try again with a network
        "#]]);
    // A new environment is a folder with a Python in it.
    let venv = r#"for last; do :; done
/bin/mkdir -p "$last/bin"
printf '#!/bin/sh\necho "ERROR: Failed to establish a new connection: [Errno -3]" >&2\nexit 1\n' > "$last/bin/python"
/bin/chmod +x "$last/bin/python""#;
    Bench::new("python")
        .tool("python3", venv)
        .says(&[], expect![[r#"
            installing componentize-py 0.25.1, once: python3 -m venv cache/pointsman/tools/componentize-py-0.25.1 && cache/pointsman/tools/componentize-py-0.25.1/bin/python -m pip install componentize-py==0.25.1
            error: no network for `cache/pointsman/tools/componentize-py-0.25.1/bin/python -m pip install --quiet --no-input --disable-pip-version-check --only-binary=:all: --require-hashes --requirement cache/pointsman/tools/componentize-py-0.25.1/requirements.txt`
              ERROR: Failed to establish a new connection: [Errno -3]
              hint: it fetches what is missing once; try again with a network
        "#]]);
    Bench::new("c")
        .tool("python3", venv)
        .says(&[], expect![[r#"
            installing ziglang 0.17.1, once: python3 -m venv cache/pointsman/tools/ziglang-0.17.1 && cache/pointsman/tools/ziglang-0.17.1/bin/python -m pip install ziglang==0.17.1
            error: no network for `cache/pointsman/tools/ziglang-0.17.1/bin/python -m pip install --quiet --no-input --disable-pip-version-check --only-binary=:all: --require-hashes --requirement cache/pointsman/tools/ziglang-0.17.1/requirements.txt`
              ERROR: Failed to establish a new connection: [Errno -3]
              hint: it fetches what is missing once; try again with a network
        "#]]);
    Bench::new("rust")
        .tool("cargo", r#"case "$1" in --version) echo "cargo 1.95.0";; *) printf '{"packages":[{"name":"greet","version":"0.1.0","manifest_path":"%s/Cargo.toml","targets":[{"crate_types":["cdylib"]}]}],"workspace_root":"%s"}' "$PWD" "$PWD";; esac"#)
        .tool("rustc", "echo /no/such/folder")
        .tool("rustup", "echo 'error: could not download file: dns error: failed to lookup address' >&2\nexit 1")
        .says(&[], expect![[r#"
            adding the Rust target, once: rustup target add wasm32-unknown-unknown
            error: no network for `rustup target add wasm32-unknown-unknown`
              error: could not download file: dns error: failed to lookup address
              hint: it fetches what is missing once; try again with a network
        "#]]);
}

#[test]
fn a_build_that_fails_gives_the_compiler_the_word() {
    Bench::new("python")
        .tool(
            "componentize-py",
            r#"[ "$1" = --version ] && echo componentize-py 0.25.1 && exit
echo 'Traceback (most recent call last): its own script' >&2
echo 'AssertionError: handler.py:3: SyntaxError: invalid syntax' >&2
exit 1"#,
        )
        .says(&[], expect![[r#"
            componentize-py
            error: `componentize-py --wit-path greet/build/wit --world handler componentize --python-path . handler --output greet/build/handler.wasm` failed
              handler.py:3: SyntaxError: invalid syntax
        "#]]);
    Bench::new("c")
        .tool(
            "zig",
            r#"[ "$1" = version ] && echo 0.17.1 && exit
echo 'src/handler.c:9:3: error: use of undeclared identifier' >&2
exit 1"#,
        )
        .says(&[], expect![[r#"
            zig cc (the first time on a machine it compiles the C library, too)
            error: `zig cc -target wasm32-wasi -mexec-model=reactor -std=gnu17 -Os -Wall -Wextra -I src -I build/bindings src/handler.c src/pointsman.c src/pointsman_http.c src/pointsman_services.c greet/build/bindings/handler.c greet/build/bindings/handler_component_type.o -o greet/build/handler.wasm` failed
              src/handler.c:9:3: error: use of undeclared identifier
        "#]]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn a_build_sees_nothing_of_the_callers_environment_that_changes_it() {
    let sees = r#"/usr/bin/env >> "$HOME/seen""#;
    let metadata = r#"printf '{"packages":[{"name":"greet","version":"0.1.0","manifest_path":"%s/Cargo.toml","targets":[{"crate_types":["cdylib"]}]}],"workspace_root":"%s"}' "$PWD" "$PWD""#;
    let venv = format!(
        "{sees}\nfor last; do :; done\n/bin/mkdir -p \"$last/bin\"\nprintf '#!/bin/sh\\n/usr/bin/env >> \"$HOME/seen\"\\nexit 1\\n' > \"$last/bin/python\"\n/bin/chmod +x \"$last/bin/python\""
    );
    let rust = format!(
        "{sees}\ncase \"$1\" in --version) echo 'cargo 1.95.0';; metadata) {metadata};; *) exit 1;; esac"
    );
    for (language, tools) in [
        (
            "js",
            &[
                ("node", &*format!("{sees}; echo v22.1.0")),
                ("npm", &format!("{sees}; exit 1")),
            ][..],
        ),
        (
            "rust",
            &[("cargo", &*rust), ("rustc", &format!("{sees}; echo /"))],
        ),
        ("python", &[("python3", &*venv)]),
        ("c", &[("python3", &*venv)]),
    ] {
        let mut bench = Bench::new(language);
        for (name, script) in tools {
            bench = bench.tool(name, script);
        }
        let mut build = bench.build();
        build.env("HOME", bench.folders.path());
        // Some that tools obey, and one that nobody knows.
        for name in [
            "NODE_ENV",
            "NODE_OPTIONS",
            "NODE_PATH",
            "npm_config_omit",
            "NPM_CONFIG_PREFIX",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "RUSTC_WRAPPER",
            "PYTHONPATH",
            "PYTHONHOME",
            "PIP_TARGET",
            "CC",
            "CFLAGS",
            "CPATH",
            "LD_LIBRARY_PATH",
            "CARGO_REGISTRY_TOKEN",
            "KNOWN_TO_NOBODY",
        ] {
            build.env(name, "hostile");
        }
        build
            .env("npm_config_registry", "kept")
            .env("https_proxy", "kept");
        assert_eq!(build.output().unwrap().status.code(), Some(1));
        let seen = fs::read_to_string(bench.folders.path().join("seen")).unwrap();
        let hostile: Vec<_> = seen
            .lines()
            .filter(|line| line.ends_with("=hostile"))
            .collect();
        assert!(hostile.is_empty(), "{language}: {hostile:?}");
        for kept in [
            "npm_config_registry=kept",
            "https_proxy=kept",
            "XDG_CACHE_HOME=",
        ] {
            assert!(seen.contains(kept), "{language}: {kept}: {seen}");
        }
        assert!(seen.matches("PATH=").count() >= 2, "{language}: {seen}");
        // Nor does it obey what the files of npm and pip say of every install.
        let settings: &[&str] = match language {
            "js" => &["npm_config_global=false", "npm_config_bin_links=true"],
            "rust" => &[],
            _ => &["PIP_USER=0"],
        };
        for setting in settings {
            assert!(seen.contains(setting), "{language}: {setting}: {seen}");
        }
    }
}

#[test]
fn npm_runs_no_script_of_a_package_and_installs_the_tools_in_production_too() {
    let bench = Bench::new("ts")
        .tool("node", "echo v22.1.0")
        .tool("npm", r#"echo "$@" >> "$HOME/seen""#);
    let mut build = bench.build();
    build
        .env("HOME", bench.folders.path())
        .env("NODE_ENV", "production");
    let said = String::from_utf8(build.output().unwrap().stderr).unwrap();
    // What the template's lock file says, whose files are named without a registry.
    let seen = fs::read_to_string(bench.folders.path().join("seen")).unwrap();
    assert!(
        seen.starts_with("install --ignore-scripts --include=dev "),
        "{seen}"
    );
    let lock = fs::read_to_string(bench.folders.path().join("greet/package-lock.json")).unwrap();
    assert!(
        lock.contains("\"integrity\": \"sha512-") && !lock.contains("http"),
        "{lock}"
    );
    // A command that installs it, whatever the shell's NODE_ENV says.
    assert!(
        said.contains("npm install --save-dev --ignore-scripts --include=dev componentize-qjs`"),
        "{said}"
    );
}

/// A `node_modules` at `path` whose tools build the released handler.
fn with_packages(bench: Bench, path: &str) -> Bench {
    let component = bench.folders.path().join("component.wasm");
    fs::write(&component, released("0.1.0")).unwrap();
    let copy = format!(
        "for last; do :; done\n/bin/cp {} \"$last\"",
        component.display()
    );
    bench
        .file(
            &format!("{path}/componentize-qjs/package.json"),
            r#"{"version":"0.4.5"}"#,
        )
        .file(
            &format!("{path}/esbuild/package.json"),
            r#"{"version":"0.28.2"}"#,
        )
        .script(
            &format!("{path}/.bin/esbuild"),
            r#"for it; do case "$it" in --outfile=*) echo "" > "${it#--outfile=}";; esac; done"#,
        )
        .script(&format!("{path}/.bin/componentize-qjs"), &copy)
}

#[test]
fn packages_of_an_npm_workspace_are_found_where_npm_puts_them() {
    let workspace = || {
        Bench::new("js")
            .tool("node", "echo v22.1.0")
            .file("package.json", r#"{"workspaces":["*"]}"#)
    };
    let bench = with_packages(workspace(), "node_modules");
    let output = bench.build().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(
        bench.folders.plugins().join("greet.wasm").is_file(),
        "{said}"
    );
    // The workspace's lock file counts, and the handler's own does not: `ci` would fail.
    let bench = workspace().tool("npm", r#"echo "$1" > "$HOME/seen""#);
    let mut build = bench.build();
    build.env("HOME", bench.folders.path());
    assert_eq!(build.output().unwrap().status.code(), Some(1));
    let seen = fs::read_to_string(bench.folders.path().join("seen")).unwrap();
    assert_eq!(seen, "install\n");
}

#[test]
fn without_a_folder_of_the_users_own_no_tool_is_installed_anywhere() {
    for language in ["python", "c"] {
        let bench = Bench::new(language).tool("python3", "echo ran >> ran");
        // A relative path is another folder in each place.
        for cache in ["", "relative/cache"] {
            let mut build = bench.build();
            build.env("XDG_CACHE_HOME", cache).env("HOME", "relative");
            let output = build.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("hint: set `XDG_CACHE_HOME`"), "{said}");
            assert_eq!(output.status.code(), Some(1));
        }
    }
}
