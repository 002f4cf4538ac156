//! A rule file in the first line, a command in the rest: the file is refused, or
//! the command is routed or refused within the steps.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pointsman_core::command::Command;
use pointsman_rules::{ROUTING_STEPS_MAX, RuleFile, RuleSet};

fuzz_target!(|text: &str| {
    let (file, command) = text.split_once('\n').unwrap_or((text, "{}"));
    let Ok(file) = RuleFile::parse("rules/fuzz.json", file.as_bytes()) else {
        return;
    };
    let Ok(rules) = RuleSet::build([Arc::new(file)]) else {
        return;
    };
    let Ok(command) = Command::parse(command) else {
        return;
    };
    drop(rules.nearest_miss(&command));
    if let Ok(routing) = rules.routing(&command, ROUTING_STEPS_MAX) {
        assert!(routing.steps <= ROUTING_STEPS_MAX);
        let explained = rules.explain(&command).expect("it was routed");
        assert_eq!(explained.matches, routing.matches);
    }
});
