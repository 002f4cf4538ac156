//! The unit tests that templates bring, run by each language's own runner.

use std::process::Command;

use super::languages::{asked_for, pointsman};
use crate::host::Folders;

/// The words of a command that runs in a new handler's folder, and must succeed.
fn assert_runs(folders: &Folders, command: &[&str]) {
    let output = Command::new(command[0])
        .args(&command[1..])
        .current_dir(folders.path().join("greet"))
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{command:?}: {said}");
    // A runner that finds no test succeeds, too.
    let ran = ["# pass 1", "# pass 2", "Ran 3 tests"];
    assert!(ran.iter().any(|it| said.contains(it)), "{said}");
}

#[test]
fn the_unit_tests_of_the_script_templates_pass_in_node() {
    for language in asked_for(&["js", "ts"]) {
        let folders = Folders::new();
        pointsman(&folders, &["new", "greet", "--lang", language]);
        // It installs the packages.
        pointsman(&folders, &["build", "greet"]);
        assert_runs(&folders, &["npm", "test", "--silent"]);
    }
}

#[test]
fn the_unit_tests_of_the_python_template_pass_in_any_python() {
    if asked_for(&["python"]).is_empty() {
        return;
    }
    let folders = Folders::new();
    pointsman(&folders, &["new", "greet", "--lang", "python"]);
    assert_runs(&folders, &["python3", "-m", "unittest"]);
}
