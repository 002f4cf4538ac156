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
    let ran = ["# pass 1", "# pass 2", "Ran 3 tests", "Ran 6 tests"];
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
    let tests = folders.path().join("greet/tests/test_services.py");
    std::fs::write(tests, SERVICES).unwrap();
    assert_runs(&folders, &["python3", "-m", "unittest"]);
}

/// Databases, state and follow-up commands in a unit test.
const SERVICES: &str = r#"
import sqlite3
import unittest

from pointsman import emit, outside, sql, state

main = sql.connection("main")


class Services(unittest.TestCase):
    def setUp(self):
        outside.reset()

    def test_sql(self):
        with self.assertRaisesRegex(sql.Denied, "outside.databases"):
            main.query("SELECT 1")
        outside.databases["main"] = sqlite3.connect(":memory:")
        main.execute("CREATE TABLE t (id integer PRIMARY KEY, name text, data blob)")
        self.assertEqual(main.execute("INSERT INTO t VALUES ($1, $2, $3)", [7, "Ada", b"x"]), 1)
        self.assertEqual(main.query("SELECT * FROM t WHERE id = $1", [7]), [{"id": 7, "name": "Ada", "data": b"x"}])
        with self.assertRaises(sql.Refused) as raised:
            main.execute("INSERT INTO t VALUES (7, NULL, NULL)")
        self.assertEqual(raised.exception.code, "SQLITE_CONSTRAINT_PRIMARYKEY")
        with self.assertRaises(ZeroDivisionError), main.transaction():
            main.execute("DELETE FROM t")
            1 / 0
        with main.transaction():
            main.execute("INSERT INTO t VALUES (8, NULL, NULL)")
        self.assertEqual([row["id"] for row in main.each("SELECT id FROM t")], [7, 8])

    def test_state(self):
        outside.entries["calls"] = 41
        self.assertEqual(state.increment("calls"), 42)
        state.set("p/1", {"a": [1]}, ttl_ms=1000)
        self.assertEqual(list(state.items("p/")), [("p/1", {"a": [1]})])
        self.assertTrue(state.compare_and_set("turn", state.ABSENT, None))
        self.assertFalse(state.compare_and_set("turn", state.ABSENT, 1))
        self.assertTrue(state.compare_and_set("turn", None, state.ABSENT))
        with self.assertRaises(state.Refused):
            state.increment("p/1")
        self.assertTrue(state.delete("p/1"))
        self.assertEqual(outside.entries, {"calls": 42})

    def test_emit(self):
        emit.command({"requestType": "PolicyNotified"}, delay_ms=10)
        self.assertEqual(outside.emitted, [{"requestType": "PolicyNotified"}])
"#;
