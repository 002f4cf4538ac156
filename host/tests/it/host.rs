//! The set-up of the other tests: guests built once, and a host over folders
//! of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use pointsman::{
    command,
    config::Config,
    dispatcher::DispatchOptions,
    host::{Host, Loaded},
    outcome::{HandlerReport, Report},
};
use tempfile::TempDir;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .into()
}

/// Takes from the environment of the program what would configure it, and what asks
/// these tests for more, which it would refuse as an unknown setting.
pub(crate) fn without_settings(command: &mut Command) -> &mut Command {
    for (key, _) in std::env::vars_os() {
        let key_text = key.to_string_lossy();
        if key_text.starts_with("POINTSMAN_") || key_text.starts_with("OTEL_") {
            command.env_remove(key);
        }
    }
    command.env_remove("RUST_LOG")
}

/// The component that `examples/<name>.rs` of the test guests makes. All are
/// built once a run, into the target folder.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // The probe is the package's; the shipped handlers come along.
        let say = |line: &str| eprintln!("{line}");
        for shipped in [
            "create-policy",
            "default-create-policy",
            "notify-underwriter",
        ] {
            let source = root().join("plugins").join(shipped);
            let built = pointsman::build::build(&source, &Default::default(), &say);
            let built = built.unwrap_or_else(|error| panic!("{error}"));
            pointsman::build::install(&built.component, &built_folder(), &built.about.name)
                .unwrap();
        }
        for example in ["probe", "asks", "keeps"] {
            build_example(example);
        }
        target_folder().join("wasm32-unknown-unknown/plugin/examples")
    });
    let shipped = built_folder().join(format!("{name}.wasm"));
    let example = folder.join(format!("{}.wasm", name.replace('-', "_")));
    fs::read(&example)
        .or_else(|_| fs::read(&shipped))
        .unwrap_or_else(|error| panic!("{}: {error}", example.display()))
}

/// Builds a guest of `host/tests/guests` as `pointsman build` builds handlers.
fn build_example(name: &str) {
    let status = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["rustc", "--quiet", "--package", "test-guests"])
        .args(["--example", name, "--target", "wasm32-unknown-unknown"])
        .args(["--profile", "plugin"])
        .args(["--", "-C", "link-arg=-zstack-size=98304"])
        .env(
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
            "wasm-component-ld",
        )
        .env("CARGO_TARGET_DIR", target_folder())
        .status();
    assert!(
        status.unwrap().success(),
        "the guest `{name}` does not build"
    );
}

/// The component that `examples/wasi.rs` of the test guests makes: one with
/// std's input and output. Adds its target to the toolchain where it is missing.
pub(crate) fn wasi_guest() -> Vec<u8> {
    const TARGET: &str = "wasm32-wasip2";
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.current_dir(root()).args(arguments);
        command.env("CARGO_TARGET_DIR", target_folder());
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let bytes = BYTES.get_or_init(|| {
        let libraries = run("rustc", &["--print", "target-libdir", "--target", TARGET]);
        if !Path::new(&libraries).exists() {
            run("rustup", &["target", "add", TARGET]);
        }
        let package = ["build", "--package", "test-guests", "--example", "wasi"];
        let target = ["--target", TARGET, "--profile", "plugin"];
        run(env!("CARGO"), &[&package[..], &target].concat());
        let folder = target_folder().join(TARGET).join("plugin/examples");
        fs::read(folder.join("wasi.wasm")).unwrap()
    });
    bytes.clone()
}

/// The target folder that this test binary lies in.
pub(crate) fn target_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().into()
}

fn built_folder() -> PathBuf {
    target_folder().join("test-plugins")
}

/// Folders for plugins and rules, gone with the value.
pub(crate) struct Folders {
    folder: TempDir,
}

impl Folders {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("plugins")).unwrap();
        fs::create_dir(folder.path().join("rules")).unwrap();
        Self { folder }
    }

    /// The three shipped handlers, a hundred times as fast, with the shipped rules.
    pub(crate) fn shipped() -> Self {
        let folders = Self::new();
        for name in [
            "create-policy",
            "default-create-policy",
            "notify-underwriter",
        ] {
            folders.plugin(name, guest(name));
            folders.settings(name, "[config]\ndelay-scale = 0.01");
        }
        folders.rules(
            "policy.json",
            &fs::read_to_string(root().join("rules/policy.json")).unwrap(),
        );
        folders
    }

    /// The probe under each of these names, each reached by `{"to":"<name>"}`.
    pub(crate) fn probes(names: &[&str]) -> Self {
        let folders = Self::new();
        for name in names {
            folders.plugin(name, guest("probe"));
        }
        let rules: Vec<_> = names
            .iter()
            .map(|name| {
                format!(r#"{{"name":"{name}","match":{{"to":["{name}"]}},"handlers":["{name}"]}}"#)
            })
            .collect();
        folders.rules(
            "probes.json",
            &format!(r#"{{"rules":[{}]}}"#, rules.join(",")),
        );
        folders
    }

    /// The WASI guest, called `wasi`, with these settings.
    pub(crate) fn wasi(toml: &str) -> Self {
        let folders = Self::new();
        folders.plugin("wasi", wasi_guest());
        folders.settings("wasi", toml);
        folders.rules(
            "wasi.json",
            r#"{"rules":[{"name":"wasi","match":"*","handlers":["wasi"]}]}"#,
        );
        folders
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.path().join("plugins")
    }

    pub(crate) fn plugin(&self, name: &str, bytes: impl AsRef<[u8]>) {
        replace(&self.plugins().join(format!("{name}.wasm")), bytes);
    }

    pub(crate) fn settings(&self, name: &str, toml: &str) {
        replace(&self.plugins().join(format!("{name}.toml")), toml);
    }

    pub(crate) fn rules(&self, file: &str, text: &str) {
        replace(&self.path().join("rules").join(file), text);
    }

    pub(crate) fn remove(&self, file: &str) {
        fs::remove_file(self.path().join(file)).unwrap();
    }

    pub(crate) fn remove_dirs(&self) {
        fs::remove_dir_all(self.path().join("plugins")).unwrap();
        fs::remove_dir_all(self.path().join("rules")).unwrap();
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config {
            plugins: self.plugins(),
            rules: self.path().join("rules"),
            ..Config::default()
        };
        config.http.listen.set_port(0);
        config.reload.quiet = std::time::Duration::from_millis(20);
        config.reload.poll = std::time::Duration::from_millis(100);
        config.host.sandbox.instances_max = 256;
        config
    }

    pub(crate) async fn start(&self) -> Loaded {
        Host::load(self.config()).await.unwrap()
    }

    /// A text without the path of these folders.
    pub(crate) fn without_path(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.path().display()), "")
    }

    /// The problems that a host over these folders has, one after another.
    pub(crate) async fn problems(&self) -> String {
        let app = self.start().await;
        let snapshot = app.snapshot();
        let problems: Vec<_> = snapshot.problems.iter().map(ToString::to_string).collect();
        self.without_path(&problems.join("\n"))
    }
}

/// Puts a file in place as an installer does: whole or not at all.
pub(crate) fn replace(path: &Path, bytes: impl AsRef<[u8]>) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    fs::write(&temporary, bytes).unwrap();
    fs::rename(&temporary, path).unwrap();
}

/// The report of one command.
pub(crate) async fn dispatch(app: &Host, command: &str) -> Report {
    let command = command::Command::parse(command).unwrap();
    app.dispatch(command, DispatchOptions::default())
        .await
        .unwrap()
}

/// What the one handler of a command did.
pub(crate) async fn only(app: &Host, command: &str) -> HandlerReport {
    let mut report = dispatch(app, command).await;
    assert_eq!(report.handlers.len(), 1);
    report.handlers.remove(0)
}

/// The names of a report's handlers with how each ended.
pub(crate) fn statuses(report: &Report) -> Vec<String> {
    let status = |handler: &HandlerReport| {
        format!("{} {}", handler.handler, handler.outcome.status().as_str())
    };
    report.handlers.iter().map(status).collect()
}

/// Waits until `holds`, or fails after half a minute.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// A host that takes up changes, and where it answers over HTTP.
pub(crate) async fn serve(folders: &Folders) -> (Arc<Host>, String) {
    serve_with(folders.config()).await
}

pub(crate) async fn serve_with(config: Config) -> (Arc<Host>, String) {
    let listener = tokio::net::TcpListener::bind(config.http.listen)
        .await
        .unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Host::load(config).await.unwrap().watch(|_| {});
    tokio::spawn(pointsman::http::serve(Arc::clone(&app), listener));
    (app, url)
}
