//! The corpus of the fuzz targets, and a climb from it towards inputs that take
//! the most steps for their bytes. Counts steps, not time.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use pointsman_core::command::Command;
use pointsman_rules::{ROUTING_STEPS_MAX, RuleFile, RuleSet};
use serde_json::{Value, json};

/// Rules and a command.
type Input = (String, Value, Value);

/// The inputs of `corpus/guard` and `corpus/routing`, as rule files and commands.
fn corpus() -> Vec<Input> {
    let mut inputs = Vec::new();
    for target in ["guard", "routing"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(target);
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let (first, command) = text.split_once('\n').unwrap();
            let rules = match target {
                "guard" => json!({"rules": [
                    {"name": "a", "match": "*", "handlers": ["h"], "guard": first}
                ]}),
                _ => serde_json::from_str(first).unwrap(),
            };
            let name = format!("{target}/{}", path.file_name().unwrap().to_string_lossy());
            inputs.push((name, rules, serde_json::from_str(command).unwrap()));
        }
    }
    assert!(inputs.len() > 20, "the corpus is not there");
    inputs.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    inputs
}

/// The steps that routing takes, also where it is refused for taking too many;
/// none where the rules are refused.
fn steps(rules: &Value, command: &str) -> Option<u64> {
    let file = RuleFile::parse("rules/fuzz.json", rules.to_string().as_bytes()).ok()?;
    let rules = RuleSet::build([Arc::new(file)]).ok()?;
    // Nested too deep by now.
    let command = Command::parse(command).ok()?;
    drop(rules.nearest_miss(&command));
    match rules.routing(&command, ROUTING_STEPS_MAX) {
        Ok(routing) => {
            assert!(routing.steps <= ROUTING_STEPS_MAX);
            if command.attributes().len() < 16 << 10 {
                assert_eq!(rules.explain(&command).unwrap().matches, routing.matches);
            }
            Some(routing.steps)
        }
        Err(_) => Some(ROUTING_STEPS_MAX),
    }
}

/// The longest array of the command, at any depth.
fn longest_array(value: &mut Value) -> Option<&mut Vec<Value>> {
    match value {
        Value::Array(items) => match items.iter().position(Value::is_array) {
            Some(nested) => longest_array(&mut items[nested]),
            None => Some(items),
        },
        Value::Object(members) => members
            .values_mut()
            .filter_map(longest_array)
            .max_by_key(|items| items.len()),
        _ => None,
    }
}

/// The command with its longest array repeated until it has about `bytes`.
fn grown(command: &Value, bytes: usize) -> String {
    let mut command = command.clone();
    let length = command.to_string().len();
    if let Some(items) = longest_array(&mut command) {
        let unit = items.clone();
        let size = Value::from(unit.clone()).to_string().len();
        for _ in 0..bytes.saturating_sub(length) / size {
            items.extend(unit.iter().cloned());
        }
    }
    command.to_string()
}

#[test]
fn the_corpus_is_routed_or_refused_within_the_steps() {
    for (name, rules, command) in corpus() {
        let few = steps(&rules, &command.to_string());
        assert!(few.is_some_and(|steps| steps < 100_000), "{name}: {few:?}");
        let many = steps(&rules, &grown(&command, 1 << 20));
        assert!(many.is_some(), "{name}");
    }
}

#[test]
fn a_climb_towards_more_steps_finds_no_way_round_them() {
    let mut random = Random(1);
    let seconds = std::env::var("POINTSMAN_FUZZ_SECONDS").ok();
    let seconds = seconds.map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
    let began = Instant::now();
    let mut pool: Vec<(u64, Input)> = corpus().into_iter().map(|input| (0, input)).collect();
    let (mut tried, mut best) = (0, 0);
    loop {
        let done = match seconds {
            Some(seconds) => began.elapsed() > seconds,
            None => tried >= 60,
        };
        if done {
            break;
        }
        tried += 1;
        let at = random.below(pool.len());
        let (score, (name, mut rules, mut command)) = pool[at].clone();
        for _ in 0..=random.below(3) {
            match random.below(3) {
                0 => random.change(&mut rules["rules"]),
                _ => random.change(&mut command),
            }
        }
        if !command.is_object() {
            continue;
        }
        let (size, text) = (rules.to_string().len(), command.to_string());
        if size + text.len() > 64 << 10 {
            continue;
        }
        let Some(steps) = steps(&rules, &text) else {
            continue;
        };
        // In thousandths of a step a byte.
        let now = steps * 1_000 / (size + text.len()) as u64;
        if now > score {
            pool[at] = (now, (name, rules, command));
        }
        best = best.max(now);
    }
    println!(
        "{tried} inputs, at most {}.{:03} steps a byte",
        best / 1_000,
        best % 1_000
    );
    assert!(best > 0);
}

/// A small generator of random numbers: the same climb every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }

    /// Changes something somewhere in `value`.
    fn change(&mut self, value: &mut Value) {
        match value {
            Value::Array(items) if !items.is_empty() => {
                let at = self.below(items.len());
                match self.below(5) {
                    0 => {
                        let twice = items.clone();
                        items.extend(twice);
                    }
                    1 => items.push(items[at].clone()),
                    2 if items.len() > 1 => drop(items.remove(at)),
                    _ => self.change(&mut items[at]),
                }
            }
            Value::Object(members) if !members.is_empty() => {
                let at = self.below(members.len());
                let Some((key, member)) = members.iter_mut().nth(at) else {
                    return;
                };
                let key = key.clone();
                match self.below(8) {
                    0 => *member = json!([member.clone(), member.clone()]),
                    1 => {
                        let copy = member.clone();
                        members.insert(format!("{key}.{key}"), copy);
                    }
                    _ => self.change(member),
                }
            }
            Value::String(text) => match self.below(3) {
                0 => *text = format!("{text}{text}"),
                1 => *text = format!("({text}) && ({text})"),
                _ => text.push('a'),
            },
            Value::Number(_) => *value = json!(self.below(10)),
            other => *other = json!([1, {"a": 1}]),
        }
    }
}
