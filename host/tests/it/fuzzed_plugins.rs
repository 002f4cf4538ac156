//! Files that are damaged, mixed up or random: each is loaded or refused with
//! a reason and a hint, and what is loaded ends as some outcome when called.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use pointsman::{
    command::Command,
    config::{Config, HandlerLimits},
    name::HandlerName,
    plugin::{self, Call, Grants, HandlerSettings, LoadError, Plugin, Runtime},
};
use tokio_util::sync::CancellationToken;

use crate::{
    components::{answering, beside, handler, rounds, section},
    host::guest,
};

/// The most time for one file: a bound for a hang, far from what any takes.
const FILE_MAX: Duration = Duration::from_secs(60);

/// xorshift64*: the same files on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// One way to damage `bytes`; `other` is what to splice in.
fn mutate(random: &mut Random, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = random.below(bytes.len());
    match random.below(6) {
        // A few bits, so that many files are still valid.
        0 | 1 => {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
        }
        2 => bytes.truncate(at),
        3 => {
            let from = random.below(other.len());
            let to = from + random.below(other.len() - from);
            let end = (at + to - from).min(bytes.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        4 => {
            let count = 1 + random.below(16);
            let inserted = random.bytes(count);
            bytes.splice(at..at, inserted);
        }
        _ => {
            let end = at + random.below(bytes.len() - at).min(64);
            bytes.drain(at..end);
        }
    }
    bytes
}

/// A random valid module: functions that compute, call, loop and touch memory.
fn module(random: &mut Random) -> Vec<u8> {
    const FUNCTIONS: usize = 8;
    let mut text = String::from("(module (memory 1) (table 4 funcref)");
    for _ in 0..FUNCTIONS {
        text.push_str("(func (param i32 i64) (result i32) (local f64 i32)\n");
        let mut depth = 0;
        for _ in 0..random.below(200) {
            let number = random.next() as i32;
            let (needed, left, code) = match random.below(12) {
                0 => (0, 1, format!("i32.const {number}")),
                1 => (0, 1, "local.get 0".into()),
                2 => (1, 0, "local.set 3".into()),
                3 => (2, 1, "i32.mul".into()),
                4 => (2, 1, "i32.rem_u".into()),
                5 => (1, 1, format!("i32.load offset={}", number as u32)),
                6 => (2, 0, "i32.store".into()),
                7 => (1, 1, "memory.grow".into()),
                8 => (1, 1, "f64.convert_i32_s local.tee 2 i32.trunc_f64_u".into()),
                9 => (
                    1,
                    1,
                    "i64.extend_i32_s local.tee 1 i64.popcnt i32.wrap_i64".into(),
                ),
                10 => (
                    1,
                    1,
                    format!("local.get 1 call {}", random.below(FUNCTIONS)),
                ),
                _ => (
                    1,
                    0,
                    "if (loop (br_if 0 (local.get 3))) else nop end".into(),
                ),
            };
            if depth >= needed {
                depth += left;
                depth -= needed;
                text.push_str(&code);
                text.push('\n');
            }
        }
        text.push_str(&"drop\n".repeat(depth));
        text.push_str("local.get 0)\n");
    }
    wat::parse_str(text + ")").unwrap()
}

fn file(random: &mut Random, number: usize, corpus: &[Vec<u8>]) -> Vec<u8> {
    let bytes = corpus[random.below(corpus.len())].clone();
    let other = &corpus[random.below(corpus.len())];
    match number % 8 {
        0 => random.bytes(number),
        // A header that is right, and nothing else.
        1 => [b"\0asm\x0d\0\x01\0".to_vec(), random.bytes(number)].concat(),
        // A random module as it is, and as one more in a component that is whole.
        2 => module(random),
        3 => {
            let mut bytes = bytes;
            section(&mut bytes, 1, &module(random));
            bytes
        }
        _ => {
            let once = mutate(random, &bytes, other);
            match once.len() > 8 && random.below(3) == 0 {
                true => mutate(random, &once, other),
                false => once,
            }
        }
    }
}

fn load(runtime: &Runtime, bytes: &[u8]) -> Result<Plugin, LoadError> {
    let limits = HandlerLimits {
        timeout_ms: 200,
        cpu_max_ms: 20,
        memory_max_bytes: 8 << 20,
        ..HandlerLimits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let settings = HandlerSettings::new(&config);
    let name = HandlerName::parse("mutant").unwrap();
    let path = Path::new("plugins/mutant.wasm");
    let grants = Grants::read(name.clone(), &settings, path)?;
    plugin::load(
        runtime,
        name,
        path,
        bytes,
        "digest".into(),
        Arc::new(settings),
        Arc::new(grants),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_random_files_are_refused_with_a_reason_or_loaded() {
    let mut host = Config::default().host;
    host.instances_max = 16;
    // Nobody wants the code of mutants between runs.
    host.compile_cache = false;
    let runtime = Runtime::new(&host).unwrap();
    // Small ones often, as they are loaded fast, and one from a compiler.
    let corpus = [
        answering("{}"),
        handler("", "i32.const 0"),
        handler("(func $s (loop $l (br $l))) (start $s)", "i32.const 0"),
        handler(
            "(table $t 0 funcref)",
            "(drop (table.grow $t (ref.null func) (i32.const 1000))) (memory.grow (i32.const 1))",
        ),
        beside(handler("", "i32.const 0"), "(module (memory 16))", 4),
        guest("create-policy"),
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    let files = rounds(300, 2_000);
    for number in 0..files {
        let bytes = file(&mut random, number, &corpus);
        let began = Instant::now();
        let end = tokio::time::timeout(FILE_MAX, end(&runtime, bytes)).await;
        let end = end.unwrap_or_else(|_| panic!("file {number} hangs"));
        slowest = slowest.max(began.elapsed());
        *ends.entry(end).or_default() += 1;
    }
    eprintln!("{files} files, the slowest {slowest:?}: {ends:#?}");
    assert!(ends.contains_key("refused"), "{ends:?}");
    assert!(ends.len() > 2, "too few are loaded and called: {ends:?}");
}

/// Loads the file and, where it is a plugin, calls it once; says how it ended.
async fn end(runtime: &Runtime, bytes: Vec<u8>) -> String {
    let load = {
        let runtime = runtime.clone();
        move || load(&runtime, &bytes)
    };
    let plugin = match tokio::task::spawn_blocking(load).await.unwrap() {
        Ok(plugin) => plugin,
        Err(error) => {
            assert!(
                !error.reason.is_empty() && !error.hint.is_empty(),
                "{error:?}"
            );
            return "refused".into();
        }
    };
    let command = Command::parse(r#"{"requestType":"CreatePolicy"}"#).unwrap();
    let call = Call {
        attempt: 1,
        delivery_id: "delivery",
        started: Instant::now(),
        on_line: None,
        cancel: &CancellationToken::new(),
    };
    plugin.call(&command, call).await.status().as_str().into()
}
