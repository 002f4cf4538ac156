//! Files that are damaged, mixed up or random: each is loaded or refused with
//! a reason and a hint, and what is loaded ends as some outcome when called.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use pointsman::{
    budget::Budgets,
    config::{Config, HandlerLimits},
    name::HandlerName,
    sandbox::{
        self, Call, ComponentFile, Grants, Handler, HandlerSettings, LoadError, Runtime, Services,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    components::{answering, beside, handler, rounds},
    host::{guest, root, target_folder},
};

/// The most time for one file: a bound for a hang, far from what any takes.
const FILE_MAX: Duration = Duration::from_secs(60);

/// xorshift64*: the same files on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
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

/// Random valid modules, every other of which is made to run.
fn modules(random: &mut Random, count: usize) -> Vec<Vec<u8>> {
    let random = random.bytes(count * (4 << 10));
    let mut made = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["run", "--quiet", "--package", "test-modules"])
        .env("CARGO_TARGET_DIR", target_folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    made.stdin.take().unwrap().write_all(&random).unwrap();
    let made = made.wait_with_output().unwrap();
    assert!(made.status.success(), "the random modules are not made");
    let mut rest = made.stdout.as_slice();
    let mut modules = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk() {
        let (module, behind) = behind.split_at(u32::from_le_bytes(*len) as usize);
        modules.push(module.to_vec());
        rest = behind;
    }
    assert_eq!(modules.len(), count);
    modules
}

fn file(random: &mut Random, number: usize, corpus: &[Vec<u8>], modules: &[Vec<u8>]) -> Vec<u8> {
    let bytes = corpus[random.below(corpus.len())].clone();
    let other = &corpus[random.below(corpus.len())];
    let round = number / 8;
    match number % 8 {
        0 => random.bytes(number),
        // A header that is right, and nothing else.
        1 => [b"\0asm\x0d\0\x01\0".to_vec(), random.bytes(number)].concat(),
        // A random module as it is, or as one more in a component that is whole.
        2 if round.is_multiple_of(8) => modules[2 * round].clone(),
        2 => beside(answering("{}"), &modules[2 * round], 0),
        // One that is made to run, and started there.
        3 => beside(answering("{}"), &modules[2 * round + 1], 1),
        _ => {
            let once = mutate(random, &bytes, other);
            match once.len() > 8 && random.below(3) == 0 {
                true => mutate(random, &once, other),
                false => once,
            }
        }
    }
}

fn load(runtime: &Runtime, bytes: &[u8]) -> Result<Handler, LoadError> {
    let limits = HandlerLimits {
        timeout: std::time::Duration::from_millis(200),
        cpu_max: std::time::Duration::from_millis(20),
        memory_max_bytes: 8 << 20,
        ..HandlerLimits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let settings = HandlerSettings::new(&config.handler_defaults());
    let name = HandlerName::parse("mutant").unwrap();
    let path = Path::new("plugins/mutant.wasm");
    let grants = Grants::read(name.clone(), &settings, path)?;
    sandbox::load(
        runtime,
        ComponentFile {
            name,
            path,
            bytes,
            digest: "digest".into(),
        },
        Arc::new(settings),
        Arc::new(grants),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_random_files_are_refused_with_a_reason_or_loaded() {
    let mut config = Config::default();
    config.host.sandbox.instances_max = 16;
    // Nobody wants the code of mutants between runs.
    config.host.sandbox.compile_cache = false;
    let runtime = Runtime::new(
        &config.host.sandbox,
        &config.limits,
        &Budgets::here(&config.budgets()),
    )
    .unwrap();
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
    let mut ends: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    let files = rounds(300, 2_000);
    let modules = modules(&mut random, 2 * files.div_ceil(8));
    for number in 0..files {
        let bytes = file(&mut random, number, &corpus, &modules);
        let began = Instant::now();
        let end = tokio::time::timeout(FILE_MAX, end(&runtime, bytes)).await;
        let end = end.unwrap_or_else(|_| panic!("file {number} hangs"));
        slowest = slowest.max(began.elapsed());
        let kind = match number % 8 {
            3 => "made to run",
            _ => "any",
        };
        *ends.entry((kind, end)).or_default() += 1;
    }
    eprintln!("{files} files, the slowest {slowest:?}: {ends:?}");
    let seen = |kind: &str, end: &str| ends.keys().any(|key| *key == (kind, end.into()));
    assert!(
        seen("any", "refused") && seen("any", "succeeded"),
        "{ends:?}"
    );
    assert!(!seen("made to run", "refused"), "{ends:?}");
    assert!(
        seen("made to run", "succeeded") && seen("made to run", "trapped"),
        "{ends:?}"
    );
}

/// Loads the file and, where it is a handler, calls it once; says how it ended.
async fn end(runtime: &Runtime, bytes: Vec<u8>) -> String {
    let load = {
        let runtime = runtime.clone();
        move || load(&runtime, &bytes)
    };
    let handler = match tokio::task::spawn_blocking(load).await.unwrap() {
        Ok(handler) => handler,
        Err(error) => {
            assert!(
                !error.reason.is_empty() && !error.hint.is_empty(),
                "{error:?}"
            );
            return "refused".into();
        }
    };
    let command = pointsman::command::Command::parse(r#"{"requestType":"CreatePolicy"}"#).unwrap();
    let call = Call {
        attempt: 1,
        started: Instant::now(),
        on_line: None,
        cancel: &CancellationToken::new(),
        simulation: None,
        services: &Services::NONE,
        depth: 0,
    };
    handler
        .call(&command, call)
        .await
        .outcome
        .status()
        .as_str()
        .into()
}
