//! Any text as a pattern, in both dialects, alone and in a rule file: a refusal
//! that points into the text, or a pattern that answers.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pointsman_core::command::Command;
use pointsman_rules::{Dialect, Pattern, RuleFile, RuleSet};

static COMMAND: LazyLock<Command> = LazyLock::new(|| {
    let text = r#"{"a":[{"b":1},{"b":"x","c":null}],"b":true,"x":"10.0.0.1","$or":-1e3}"#;
    Command::parse(text).expect("the command is an object")
});

fuzz_target!(|text: &str| {
    for dialect in [Dialect::Pointsman, Dialect::EventBridge] {
        match Pattern::parse_with(text, dialect) {
            Ok(pattern) => drop(pattern.matches(&COMMAND).expect("one small command")),
            Err(error) => {
                let (line, column) = error.position().expect("in the text");
                assert!(line as usize <= text.lines().count().max(1) + 1, "{error}");
                assert!(!error.message().is_empty() && column > 0, "{error}");
            }
        }
    }
    let file = format!(r#"{{"rules":[{{"name":"a","handlers":["h"],"match":{text}}}]}}"#);
    let Ok(file) = RuleFile::parse("rules/fuzz.json", file.as_bytes()) else {
        return;
    };
    // The index and the pattern by itself answer alike.
    if let (Ok(rules), Ok(pattern)) = (RuleSet::build([file.into()]), Pattern::parse(text)) {
        let routed = !rules.route(&COMMAND).expect("one small command").is_empty();
        assert_eq!(routed, pattern.matches(&COMMAND).expect("one small command"), "{text}");
        drop(rules.explain(&COMMAND));
        drop(rules.lint(&[]));
    }
});
