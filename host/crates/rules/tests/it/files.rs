//! Rule files, routing, groups, explanations: each through the public API.

use std::sync::Arc;

use expect_test::{Expect, expect};
use pointsman_core::{command::Command, name::HandlerName};
use pointsman_rules::{RuleFile, RuleSet};

fn set(json: &str) -> RuleSet {
    let file = RuleFile::parse("rules/test.json", json.as_bytes())
        .unwrap_or_else(|error| panic!("{error}"));
    RuleSet::build([Arc::new(file)]).unwrap_or_else(|error| panic!("{error}"))
}

fn check_route(rules: &RuleSet, command: &str, expect: Expect) {
    let matches = rules.route(&Command::parse(command).unwrap()).unwrap();
    let lines: Vec<String> = matches
        .iter()
        .map(|found| {
            let rules: Vec<&str> = found.rules.iter().map(|rule| rule.as_str()).collect();
            format!("{}: {}\n", found.handler, rules.join(", "))
        })
        .collect();
    expect.assert_eq(&lines.concat());
}

const POLICY: &str = r#"{
  "rules": [
    { "name": "high-risk", "match": { "requestType": ["CreatePolicy"], "productType": ["HighRisk"] },
      "handlers": ["notify-underwriter"] },
    { "name": "web-policy", "match": { "requestType": ["CreatePolicy"], "source": ["web"] },
      "handlers": ["create-policy"], "group": "create" },
    { "name": "any-policy", "match": { "requestType": ["CreatePolicy"] },
      "handlers": ["default-create-policy"], "group": "create", "fallback": true }
  ],
  "tests": [
    { "command": { "requestType": "CreatePolicy", "productType": "HighRisk" },
      "handlers": ["default-create-policy", "notify-underwriter"] }
  ]
}"#;

#[test]
fn all_matching_rules_fire_and_a_fallback_yields() {
    let rules = set(POLICY);
    check_route(
        &rules,
        r#"{"requestType":"CreatePolicy","productType":"HighRisk"}"#,
        expect![[r#"
        default-create-policy: any-policy
        notify-underwriter: high-risk
    "#]],
    );
    check_route(
        &rules,
        r#"{"requestType":"CreatePolicy","source":"web"}"#,
        expect![[r#"
        create-policy: web-policy
    "#]],
    );
    check_route(&rules, r#"{"requestType":"DeletePolicy"}"#, expect![""]);
    let command = r#"{"requestType":"CreatePolicy","productType":"Low"}"#;
    let command = Command::parse(command).unwrap();
    let miss = rules.nearest_miss(&command).unwrap();
    expect![[
        r#"rule `high-risk` (rules/test.json:3): `productType` is "Low", expected "HighRisk""#
    ]]
    .assert_eq(&miss.to_string());
}

/// The findings of `pointsman check`, one a line.
fn check_lint(json: &str, handlers: &[&str], expect: Expect) {
    let handlers: Vec<HandlerName> = handlers
        .iter()
        .map(|name| HandlerName::parse(name).unwrap())
        .collect();
    let findings: Vec<String> = set(json)
        .lint(&handlers)
        .iter()
        .map(|finding| format!("{:?}: {finding}\n", finding.severity))
        .collect();
    expect.assert_eq(&findings.concat());
}

fn check_error(path: &str, text: &str, expect: Expect) {
    match RuleFile::parse(path, text.as_bytes()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => expect.assert_eq(&format!("{error}\n  code: {}\n", error.code())),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn the_first_by_priority_wins_and_its_guard_counts() {
    let rules = set(r#"{"rules": [
        {"name": "any", "match": "*", "handlers": ["any"], "group": "g", "select": "first"},
        {"name": "vip", "match": {"tier": "vip"}, "handlers": ["vip"], "group": "g", "priority": 1},
        {"name": "big", "match": {"tier": {"name": ["x"]}}, "handlers": ["big"], "group": "g", "priority": 0},
        {"name": "rich", "match": {"amount": [{"exists": true}]}, "handlers": ["rich"], "group": "g", "priority": -5,
         "guard": "command.amount > command.limit"}
    ]}"#);
    check_route(
        &rules,
        r#"{"tier":"vip"}"#,
        expect![[r#"
        vip: vip
    "#]],
    );
    check_route(
        &rules,
        r#"{"tier":"vip","amount":2,"limit":1}"#,
        expect![[r#"
        rich: rich
    "#]],
    );
    check_route(
        &rules,
        r#"{"amount":2}"#,
        expect![[r#"
        any: any
    "#]],
    );
    let command = Command::parse(r#"{"tier":"vip","amount":2}"#).unwrap();
    let explanation = rules.explain(&command).unwrap();
    expect![[r#"
        {
          "matches": [
            {
              "handler": "vip",
              "rules": [
                "vip"
              ]
            }
          ],
          "fired": [
            {
              "rule": "vip",
              "file": "rules/test.json",
              "line": 3,
              "handlers": [
                "vip"
              ],
              "clauses": [
                {
                  "field": "tier",
                  "seen": [
                    "\"vip\""
                  ],
                  "wanted": "\"vip\""
                }
              ]
            }
          ],
          "overruled": [
            {
              "rule": "any",
              "file": "rules/test.json",
              "line": 2,
              "group": "g",
              "by": "vip",
              "fallback": false
            }
          ],
          "misses": [
            {
              "rule": "rich",
              "file": "rules/test.json",
              "line": 5,
              "failed": [],
              "held": 1,
              "reason": "the guard is false: `limit` is absent"
            },
            {
              "rule": "big",
              "file": "rules/test.json",
              "line": 4,
              "failed": [
                {
                  "field": "tier.name",
                  "seen": [],
                  "wanted": "\"x\""
                }
              ],
              "held": 0
            }
          ]
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&explanation).unwrap());
}

#[test]
fn toml_has_the_same_shape() {
    let text = r#"
dialect = "pointsman"

[[rules]]
name = "big"
match = { amount = [{ numeric = [">=", 1_000.0] }], "detail.kind" = ["a", 1, true] }
handlers = ["audit"]

[[tests]]
command = { amount = 1e3, detail = { kind = 1.0 } }
handlers = ["audit"]
"#;
    let rules = RuleSet::build([Arc::new(
        RuleFile::parse("rules/big.toml", text.as_bytes()).unwrap(),
    )])
    .unwrap();
    check_route(
        &rules,
        r#"{"amount":1000,"detail":{"kind":"a"}}"#,
        expect![[r#"
        audit: big
    "#]],
    );
    expect![[r#"{"name":"big","match":{"amount":[{"numeric":[">=",1000.0]}],"detail.kind":["a",1,true]},"handlers":["audit"],"file":"rules/big.toml","line":4}"#]].assert_eq(&serde_json::to_string(rules.rules().next().unwrap()).unwrap());
    check_error(
        "a.toml",
        "rules = [\n  { name = 1, match = \"*\", handlers = [\"a\"] } ]",
        expect![[r#"
        a.toml:2:12: `name` must be a string, found a number
          code: wrong-type
    "#]],
    );
    check_error(
        "a.toml",
        "rules = [\n  nonsense ]",
        expect![[r#"
        a.toml:2:3: invalid float, expected `nan`
          code: invalid-toml
    "#]],
    );
    check_error(
        "a.toml",
        "rules = [{ name = \"a\", match = { at = 2020-01-01 }, handlers = [\"a\"] }]",
        expect![[r#"
        a.toml:1:39: a date is no JSON value
          hint: put it in quotes
          code: invalid-toml
    "#]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn an_error_names_the_thing_the_reason_and_the_fix() {
    let rule = |pattern: &str| {
        format!(
            "{{\"rules\": [\n  {{\"name\": \"a\", \"handlers\": [\"h\"],\n   \"match\": {pattern}}}]}}"
        )
    };
    check_error(
        "rules/orders.json",
        &rule(r#"{"detail": {"state": [{"prefxi": "run"}]}}"#),
        expect![[r#"
        rules/orders.json:3:36: unknown operator `prefxi` for `detail.state`
          hint: did you mean `prefix`? allowed: `anything-but`, `cidr`, `equals-ignore-case`, `exactly`, `exists`, `numeric`, `prefix`, `suffix`, `wildcard`
          code: unknown-operator
    "#]],
    );
    check_error(
        "rules/orders.json",
        &rule(r#"{"a": [{"numeric": [">", 5, "<", 5]}]}"#),
        expect![[r#"
        rules/orders.json:3:46: no number is > 5 and < 5 for `a`
          hint: the lower bound must be less than the upper one; for one number use `["=", n]`
          code: numeric-range
    "#]],
    );
    check_error(
        "rules/orders.json",
        &rule(r#"{"a": {"prefix": "x"}}"#),
        expect![[r#"
        rules/orders.json:3:20: `a.prefix` looks like the operator `prefix` without its array
          hint: an operator must be in an array: `[{"prefix": …}]`
          code: operator-as-field
    "#]],
    );
    check_error(
        "rules/orders.json",
        &rule(r#"{"a": [{"cidr": "10.0.0.0/33"}]}"#),
        expect![[r#"
        rules/orders.json:3:29: bad cidr "10.0.0.0/33" for `a`: the part after `/` must be a number from 0 to 32
          hint: such as `10.0.0.0/8` or `2001:db8::/32`
          code: invalid-cidr
    "#]],
    );
    check_error(
        "rules/orders.json",
        &rule(r#"{"$or": [{"a": [1]}]}"#),
        expect![[r#"
        rules/orders.json:3:21: `$or` needs at least two branches, found 1
          hint: with one branch, leave `$or` away
          code: or-branches
    "#]],
    );
    check_error(
        "rules/orders.json",
        &rule(r#"{"a": [1], "a": [2]}"#),
        expect![[r#"
        rules/orders.json:3:24: duplicate key `a`
          hint: join the alternatives in one array, such as `["a", {"prefix": "b"}]`
          code: duplicate-key
    "#]],
    );
    check_error(
        "rules/orders.json",
        r#"{"rule": []}"#,
        expect![[r#"
            rules/orders.json:1:2: unknown key `rule` in a rule file
              hint: did you mean `rules`? allowed: `description`, `dialect`, `rules`, `schedules`, `tests`
              code: unknown-key
        "#]],
    );
    check_error(
        "rules/orders.json",
        r#"{"rules": [{"name": "a", "match": "*"}]}"#,
        expect![[r#"
        rules/orders.json:1:12: this rule has no `handlers`
          hint: a rule has at least `name`, `match` and `handlers`
          code: missing-key
    "#]],
    );
    check_error(
        "rules/orders.json",
        r#"{"rules": [{"name": "a", "match": "*", "handlers": ["B"]}]}"#,
        expect![[r#"
        rules/orders.json:1:53: `B` is not a handler name: use lower-case words joined by `-`, such as `create-policy`, of at most 64 bytes
          code: invalid-handler
    "#]],
    );
    check_error(
        "rules/orders.json",
        r#"{"rules": [{"name": "a", "match": "*", "handlers": ["b"], "guard": "amount > 5"}]}"#,
        expect![[r#"
        rules/orders.json:1:68: invalid guard: column 1: `amount` is unknown
          hint: the command's attributes are under `command`, such as `command.amount`
          code: invalid-guard
    "#]],
    );
    check_error(
        "rules/orders.json",
        r#"{"rules": [{"name": "a", "match": "*", "handlers": ["b"], "priority": 5}]}"#,
        expect![[r#"
        rules/orders.json:1:71: `priority` has no effect without `group`
          hint: name the group that the rule belongs to
          code: no-group
    "#]],
    );
    check_error(
        "rules/orders.json",
        "{\"rules\": [\n",
        expect![[r#"
        rules/orders.json:2:1: expected a JSON value, found the end of the input
          code: invalid-json
    "#]],
    );
    check_error(
        "rules/orders.yaml",
        "rules: []",
        expect![[r#"
        rules/orders.yaml:1:1: a rule file ends in `.json` or `.toml`
          code: unknown-format
    "#]],
    );
}

#[test]
fn a_failed_test_names_the_nearest_miss() {
    let text = r#"{
  "rules": [{"name": "high-risk", "match": {"productType": ["HighRisk"]}, "handlers": ["notify"]}],
  "tests": [
    {"command": {"productType": "Low"}, "handlers": ["notify"], "description": "low risk"}]
}"#;
    check_error(
        "rules/policy.json",
        text,
        expect![[r#"
        rules/policy.json:4:5: test failed (low risk): the rules choose no handler, the test wants `notify`
          hint: nearest miss: rule `high-risk` (rules/policy.json:2): `productType` is "Low", expected "HighRisk"
          code: test-failed
    "#]],
    );
}

#[test]
fn two_files_cannot_use_one_rule_name() {
    let file = |path: &str| {
        let text = "{\"rules\": [\n{\"name\": \"a\", \"match\": \"*\", \"handlers\": [\"h\"]}]}";
        Arc::new(RuleFile::parse(path, text.as_bytes()).unwrap())
    };
    let (a, b) = (file("rules/a.json"), file("rules/b.json"));
    let error = RuleSet::build([b.clone(), a.clone()]).unwrap_err();
    expect![[r#"
        rules/b.json:2:1: the rule name `a` is already used in rules/a.json:2
          hint: rule names are unique over all files"#]]
    .assert_eq(&error.to_string());
    let one = RuleSet::build([a.clone()]).unwrap();
    assert_eq!(
        RuleSet::build_from(&one, [a.clone(), b.clone()]).unwrap_err(),
        error
    );
    // The one that came later is to blame, whatever its name.
    let one = RuleSet::build([b.clone()]).unwrap();
    let error = RuleSet::build_from(&one, [a, b]).unwrap_err();
    assert_eq!(error.path(), "rules/a.json");
}

#[test]
fn lint_finds_what_is_probably_not_meant() {
    check_lint(
        r#"{"rules": [
            {"name": "create", "match": {"type": ["create"]}, "handlers": ["audit"]},
            {"name": "create-web", "match": {"type": ["create"], "source": ["web"]}, "handlers": ["audit"]},
            {"name": "typo", "match": {"type": ["x"]}, "handlers": ["audti"]},
            {"name": "never", "match": {"type": ["y"]}, "handlers": ["audit"], "guard": "1 > 2"},
            {"name": "first", "match": {"amount": [{"numeric": [">", 5]}]}, "handlers": ["audit"], "group": "g", "select": "first"},
            {"name": "second", "match": {"amount": [{"numeric": [">", 10, "<", 20]}]}, "handlers": ["audit"], "group": "g"}
        ],
        "tests": [{"command": {"type": "create"}, "handlers": ["audit"]}]}"#,
        &["audit", "greet"],
        expect![[r#"
            Warning: rules/test.json:3: rule `create-web` changes nothing: rule `create` (rules/test.json:2) matches whenever it does and names its handlers
            Warning: rules/test.json:3: no test of this file has the field `source` of rule `create-web`
              hint: add a test whose command has it
            Error: rules/test.json:4: rule `typo` names the unknown handler `audti`
              hint: did you mean `audit`? loaded handlers: `audit`, `greet`
            Warning: rules/test.json:5: rule `never` can never match: its guard is false for every command
            Warning: rules/test.json:6: no test of this file has the field `amount` of rule `first`
              hint: add a test whose command has it
            Warning: rules/test.json:7: rule `second` never fires: rule `first` (rules/test.json:6) of the same group matches whenever it does and comes first
        "#]],
    );
}

#[test]
fn lines_and_columns_are_right_in_any_order() {
    let text = r#"{"tests": [{"command": {}, "handlers": ["h", "i"]}],
"rules": [{"name": "é", "match": "*", "handlers": ["h"]}, {"name": "b", "match": "*", "handlers": ["i"]},
  {"name": "c", "match": "*", "handlers": ["i"]}]}"#;
    let rules = set(text);
    let lines: Vec<u32> = rules.rules().map(|rule| rule.line()).collect();
    assert_eq!(lines, [2, 2, 3]);
    check_error(
        "rules/a.json",
        &text.replace("\"h\", \"i\"", "\"h\""),
        expect![[r#"
            rules/a.json:1:12: test failed: the rules choose `h`, `i`, the test wants `h`
              code: test-failed
        "#]],
    );
    check_error(
        "rules/a.json",
        &text.replace("\"c\"", "\"b\""),
        expect![[r#"
        rules/a.json:3:3: the rule name `b` is used twice in this file
          hint: the other one is on line 2
          code: name-twice
    "#]],
    );
}

/// Checks a file with a schedule that has these keys beside a name and a command.
fn check_schedule(keys: &str, expect: Expect) {
    let text = format!(
        "{{\"rules\": [], \"schedules\": [\n  {{\"name\": \"s\", \"command\": {{}}, {keys}}}]}}"
    );
    check_error("rules/s.json", &text, expect);
}

#[test]
fn a_time_of_a_schedule_that_cannot_be_meant_names_the_reason_and_the_fix() {
    for (keys, expect) in [
        (
            r#""cron": "* * *""#,
            expect![[r#"
            rules/s.json:2:40: `cron`: has 3 fields: 5, or 6 with seconds first
              code: invalid-schedule
        "#]],
        ),
        (
            r#""cron": "61 * * * *""#,
            expect![[r#"
            rules/s.json:2:40: `cron`: `61` is no minute: 0 to 59, `*`, `a-b`, `*/n`, lists with `,`
              code: invalid-schedule
        "#]],
        ),
        (
            r#""cron": "0 0 31 2 *""#,
            expect![[r#"
            rules/s.json:2:40: `cron` names no day that ever comes
              hint: check day and month
              code: invalid-schedule
        "#]],
        ),
        (
            r#""cron": "@daily", "timezone": "Europe/Berlim""#,
            expect![[r#"
                rules/s.json:2:62: `timezone`: there is no time zone `Europe/Berlim`
                  hint: use a name of the IANA database, such as `Europe/Berlin`
                  code: invalid-schedule
            "#]],
        ),
        (
            r#""every": "90""#,
            expect![[r#"
            rules/s.json:2:41: `every` cannot be `90`
              hint: use 1s to 366d, such as `90s`, `15m` or `2h`
              code: invalid-schedule
        "#]],
        ),
    ] {
        check_schedule(keys, expect);
    }
}

#[test]
fn times_of_a_schedule_that_contradict_each_other_are_refused() {
    for (keys, expect) in [
        (
            r#""every": "1s", "timezone": "UTC""#,
            expect![[r#"
            rules/s.json:2:59: `timezone` means nothing with `every`
              hint: use `cron` for times of day
              code: invalid-schedule
        "#]],
        ),
        (
            r#""every": "1s", "cron": "@daily""#,
            expect![[r#"
            rules/s.json:2:41: a schedule has `cron` or `every`, not both
              hint: keep one
              code: invalid-schedule
        "#]],
        ),
        (
            r#""missed": "last""#,
            expect![[r#"
            rules/s.json:2:3: this schedule does not say when
              hint: add `cron`, such as `"0 3 * * *"`, or `every`, such as `"15m"`
              code: invalid-schedule
        "#]],
        ),
    ] {
        check_schedule(keys, expect);
    }
}

#[test]
fn a_key_of_a_schedule_with_another_value_is_told_what_is_allowed() {
    for (keys, expect) in [
        (
            r#""every": "1s", "missed": "none""#,
            expect![[r#"
            rules/s.json:2:57: `missed` cannot be `none`
              hint: allowed: `skip`, `last`, `all`
              code: unknown-value
        "#]],
        ),
        (
            r#""every": "1s", "jitter": "2d""#,
            expect![[r#"
            rules/s.json:2:57: `jitter` cannot be `2d`
              hint: use 0s to 24h, such as `90s`, `15m` or `2h`
              code: invalid-schedule
        "#]],
        ),
        (
            r#""every": "1s", "paused": 1"#,
            expect![[r#"
            rules/s.json:2:57: `paused` must be true or false, found a number
              code: wrong-type
        "#]],
        ),
        (
            r#""every": "1s", "evry": 1"#,
            expect![[r#"
            rules/s.json:2:47: unknown key `evry` in a schedule
              hint: did you mean `every`? allowed: `command`, `cron`, `description`, `every`, `jitter`, `missed`, `name`, `paused`, `timezone`
              code: unknown-key
        "#]],
        ),
    ] {
        check_schedule(keys, expect);
    }
}

#[test]
fn a_schedule_that_is_there_twice_or_whose_command_is_none_is_refused() {
    let twice = r#"{"name": "s", "every": "1s", "command": {}}"#;
    let twice = format!("{{\"rules\": [], \"schedules\": [{twice},\n{twice}]}}");
    check_error(
        "rules/s.json",
        &twice,
        expect![[r#"
        rules/s.json:2:1: the schedule name `s` is used twice in this file
          hint: the other one is on line 1
          code: name-twice
    "#]],
    );
    let command = r#"{"name": "s", "every": "1s", "command": {"a": 1, "a": 2}}"#;
    let command = format!("{{\"rules\": [], \"schedules\": [{command}]}}");
    check_error(
        "rules/s.json",
        &command,
        expect![[r#"
        rules/s.json:1:78: the schedule's `command`: duplicate key `a`
          code: invalid-command
    "#]],
    );
}

#[test]
fn two_files_cannot_use_one_name_of_a_schedule() {
    let file = |path: &str| {
        let text = r#"{"rules": [], "schedules": [{"name": "s", "every": "1s", "command": {}}]}"#;
        Arc::new(RuleFile::parse(path, text.as_bytes()).unwrap())
    };
    let error = RuleSet::build([file("rules/a.json"), file("rules/b.json")]).unwrap_err();
    expect![[r#"
        rules/b.json:1:1: the schedule name `s` is used twice
          hint: the other one is in rules/a.json:1"#]]
    .assert_eq(&error.to_string());
    let rules = RuleSet::build([file("rules/a.json")]).unwrap();
    let schedules: Vec<_> = rules.schedules().collect();
    assert_eq!(schedules[0].cadence.to_string(), "every 1s");
    assert_eq!((schedules.len(), &*schedules[0].attributes), (1, "{}"));
}

#[test]
fn an_absent_field_is_explained_by_one_with_a_similar_name() {
    let rules = set(r#"{"rules":[
          { "name": "order", "match": { "requestType": ["Order"], "customer": { "country": ["DE"] } }, "handlers": ["order"] },
          { "name": "known", "match": { "sort": ["x"] }, "handlers": ["order"] }]}"#);
    let shown = |command: &str| {
        let command = Command::parse(command).unwrap();
        let explanation = rules.explain(&command).unwrap();
        let order = explanation
            .misses
            .iter()
            .find(|miss| miss.rule.as_str() == "order");
        let failed = order.unwrap().failed.iter();
        failed
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert_eq!(
        shown(r#"{"requesttype":"Order","customer":{"countri":"DE"}}"#),
        "`customer.country` is absent (the command has `customer.countri`), expected \"DE\"; \
         `requestType` is absent (the command has `requesttype`), expected \"Order\""
    );
    // Neither what another rule asks for nor what is spelled differently.
    assert_eq!(
        shown(r#"{"sort":"x","kind":"Order","customer":{"country":"DE"}}"#),
        "`requestType` is absent, expected \"Order\""
    );
    let command = Command::parse(r#"{"requesttype":"Order"}"#).unwrap();
    let hint = rules.nearest_miss(&command).unwrap();
    assert_eq!(hint.failed[0].similar, None, "{hint}");
}
