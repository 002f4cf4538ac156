//! How many parsed commands a second one core routes, by number and kind of rules:
//! `cargo bench --bench routing -- [MIX…]`.
//!
//! Commands have about 355 bytes and match 1.2 rules on average. The baseline of
//! every mix is the same mix with one rule. A rate that falls below a twentieth
//! of it is marked `SCAN`: the index has found no better way than to ask many
//! rules.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use pointsman_core::command::Command;
use pointsman_rules::{RuleFile, RuleSet};

const SIZES: [usize; 4] = [1, 100, 10_000, 100_000];
/// Rules in one file.
const FILE: usize = 10_000;
/// A rate is the best of some short windows: other work on the machine only
/// ever slows one down.
const WINDOW: Duration = Duration::from_millis(60);
const WINDOWS: usize = 20;
/// How many different commands there are, whatever the number of rules: one
/// alone would stay in the nearest cache and flatter the baseline.
const COMMANDS: usize = 5_000;
/// What a command weighs.
const COMMAND_BYTES: usize = 355;

/// A kind of rule set: the pattern of the rule with a key, and the fields of a
/// command that it matches.
struct Mix {
    name: &'static str,
    pattern: fn(usize) -> String,
    fields: fn(usize) -> String,
}

const MIXES: [Mix; 8] = [
    Mix {
        name: "exact",
        pattern: |key| {
            format!(
                r#"{{"requestType":["type-{key}"],"product":["p-{}"]}}"#,
                key % 7
            )
        },
        fields: |key| {
            format!(
                r#""requestType":"type-{key}","product":"p-{}","channel":"web""#,
                key % 7
            )
        },
    },
    Mix {
        name: "numeric",
        pattern: |key| {
            format!(
                r#"{{"amount":[{{"numeric":[">=",{},"<",{}]}}]}}"#,
                key * 10,
                key * 10 + 10
            )
        },
        fields: |key| {
            format!(
                r#""requestType":"pay","amount":{}.5,"channel":"web""#,
                key * 10 + 3
            )
        },
    },
    Mix {
        name: "prefix/suffix",
        pattern: |key| match key % 2 {
            0 => format!(r#"{{"source":[{{"prefix":"tenant-{key}-"}}]}}"#),
            _ => format!(r#"{{"path":[{{"suffix":"/order-{key}.json"}}]}}"#),
        },
        fields: |key| match key % 2 {
            0 => format!(r#""source":"tenant-{key}-eu","path":"/in/order.json""#),
            _ => format!(r#""source":"tenant","path":"/in/order-{key}.json""#),
        },
    },
    Mix {
        name: "wildcard",
        pattern: |key| format!(r#"{{"path":[{{"wildcard":"/in/*/tenant-{key}/*.json"}}]}}"#),
        fields: |key| format!(r#""source":"upload","path":"/in/2026/tenant-{key}/order.json""#),
    },
    Mix {
        name: "anything-but",
        pattern: |key| {
            format!(
                r#"{{"requestType":["type-{key}"],"channel":[{{"anything-but":["test","internal"]}}]}}"#
            )
        },
        fields: |key| format!(r#""requestType":"type-{key}","product":"p","channel":"web""#),
    },
    Mix {
        name: "shared value",
        pattern: |key| match key % 2 {
            0 => format!(
                r#"{{"requestType":["create"],"product":["p-{}"],"region":["r-{}"]}}"#,
                key / 300,
                key % 300
            ),
            _ => format!(r#"{{"requestType":["type-{key}"]}}"#),
        },
        fields: |key| match key % 2 {
            0 => format!(
                r#""requestType":"create","product":"p-{}","region":"r-{}""#,
                key / 300,
                key % 300
            ),
            _ => format!(r#""requestType":"type-{key}","product":"p-1","region":"r-1""#),
        },
    },
    Mix {
        name: "30 fields",
        pattern: |key| {
            let field = |step: usize| format!(r#""f{}":["v{}"]"#, (key + step) % 30, key + step);
            format!("{{{},{},{}}}", field(0), field(10), field(20))
        },
        fields: |key| {
            let own = |field: usize| {
                [0, 10, 20]
                    .into_iter()
                    .find(|step| (key + step) % 30 == field)
            };
            let value =
                |field: usize| own(field).map_or("x".to_owned(), |step| format!("v{}", key + step));
            (0..30)
                .map(|field| format!(r#""f{field}":"{}""#, value(field)))
                .collect::<Vec<_>>()
                .join(",")
        },
    },
    Mix {
        name: "$or, arrays",
        pattern: |key| {
            format!(
                r#"{{"items":{{"sku":["s-{key}"],"count":[{{"numeric":[">",0]}}]}},"$or":[{{"channel":["web"]}},{{"product":["p"]}}]}}"#
            )
        },
        fields: |key| {
            format!(
                r#""items":[{{"sku":"x","count":1}},{{"sku":"s-{key}","count":2}}],"channel":"web""#
            )
        },
    },
];

/// Every sixth rule repeats the key of the one before: 1.2 matches a command.
fn key(rule: usize) -> usize {
    rule - rule / 6
}

fn text(mix: &Mix, rules: std::ops::Range<usize>) -> String {
    let rule = |rule: usize| {
        format!(
            r#"{{"name":"rule-{rule}","match":{},"handlers":["handler-h{}"]}}"#,
            (mix.pattern)(key(rule)),
            rule % 50
        )
    };
    format!(
        r#"{{"rules":[{}]}}"#,
        rules.map(rule).collect::<Vec<_>>().join(",\n")
    )
}

fn command(mix: &Mix, key: usize, number: usize) -> String {
    let fields = (mix.fields)(key);
    let note = "x".repeat(COMMAND_BYTES.saturating_sub(fields.len() + 60));
    format!(r#"{{"id":"{number:016}",{fields},"flags":[1,true,null],"note":"{note}"}}"#)
}

/// Memory that the process holds, in bytes, where the system tells.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<usize>()
        .ok()
        .map(|kib| kib * 1024)
}

/// Commands a second, and rules that fired for each.
fn rate(rules: &RuleSet, commands: &[Command]) -> (f64, f64) {
    let (mut count, mut fired) = (0_usize, 0_usize);
    let start = Instant::now();
    while start.elapsed() < WINDOW {
        for command in commands
            .iter()
            .cycle()
            .skip(count % commands.len())
            .take(256)
        {
            let matches = rules
                .route(black_box(command))
                .expect("a command within bounds");
            fired += matches.iter().map(|found| found.rules.len()).sum::<usize>();
            count += 1;
        }
    }
    (
        count as f64 / start.elapsed().as_secs_f64(),
        fired as f64 / count as f64,
    )
}

/// Rules of one mix, commands for them, and what loading the rules took.
struct Set {
    rules: RuleSet,
    commands: Vec<Command>,
    parsed: Duration,
    indexed: Duration,
    /// MiB; no number where the system does not tell.
    grown: f64,
}

impl Set {
    fn new(mix: &Mix, size: usize) -> Self {
        let texts: Vec<String> = (0..size)
            .step_by(FILE)
            .map(|start| text(mix, start..(start + FILE).min(size)))
            .collect();
        let before = resident();
        let start = Instant::now();
        let parse = |(number, text): (usize, &String)| {
            Arc::new(
                RuleFile::parse(&format!("rules/{number}.json"), text.as_bytes())
                    .unwrap_or_else(|error| panic!("{error}")),
            )
        };
        let files: Vec<_> = texts.iter().enumerate().map(parse).collect();
        let parsed = start.elapsed();
        let rules = RuleSet::build(files).unwrap_or_else(|error| panic!("{error}"));
        let indexed = start.elapsed() - parsed;
        let grown = resident()
            .zip(before)
            .map(|(now, before)| now.saturating_sub(before) as f64 / 1024.0 / 1024.0);
        let keys = key(size - 1) + 1;
        // A prime step walks the keys in no order that a cache would like.
        let commands = (0..COMMANDS)
            .map(|number| command(mix, number * 7_919 % keys, number))
            .map(|text| Command::parse(text).expect("an object"))
            .collect();
        Self {
            rules,
            commands,
            parsed,
            indexed,
            grown: grown.unwrap_or(f64::NAN),
        }
    }
}

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    println!(
        "{:<14} {:>7} {:>9} {:>9} {:>8} {:>11} {:>6} {:>6}",
        "mix", "rules", "parse ms", "index ms", "MiB", "commands/s", "fired", "ratio"
    );
    for mix in MIXES.iter().filter(|mix| {
        chosen.is_empty() || chosen.iter().any(|name| mix.name.contains(name.as_str()))
    }) {
        let sets = SIZES.map(|size| Set::new(mix, size));
        let mut best = [(0.0, 0.0); SIZES.len()];
        // In turns: what slows the machine down for a while slows down all.
        for _ in 0..WINDOWS {
            for (best, set) in best.iter_mut().zip(&sets) {
                let measured = rate(&set.rules, &set.commands);
                if measured.0 > best.0 {
                    *best = measured;
                }
            }
        }
        let baseline = best[0].0;
        for (set, (rate, fired)) in sets.iter().zip(best) {
            let ratio = rate / baseline;
            let mark = if ratio < 0.05 { "  SCAN" } else { "" };
            println!(
                "{:<14} {:>7} {:>9.1} {:>9.1} {:>8.1} {rate:>11.0} {fired:>6.2} {ratio:>6.2}{mark}",
                mix.name,
                set.rules.len(),
                set.parsed.as_secs_f64() * 1e3,
                set.indexed.as_secs_f64() * 1e3,
                set.grown,
            );
        }
    }
    let is_chosen =
        |part: &str| chosen.is_empty() || chosen.iter().any(|name| part.contains(name.as_str()));
    if is_chosen("parse") {
        parse();
    }
    if is_chosen("reload") {
        reload();
    }
}

/// How fast commands are parsed, which is once each: by their size.
fn parse() {
    let item = |number: usize| {
        format!(
            r#"{{"sku":"s-{number}","count":{},"price":{number}.5,"note":"line {number} of the order"}}"#,
            number % 9
        )
    };
    let lines = |count: usize| {
        let items: Vec<String> = (0..count).map(item).collect();
        format!(r#"{{"requestType":"order","items":[{}]}}"#, items.join(","))
    };
    for text in [command(&MIXES[0], 1, 1), lines(1_400), lines(14_000)] {
        let mut best = Duration::MAX;
        for _ in 0..WINDOWS {
            let (mut count, start) = (0, Instant::now());
            while start.elapsed() < WINDOW {
                drop(black_box(Command::parse(black_box(&text))));
                count += 1;
            }
            best = best.min(start.elapsed() / count);
        }
        let rate = text.len() as f64 / best.as_secs_f64() / 1e6;
        println!(
            "parse {:>8} bytes: {best:>10.1?}, {rate:.0} MB/s",
            text.len()
        );
    }
}

/// 1,000 files of 100 rules, of which one changes.
fn reload() {
    let parse = |number: usize, mix: &Mix| {
        let text = text(mix, number * 100..number * 100 + 100);
        Arc::new(
            RuleFile::parse(&format!("rules/{number}.json"), text.as_bytes())
                .unwrap_or_else(|error| panic!("{error}")),
        )
    };
    let mut files: Vec<_> = (0..1_000).map(|number| parse(number, &MIXES[0])).collect();
    let start = Instant::now();
    let mut rules = RuleSet::build(files.clone()).unwrap_or_else(|error| panic!("{error}"));
    println!(
        "index of 1,000 files of 100 rules: {:.1} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    for number in [7, 300, 999] {
        let start = Instant::now();
        files[number] = parse(number, &MIXES[4]);
        rules =
            RuleSet::build_from(&rules, files.clone()).unwrap_or_else(|error| panic!("{error}"));
        println!(
            "one of them changed: {:.1} ms, {} rules",
            start.elapsed().as_secs_f64() * 1e3,
            rules.len()
        );
    }
}
