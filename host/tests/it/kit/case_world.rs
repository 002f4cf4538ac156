//! Cases with databases, state and follow-up commands.

use expect_test::expect;

use super::cases::{Bench, updated};
use crate::host::guest;

fn bench() -> Bench {
    Bench::new("keeps", &guest("keeps"))
}

#[tokio::test]
async fn a_case_has_databases_state_and_follow_up_commands_of_its_own() {
    let bench = bench();
    for case in [
        r#"{"command": {"do": "insert", "id": 7, "name": "Ada"},
            "sql": {"main": {"fixture": ["CREATE TABLE customer (id bigint, name text)", "INSERT INTO customer VALUES (1, 'Bo')"]}},
            "expect": {"output": 1, "sql": {"main": {
                "SELECT * FROM customer ORDER BY id": [[1, "Bo"], [7, "Ada"]],
                "SELECT count(*) FROM customer WHERE id > 9": [[0]]}}}}"#,
        r#"{"command": {"do": "query", "database": "main", "sql": "SELECT 1"}, "sql": {"main": {}}, "expect": {"output": 1}}"#,
        r#"{"command": {"do": "query", "database": "main", "sql": "CREATE TABLE t (a)"}, "sql": {"main": {"read_only": true}},
            "expect": {"status": "rejected", "message": "for reading only"}}"#,
        r#"{"command": {"do": "query", "database": "main", "sql": "SELECT 1"}, "expect": {"status": "denied"}}"#,
        r#"{"command": {"do": "count"}, "state": {"calls": 41, "other": {"a": [1]}},
            "expect": {"output": 42, "state": {"other": {"a": [1.0]}, "calls": 42}}}"#,
        r#"{"command": {"do": "count"}, "expect": {"output": 1, "state": {"calls": 1}}}"#,
        r#"{"command": {"do": "remember-briefly"}, "expect": {"output": null, "state": {}}, "state": {}}"#,
        r#"{"command": {"do": "count"}, "expect": {"status": "denied", "message": "[state]"}}"#,
        r#"{"command": {"do": "emit", "commands": [{"a": 1}, {"b": [2]}]}, "expect": {"emitted": [{"a": 1}, {"b": [2]}]}}"#,
        r#"{"command": {"do": "emit", "commands": [{"a": 1}]}, "emit": true}"#,
        r#"{"command": {"do": "emit", "commands": [{"a": 1}]}, "expect": {"status": "denied", "message": "[emit]"}}"#,
    ] {
        bench.passes(case).await;
    }
}

#[tokio::test]
async fn what_is_not_as_expected_of_them_is_shown() {
    let bench = bench();
    for (case, shown) in [
        (
            r#"{"command": {"do": "insert", "id": 7, "name": "Ada"},
                "sql": {"main": {"fixture": "CREATE TABLE customer (id bigint, name text)"}},
                "expect": {"sql": {"main": {"SELECT name FROM customer": [["Bo"]]}}}}"#,
            "sql: `SELECT name FROM customer` of `main` is not as expected",
        ),
        (
            r#"{"command": {"do": "query", "database": "main", "sql": "SELECT 1"}, "sql": {"main": {"fixture": "CREATE TABEL"}},
                "expect": {"status": "unavailable"}}"#,
            "sql: the fixture of `main`",
        ),
        (
            r#"{"command": {"do": "count"}, "state": {}, "expect": {"state": {"calls": 2}}}"#,
            "state: the state is not as expected",
        ),
        (
            r#"{"command": {"do": "emit", "commands": [{"a": 1}]}, "expect": {"emitted": []}}"#,
            "emitted: what was emitted is not as expected",
        ),
    ] {
        let differences = bench.run(case).await.differences;
        let said: Vec<_> = differences.iter().map(ToString::to_string).collect();
        assert!(
            said.iter().any(|one| one.starts_with(shown)),
            "{case}: {said:?}"
        );
    }
}

#[tokio::test]
async fn an_update_writes_rows_state_and_follow_up_commands() {
    let bench = bench();
    for (case, wanted) in [
        (
            r#"{
  "command": { "do": "insert", "id": 7, "name": "Ada" },
  "sql": { "main": { "fixture": "CREATE TABLE customer (id bigint, name text)" } },
  "expect": { "output": 1, "sql": { "main": { "SELECT id, name FROM customer": [], "SELECT nothing": [[1]] } } }
}"#,
            expect![[r#"
                {
                  "command": { "do": "insert", "id": 7, "name": "Ada" },
                  "sql": { "main": { "fixture": "CREATE TABLE customer (id bigint, name text)" } },
                  "expect": {
                    "output": 1,
                    "sql": { "main": { "SELECT id, name FROM customer": [[7, "Ada"]], "SELECT nothing": [[1]] } }
                  }
                }"#]],
        ),
        (
            r#"{ "command": { "do": "count" }, "state": { "calls": 41 }, "expect": { "output": 42, "state": {} } }"#,
            expect![[r#"
                { "command": { "do": "count" }, "state": { "calls": 41 }, "expect": {
                    "output": 42,
                    "state": { "calls": 42 }
                  } }"#]],
        ),
        (
            r#"{ "command": { "do": "emit", "commands": [{ "a": 1 }] }, "expect": { "emitted": [] } }"#,
            expect![[
                r#"{ "command": { "do": "emit", "commands": [{ "a": 1 }] }, "expect": { "emitted": [{ "a": 1 }] } }"#
            ]],
        ),
        (
            "{\n  \"command\": { \"do\": \"count\" },\n  \"state\": { \"calls\": 1 }\n}",
            expect![[r#"
                {
                  "command": { "do": "count" },
                  "state": { "calls": 1 },
                  "expect": { "output": 2, "state": { "calls": 2 } }
                }"#]],
        ),
        (
            "{\n  \"command\": { \"do\": \"emit\", \"commands\": [{ \"a\": 1 }] },\n  \"emit\": true\n}",
            expect![[r#"
                {
                  "command": { "do": "emit", "commands": [{ "a": 1 }] },
                  "emit": true,
                  "expect": { "output": ["019b76da-a800-7fac-a901-8f898fc0cd85"], "emitted": [{ "a": 1 }] }
                }"#]],
        ),
    ] {
        let text = updated(&bench, case).await.unwrap();
        wanted.assert_eq(&text);
        if !text.contains("nothing") {
            bench.passes(&text).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_world_is_refused_with_its_place() {
    let bench = bench();
    for (case, wanted) in [
        (
            r#"{"command": {}, "sql": {"main": {"fixtrue": ""}}}"#,
            "did you mean `fixture`?",
        ),
        (
            r#"{"command": {}, "sql": {"main": {"fixture": [1]}}}"#,
            "a statement must be a string",
        ),
        (
            r#"{"command": {}, "state": []}"#,
            "`state` must be an object",
        ),
        (
            r#"{"command": {}, "expect": {"sql": {"other": {}}}}"#,
            "no such database under `sql`",
        ),
        (
            r#"{"command": {}, "expect": {"emitted": {}}}"#,
            "`emitted` must be an array of commands",
        ),
        (
            r#"{"command": {}, "emit": 1}"#,
            "`emit` must be true or false",
        ),
    ] {
        let error = bench.read(case).case.unwrap_err().to_string();
        assert!(error.contains(wanted), "{case}: {error}");
        assert!(error.contains("case.json:1:"), "{error}");
    }
}
