//! The body of the fuzz target on inputs that are made at random from its
//! seeds: for a moment, or for `POINTSMAN_FUZZ_SECONDS`. cargo-fuzz, which
//! follows what the code does, runs the same body.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::engines::Random;

#[path = "../../fuzz/bodies/rows.rs"]
mod rows;

/// One change: a bit, bytes taken away, said again, or made up.
fn change(random: &mut Random, input: &mut Vec<u8>) {
    let at = random.below(input.len() + 1);
    let end = (at + 1 + random.below(32)).min(input.len());
    match random.below(4) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < end => drop(input.drain(at..end)),
        2 if at < end => {
            let again = input[at..end].repeat(1 + random.below(64));
            input.splice(at..at, again);
        }
        _ => {
            let more: Vec<u8> = (0..=random.below(8)).map(|_| random.byte()).collect();
            input.splice(at..at, more);
        }
    }
}

#[test]
fn any_values_in_the_queues_rows_are_shown_or_refused() {
    let seconds = std::env::var("POINTSMAN_FUZZ_SECONDS").ok();
    let length = seconds.map_or(1, |text| text.parse().expect("seconds, such as 3600"));
    // Another start for longer runs, which then cover something else each time.
    let start = if length > 1 { std::process::id() } else { 1 };
    let mut random = Random::new(start.into());
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/rows");
    let seeds: Vec<_> = fs::read_dir(corpus)
        .unwrap()
        .map(|seed| fs::read(seed.unwrap().path()).unwrap())
        .collect();
    assert!(!seeds.is_empty(), "no seeds");
    seeds.iter().for_each(|seed| rows::run(seed));
    let (until, mut inputs) = (Instant::now() + Duration::from_secs(length), 0_u64);
    while inputs == 0 || Instant::now() < until {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(6) {
            change(&mut random, &mut input);
        }
        rows::run(&input);
        inputs += 1;
    }
    println!("rows: {inputs} inputs");
}
