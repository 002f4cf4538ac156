//! Input that is too large, too deep or made to explode: a clear refusal, or an
//! answer, within bounds.

use std::sync::Arc;

use expect_test::expect;
use pointsman::rules::{RuleFile, RuleSet};

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
        invalid-json
        invalid-json
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
    assert!(rules.route(&command).unwrap().is_empty());
    assert_eq!(
        rules.nearest_miss(&command).unwrap().to_string(),
        "rule `a` (rules/test.json:1): the clauses hold only by different elements of one array"
    );
}
