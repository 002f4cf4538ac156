//! What `host/packaging` starts is what the program takes, and what it makes can be installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::pointsman;
use crate::host::{Folders, root};

fn packaging(path: &str) -> PathBuf {
    root().join("host/packaging").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(packaging(path)).unwrap()
}

/// What follows `start` on the one line that starts so.
fn line<'a>(text: &'a str, start: &str) -> &'a str {
    let mut found = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix(start));
    let line = found.next().unwrap_or_else(|| panic!("no line `{start}`"));
    assert_eq!(found.next(), None, "several lines `{start}`");
    line.trim()
}

#[test]
fn packages_start_the_server_with_arguments_that_it_takes() {
    let json = |text: &str| serde_json::from_str::<Vec<String>>(text).unwrap();
    let dockerfile = read("Dockerfile");
    let manifest = read("kubernetes/pointsman.yaml");
    let unit = read("systemd/pointsman.service");
    let unit = line(&unit, "ExecStart=/usr/bin/pointsman ").split(' ');
    let mut health = json(line(
        &dockerfile,
        "HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ",
    ));
    assert_eq!(health.remove(0), "/usr/bin/pointsman");
    for arguments in [
        json(line(&dockerfile, "CMD ")),
        health,
        json(line(&manifest, "args: ")),
        unit.map(str::to_owned).collect(),
    ] {
        let folders = Folders::new();
        // Read, and then the help is printed instead of starting anything.
        let mut command = pointsman(&folders, &[]);
        let output = command.args(&arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        // The settings that they set.
        let sets = arguments
            .iter()
            .filter(|it| it.contains('='))
            .flat_map(|it| ["--set", it]);
        let mut command = pointsman(&folders, &["config", "show"]);
        let output = command.args(sets).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn limits_on_a_stop_are_no_shorter_than_a_graceful_shutdown() {
    // `host.shutdown_grace` and the 5 s that the documents promise.
    let unit = read("systemd/pointsman.service");
    assert_eq!(line(&unit, "TimeoutStopSec="), "30s");
    let manifest = read("kubernetes/pointsman.yaml");
    assert_eq!(line(&manifest, "terminationGracePeriodSeconds: "), "30");
    let grace = pointsman::config::Config::default().host.shutdown_grace;
    assert_eq!(grace.as_secs() + 5, 30);
}

#[test]
fn the_rules_of_the_manifests_load() {
    let folders = Folders::shipped();
    let rules = packaging("kubernetes/rules");
    let arguments = ["check", "--rules", rules.to_str().unwrap()];
    let output = pointsman(&folders, &arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_wheel_puts_the_program_on_the_path() {
    let folders = Folders::new();
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let program = folders.path().join("pointsman");
    fs::write(&program, "#!/bin/sh\necho packed\n").unwrap();
    let dist = folders.path().join("dist");
    let wheel = run(
        &packaging("wheel"),
        &[program.to_str().unwrap(), dist.to_str().unwrap()],
    );
    let venv = folders.path().join("venv");
    let python = Path::new("python3");
    run(python, &["-m", "venv", venv.to_str().unwrap()]);
    run(
        &venv.join("bin/python"),
        &["-m", "pip", "install", "--quiet", "--no-index", &wheel],
    );
    assert_eq!(run(&venv.join("bin/pointsman"), &[]), "packed");
}
