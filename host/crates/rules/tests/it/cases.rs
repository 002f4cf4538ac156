//! The facts in `tests/cases`: patterns and events with the answer that
//! event-ruler gives, and patterns that it refuses. Both are read as raw text,
//! because number spelling and duplicate keys matter.

use pointsman_core::command::Command;
use pointsman_rules::{Dialect, Pattern};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Case<'a> {
    id: &'a str,
    tags: Vec<&'a str>,
    #[serde(borrow)]
    pattern: &'a RawValue,
    #[serde(borrow)]
    event: &'a RawValue,
    matches: bool,
}

#[derive(Deserialize)]
struct Invalid {
    id: String,
    pattern: String,
    event_ruler: String,
}

const CASES: &str = include_str!("../cases/eventbridge-cases.jsonl");
const INVALID: &str = include_str!("../cases/invalid-patterns.jsonl");

fn answer(case: &Case<'_>, dialect: Dialect) -> Result<bool, String> {
    let pattern = Pattern::parse_with(case.pattern.get(), dialect)
        .map_err(|error| error.code().to_owned())?;
    let event = Command::parse(case.event.get()).map_err(|error| error.to_string())?;
    pattern.matches(&event).map_err(|error| error.to_string())
}

fn cases() -> impl Iterator<Item = Case<'static>> {
    CASES
        .lines()
        .map(|line| serde_json::from_str(line).expect("a case is JSON"))
}

#[test]
fn the_eventbridge_dialect_answers_as_event_ruler_does() {
    let wrong: Vec<String> = cases()
        .filter(|case| !case.tags.contains(&"case-expansion"))
        .filter_map(|case| match answer(&case, Dialect::EventBridge) {
            Ok(matches) if matches == case.matches => None,
            other => Some(format!(
                "{}: {other:?}, {} << {}",
                case.id, case.pattern, case.event
            )),
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Where our dialect answers otherwise, by the name of the deviation. A pattern
/// that one dialect refuses counts as a difference.
const DEVIATIONS: [(&str, &[&str]); 6] = [
    (
        "duplicate-keys",
        &["erm-0184", "erm-0429", "doc-0078", "aws-0116", "inv-001"],
    ),
    (
        "field-inside-and-outside-or",
        &["erm-0512", "erm-0513", "inv-070"],
    ),
    (
        "exact-numbers",
        &["inv-047", "inv-051", "inv-053", "inv-061", "inv-147"],
    ),
    ("single-address-networks", &["inv-143", "inv-144"]),
    ("values-without-array", &["inv-113", "inv-114", "inv-192"]),
    // Both families of addresses, and `"match": "*"`: no case shows them.
    ("addresses-apart", &[]),
];

fn deviates(id: &str) -> bool {
    DEVIATIONS.iter().any(|(_, ids)| ids.contains(&id))
}

#[test]
fn our_dialect_differs_only_where_it_says_so() {
    for case in cases().filter(|case| !case.tags.contains(&"case-expansion")) {
        let ours = answer(&case, Dialect::Pointsman);
        let as_there = ours == Ok(case.matches);
        assert_eq!(
            as_there,
            !deviates(case.id),
            "{}: {ours:?}, {} << {}",
            case.id,
            case.pattern,
            case.event
        );
    }
}

#[test]
fn what_event_ruler_refuses_is_refused() {
    for line in INVALID.lines() {
        let invalid: Invalid = serde_json::from_str(line).expect("a case is JSON");
        let rejected = invalid.event_ruler == "rejected";
        let refused = |dialect| Pattern::parse_with(&invalid.pattern, dialect).is_err();
        assert_eq!(
            refused(Dialect::EventBridge),
            rejected,
            "{} {}",
            invalid.id,
            invalid.pattern
        );
        assert_eq!(
            refused(Dialect::Pointsman),
            rejected != deviates(&invalid.id),
            "{} {}",
            invalid.id,
            invalid.pattern
        );
    }
}

#[test]
fn the_named_deviations_are_real() {
    let both = |pattern: &str, event: &str| {
        let event = Command::parse(event).unwrap();
        [Dialect::Pointsman, Dialect::EventBridge].map(|dialect| {
            Pattern::parse_with(pattern, dialect)
                .ok()?
                .matches(&event)
                .ok()
        })
    };
    let cases = [
        (
            r#"{"a":[9007199254740993]}"#,
            r#"{"a":9007199254740993.0}"#,
            [Some(true), Some(false)],
        ),
        (
            r#"{"a":[{"numeric":[">",1]}]}"#,
            r#"{"a":9007199254740993}"#,
            [Some(true), Some(false)],
        ),
        (
            r#"{"a":[{"cidr":"10.0.0.0/24"}]}"#,
            r#"{"a":"::ffff:0a00:0001"}"#,
            [Some(false), Some(true)],
        ),
        (
            r#"{"a":[{"cidr":"10.0.0.0/24"}]}"#,
            r#"{"a":"0a00:0001::"}"#,
            [Some(false), Some(true)],
        ),
        (r#""*""#, "{}", [Some(true), None]),
        (r#"{"a":"x"}"#, r#"{"a":"x"}"#, [Some(true), None]),
        (
            r#"{"a":["::1"]}"#,
            r#"{"a":"0:0:0:0:0:0:0:1"}"#,
            [Some(true), Some(true)],
        ),
    ];
    for (pattern, event, answers) in cases {
        assert_eq!(both(pattern, event), answers, "{pattern} << {event}");
    }
}
