//! Any text as the attributes of a command: an error, or an answer on which the
//! index and the explanation agree.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use pointsman_core::command::Command;
use pointsman_rules::{RuleFile, RuleSet};

const FILE: &str = r#"{"rules":[
    {"name":"exact","match":{"a":["x",1,null,true]},"handlers":["h"]},
    {"name":"nested","match":{"a":{"b":[{"prefix":"x"}],"c":[{"exists":false}]}},"handlers":["h"]},
    {"name":"numeric","match":{"n":[{"numeric":[">",0,"<=",5]}]},"handlers":["h"]},
    {"name":"text","match":{"t":[{"wildcard":"a*b*c"},{"suffix":{"equals-ignore-case":"É"}},{"anything-but":["x"]}]},"handlers":["h"]},
    {"name":"address","match":{"ip":[{"cidr":"10.0.0.0/8"},"::1"]},"handlers":["h"]},
    {"name":"guard","match":{"a":[{"exists":true}]},"guard":"command.n > 1","handlers":["h"]},
    {"name":"or","match":{"$or":[{"a":["y"]},{"n":[2]}]},"handlers":["h"]}
]}"#;

static RULES: LazyLock<RuleSet> = LazyLock::new(|| {
    let file = RuleFile::parse("rules/fuzz.json", FILE.as_bytes()).expect("the rules are valid");
    RuleSet::build([Arc::new(file)]).expect("the rules are valid")
});

fuzz_target!(|text: &str| {
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    let is_object = theirs.is_ok_and(|value| value.is_object());
    let command = match Command::parse(text) {
        Ok(command) => command,
        Err(error) => {
            // What serde_json leaves to its user, and a byte order mark.
            let is_ours = matches!(error.code(), "duplicate-key") || text.as_bytes().contains(&0);
            return assert!(is_ours || !is_object, "{error}: {text}");
        }
    };
    assert!(is_object || text.starts_with('\u{feff}'), "{text}");
    let routed = RULES.route(&command);
    let explained = RULES.explain(&command);
    assert_eq!(routed, explained.map(|explanation| explanation.matches));
    assert!(routed.is_ok(), "{text}");
});
