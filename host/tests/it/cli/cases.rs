//! `pointsman test`, and the tests of a handler's author that run its cases.

use std::fs;

use expect_test::expect;
use pointsman::cases;

use crate::{
    cli::output,
    host::{Folders, guest, root},
};

/// A folder with the probe in `plugins/` and cases beside it.
fn cases_of_probe(cases: &[(&str, &str)]) -> Folders {
    let folders = Folders::new();
    folders.plugin("probe", guest("probe"));
    fs::create_dir_all(folders.plugins().join("probe/cases")).unwrap();
    for (name, case) in cases {
        fs::write(
            folders.plugins().join(format!("probe/cases/{name}.json")),
            case,
        )
        .unwrap();
    }
    folders
}

const PASSES: (&str, &str) = ("passes", r#"{"command":{"do":"nothing"}}"#);
const FAILS: (&str, &str) = (
    "fails",
    r#"{"description":"answers in <time>","command":{"do":"config"},"config":{"key":"a\u0001b"},"expect":{"output":"b","logs":[]}}"#,
);
const BROKEN: (&str, &str) = ("broken", r#"{"command":{},"exect":{}}"#);

#[test]
fn the_exit_code_says_whether_all_passed() {
    let test = |cases: &[(&str, &str)], args: &[&str]| {
        let folders = cases_of_probe(cases);
        let output = output(&folders, &[&["test", "plugins/probe.wasm"], args].concat());
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), shown)
    };
    assert_eq!(test(&[PASSES], &[]).0, 0);
    assert_eq!(test(&[PASSES, FAILS], &[]).0, 1);
    assert_eq!(test(&[PASSES, FAILS, BROKEN], &[]).0, 2);
    assert_eq!(test(&[PASSES, FAILS, BROKEN], &["--filter", "pass"]).0, 0);
    assert_eq!(test(&[PASSES, FAILS], &["--update"]).0, 0);
    let (code, shown) = test(&[PASSES], &["--filter", "psas"]);
    assert_eq!(
        (code, shown.as_str()),
        (2, "error: no case has `psas` in its name\n")
    );
    let (code, shown) = test(&[], &[]);
    assert_eq!(code, 2);
    assert!(shown.contains("no cases\n"), "{shown}");
    assert!(
        shown.contains("write `plugins/probe/cases/greets.json`, such as"),
        "{shown}"
    );
    let (code, shown) = test(&[PASSES], &["plugins/no.wasm"]);
    assert_eq!(code, 2);
    assert!(
        shown.contains("plugins/no.wasm: no such file or folder"),
        "{shown}"
    );
}

#[test]
fn test_shows_a_line_for_each_case_and_the_reasons() {
    let folders = cases_of_probe(&[PASSES, FAILS, BROKEN]);
    crate::cli::check(
        &folders,
        &["test", "plugins/probe.wasm"],
        expect![[r#"
            probe
              ✗ broken
                  plugins/probe/cases/broken.json:1:15: unknown key `exect` in a case
                    hint: did you mean `expect`? allowed: `attempt`, `command`, `config`, `description`, `emit`, `env`, `expect`, `folders`, `http`, `limits`, `now`, `requests`, `secrets`, `seed`, `sql`, `state`
              ✗ fails TIME
                  answers in <time>
                  plugins/probe/cases/fails.json
                  output: is not as expected
                    - expected + found
                    - "b"
                    + "a\u0001b"
              ✓ passes TIME
            1 case passed, 2 failed
            exit 2
        "#]],
    );
}

#[test]
fn results_come_as_json_and_as_junit_too() {
    let folders = cases_of_probe(&[
        PASSES,
        FAILS,
        BROKEN,
        ("logs", r#"{"command":{"do":"reject \u0007 & <all>"}}"#),
    ]);
    let args = [
        "test",
        "plugins/probe.wasm",
        "--json",
        "--junit",
        "junit.xml",
    ];
    let output = output(&folders, &args);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&document["passed"], &document["failed"]),
        (&1.into(), &3.into())
    );
    let fails = &document["handlers"][0]["cases"][1];
    assert_eq!(fails["case"], "fails");
    assert_eq!(fails["output"], "a\u{1}b");
    assert_eq!(fails["differences"][0]["key"], "output");
    assert_eq!(fails["differences"][0]["diff"][0], r#"- "b""#);
    let xml = fs::read_to_string(folders.path().join("junit.xml")).unwrap();
    let shown: String = xml
        .split_inclusive(" time=\"")
        .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'))
        .collect();
    expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="pointsman">
          <testsuite name="probe" tests="4" failures="2" errors="1" time="">
            <testcase classname="probe" name="broken" file="plugins/probe/cases/broken.json" time="">
              <error type="case" message="plugins/probe/cases/broken.json:1:15: unknown key `exect` in a case">plugins/probe/cases/broken.json:1:15: unknown key `exect` in a case
          hint: did you mean `expect`? allowed: `attempt`, `command`, `config`, `description`, `emit`, `env`, `expect`, `folders`, `http`, `limits`, `now`, `requests`, `secrets`, `seed`, `sql`, `state`</error>
            </testcase>
            <testcase classname="probe" name="fails" file="plugins/probe/cases/fails.json" time="">
              <failure type="output" message="output: is not as expected">output: is not as expected
        - &quot;b&quot;
        + &quot;a\u0001b&quot;</failure>
            </testcase>
            <testcase classname="probe" name="logs" file="plugins/probe/cases/logs.json" time="">
              <failure type="status" message="status: expected `succeeded`, found `rejected`: `do` is reject \u{7} &amp; &lt;all&gt;, which I cannot">status: expected `succeeded`, found `rejected`: `do` is reject \u{7} &amp; &lt;all&gt;, which I cannot</failure>
            </testcase>
            <testcase classname="probe" name="passes" file="plugins/probe/cases/passes.json" time="">
            </testcase>
          </testsuite>
        </testsuites>
    "#]]
    .assert_eq(&shown);
}

#[test]
fn a_component_that_fits_no_contract_cannot_be_tested() {
    let folders = cases_of_probe(&[PASSES]);
    folders.plugin("probe", "nonsense");
    crate::cli::check(
        &folders,
        &["test", "plugins/probe.wasm", "--junit", "junit.xml"],
        expect![[r#"
            plugins/probe.wasm
              ✗ plugins/probe.wasm: is no WebAssembly
                  hint: only built components belong beside the `.wasm` ending; build the source with `pointsman build`
            0 cases passed; 1 handler could not be tested
            exit 1
        "#]],
    );
    let xml = fs::read_to_string(folders.path().join("junit.xml")).unwrap();
    assert!(xml.contains(r#"errors="1""#), "{xml}");
}

#[test]
fn the_cases_of_the_shipped_handlers_pass() {
    for name in [
        "create-policy",
        "default-create-policy",
        "notify-underwriter",
    ] {
        cases::assert_pass(root().join("plugins").join(name));
    }
}

#[test]
fn a_failed_case_fails_the_test_that_runs_it() {
    let message = |cases: &[(&str, &str)]| {
        let folders = cases_of_probe(cases);
        let component = folders.plugins().join("probe.wasm");
        let cases = folders.plugins().join("probe/cases");
        let run = || cases::assert_component_passes(&component, &cases);
        let panic = std::panic::catch_unwind(run).err()?;
        let message = panic.downcast_ref::<String>().unwrap();
        Some(folders.without_path(message))
    };
    assert_eq!(message(&[PASSES]), None);
    expect![[r#"

        plugins/probe/cases/broken.json:1:15: unknown key `exect` in a case
          hint: did you mean `expect`? allowed: `attempt`, `command`, `config`, `description`, `emit`, `env`, `expect`, `folders`, `http`, `limits`, `now`, `requests`, `secrets`, `seed`, `sql`, `state`
        plugins/probe/cases/fails.json
          output: is not as expected
          - "b"
          + "a\u0001b""#]]
    .assert_eq(&message(&[PASSES, FAILS, BROKEN]).unwrap());
    let none = message(&[]).unwrap();
    assert!(
        none.starts_with("plugins/probe.wasm: plugins/probe/cases: no cases\n"),
        "{none}"
    );
}
