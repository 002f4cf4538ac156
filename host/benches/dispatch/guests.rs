//! The guest of every measure, and a host's folders with it in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use pointsman::config::Config;
use tempfile::TempDir;

/// The command of most measures. `one`, `two` and `ten` have one length.
pub(crate) fn nothing(to: &str) -> String {
    format!(r#"{{"do":"nothing","to":"{to}"}}"#)
}

/// How many handlers a command reaches by its `to`.
pub(crate) const REACH: [(&str, usize); 3] = [("one", 1), ("two", 2), ("ten", 10)];

/// The component of `host/tests/guests/examples/probe.rs`.
pub(crate) fn probe() -> Vec<u8> {
    example("probe")
}

/// The component of an example in `host/tests/guests`, built as the tests build it.
pub(crate) fn example(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let bench = std::env::current_exe().expect("this file");
    // target/release/deps/dispatch-…
    let target = bench.ancestors().nth(3).expect("the target folder");
    let status = Command::new(env!("CARGO"))
        .current_dir(root.expect("the workspace"))
        .args([
            "rustc",
            "--quiet",
            "--package",
            "test-guests",
            "--example",
            name,
        ])
        .args(["--target", "wasm32-unknown-unknown", "--profile", "plugin"])
        // As `pointsman build` links handlers.
        .args(["--", "-C", "link-arg=-zstack-size=98304"])
        .env(
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
            "wasm-component-ld",
        )
        .env("CARGO_TARGET_DIR", target)
        .status();
    assert!(
        status.expect("cargo runs").success(),
        "`{name}` does not build"
    );
    let built = target.join(format!(
        "wasm32-unknown-unknown/plugin/examples/{name}.wasm"
    ));
    fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}", built.display()))
}

/// The same component with other bytes: a custom section with `number` in it.
pub(crate) fn changed(component: &[u8], number: u64) -> Vec<u8> {
    let mut changed = component.to_vec();
    // Section 0, 10 bytes: a name of 1 byte and the number.
    changed.extend([0, 10, 1, b'n']);
    changed.extend(number.to_le_bytes());
    changed
}

/// A host's folders, gone with the value.
pub(crate) struct Folders(TempDir);

impl Folders {
    /// `handlers` probes, of which a command reaches as many as [`REACH`] says.
    pub(crate) fn new(component: &[u8], handlers: usize) -> Self {
        let folders = Self(tempfile::tempdir().expect("a temporary folder"));
        fs::create_dir(folders.plugins()).expect("a new folder");
        fs::create_dir(folders.rules()).expect("a new folder");
        for number in 0..handlers {
            folders.plugin(number, component);
        }
        let rules: Vec<_> = REACH
            .into_iter()
            .filter(|(_, reached)| *reached <= handlers)
            .map(|(to, reached)| {
                let names: Vec<_> = (0..reached)
                    .map(|number| format!(r#""probe-p{number}""#))
                    .collect();
                let names = names.join(",");
                format!(r#"{{"name":"{to}","match":{{"to":["{to}"]}},"handlers":[{names}]}}"#)
            })
            .collect();
        let rules = format!(r#"{{"rules":[{}]}}"#, rules.join(","));
        fs::write(folders.rules().join("rules.json"), rules).expect("a writable folder");
        folders
    }

    /// Puts a component in place as an installer does.
    pub(crate) fn plugin(&self, number: usize, component: &[u8]) {
        let temporary = self.0.path().join("temporary");
        let path = self.plugins().join(format!("probe-p{number}.wasm"));
        fs::write(&temporary, component).expect("a writable folder");
        fs::rename(&temporary, path).expect("the same file system");
    }

    /// What the operator says of one of them.
    pub(crate) fn settings(&self, number: usize, toml: &str) {
        let path = self.plugins().join(format!("probe-p{number}.toml"));
        fs::write(path, toml).expect("a writable folder");
    }

    /// Where a host keeps its queue.
    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.0.path().join("plugins")
    }

    pub(crate) fn rules(&self) -> PathBuf {
        self.0.path().join("rules")
    }

    /// The default settings over these folders.
    pub(crate) fn config(&self) -> Config {
        Config {
            plugins: self.plugins(),
            rules: self.rules(),
            ..Config::default()
        }
    }
}
