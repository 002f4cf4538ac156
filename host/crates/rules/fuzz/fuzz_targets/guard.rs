//! A guard in the first line, a command in the rest: a refusal at a place in the
//! guard, or an answer within the steps on which routing and the explanation agree.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pointsman_core::command::Command;
use pointsman_rules::{ROUTING_STEPS_MAX, RuleFile, RuleSet};

fuzz_target!(|text: &str| {
    let (guard, command) = text.split_once('\n').unwrap_or((text, "{}"));
    let rule = serde_json::json!({"name": "a", "match": "*", "handlers": ["h"], "guard": guard});
    let file = serde_json::json!({"rules": [rule]}).to_string();
    let Ok(file) = RuleFile::parse("rules/fuzz.json", file.as_bytes()) else {
        return;
    };
    let rules = RuleSet::build([Arc::new(file)]).expect("one rule");
    drop(rules.lint(&[]));
    let Ok(command) = Command::parse(command) else {
        return;
    };
    match rules.routing(&command, ROUTING_STEPS_MAX) {
        Ok(routing) => {
            assert!(routing.steps <= ROUTING_STEPS_MAX);
            let explained = rules.explain(&command).expect("it was routed");
            assert_eq!(explained.matches, routing.matches);
        }
        Err(error) => assert!(!error.code().is_empty()),
    }
});
