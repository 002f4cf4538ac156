//! What sets a host up and says what it has: `init`, `config`, `doctor`, `health`,
//! and how a server gets on with the service manager that starts it.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use expect_test::expect;
use serde_json::Value;

use super::{check, output, pointsman, said};
use crate::host::{Folders, serve_with};

#[test]
fn config_show_names_the_source_of_each_setting_and_hides_credentials() {
    let folders = Folders::new();
    fs::write(
        folders.path().join("pointsman.toml"),
        // The default, said all the same.
        "[limits]\ntimeout = '30s'\n[http]\nhosts = ['a.example']",
    )
    .unwrap();
    let mut command = pointsman(
        &folders,
        &["config", "show", "--changed", "--set", "queue.depth_max=7"],
    );
    command.env("POINTSMAN_QUEUE_URL", "postgres://u:S3cret@db/x");
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    expect![[r#"
        http.hosts = ["a.example"]  # pointsman.toml
        limits.timeout = "30s"      # pointsman.toml
        queue.depth_max = 7         # command line
        queue.url = "(hidden)"      # environment POINTSMAN_QUEUE_URL
    "#]]
    .assert_eq(&printed);
    let all = command.args(["--json"]).output().unwrap().stdout;
    assert!(!String::from_utf8_lossy(&all).contains("S3cret"));
}

#[test]
fn what_config_show_prints_is_a_settings_file() {
    let folders = Folders::new();
    let shown = output(&folders, &["config", "show"]).stdout;
    fs::write(folders.path().join("pointsman.toml"), shown).unwrap();
    let (exit, _, error) = said(&folders, &["config", "show", "--changed"]);
    assert_eq!(exit, Some(0), "{error}");
}

#[test]
fn config_check_names_each_wrong_setting_of_a_handler() {
    let folders = Folders::new();
    folders.plugin("greet", b"");
    let settings = folders.path().join("plugins/greet.toml");
    fs::write(settings, "[limits]\ntimeout = '5'").unwrap();
    check(
        &folders,
        &["config", "check"],
        expect![[r#"
        ✓ the host: 0 settings
        error: plugins/greet.toml: `limits.timeout`: not a duration: write a number with its unit, such as `500ms`, `30s`, `5m` or `24h`, of at most a century
        exit 1
    "#]],
    );
}

#[test]
fn init_makes_a_folder_whose_settings_and_rules_are_valid_and_touches_no_other() {
    let folders = Folders::new();
    let (exit, printed, error) = said(&folders, &["init", "orders", "--lang", "rust"]);
    assert_eq!(exit, Some(0), "{error}");
    assert!(printed.contains("cd orders"), "{printed}");
    let made = folders.path().join("orders");
    let run = |args: &[&str]| {
        pointsman(&folders, args)
            .current_dir(&made)
            .output()
            .unwrap()
    };
    assert!(run(&["config", "check"]).status.success());
    let readme = fs::read_to_string(made.join("plugins/greet/README.md")).unwrap();
    assert!(
        readme.contains("`rules/greet.json` routes commands here"),
        "{readme}"
    );
    assert!(!made.join("plugins/greet/rule.json").exists());
    let explained = run(&["explain", r#"{"requestType":"Greet"}"#]);
    assert!(explained.status.success(), "{explained:?}");
    check(
        &folders,
        &["init", "orders"],
        expect![[r#"
        error: `orders` is not empty: it has `.gitignore`; name a new folder, such as `pointsman init orders`
        exit 2
    "#]],
    );
}

#[test]
fn what_init_and_new_print_can_be_pasted_into_a_shell() {
    let folders = Folders::new();
    let (exit, printed, error) = said(&folders, &["init", "Ada's orders", "--lang", "rust"]);
    assert_eq!(exit, Some(0), "{error}");
    assert!(printed.contains(r"cd 'Ada'\''s orders'"), "{printed}");
    fs::create_dir(folders.path().join("my handlers")).unwrap();
    let greet = ["new", "greet", "--lang", "c", "--in", "my handlers"];
    let (exit, printed, error) = said(&folders, &greet);
    assert_eq!(exit, Some(0), "{error}");
    let copy = "cp 'my handlers/greet/rule.json' rules/greet.json";
    assert!(printed.contains(copy), "{printed}");
    let (_, printed, _) = said(&folders, &["new", "plain", "--lang", "c"]);
    assert!(printed.contains("pointsman dev plain\n"), "{printed}");
}

#[test]
fn cases_run_against_an_older_build_with_a_warning() {
    let folders = Folders::new();
    folders.plugin("greet", b"");
    let source = folders.path().join("greet");
    fs::create_dir_all(source.join("cases")).unwrap();
    fs::write(source.join("handler.py"), "").unwrap();
    let component = folders.path().join("plugins/greet.wasm");
    let component = fs::File::options().write(true).open(component).unwrap();
    let set = |at: SystemTime| component.set_modified(at).unwrap();
    let warned = || said(&folders, &["test", "greet", "--no-build"]).2;
    set(SystemTime::UNIX_EPOCH);
    let warning = warned();
    assert!(
        warning.starts_with(
            "warning: plugins/greet.wasm: older than `greet/handler.py`\n  \
             hint: `pointsman build greet` installs the change\n"
        ),
        "{warning}"
    );
    set(SystemTime::now() + Duration::from_secs(60));
    assert!(!warned().contains("older"));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let folders = Folders::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let url = format!("http://{address}");
    let (exit, _, error) = said(&folders, &["queue", "list", "--url", &url]);
    assert_eq!(exit, Some(2));
    let hint =
        "hint: no server listens there: start one with `pointsman serve`, or correct `--url`";
    assert!(error.contains(&url) && error.contains(hint), "{error}");
}

#[test]
fn man_writes_a_page_for_each_subcommand_that_is_shown() {
    let folders = Folders::new();
    let dir = folders.path().join("man");
    fs::create_dir(&dir).unwrap();
    let (exit, _, error) = said(&folders, &["man", dir.to_str().unwrap()]);
    assert_eq!(exit, Some(0), "{error}");
    let page = fs::read_to_string(dir.join("pointsman-serve.1")).unwrap();
    assert!(page.contains("graceful shutdown"), "{page}");
    assert!(dir.join("pointsman-queue-list.1").is_file());
    let (exit, _, error) = said(&folders, &["man", "nowhere"]);
    assert_eq!(exit, Some(2), "{error}");
}

#[test]
fn completions_know_handlers_settings_states_and_languages() {
    let folders = Folders::new();
    folders.plugin("greet", "");
    folders.plugin("audit", "");
    folders.settings("audit", "");
    let elsewhere = folders.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("other.wasm"), "").unwrap();
    // As the script of fish asks.
    let completed = |words: &[&str]| {
        let mut command = pointsman(&folders, &["--", "pointsman"]);
        command.args(words).env("POINTSMAN_COMPLETE", "fish");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        let shown = String::from_utf8(output.stdout).unwrap();
        let values = shown
            .lines()
            .map(|line| line.split('\t').next().unwrap().to_owned());
        values.collect::<Vec<_>>()
    };
    assert_eq!(
        completed(&["queue", "pause", "--handler", ""]),
        ["audit", "greet"]
    );
    let flags = ["--plugins", "elsewhere", "queue", "list", "--handler", ""];
    assert_eq!(completed(&flags), ["other"]);
    let settings = completed(&["serve", "--set", "http.hos"]);
    assert_eq!(settings, ["http.hosts="]);
    assert_eq!(
        completed(&["queue", "list", "--state", "dis"]),
        ["discarded"]
    );
    assert_eq!(
        completed(&["queue", "retry", "--status", "host"]),
        ["host-lost"]
    );
    assert_eq!(completed(&["new", "x", "--lang", "p"]), ["python"]);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (exit, script, error) = said(&folders, &["completions", shell]);
        assert_eq!(exit, Some(0), "{error}");
        assert!(script.contains("POINTSMAN_COMPLETE"), "{script}");
    }
}

#[test]
fn doctor_says_what_is_missing_and_how_to_get_it() {
    let folders = Folders::new();
    let mut command = pointsman(&folders, &["doctor", "--json"]);
    // No tool is found there.
    command.env("PATH", folders.path());
    let output = command.output().unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = findings["findings"].as_array().unwrap();
    let of = |what: &str| {
        let found = findings.iter().find(|finding| finding["what"] == what);
        found.unwrap_or_else(|| panic!("no {what} in {findings:#?}"))
    };
    assert_eq!(of("sandbox")["verdict"], "good");
    assert_eq!(of("tools for Python")["verdict"], "warning");
    let detail = of("tools for Python")["detail"].to_string();
    assert!(detail.contains("apt install python3"), "{detail}");
    // Handlers of others run without any of the tools.
    assert!(output.status.success(), "{findings:#?}");
}

#[test]
fn doctor_fails_where_no_queue_can_be_kept() {
    let folders = Folders::new();
    fs::write(folders.path().join("file"), "").unwrap();
    let (exit, printed, _) = said(&folders, &["doctor", "--set", "queue.folder=file/data"]);
    assert_eq!(exit, Some(1), "{printed}");
    assert!(
        printed.contains("✗ queue: file/data: not a directory"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_asks_a_running_server() {
    let folders = Folders::new();
    let (_app, url) = serve_with(folders.config()).await;
    for (args, answer) in [
        (&["health"][..], "healthy\n"),
        (&["health", "--ready"], "ready\n"),
    ] {
        let args: Vec<_> = args.iter().copied().chain(["--url", &url]).collect();
        let (exit, printed, error) = tokio::task::block_in_place(|| said(&folders, &args));
        assert_eq!((exit, printed.as_str()), (Some(0), answer), "{error}");
    }
    let (exit, _, error) = said(&folders, &["health", "--url", "http://127.0.0.1:1"]);
    assert_eq!(exit, Some(1), "{error}");
}

#[test]
fn a_server_that_never_answers_is_not_waited_for_long() {
    let folders = Folders::new();
    // The kernel accepts, and nobody reads.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for (args, path, exit) in [
        (&["health"][..], "healthz", 1),
        (&["list"], "plugins", 2),
        (&["queue", "list"], "commands?limit=50", 2),
        (&["enqueue", "{}"], "commands?priority=0", 2),
    ] {
        let args = [args, &["--url", &url, "--timeout", "50ms"]].concat();
        let (code, _, error) = said(&folders, &args);
        assert_eq!(
            (code, error),
            (
                Some(exit),
                format!(
                    "error: {url}/{path}: no response within 50ms\n  hint: `--timeout` sets the limit\n"
                )
            )
        );
    }
    let (exit, _, error) = said(&folders, &["health", "--timeout", "5"]);
    assert_eq!(exit, Some(2));
    assert!(error.contains("such as `500ms`"), "{error}");
}

#[test]
fn without_a_home_folder_compiled_code_is_cached_where_systemd_says() {
    let folders = Folders::probes(&["probe"]);
    let cache = folders.path().join("cache");
    let run = |args: &[&str]| {
        let mut command = pointsman(&folders, args);
        // wasmtime's own cache needs an absolute path.
        command.env("HOME", "relative").env_remove("XDG_CACHE_HOME");
        command.env("CACHE_DIRECTORY", &cache);
        command.output().unwrap()
    };
    let listed = run(&["list"]);
    assert_eq!(String::from_utf8_lossy(&listed.stderr), "");
    let cached = fs::read_dir(cache.join("wasmtime")).unwrap().count();
    assert!(cached > 0, "nothing was cached");
    let checked = String::from_utf8(run(&["doctor"]).stdout).unwrap();
    let line = format!("compile cache: {}", cache.display());
    assert!(checked.contains(&line), "{checked}");
}

#[cfg(unix)]
#[test]
fn a_server_tells_the_service_manager_when_it_is_ready_and_when_it_stops() {
    use std::{os::unix::net::UnixDatagram, time::Duration};
    let folders = Folders::probes(&["probe"]);
    let path = folders.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    // Only a server that says nothing runs into it.
    let patience = Some(Duration::from_secs(120));
    socket.set_read_timeout(patience).unwrap();
    let received = || {
        let mut message = [0; 64];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let mut serve = pointsman(&folders, &["serve", "--listen", "127.0.0.1:0"]);
    let serve = serve.env("NOTIFY_SOCKET", &path);
    let mut serve = serve.stderr(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(received(), "READY=1");
    let process = rustix::process::Pid::from_child(&serve);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert_eq!(received(), "STOPPING=1");
    assert!(serve.wait().unwrap().success());
}
