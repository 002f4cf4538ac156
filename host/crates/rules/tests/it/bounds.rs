//! Input that is too large, too deep or made to explode: a clear refusal, or an
//! answer, within bounds.

use std::sync::Arc;

use expect_test::expect;
use pointsman_core::command::Command;
use pointsman_rules::{ROUTING_STEPS_MAX, RuleFile, RuleSet};
use serde_json::json;

#[test]
fn bad_input_is_refused_within_bounds() {
    let rule = |pattern: &str| {
        format!(r#"{{"rules": [{{"name": "a", "handlers": ["h"], "match": {pattern}}}]}}"#)
    };
    let or = |branches: usize| {
        let branches: Vec<String> = (0..branches)
            .map(|branch| format!(r#"{{"x{branch}": [1]}}"#))
            .collect();
        format!("[{}]", branches.join(","))
    };
    let multiplied = (0..5)
        .map(|at| format!(r#""f{at}": {{"$or": {}}}"#, or(100)))
        .collect::<Vec<_>>()
        .join(",");
    let fields = (0..300)
        .map(|at| format!(r#""f{at}": [1]"#))
        .collect::<Vec<_>>()
        .join(",");
    let codes: Vec<String> = [
        " ".repeat(10 * 1024 * 1024 + 1),
        "[".repeat(100_000),
        rule(&"{\"a\":".repeat(100_000)),
        rule(r#"{"a": [1e99999999999999999999]}"#),
        rule(&format!(
            r#"{{"a": [{{"wildcard": "{}"}}]}}"#,
            "*a".repeat(300)
        )),
        rule(&format!("{{{multiplied}}}")),
        rule(&format!(r#"{{"$or": {}}}"#, or(2_000))),
        rule(&format!("{{{fields}}}")),
        rule(&format!(r#"{{"{}": [1]}}"#, "k".repeat(1_000_000))),
    ]
    .iter()
    .map(|text| {
        RuleFile::parse("rules/bad.json", text.as_bytes())
            .map_or_else(|error| error.code().to_owned(), |_| "accepted".to_owned())
    })
    .collect();
    expect![[r#"
        too-large
        too-deep
        too-deep
        number-range
        invalid-wildcard
        too-many-combinations
        too-many-combinations
        too-many-fields
        path-too-long"#]]
    .assert_eq(&codes.join("\n"));
    expect!["rules/bad.json:2:3: the file is not UTF-8 text"].assert_eq(
        &RuleFile::parse("rules/bad.json", b"{\"rules\": [\n \"\xff\"]}")
            .unwrap_err()
            .to_string(),
    );
}

#[test]
fn unrelated_arrays_do_not_multiply() {
    // Six arrays of 200 elements, and a rule that no choice of theirs satisfies.
    let fields: Vec<String> = (0..6)
        .map(|at| format!(r#""a{at}": {{"x": [{{"exists": true}}]}}"#))
        .collect();
    let text = format!(
        r#"{{"rules": [{{"name": "a", "handlers": ["h"], "match": {{{}, "z": {{"x": [1], "y": [1]}}}}}}]}}"#,
        fields.join(",")
    );
    let file = RuleFile::parse("rules/test.json", text.as_bytes()).unwrap();
    let rules = RuleSet::build([Arc::new(file)]).unwrap();
    let items = (0..200)
        .map(|item| format!(r#"{{"x":{item}}}"#))
        .collect::<Vec<_>>()
        .join(",");
    let arrays: Vec<String> = (0..6).map(|at| format!(r#""a{at}":[{items}]"#)).collect();
    let command = format!(r#"{{{},"z":[{{"x":1}},{{"y":1}}]}}"#, arrays.join(","));
    let command = Command::parse(command).unwrap();
    assert!(rules.route(&command).unwrap().is_empty());
    assert_eq!(
        rules.nearest_miss(&command).unwrap().to_string(),
        "rule `a` (rules/test.json:1): the clauses hold only for different elements of one array"
    );
}

fn set(rules: &serde_json::Value) -> RuleSet {
    let file = RuleFile::parse("rules/test.json", rules.to_string().as_bytes());
    let file = file.unwrap_or_else(|error| panic!("{error}"));
    RuleSet::build([Arc::new(file)]).unwrap()
}

fn parsed(command: &serde_json::Value) -> Command {
    Command::parse(command.to_string()).unwrap()
}

/// `count` rules with these patterns.
fn rules(count: usize, pattern: impl Fn(usize) -> serde_json::Value) -> serde_json::Value {
    let rule = |number: usize| json!({"name": format!("r{number}"), "match": pattern(number), "handlers": ["h"]});
    json!({"rules": (0..count).map(rule).collect::<Vec<_>>()})
}

fn list(count: usize, item: impl Fn(usize) -> serde_json::Value) -> serde_json::Value {
    (0..count).map(item).collect::<Vec<_>>().into()
}

#[test]
fn a_large_command_that_people_send_is_routed() {
    // 1 MiB of objects, at whose end is what the rule asks for.
    let rules = set(&json!({"rules": [
        {"name": "two", "match": {"items": {"a": [1], "b": [2]}}, "handlers": ["h"]},
        {"name": "nested", "match": {"o": {"l": {"a": [1]}, "m": {"b": [2]}}}, "handlers": ["h"]},
        {"name": "none", "match": {"items": {"a": [1], "b": [{"exists": false}], "c": [3]}}, "handlers": ["h"]},
    ]}));
    for (command, wanted) in [
        (
            json!({"items": list(130_000, |n| match n % 2 { 0 => json!({"a": 1}), _ => json!({"b": 2}) })}),
            0,
        ),
        (
            json!({"items": list(80_000, |n| match n { 79_999 => json!({"a": 1, "b": 2}), _ => json!({"a": 1}) })}),
            1,
        ),
        (
            json!({"o": list(60_000, |n| match n % 2 { 0 => json!({"l": [{"a": 1}]}), _ => json!({"m": [{"b": 2}]}) })}),
            0,
        ),
        (
            json!({"items": list(60_000, |n| match n { 59_999 => json!({"a": 1, "c": 3}), _ => json!({"a": 1, "b": 3, "c": 3}) })}),
            1,
        ),
    ] {
        let command = parsed(&command);
        let routing = rules.routing(&command, ROUTING_STEPS_MAX).unwrap();
        assert_eq!(routing.matches.len(), wanted);
        assert!(
            routing.steps < 3_000_000,
            "{} for {} bytes",
            routing.steps,
            command.attributes().len()
        );
        assert!(rules.explain(&command).is_ok());
    }
}

#[test]
fn a_wildcard_costs_a_step_for_some_bytes_of_the_text() {
    let rules = set(&rules(1, |_| json!({"a": [{"wildcard": "*xx*z"}]})));
    let command = parsed(&json!({"a": format!("xx{}", "y".repeat(64_000))}));
    let steps = rules.routing(&command, ROUTING_STEPS_MAX).unwrap().steps;
    assert!((16_000..64_000).contains(&steps), "{steps}");
}

#[test]
fn the_nearest_miss_is_the_rule_with_the_fewest_clauses_that_fail() {
    let far = json!({"name": "far", "match": {"a": [1], "b": [1], "c": [1]}, "handlers": ["h"]});
    let near = json!({"name": "near", "match": {"a": [1], "b": [2], "c": [1]}, "handlers": ["h"]});
    let command = parsed(&json!({"a": 1, "b": 2, "c": 3}));
    for order in [json!([far, near]), json!([near, far])] {
        let miss = set(&json!({ "rules": order })).nearest_miss(&command);
        assert_eq!(miss.unwrap().rule.as_str(), "near");
    }
}

/// A range or network that contains a value is found in a tree, which takes twice
/// as long as a key in a hash: 4 million of them would take over 20 ms.
#[test]
fn what_an_interval_finds_costs_two_steps() {
    let (many, values) = (200, 1_000);
    for (pattern, value) in [
        (json!({"numeric": [">", 0]}), json!(7)),
        (json!({"cidr": "10.0.0.0/8"}), json!("10.1.2.3")),
    ] {
        let rules = set(&rules(many, |_| json!({ "a": [pattern] })));
        let command = parsed(&json!({"a": list(values, |_| value.clone())}));
        let steps = rules.routing(&command, ROUTING_STEPS_MAX).unwrap().steps;
        assert!(steps >= 2 * (many * values) as u64, "{pattern}: {steps}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn rules_and_commands_that_multiply_take_bounded_steps() {
    let numbers = |count| list(count, |n| json!(n));
    let cases = [
        // Every value brings every rule in.
        (
            rules(1_000, |_| json!({"a": [{"exists": true}]})),
            json!({"a": numbers(100_000)}),
        ),
        (
            rules(1_000, |n| json!({"a": [{"anything-but": n}]})),
            json!({"a": list(100_000, |_| json!(0))}),
        ),
        (
            rules(1_000, |n| json!({"a": [{"numeric": [">=", n]}]})),
            json!({"a": list(100_000, |n| json!(n + 1_000))}),
        ),
        (
            rules(1_000, |_| json!({"a": [{"cidr": "10.0.0.0/8"}]})),
            json!({"a": list(50_000, |n| json!(format!("10.0.{}.{}", n / 250 % 250, n % 250)))}),
        ),
        // Two keys at once.
        (
            rules(2_000, |n| json!({"t": [n % 2], "s": [n % 3]})),
            json!({"t": list(200_000, |n| json!(n % 2)), "s": numbers(100_000)}),
        ),
        // One long text, and many pieces, prefixes or alternatives.
        (
            rules(
                500,
                |n| json!({"a": [{"wildcard": format!("*{}*b", "a".repeat(n % 60 + 1))}]}),
            ),
            json!({"a": "a".repeat(1 << 20)}),
        ),
        (
            rules(500, |n| json!({"a": [{"prefix": "a".repeat(n * 2 + 1)}]})),
            json!({"a": list(1_000, |_| json!("a".repeat(1_000)))}),
        ),
        (
            rules(
                500,
                |n| json!({"a": [{"prefix": {"equals-ignore-case": "A".repeat(n + 1)}}]}),
            ),
            json!({"a": "a".repeat(1 << 20)}),
        ),
        (
            rules(
                1,
                |_| json!({"a": [{"anything-but": list(50_000, |n| json!(format!("v{n}")))}]}),
            ),
            json!({"a": list(50_000, |n| json!(format!("v{n}")))}),
        ),
        (
            rules(
                1,
                |_| json!({"a": list(50_000, |n| json!({"prefix": format!("v{n}x")}))}),
            ),
            json!({"a": list(50_000, |n| json!(format!("v{n}")))}),
        ),
        (
            rules(500, |n| json!({"a": [{"numeric": [">", 5, "<", n + 6]}]})),
            serde_json::from_str(&format!("{{\"a\":1{}}}", "0".repeat(300))).unwrap(),
        ),
        // Every rule over every element.
        (
            rules(
                200,
                |n| json!({"items": {"a": [{"exists": true}], "b": [n]}}),
            ),
            json!({"items": list(40_000, |n| json!({"a": 1, "b": n}))}),
        ),
    ];
    for (rules, command) in cases {
        let (rules, command) = (set(&rules), parsed(&command));
        let routed = rules.routing(&command, ROUTING_STEPS_MAX);
        match &routed {
            Ok(routing) => assert!(routing.steps <= ROUTING_STEPS_MAX),
            Err(error) => assert_eq!(error.code(), "routing-limit", "{error}"),
        }
        // People's questions are answered, or refused alike, and never at length.
        let explained = rules
            .explain(&command)
            .map(|found| serde_json::to_string(&found).unwrap().len());
        assert!(explained.is_ok_and(|length| length < 1 << 20) || routed.is_err());
        drop(rules.nearest_miss(&command));
    }
}

#[test]
fn a_place_in_an_array_costs_what_it_takes() {
    // Each branch sorts and visits every `y`, which no `x` stands beside.
    let branch = |n: usize| json!({"l": {format!("x{n}"): [1], "y": [2]}});
    let rules = |count: usize| set(&rules(1, |_| json!({"$or": list(count, branch)})));
    let objects = |n: usize| match n {
        0..10 => json!({format!("x{n}"): 1}),
        _ => json!({"y": 2}),
    };
    let command = parsed(&json!({"l": list(3_000, objects)}));
    let steps = |count| {
        rules(count)
            .routing(&command, ROUTING_STEPS_MAX)
            .unwrap()
            .steps
    };
    let each = (steps(10) - steps(2)) / 8 / 3_000;
    assert!(each >= 12, "{each}");
}

#[test]
fn the_answer_of_explain_is_bounded() {
    let rules = set(&rules(20, |n| {
        let fields: serde_json::Map<String, serde_json::Value> = (0..100)
            .map(|field| (format!("f{field}{}", "x".repeat(1_000)), json!([n])))
            .collect();
        json!({"a": ["never"], "b": fields})
    }));
    let command = parsed(&json!({"a": list(100_000, |n| json!(format!("x{n}")))}));
    let explanation = rules.explain(&command).unwrap();
    assert_eq!(
        (
            explanation.misses.len(),
            explanation.misses[0].failed[0].seen_more
        ),
        (10, 99_990)
    );
    assert!(serde_json::to_string(&explanation).unwrap().len() < 512 << 10);
    let miss = explanation.misses[0].to_string();
    assert!(
        miss.contains("and 99997 more, expected \"never\", and 100 more clauses failed"),
        "{miss}"
    );
}

#[test]
fn a_rule_file_cannot_multiply_into_memory_or_hold_the_reload() {
    // Within the combinations of each rule, and 100 times as much over all of them.
    let or = |field: usize| -> serde_json::Value {
        list(
            10,
            |n| json!({format!("f{field}x{n}"): list(40, |n| json!(n))}),
        )
    };
    let bomb = rules(
        200,
        |_| json!({"a": {"$or": or(0)}, "b": {"$or": or(1)}, "c": {"$or": or(2)}}),
    );
    let error = RuleFile::parse("rules/test.json", bomb.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.code(), "too-many-combinations");
    // Tests that each take a while.
    let mut slow = rules(1, |_| json!("*"));
    slow["rules"][0]["guard"] = json!("command.x.all(a, command.x.all(b, a + b >= 0))");
    let test = json!({"command": {"x": list(400, |n| json!(n))}, "handlers": ["h"]});
    slow["tests"] = list(2_000, |_| test.clone());
    let error = RuleFile::parse("rules/test.json", slow.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.code(), "too-many-steps");
    // One that takes more than a command may.
    slow["tests"] = json!([{"command": {"x": list(3_000, |n| json!(n))}, "handlers": ["h"]}]);
    let error = RuleFile::parse("rules/test.json", slow.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.code(), "invalid-command");
    // Dotted keys and tables of TOML nest too.
    for deep in [
        format!("match.{} = [1]", vec!["a"; 100_000].join(".")),
        format!("match = {}1{}", "{a=".repeat(100_000), "}".repeat(100_000)),
        format!(
            "match = {{a = {}1{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
    ] {
        let text = format!("[[rules]]\nname = \"a\"\nhandlers = [\"h\"]\n{deep}\n");
        let error = RuleFile::parse("rules/test.toml", text.as_bytes()).unwrap_err();
        assert_eq!(error.code(), "too-deep", "{error}");
    }
}
