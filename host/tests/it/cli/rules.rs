//! What the program says of rules: explain, check, diff, and files too large.

use expect_test::{Expect, expect};

use crate::{
    cli::{check, output},
    host::Folders,
};

#[test]
fn explain_says_why_each_rule_did_or_did_not_fire() {
    let folders = Folders::shipped();
    check(
        &folders,
        &[
            "explain",
            r#"{"requestType":"CreatePolicy","productType":"Low","source":"web"}"#,
        ],
        expect![[r#"
            routed to `create-policy`
            ✓ fired web-policy rules/policy.json:9 → create-policy
                `requestType` is "CreatePolicy", expected "CreatePolicy"
                `source` is "web", expected "web"
            ~ overruled any-policy rules/policy.json:16 a fallback, and `web-policy` fired in group `create`
            ✗ missed high-risk rules/policy.json:3
                `productType` is "Low", expected "HighRisk"
            exit 0
        "#]],
    );
    check(
        &folders,
        &["explain", r#"{"requestType":"Nothing"}"#],
        expect![[r#"
            no handler matches
            ✗ missed any-policy rules/policy.json:16
                `requestType` is "Nothing", expected "CreatePolicy"
            ✗ missed high-risk rules/policy.json:3
                `productType` is absent, expected "HighRisk"
                `requestType` is "Nothing", expected "CreatePolicy"
            ✗ missed web-policy rules/policy.json:9
                `requestType` is "Nothing", expected "CreatePolicy"
                `source` is absent, expected "web"
            exit 3
        "#]],
    );
}

#[test]
fn check_tests_and_lints_the_rules_against_the_loaded_handlers() {
    let folders = Folders::probes(&["probe"]);
    check(
        &folders,
        &["check", "--strict"],
        expect![[r#"
        warning: rules/probes.json:1: no test of this file has the field `to` of rule `probe`
          hint: the file has no `tests`: add `{"command": {…}, "handlers": […]}`
        checked 1 rule in 1 file against 1 handler: 0 errors, 1 warning
        exit 1
    "#]],
    );
    folders.rules(
        "odd.json",
        r#"{"rules":[
          { "name": "lost", "match": { "a": ["b"] }, "handlers": ["prob"] },
          { "name": "never", "match": { "c": ["d"] }, "guard": "false", "handlers": ["probe"] },
          { "name": "again", "match": { "c": ["d"], "e": ["f"] }, "handlers": ["probe"] },
          { "name": "tested", "match": { "c": ["d"] }, "handlers": ["probe"] }],
         "tests": [{ "command": { "c": "d" }, "handlers": ["probe"] }]}"#,
    );
    check(
        &folders,
        &["check"],
        expect![[r#"
            error: rules/odd.json:2: rule `lost` names the unknown handler `prob`
              hint: did you mean `probe`? loaded handlers: `probe`
            warning: rules/odd.json:2: no test of this file has the field `a` of rule `lost`
              hint: add a test whose command has it
            warning: rules/odd.json:3: rule `never` can never match: its guard is false for every command
            warning: rules/odd.json:3: rule `never` changes nothing: rule `tested` (rules/odd.json:5) matches whenever it does and names its handlers
            warning: rules/odd.json:4: rule `again` changes nothing: rule `tested` (rules/odd.json:5) matches whenever it does and names its handlers
            warning: rules/odd.json:4: no test of this file has the field `e` of rule `again`
              hint: add a test whose command has it
            warning: rules/probes.json:1: no test of this file has the field `to` of rule `probe`
              hint: the file has no `tests`: add `{"command": {…}, "handlers": […]}`
            checked 5 rules in 2 files against 1 handler: 1 error, 6 warnings
            exit 1
        "#]],
    );
    folders.rules(
        "failing.json",
        r#"{"rules":[{ "name": "f", "match": { "a": ["b"] }, "handlers": ["probe"] }],
         "tests": [{ "command": { "a": "c" }, "handlers": ["probe"] }]}"#,
    );
    check(
        &folders,
        &["check"],
        expect![[r#"
            error: rules/failing.json:2:20: test failed: the rules choose no handler, the test wants `probe`
              hint: nearest miss: rule `f` (rules/failing.json:1): `a` is "c", expected "b"
            error: rules/odd.json:2: rule `lost` names the unknown handler `prob`
              hint: did you mean `probe`? loaded handlers: `probe`
            warning: rules/odd.json:2: no test of this file has the field `a` of rule `lost`
              hint: add a test whose command has it
            warning: rules/odd.json:3: rule `never` can never match: its guard is false for every command
            warning: rules/odd.json:3: rule `never` changes nothing: rule `tested` (rules/odd.json:5) matches whenever it does and names its handlers
            warning: rules/odd.json:4: rule `again` changes nothing: rule `tested` (rules/odd.json:5) matches whenever it does and names its handlers
            warning: rules/odd.json:4: no test of this file has the field `e` of rule `again`
              hint: add a test whose command has it
            warning: rules/probes.json:1: no test of this file has the field `to` of rule `probe`
              hint: the file has no `tests`: add `{"command": {…}, "handlers": […]}`
            checked 5 rules in 3 files against 1 handler: 2 errors, 6 warnings
            exit 1
        "#]],
    );
}

#[test]
fn rules_diff_shows_which_commands_go_elsewhere() {
    let folders = Folders::probes(&["probe"]);
    folders.rules(
        "new.json",
        r#"{"rules":[{"name":"n","match":{"to":[{"prefix":"p"}]},"handlers":["probe","other"]}]}"#,
    );
    let commands = "{\"to\":\"probe\"}\n\n{\"to\":\"nobody\"}\n{\"to\":\"p\"}\n";
    std::fs::write(folders.path().join("commands.jsonl"), commands).unwrap();
    let args = [
        "rules",
        "diff",
        "rules/probes.json",
        "rules/new.json",
        "--commands",
        "commands.jsonl",
    ];
    check(
        &folders,
        &args,
        expect![[r#"
            commands.jsonl:1 {"to":"probe"}
              + other
            commands.jsonl:4 {"to":"p"}
              + other
              + probe
            2 of 3 commands are routed differently
            exit 1
        "#]],
    );
    let same = [
        "rules",
        "diff",
        "rules",
        "rules",
        "--commands",
        "commands.jsonl",
    ];
    check(
        &folders,
        &same,
        expect![[r#"
            0 of 3 commands are routed differently
            exit 0
        "#]],
    );
    std::fs::write(folders.path().join("commands.jsonl"), "{}\n[]\n").unwrap();
    check(
        &folders,
        &same,
        expect![[r#"
        error: commands.jsonl:2: the command is an array: send one JSON object, such as {"requestType":"CreatePolicy"}
        exit 2
    "#]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn rule_files_that_would_take_too_much_are_refused() {
    let folders = Folders::probes(&["probe"]);
    let rule = |pattern: &str| {
        format!(r#"{{"rules":[{{"name":"big","match":{pattern},"handlers":["probe"]}}]}}"#)
    };
    let check = |text: Vec<u8>, wanted: Expect| {
        std::fs::write(folders.path().join("rules/big.json"), text).unwrap();
        let shown = String::from_utf8(output(&folders, &["check"]).stdout).unwrap();
        let shown: String = shown
            .lines()
            .filter(|line| line.contains("big.json"))
            .map(|line| {
                let cut: String = line.chars().take(200).collect();
                cut + "\n"
            })
            .collect();
        wanted.assert_eq(&shown);
    };
    check(
        vec![b' '; 11 << 20],
        expect![[r#"
        error: rules/big.json:1:1: a rule file has at most 10485760 bytes, found 11534336
    "#]],
    );
    check(
        "[".repeat(100_000).into(),
        expect![[r#"
        error: rules/big.json:1:121: nested deeper than 120 levels
    "#]],
    );
    check(
        rule(&format!(
            r#"{{"a":{}1{}}}"#,
            r#"{"a":"#.repeat(100_000),
            "}".repeat(100_000)
        ))
        .into(),
        expect![[r#"
            error: rules/big.json:1:618: nested deeper than 120 levels
        "#]],
    );
    check(
        rule(&format!(
            r#"{{"a":[{{"wildcard":"{}"}}]}}"#,
            "*a".repeat(500)
        ))
        .into(),
        expect![[r#"
            error: rules/big.json:1:51: bad wildcard "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a…" for `a`: it has more than 64 `*`
        "#]],
    );
    check(
        rule(&format!(
            r#"{{"a":[{{"numeric":["=",1e{}]}}]}}"#,
            "9".repeat(50)
        ))
        .into(),
        expect![[r#"
            error: rules/big.json:1:55: the number 1e99999999999999999999999999999999999999999999999999 for `a` is out of range
        "#]],
    );
    let branches = format!(
        r#"[{}]"#,
        (0..1_000)
            .map(|n| format!(r#"{{"b":["{n}"]}}"#))
            .collect::<Vec<_>>()
            .join(",")
    );
    check(
        rule(&format!(r#"{{"$or":{branches},"c":{{"$or":{branches}}}}}"#)).into(),
        expect![[r#"
            error: rules/big.json:1:13943: the `$or`s of this pattern multiply to more than 1000 combinations
        "#]],
    );
    check(
        b"{\"rules\":[{\"name\":\"\xff\"}]}".into(),
        expect![[r#"
        error: rules/big.json:1:20: the file is not UTF-8 text
    "#]],
    );
}

#[test]
fn a_guard_that_would_end_the_process_is_refused_with_its_place() {
    let folders = Folders::probes(&["probe"]);
    for guard in [
        format!("command.a{} > 0", "+1".repeat(1_100)),
        format!("{}command.a > 0", "!".repeat(2_000)),
    ] {
        let rule = format!(
            r#"{{"rules":[{{"name":"deep","match":"*","guard":"{guard}","handlers":["probe"]}}]}}"#
        );
        folders.rules("deep.json", &rule);
        let output = output(&folders, &["check"]);
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(
            shown.contains("rules/deep.json:1:46: invalid guard: column ")
                && shown.contains("nested deeper than"),
            "{shown}"
        );
    }
}

#[test]
fn commands_rules_and_settings_may_begin_with_a_byte_order_mark() {
    let folders = Folders::probes(&["probe"]);
    let write = |name: &str, text: &[u8]| {
        std::fs::write(folders.path().join(name), text).unwrap();
    };
    write("pointsman.toml", b"\xef\xbb\xbf[limits]\ntimeout = '5s'\n");
    write(
        "c.json",
        b"\xef\xbb\xbf{\"to\":\"probe\",\"do\":\"nothing\"}",
    );
    write(
        "c.jsonl",
        b"\xef\xbb\xbf{\"to\":\"probe\"}\n{\"to\":\"x\"}\n",
    );
    assert_eq!(output(&folders, &["run", "@c.json"]).status.code(), Some(0));
    check(
        &folders,
        &["rules", "diff", "rules", "rules", "--commands", "c.jsonl"],
        expect![[r#"
            0 of 2 commands are routed differently
            exit 0
        "#]],
    );
    let utf_16: Vec<u8> = "{\"to\":\"probe\"}\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    write("c.jsonl", &utf_16);
    for arguments in [
        &["run", "@c.jsonl"][..],
        &["rules", "diff", "rules", "rules", "--commands", "c.jsonl"],
    ] {
        let output = output(&folders, arguments);
        let shown = String::from_utf8(output.stderr).unwrap();
        let reason = "UTF-16 text: save it as UTF-8";
        assert_eq!(shown.matches(reason).count(), 1, "{shown}");
    }
}
