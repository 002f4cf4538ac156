//! The index against a reference matcher: short, linear, obviously right, and
//! made of nothing that the library has but `serde_json`.

use std::{collections::BTreeSet, sync::Arc};

use pointsman_core::command::Command;
use pointsman_rules::{RuleFile, RuleSet};
use proptest::{prelude::*, test_runner::Config};
use serde_json::{Value, json};

/// Whether the pattern matches the event. Events are flat or hold arrays of
/// objects; a field is a path of keys.
fn reference(pattern: &Value, event: &Value) -> bool {
    // All ways to take one element of each array: in each, every field has one set of values.
    worlds(event).iter().any(|world| holds(pattern, world))
}

/// Replaces every array that holds objects by each of its elements in turn.
fn worlds(event: &Value) -> Vec<Value> {
    match event {
        Value::Object(members) => members
            .iter()
            .fold(vec![json!({})], |worlds, (key, value)| {
                let choices = match value {
                    Value::Array(items) if items.iter().any(Value::is_object) => {
                        items.iter().flat_map(self::worlds).collect()
                    }
                    other => self::worlds(other),
                };
                let with = |world: &Value, choice: &Value| {
                    let mut world = world.clone();
                    world[key] = choice.clone();
                    world
                };
                worlds
                    .iter()
                    .flat_map(|world| choices.iter().map(move |choice| with(world, choice)))
                    .collect()
            }),
        other => vec![other.clone()],
    }
}

fn holds(pattern: &Value, world: &Value) -> bool {
    let Value::Object(fields) = pattern else {
        return pattern == "*";
    };
    fields.iter().all(|(key, wanted)| match wanted {
        Value::Array(branches) if key == "$or" => {
            branches.iter().any(|branch| holds(branch, world))
        }
        Value::Array(wanted) => {
            let seen = world.get(key).filter(|seen| !seen.is_object());
            let values: Vec<&Value> = match seen {
                Some(Value::Array(items)) => items.iter().collect(),
                other => other.into_iter().collect(),
            };
            wanted.iter().any(|wanted| {
                values.iter().any(|value| one(wanted, value))
                    || values.is_empty() && *wanted == json!({"exists": false})
            })
        }
        inner => holds(inner, world.get(key).unwrap_or(&Value::Null)),
    })
}

fn one(wanted: &Value, value: &Value) -> bool {
    let Some((operator, operand)) = wanted.as_object().and_then(|members| members.iter().next())
    else {
        return wanted == value || wanted.is_number() && wanted.as_f64() == value.as_f64();
    };
    let (text, fold) = (value.as_str(), |text: &str| text.to_lowercase());
    let inner = |operator: &str| {
        operand
            .get("equals-ignore-case")
            .map(|operand| json!({operator: fold(operand.as_str().unwrap())}))
    };
    match (operator.as_str(), operand) {
        ("prefix" | "suffix", Value::Object(_)) => {
            text.is_some_and(|text| one(&inner(operator).unwrap(), &json!(fold(text))))
        }
        ("prefix", operand) => text.is_some_and(|text| text.starts_with(operand.as_str().unwrap())),
        ("suffix", operand) => text.is_some_and(|text| text.ends_with(operand.as_str().unwrap())),
        ("equals-ignore-case", operand) => {
            text.is_some_and(|text| fold(text) == fold(operand.as_str().unwrap()))
        }
        ("wildcard", operand) => text.is_some_and(|text| like(operand.as_str().unwrap(), text)),
        ("exists", operand) => operand == &json!(true),
        ("anything-but", Value::Object(_)) => !one(operand, value),
        ("anything-but", Value::Array(not)) => !not.iter().any(|not| one(not, value)),
        ("anything-but", not) => !one(not, value),
        ("numeric", Value::Array(terms)) => value.as_f64().is_some_and(|value| {
            terms.chunks(2).all(|term| {
                match (term[0].as_str().unwrap(), term[1].as_f64().unwrap()) {
                    ("=", bound) => value == bound,
                    ("<", bound) => value < bound,
                    ("<=", bound) => value <= bound,
                    (">", bound) => value > bound,
                    (_, bound) => value >= bound,
                }
            })
        }),
        ("cidr", _) => text.is_some_and(|text| text.starts_with("10.0.0.")),
        _ => unreachable!("{wanted}"),
    }
}

fn like(wildcard: &str, text: &str) -> bool {
    match wildcard.split_once('*') {
        None => wildcard == text,
        Some((start, rest)) => text
            .strip_prefix(start)
            .is_some_and(|text| (0..=text.len()).any(|at| like(rest, &text[at..]))),
    }
}

fn word() -> impl Strategy<Value = String> {
    "[abA]{0,3}"
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => word().prop_map(Value::from),
        2 => (-2..6_i32).prop_map(Value::from),
        1 => prop::sample::select(vec![json!(null), json!(true), json!(1.5), json!("10.0.0.7"), json!("10.0.1.7")]),
    ]
}

fn alternative() -> impl Strategy<Value = Value> {
    let wildcard = "[ab]{0,2}(\\*[ab]{1,2}){0,2}\\*?";
    let affix = prop::sample::select(vec!["prefix", "suffix"]);
    let bound = -2..6_i32;
    prop_oneof![
        6 => scalar(),
        1 => (affix.clone(), word()).prop_map(|(affix, word)| json!({affix: word})),
        1 => (affix.clone(), word()).prop_map(|(affix, word)| json!({affix: {"equals-ignore-case": word}})),
        1 => word().prop_map(|word| json!({"equals-ignore-case": word})),
        1 => wildcard.prop_map(|wildcard| json!({"wildcard": wildcard})),
        1 => any::<bool>().prop_map(|exists| json!({"exists": exists})),
        1 => word().prop_map(|word| json!({"anything-but": word})),
        1 => prop::collection::vec(bound.clone(), 1..3).prop_map(|not| json!({"anything-but": not})),
        1 => (affix, "[abA]{1,2}").prop_map(|(affix, word)| json!({"anything-but": {affix: word}})),
        1 => wildcard.prop_map(|wildcard| json!({"anything-but": {"wildcard": wildcard}})),
        1 => (prop::sample::select(vec!["=", "<", "<=", ">", ">="]), bound.clone()).prop_map(|(comparison, bound)| json!({"numeric": [comparison, bound]})),
        1 => (bound, 1..4_i32).prop_map(|(low, width)| json!({"numeric": [">", low, "<=", low + width]})),
        1 => Just(json!({"cidr": "10.0.0.0/24"})),
    ]
}

fn alternatives() -> impl Strategy<Value = Value> {
    prop::collection::vec(alternative(), 1..3).prop_map(Value::from)
}

fn fields(names: &'static [&'static str]) -> impl Strategy<Value = serde_json::Map<String, Value>> {
    prop::collection::btree_map(prop::sample::select(names), alternatives(), 1..4).prop_map(
        |fields| {
            fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()
        },
    )
}

fn pattern() -> impl Strategy<Value = Value> {
    // Inside the array there is no `exists: false`: its answer depends on the
    // order of the fields, which the cases of event-ruler pin down.
    let without_absence = |fields: serde_json::Map<String, Value>| -> Value {
        let keep = |value: &Value| *value != json!({"exists": false});
        let field = |(name, values): (String, Value)| {
            let kept: Vec<Value> = values
                .as_array()
                .into_iter()
                .flatten()
                .filter(|value| keep(value))
                .cloned()
                .collect();
            (
                name,
                if kept.is_empty() {
                    json!([{"exists": true}])
                } else {
                    json!(kept)
                },
            )
        };
        fields
            .into_iter()
            .map(field)
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let items = prop::option::weighted(0.3, fields(&["p", "q"]).prop_map(without_absence));
    let or = prop::option::weighted(
        0.2,
        prop::collection::vec(fields(&["e", "f"]).prop_map(Value::from), 2..4),
    );
    (fields(&["a", "b", "c", "d"]), items, or).prop_map(|(mut pattern, items, or)| {
        pattern.extend(items.map(|items| ("items".to_owned(), items)));
        pattern.extend(or.map(|or| ("$or".to_owned(), or.into())));
        pattern.into()
    })
}

fn event() -> impl Strategy<Value = Value> {
    let value = || prop_oneof![6 => scalar(), 1 => prop::collection::vec(scalar(), 0..3).prop_map(Value::from)];
    let object = move |names: &'static [&'static str], most| {
        prop::collection::btree_map(prop::sample::select(names), value(), 0..most).prop_map(
            |fields| {
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
            },
        )
    };
    let items = prop::option::weighted(
        0.4,
        prop::collection::vec(object(&["p", "q"], 3).prop_map(Value::from), 1..4),
    );
    (object(&["a", "b", "c", "d", "e", "f"], 7), items).prop_map(|(mut event, items)| {
        event.extend(items.map(|items| ("items".to_owned(), items.into())));
        event.into()
    })
}

fn file(name: &str, patterns: &[Value]) -> Arc<RuleFile> {
    let rules: Vec<Value> = patterns
        .iter()
        .enumerate()
        .map(|(index, pattern)| json!({"name": format!("{name}-{index}"), "match": pattern, "handlers": ["h"]}))
        .collect();
    let text = json!({"rules": rules}).to_string();
    Arc::new(
        RuleFile::parse(&format!("{name}.json"), text.as_bytes())
            .unwrap_or_else(|error| panic!("{error}\n{text}")),
    )
}

fn routed(rules: &RuleSet, event: &Value) -> BTreeSet<String> {
    let command = Command::parse(event.to_string()).unwrap();
    let matches = rules.route(&command).unwrap();
    matches
        .into_iter()
        .flat_map(|found| found.rules)
        .map(|rule| rule.to_string())
        .collect()
}

fn wanted(name: &str, patterns: &[Value], event: &Value) -> BTreeSet<String> {
    patterns
        .iter()
        .enumerate()
        .filter(|(_, pattern)| reference(pattern, event))
        .map(|(index, _)| format!("{name}-{index}"))
        .collect()
}

proptest! {
    // 1,000 rule sets of 12 rules on average, each against 100 commands: 100,000 checks of a whole answer.
    #![proptest_config(Config { cases: 1_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_index_answers_as_the_reference_matcher_does(
        patterns in prop::collection::vec(pattern(), 1..24),
        events in prop::collection::vec(event(), 100),
    ) {
        let rules = RuleSet::build([file("r", &patterns)]).unwrap();
        for event in &events {
            prop_assert_eq!(routed(&rules, event), wanted("r", &patterns, event), "{}", event);
        }
    }

}

proptest! {
    // Many rules that share few values: access by two keys at once. 12,000 answers.
    #![proptest_config(Config { cases: 10, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_crowded_index_answers_as_the_reference_matcher_does(
        patterns in prop::collection::vec(pattern(), 200..400),
        events in prop::collection::vec(event(), 4),
    ) {
        let rules = RuleSet::build([file("r", &patterns)]).unwrap();
        for event in &events {
            prop_assert_eq!(routed(&rules, event), wanted("r", &patterns, event), "{}", event);
        }
    }

    #[test]
    fn a_rebuilt_set_answers_as_a_new_one(
        first in prop::collection::vec(pattern(), 1..40),
        second in prop::collection::vec(pattern(), 1..5),
        third in prop::collection::vec(pattern(), 1..5),
        event in event(),
    ) {
        let (big, small, other) = (file("a", &first), file("b", &second), file("c", &third));
        let one = RuleSet::build([big.clone(), small.clone()]).unwrap();
        let two = RuleSet::build_from(&one, [big.clone(), small, other.clone()]).unwrap();
        let three = RuleSet::build_from(&two, [other, big]).unwrap();
        let with = |names: &[(&str, &[Value])]| names.iter().flat_map(|(name, patterns)| wanted(name, patterns, &event)).collect::<BTreeSet<_>>();
        prop_assert_eq!(routed(&two, &event), with(&[("a", &first), ("b", &second), ("c", &third)]));
        prop_assert_eq!(routed(&three, &event), with(&[("a", &first), ("c", &third)]));
        prop_assert_eq!(three.len(), first.len() + third.len());
    }
}
