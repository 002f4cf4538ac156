//! The pass over elements against the search, which is what event-ruler's
//! cases were tried on.

use pointsman_core::command::Command;

use super::*;
use crate::event::FieldTrie;

/// A small generator of random numbers: the same cases every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// A JSON value whose keys are few, so that paths meet, some spelled with dots.
    fn value(&mut self, depth: u64) -> String {
        let kind = self.below(if depth == 0 { 2 } else { 8 });
        let many = |random: &mut Self, one: &dyn Fn(&mut Self) -> String| {
            let count = random.below(4);
            let items: Vec<String> = (0..count).map(|_| one(random)).collect();
            items.join(",")
        };
        match kind {
            0 | 1 => self.below(2).to_string(),
            2..=4 => {
                let keys = ["a", "b", "c", "a.b", "b.c"];
                let mut names: Vec<&str> = (0..self.below(4))
                    .map(|_| keys[self.below(5) as usize])
                    .collect();
                names.sort_unstable();
                names.dedup();
                let members: Vec<String> = names
                    .iter()
                    .map(|key| format!("\"{key}\":{}", self.value(depth - 1)))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
            _ => format!("[{}]", many(self, &|random| random.value(depth - 1))),
        }
    }

    fn conjunct(&mut self, trie: &mut FieldTrie) -> Conjunct {
        let paths = ["a", "a.a", "a.b", "a.b.c", "a.c", "b", "b.c", "c"];
        let mut names: Vec<&str> = (0..1 + self.below(4))
            .map(|_| paths[self.below(8) as usize])
            .collect();
        names.sort_unstable();
        names.dedup();
        let clauses = names.iter().map(|name| {
            let number = |text: &str| {
                Matcher::Number(Box::new((
                    crate::decimal::Decimal::parse(text),
                    text.into(),
                )))
            };
            let matchers = match self.below(8) {
                0 => smallvec![Matcher::Absent],
                1 => smallvec![number("0"), Matcher::Absent],
                2 => smallvec![Matcher::Exists],
                3 | 4 => smallvec![number("0")],
                _ => smallvec![number("1")],
            };
            Clause {
                path: trie.insert(name),
                matchers,
            }
        });
        Conjunct {
            clauses: clauses.collect(),
        }
    }
}

#[test]
fn a_pass_over_the_elements_finds_what_the_search_finds() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut held, mut failed) = (0, 0);
    for _ in 0..150_000 {
        let mut trie = FieldTrie::default();
        let conjunct = random.conjunct(&mut trie);
        let text = format!("{{\"a\":{},\"b\":{}}}", random.value(4), random.value(3));
        let command = Command::parse(&text).unwrap();
        let event = Event::read(&command, &trie);
        if event.is_flat() {
            continue;
        }
        let fuel = Fuel::new(u64::MAX);
        let paths: Vec<PathId> = (0..trie.len() as PathId).collect();
        let view = View {
            event: &event,
            paths: &paths,
            dialect: Dialect::Pointsman,
            fuel: &fuel,
        };
        let options: Vec<Options> = conjunct
            .clauses
            .iter()
            .map(|clause| Options::of(clause, view, Stop::Never))
            .collect();
        let searched = search::agree(view, &options);
        assert_eq!(conjunct.holds(view), searched, "{conjunct:?}\n{text}");
        match searched {
            true => held += 1,
            false => failed += 1,
        }
    }
    assert!(held > 5_000 && failed > 5_000, "{held} {failed}");
}

/// The steps that a conjunct of `paths`, each to be 1, takes on `text`.
fn steps(paths: &[&str], text: &str, wanted: bool) -> u64 {
    let mut trie = FieldTrie::default();
    let clauses = paths.iter().map(|path| {
        let one = (crate::decimal::Decimal::parse("1"), "1".into());
        Clause {
            path: trie.insert(path),
            matchers: smallvec![Matcher::Number(Box::new(one))],
        }
    });
    let conjunct = Conjunct {
        clauses: clauses.collect(),
    };
    let command = Command::parse(text).unwrap();
    let event = Event::read(&command, &trie);
    let paths: Vec<PathId> = (0..trie.len() as PathId).collect();
    let fuel = Fuel::new(1 << 40);
    let view = View {
        event: &event,
        paths: &paths,
        dialect: Dialect::Pointsman,
        fuel: &fuel,
    };
    assert_eq!(conjunct.holds(view), wanted);
    fuel.steps()
}

#[test]
fn the_work_grows_with_the_length_of_arrays_whatever_their_shape() {
    let repeat = |unit: &str, count: usize| vec![unit; count].join(",");
    type Shape = (&'static [&'static str], fn(String) -> String, &'static str);
    let shapes: [Shape; 5] = [
        (
            &["o.a", "o.b"],
            |items| format!("{{\"o\":[{items}]}}"),
            r#"{"a":1},{"b":1}"#,
        ),
        (
            &["o.l.a", "o.m.b"],
            |items| format!("{{\"o\":[{items}]}}"),
            r#"{"l":[{"a":1}]},{"m":[{"b":1}]}"#,
        ),
        (
            &["o.l.a", "o.l.b", "o.c"],
            |items| format!("{{\"o\":[{{\"c\":1,\"l\":[{items}]}}]}}"),
            r#"{"a":1},{"b":1}"#,
        ),
        (
            &["o.a", "o.b"],
            |items| format!("{{\"o\":[[[{items}]]]}}"),
            r#"[{"a":1}],[{"b":1}]"#,
        ),
        (
            &["o.a", "o.b", "p.a", "p.b"],
            |items| format!("{{\"o\":[{items}],\"p\":[{items}]}}"),
            r#"{"a":1},{"b":1}"#,
        ),
    ];
    for (paths, around, unit) in shapes {
        let taken = |count| steps(paths, &around(repeat(unit, count)), false);
        let (few, many) = (taken(1_000), taken(10_000));
        assert!(many <= few * 11, "{paths:?}: {few} then {many}");
        assert!(many < 1_000_000, "{paths:?}: {many}");
        // A match at the end costs no more.
        let mut objects: String = repeat(unit, 10_000);
        if paths == ["o.a", "o.b"] && unit.starts_with('{') {
            objects.push_str(r#",{"a":1,"b":1}"#);
            assert!(steps(paths, &around(objects), true) < 1_000_000);
        }
    }
}

#[test]
fn what_has_no_fast_answer_ends_with_the_fuel() {
    // A field in two arrays side by side, by a key with a dot: the search has
    // to try combinations.
    let mut trie = FieldTrie::default();
    let clauses = (0..12).map(|field| Clause {
        path: trie.insert(&format!("o.l.f{field}")),
        matchers: smallvec![Matcher::Exists],
    });
    let conjunct = Conjunct {
        clauses: clauses.collect(),
    };
    let items: Vec<String> = (0..300)
        .map(|item| format!("{{\"f{}\":1,\"f{}\":1}}", item % 12, (item * 7 + 1) % 12))
        .collect();
    let items = items.join(",");
    let text = format!("{{\"o\":{{\"l\":[{items}]}},\"o.l\":[{items}]}}");
    let command = Command::parse(&text).unwrap();
    let event = Event::read(&command, &trie);
    let paths: Vec<PathId> = (0..trie.len() as PathId).collect();
    let fuel = Fuel::new(100_000);
    let view = View {
        event: &event,
        paths: &paths,
        dialect: Dialect::Pointsman,
        fuel: &fuel,
    };
    assert!(!conjunct.holds(view));
    assert!(fuel.is_spent());
}
