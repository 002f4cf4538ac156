//! Cases of handlers: what passes, what does not, and what is said of it.

use std::{fs, path::PathBuf};

use expect_test::{Expect, expect};
use pointsman::{
    cases::{self, CaseFile, Runner, RunnerSettings, Subject},
    config::HandlerDefaults,
    name::HandlerName,
    outcome::Status,
};
use tempfile::TempDir;

use crate::host::{guest, wasi_guest};

/// One handler, and cases for it.
pub(super) struct Bench {
    folder: TempDir,
    pub(super) subject: Subject,
}

impl Bench {
    pub(super) fn new(name: &str, component: &[u8]) -> Self {
        let runner = Runner::new(&RunnerSettings::default()).unwrap();
        let name = HandlerName::parse(name).unwrap();
        let subject = runner.load(&name, "handler.wasm".as_ref(), component.into());
        Self {
            folder: tempfile::tempdir().unwrap(),
            subject: subject.unwrap(),
        }
    }

    fn probe() -> Self {
        Self::new("probe", &guest("probe"))
    }

    fn file(&self, case: &str) -> PathBuf {
        let path = self.folder.path().join("case.json");
        fs::write(&path, case).unwrap();
        path
    }

    pub(super) fn read(&self, case: &str) -> CaseFile {
        CaseFile::read(self.file(case), &HandlerDefaults::default())
    }

    /// What a case that is valid comes to.
    pub(super) async fn run(&self, case: &str) -> cases::Verdict {
        let case = self.read(case).case.unwrap();
        self.subject.run(&case).await.unwrap()
    }

    /// The output of a case that succeeds.
    pub(super) async fn output(&self, case: &str) -> String {
        let outcome = self.run(case).await.outcome;
        outcome.result.unwrap().unwrap().get().to_owned()
    }

    pub(super) async fn passes(&self, case: &str) {
        let verdict = self.run(case).await;
        assert!(verdict.passed(), "{case}: {:?}", verdict.differences);
    }

    /// What is not as expected in a case.
    pub(super) async fn differs(&self, case: &str, wanted: Expect) {
        let verdict = self.run(case).await;
        let shown: Vec<_> = verdict
            .differences
            .iter()
            .map(|difference| format!("{difference}\n"))
            .collect();
        wanted.assert_eq(&shown.concat());
    }

    /// What is wrong with a case file.
    pub(super) fn refuses(&self, case: &str, wanted: Expect) {
        let error = self.read(case).case.unwrap_err().to_string();
        wanted.assert_eq(&error.replace(&format!("{}/", self.folder.path().display()), ""));
    }
}

#[tokio::test]
async fn a_case_passes_where_all_is_as_expected() {
    let bench = Bench::probe();
    bench.passes(r#"{"command":{"do":"nothing"}}"#).await;
    bench
        .passes(r#"{"command":{"do":"nothing"},"expect":{"output":null,"logs":[]}}"#)
        .await;
    bench
        .passes(
            r#"{
                "command": {"do":"log"},
                "expect": {"logs": ["irs", {"level":"info","message":"second"}, "third"]}
            }"#,
        )
        .await;
    bench
        .passes(
            r#"{
                "command": {"do":"echo"}, "attempt": 3,
                "expect": {"output_matches": {"attempt": [{"numeric":["=",3]}], "traceparent": [null]}}
            }"#,
        )
        .await;
    bench
        .passes(
            r#"{
                "command": {"do":"unavailable"},
                "expect": {"status":"unavailable","message":"come","retry_after_ms":1500}
            }"#,
        )
        .await;
}

#[tokio::test]
async fn every_way_to_fail_can_be_expected() {
    let bench = Bench::probe();
    let limits = r#""limits":{"memory_max_bytes":8388608,"cpu_max": "50ms","output_max_bytes":9}"#;
    for (what, status, message) in [
        ("reject", "rejected", "not today"),
        ("panic", "trapped", "the probe was told to"),
        ("recurse", "trapped", "the call stack is exhausted"),
        ("loop", "cpu-exceeded", "limits.cpu_max"),
        ("memory", "out-of-memory", "needed more than 8388608 bytes"),
        (
            "output-flood",
            "output-too-large",
            "1000002 bytes, more than 9",
        ),
    ] {
        let case = format!(
            r#"{{"command":{{"do":"{what}","amount":1000000}},{limits},
                "expect":{{"status":"{status}","message":"{message}"}}}}"#
        );
        bench.passes(&case).await;
    }
}

#[tokio::test]
async fn what_is_not_as_expected_is_shown() {
    let bench = Bench::probe();
    bench
        .differs(
            r#"{"command":{"do":"reject"}}"#,
            expect![[r#"
                status: expected `succeeded`, found `rejected`: not today
            "#]],
        )
        .await;
    bench
        .differs(
            r#"{"command":{"do":"log"},"expect":{"status":"rejected"}}"#,
            expect![[r#"
                status: expected `rejected`, found `succeeded`
                  info  first
                  info  second
                  warn  third
            "#]],
        )
        .await;
    bench
        .differs(
            r#"{"command":{"do":"config"},"config":{"key":"found"},"expect":{"output":["lost"]}}"#,
            expect![[r#"
                output: is not as expected
                - [
                -   "lost"
                - ]
                + "found"
            "#]],
        )
        .await;
    bench
        .differs(
            r#"{"command":{"do":"echo"},"attempt":2,"expect":{"output_matches":{"attempt":[1],"deliveryId":[{"suffix":".probe"}]}}}"#,
            expect![[r#"
                output_matches: {"attempt":2,"attributes":"{\"do\":\"echo\"}","deliveryId":"019b76da-a800-7000-8000-000000000000.probe","id":"019b76da-a800-7000-8000-000000000000","traceparent":null} does not match
                  `attempt` is 2, expected 1
            "#]],
        )
        .await;
    bench
        .differs(
            r#"{"command":{"do":"unavailable"},"expect":{"status":"unavailable","message":"go","retry_after_ms":1}}"#,
            expect![[r#"
                message: expected a part `go`, found `come back`
                retry_after_ms: expected 1, found 1500
            "#]],
        )
        .await;
    bench
        .differs(
            r#"{"command":{"do":"log"},"expect":{"logs":["first",{"level":"info","message":"sec"},"third"]}}"#,
            expect![[r#"
                logs: differ
                  info  first
                - info  sec
                + info  second
                  warn  third
            "#]],
        )
        .await;
    let trapped = bench.run(r#"{"command":{"do":"panic"}}"#).await;
    let shown = trapped.differences[0].to_string();
    assert!(shown.contains("found `trapped`: `probe`: "), "{shown}");
    assert!(shown.contains("\n  at "), "the stack is shown: {shown}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn a_wrong_file_is_refused_with_its_place() {
    let bench = Bench::probe();
    for (case, wanted) in [
        (
            "{\n  \"comand\": {}\n}",
            expect![[r#"
                case.json:2:3: unknown key `comand` in a case
                  hint: did you mean `command`? allowed: `attempt`, `command`, `config`, `description`, `emit`, `env`, `expect`, `folders`, `http`, `limits`, `now`, `requests`, `secrets`, `seed`, `sql`, `state`"#]],
        ),
        (
            r#"{"config":{}}"#,
            expect![[r#"
                case.json:1:1: a case needs a `command`
                  hint: `{"command": {}}` is the least"#]],
        ),
        (
            r#"{"command":[]}"#,
            expect!["case.json:1:12: `command` must be an object, found an array"],
        ),
        (
            r#"{"command":{},"expect":{"outputMatches":{}}}"#,
            expect![[r#"
                case.json:1:25: unknown key `outputMatches` in `expect`
                  hint: did you mean `output_matches`? allowed: `emitted`, `logs`, `message`, `output`, `output_matches`, `retry_after_ms`, `sql`, `state`, `status`"#]],
        ),
        (
            r#"{"command":{},"expect":{"status":"timeout"}}"#,
            expect![[r#"
                case.json:1:34: `status` cannot be `timeout`
                  hint: did you mean `timed-out`? allowed: `succeeded`, `rejected`, `unavailable`, `timed-out`, `cpu-exceeded`, `out-of-memory`, `trapped`, `output-too-large`, `invalid-output`, `denied`"#]],
        ),
        (
            r#"{"command":{},"expect":{"status":"trapped","output":1}}"#,
            expect![[r#"
                case.json:1:44: a call that ends as `trapped` has no `output`
                  hint: `status` says how it ends; without it, as `succeeded`"#]],
        ),
        (
            r#"{"command":{},"expect":{"output_matches":{"a":[{"prefx":"x"}]}}}"#,
            expect![[r#"
                case.json:1:49: unknown operator `prefx` for `a`
                  hint: did you mean `prefix`? allowed: `anything-but`, `cidr`, `equals-ignore-case`, `exactly`, `exists`, `numeric`, `prefix`, `suffix`, `wildcard`"#]],
        ),
        (
            r#"{"command":{},"limits":{"timeout_ms":1}}"#,
            expect![[r#"
                case.json:1:25: unknown key `limits.timeout_ms`
                  hint: write `timeout = "1ms"`"#]],
        ),
        (
            r#"{"command":{},"config":{"a":1},"secrets":{"a":{"env":"A"}}}"#,
            expect![
                "case.json:1:43: `secrets.a` is also in `[config]` as `a`, expected it in one of the two, since a handler reads both with `config.get`"
            ],
        ),
        (
            r#"{"command":{},"now":"noon"}"#,
            expect![[r#"
                case.json:1:21: `now` is not a time: failed to parse four digit integer as year: invalid digit, expected 0-9 but got n
                  hint: write it as `2026-01-01T00:00:00Z`"#]],
        ),
        (
            r#"{"command":{},"seed":-1}"#,
            expect!["case.json:1:22: `seed` must be a whole number of at least 0, found a number"],
        ),
        (
            "{\"command\":{},\n",
            expect!["case.json:2:1: expected a key in quotes, found the end of the input"],
        ),
    ] {
        bench.refuses(case, wanted);
    }
}

#[tokio::test]
async fn sleeping_takes_no_time_and_moves_the_clock() {
    let bench = Bench::probe();
    let hour = r#""command":{"do":"sleep","amount":3600000},"now":"2030-01-01T00:00:00Z""#;
    let patient = format!(r#"{{{hour},"limits":{{"timeout": "3600001ms"}}}}"#);
    // 2030-01-01T01:00:00Z
    assert_eq!(bench.output(&patient).await, r#"{"now":1893459600000}"#);
    // To the handler it is an hour all the same.
    let hasty = format!(
        r#"{{{hour},"expect":{{"status":"timed-out","message":"`limits.timeout` in the case"}}}}"#
    );
    bench.passes(&hasty).await;
    let naps = r#"{"command":{"do":"naps","amount":40},"limits":{"timeout":"TIMEOUT"},"expect":{"status":"STATUS"}}"#;
    let naps = |timeout, status| naps.replace("TIMEOUT", timeout).replace("STATUS", status);
    bench.passes(&naps("40ms", "timed-out")).await;
    bench.passes(&naps("30s", "succeeded")).await;
}

#[tokio::test]
async fn a_seed_gives_the_same_numbers_each_time() {
    let bench = Bench::probe();
    let seeded = |seed: u64| format!(r#"{{"command":{{"do":"random"}},"seed":{seed}}}"#);
    let seven = bench.output(&seeded(7)).await;
    assert_eq!(bench.output(&seeded(7)).await, seven);
    assert_ne!(bench.output(&seeded(8)).await, seven);
    // Written down, since expectations outlive a version of the host.
    expect!["[7191089600892374487,[28,102,60,244,215,60,76,4,2,42,177,186,128,64,152,230]]"]
        .assert_eq(&seven);
    let echo = r#"{"command":{"do":"echo"}}"#;
    assert_eq!(bench.output(echo).await, bench.output(echo).await);
}

#[tokio::test]
async fn wasi_has_the_same_clock_and_seed() {
    let bench = Bench::new("wasi", &wasi_guest());
    let case = r#"{
        "command": {"do":"sleep-hours","path":"2"}, "now": "2030-01-01T00:00:00Z", "seed": 9,
        "limits": {"timeout": "7200001ms"}, "env": {"A": "b"},
        "expect": {"output_matches": {"unix_ms": [1893463200000], "slept_ms": [7200000]}}
    }"#;
    bench.passes(case).await;
    assert_eq!(bench.output(case).await, bench.output(case).await);
    let hasty = case.replace("7200001", "7200000");
    assert_eq!(bench.run(&hasty).await.outcome.status(), Status::TimedOut);
    bench
        .passes(r#"{"command":{"do":"env"},"env":{"A":"b"},"expect":{"output":[["A","b"]]}}"#)
        .await;
    fs::write(bench.folder.path().join("near.txt"), "beside the case").unwrap();
    let folder = r#""folders":[{"host":".","guest":"/data"}]"#;
    bench
        .passes(&format!(
            r#"{{"command":{{"do":"read","path":"/data/near.txt"}},{folder},"expect":{{"output":"beside the case"}}}}"#
        ))
        .await;
    // Nothing is granted that the case does not grant.
    bench
        .passes(
            r#"{"command":{"do":"get","authority":"127.0.0.1:1","path":"/"},"expect":{"status":"denied","message":"does not expect the HTTP request `GET http://127.0.0.1:1/`"}}"#,
        )
        .await;
}

#[tokio::test]
async fn a_case_may_give_another_call_stack() {
    let bench = Bench::probe();
    let case = r#"{"command":{"do":"recurse","amount":5000},"limits":{"stack_max_bytes":65536},
        "expect":{"status":"trapped","message":"the call stack is exhausted"}}"#;
    bench.passes(case).await;
    let case = r#"{"command":{"do":"recurse","amount":50000},"limits":{"stack_max_bytes":4194304},
        "expect":{"output":50000}}"#;
    bench.passes(case).await;
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_named() {
    let bench = Bench::probe();
    let case = r#"{"command":{"do":"config"},"secrets":{"key":{"file":"no-such-file"}}}"#;
    let case = bench.read(case).case.unwrap();
    let error = bench.subject.run(&case).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("secret `key`: the file"), "{error}");
}

/// What `update` makes of a case.
pub(super) async fn updated(bench: &Bench, case: &str) -> Option<String> {
    let path = bench.file(case);
    let read = CaseFile::read(path.clone(), &HandlerDefaults::default())
        .case
        .unwrap();
    let verdict = bench.subject.run(&read).await.unwrap();
    let written = cases::update(&read, &verdict).unwrap();
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(written, text != case);
    written.then_some(text)
}

#[tokio::test]
async fn an_update_writes_what_is_wrong_and_leaves_the_rest_as_it_was() {
    let bench = Bench::probe();
    let check = async |case: &str, wanted: Expect| {
        wanted.assert_eq(&updated(&bench, case).await.unwrap());
        let again = fs::read_to_string(bench.folder.path().join("case.json")).unwrap();
        bench.passes(&again).await;
        assert_eq!(updated(&bench, &again).await, None, "once is enough");
    };
    check(
        "{\n  \"command\": { \"do\": \"log\" }\n}\n",
        expect![[r#"
            {
              "command": { "do": "log" },
              "expect": {
                "output": null,
                "logs": [
                  { "level": "info", "message": "first" },
                  { "level": "info", "message": "second" },
                  { "level": "warn", "message": "third" }
                ]
              }
            }
        "#]],
    )
    .await;
    check(
        "{ \"command\":   {\"do\":\"unavailable\"},\n  \"expect\": {\"output\": 1, \"logs\": []},\n  \"seed\":  1 }",
        expect![[r#"
            { "command":   {"do":"unavailable"},
              "expect": { "logs": [], "status": "unavailable", "message": "come back", "retry_after_ms": 1500 },
              "seed":  1 }"#]],
    )
    .await;
    check(
        "{\n  \"command\": { \"do\": \"config\" },\n  \"config\": { \"key\": \"a\" },\n  \"expect\": { \"output\": \"b\" }\n}",
        expect![[r#"
            {
              "command": { "do": "config" },
              "config": { "key": "a" },
              "expect": { "output": "a" }
            }"#]],
    )
    .await;
    // A pattern says what a person means.
    let pattern = r#"{"command":{"do":"echo"},"expect":{"output_matches":{"attempt":[2]}}}"#;
    assert_eq!(updated(&bench, pattern).await, None);
    // What passes is left as it is.
    let passes = r#"{"command":{"do":"nothing"},   "expect":{}}"#;
    assert_eq!(updated(&bench, passes).await, None);
}
