//! The bodies of the fuzz targets on inputs that are made at random from their
//! seeds: each for a moment, or for `POINTSMAN_FUZZ_SECONDS`. cargo-fuzz, which
//! follows what the code does, runs the same bodies.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

#[path = "../../../fuzz/bodies/components.rs"]
mod components;
#[path = "../../../fuzz/bodies/http.rs"]
mod http;
#[path = "../../../fuzz/bodies/settings.rs"]
mod settings;

use crate::sandbox::fuzzed_plugins::Random;

fn length() -> Duration {
    let seconds = std::env::var("POINTSMAN_FUZZ_SECONDS");
    let seconds = seconds.map_or(1, |text| text.parse().expect("seconds, such as 3600"));
    Duration::from_secs(seconds)
}

/// Inputs from the seeds of `target`, changed in a few places, until the time is over.
fn fuzz(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|seed| fs::read(seed.unwrap().path()).unwrap())
        .collect();
    assert!(!seeds.is_empty(), "{}: no seeds", folder.display());
    // Another start for longer runs, which then cover something else each time.
    let started = length().as_secs() > 1;
    let start = if started {
        u64::from(std::process::id())
    } else {
        1
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ start);
    seeds.iter().for_each(|seed| run(seed));
    let (until, mut inputs) = (Instant::now() + length(), 0_u64);
    while Instant::now() < until {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(6) {
            change(&mut random, &mut input, &seeds);
        }
        run(&input);
        inputs += 1;
    }
    println!("{target}: {inputs} inputs");
    assert!(inputs > 0);
}

/// One change: bits, bytes, a part taken away, said again, or from another seed.
fn change(random: &mut Random, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    const ODD: &[&[u8]] = &[
        b"\"",
        b"\r\n",
        b"\0",
        b"=",
        b"[",
        b"{",
        b"}",
        b"9223372036854775808",
        b"-1",
        b"1e999",
        b"\xff",
        "\u{202e}".as_bytes(),
        "\u{9b}".as_bytes(),
        b"[[",
        b"''' ",
        b"Content-Length: 5\r\n",
    ];
    let at = random.below(input.len() + 1);
    let end = (at + 1 + random.below(32)).min(input.len());
    match random.below(6) {
        0 if !input.is_empty() => {
            let at = at.min(input.len() - 1);
            input[at] ^= 1 << random.below(8);
        }
        1 => drop(input.splice(at..at, ODD[random.below(ODD.len())].iter().copied())),
        2 if at < end => drop(input.drain(at..end)),
        3 if at < end => {
            let again = input[at..end].repeat(1 + random.below(64));
            input.splice(at..at, again);
        }
        4 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            let to = (from + random.below(64)).min(other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
        _ => {
            let count = 1 + random.below(8);
            let more = random.bytes(count);
            input.splice(at..at, more);
        }
    }
}

#[test]
fn any_bytes_as_a_component_are_refused_in_words_or_called() {
    fuzz("components", components::run);
}

#[test]
fn any_settings_are_taken_or_refused_in_words() {
    fuzz("settings", settings::run);
}

#[test]
fn any_bytes_on_a_connection_are_answered_or_refused() {
    fuzz("http", http::run);
}
