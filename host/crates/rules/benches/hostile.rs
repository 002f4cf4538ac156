//! How long the worst commands of 1 MiB take that are known, from text to matches:
//! `cargo bench --bench hostile -- [NAME…]`.
//!
//! Each is the best of some runs, in milliseconds, first to parse, then to route.
//! None should take over 20 ms: work that may take over 1 ms leaves the async threads,
//! and a client that sends nothing else should not keep one of the others busy.

use std::{
    fmt::Write as _,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use pointsman_core::command::Command;
use pointsman_rules::{RuleFile, RuleSet};

const BYTES: usize = 1 << 20;
const RUNS: usize = 10;

/// A command: what stands around its parts, and how the part with a number is written.
struct Hostile {
    name: &'static str,
    around: [&'static str; 2],
    part: fn(usize, &mut String),
}

const HOSTILE: [Hostile; 10] = [
    Hostile {
        name: "empty arrays in a field that rules read",
        around: [r#"{"a":["#, "]}"],
        part: |_, text| text.push_str("[]"),
    },
    Hostile {
        name: "empty arrays in one that none reads",
        around: [r#"{"x":["#, "]}"],
        part: |_, text| text.push_str("[]"),
    },
    Hostile {
        name: "arrays 100 deep",
        around: [r#"{"a":["#, "]}"],
        part: |_, text| {
            text.push_str(&"[".repeat(100));
            text.push_str(&"]".repeat(100));
        },
    },
    Hostile {
        name: "objects in an array",
        around: [r#"{"a":["#, "]}"],
        part: |number, text| write!(text, r#"{{"b":{}}}"#, number % 10).unwrap(),
    },
    Hostile {
        name: "keys of one object",
        around: [r#"{"a":{"#, "}}"],
        part: |number, text| write!(text, r#""{number:x}":0"#).unwrap(),
    },
    Hostile {
        name: "keys with escapes",
        around: [r#"{"a":{"#, "}}"],
        part: |number, text| write!(text, r#""\u0061{number:x}":0"#).unwrap(),
    },
    Hostile {
        name: "keys with dots",
        around: ["{", "}"],
        part: |number, text| write!(text, r#""a.b.{number:x}":0"#).unwrap(),
    },
    Hostile {
        name: "objects of 17 keys",
        around: [r#"{"a":["#, "]}"],
        part: |_, text| {
            let keys: Vec<_> = (0..17).map(|key| format!(r#""{key:x}":0"#)).collect();
            write!(text, "{{{}}}", keys.join(",")).unwrap();
        },
    },
    Hostile {
        name: "strings with escapes",
        around: [r#"{"a":["#, "]}"],
        part: |number, text| write!(text, r#""\u0061\n{number:x}""#).unwrap(),
    },
    Hostile {
        name: "numbers",
        around: [r#"{"a":["#, "]}"],
        part: |number, text| write!(text, "{}e{}", number % 10, number % 300).unwrap(),
    },
];

const RULES: &str = r#"{"rules":[
    {"name":"exact","match":{"a":["x",1]},"handlers":["h"]},
    {"name":"inner","match":{"a":{"b":[77],"c":["y"]}},"handlers":["h"]},
    {"name":"range","match":{"a":[{"numeric":[">",5,"<",6]}]},"handlers":["h"]},
    {"name":"prefix","match":{"a":[{"prefix":"zz"},{"wildcard":"*q*q*"}]},"handlers":["h"]},
    {"name":"dots","match":{"a.b.c":[1]},"handlers":["h"]}
]}"#;

impl Hostile {
    fn command(&self) -> String {
        let [before, after] = self.around;
        let mut text = String::from(before);
        for number in 0.. {
            let length = text.len();
            if number > 0 {
                text.push(',');
            }
            (self.part)(number, &mut text);
            if text.len() + after.len() > BYTES {
                text.truncate(length);
                break;
            }
        }
        text + after
    }
}

/// The shortest time that `work` takes.
fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    let times = (0..RUNS).map(|_| {
        let began = Instant::now();
        black_box(work());
        began.elapsed()
    });
    times.min().unwrap_or_default()
}

fn main() {
    let names: Vec<_> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with("--"))
        .collect();
    let file = RuleFile::parse("hostile.json", RULES.as_bytes()).expect("the rules are valid");
    let rules = RuleSet::build([Arc::new(file)]).expect("the rules are valid");
    for hostile in &HOSTILE {
        if !names.is_empty()
            && !names
                .iter()
                .any(|name| hostile.name.contains(name.as_str()))
        {
            continue;
        }
        let text = hostile.command();
        let parse = || Command::parse(&text).expect("it is a command");
        let command = parse();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        // It may take too many steps, which is an answer too.
        let (parsing, routing) = (best(parse), best(|| rules.route(&command).is_ok()));
        println!(
            "{:40} {:6.1} {:6.1}",
            hostile.name,
            ms(parsing),
            ms(routing)
        );
    }
}
