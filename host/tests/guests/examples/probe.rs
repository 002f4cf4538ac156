//! Does what the command's `do` says, well or badly: one guest for every way
//! in which a call can end.

use std::{
    hint::black_box,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use pointsman_sdk::{
    Command, Failure, Handler, Level, Value, config, export, info, json, log, now_ms, random_bytes,
    random_number, sleep,
};

struct Probe;

/// The `count` calls of this instance.
static CALLS: AtomicU64 = AtomicU64::new(0);

impl Handler for Probe {
    fn handle(command: Command) -> Result<Option<Value>, Failure> {
        let what: String = asked(&command, "do")?.unwrap_or_default();
        let amount: u64 = asked(&command, "amount")?.unwrap_or(0);
        match what.as_str() {
            "echo" => Ok(Some(json!({
                "id": command.id,
                "attributes": command.attributes,
                "attempt": command.attempt,
                "deliveryId": command.delivery_id,
                "traceparent": command.traceparent,
            }))),
            "nothing" => Ok(None),
            "reject" => Err(Failure::rejected("not today")),
            "unavailable" => Err(Failure::retry_after(
                "come back",
                Duration::from_millis(1_500),
            )),
            "config" => Ok(Some(json!(config("key")))),
            "log" => {
                info!("first\nsecond");
                log(Level::Warn, "third");
                Ok(None)
            }
            // Whatever the command says, to each of its readers.
            "say" => {
                let text: String = asked(&command, "text")?.unwrap_or_default();
                info!("{text}");
                Err(Failure::rejected(text))
            }
            "random" => Ok(Some(json!([random_number(), random_bytes(16)]))),
            "too-many-random-bytes" => Ok(Some(json!(random_bytes(65_537).len()))),
            "sleep" => {
                sleep(Duration::from_millis(amount));
                Ok(Some(json!({ "now": now_ms() })))
            }
            "naps" => {
                (0..amount).for_each(|_| sleep(Duration::from_millis(1)));
                Ok(None)
            }
            "count" => Ok(Some(json!(CALLS.fetch_add(1, Relaxed) + 1))),
            "compute" => Ok(Some(json!(compute(amount)))),
            "loop" => loop {
                black_box(());
            },
            "panic" => panic!("the probe was told to"),
            "trap" => std::process::abort(),
            "recurse" => Ok(Some(json!(recurse(amount)))),
            "recurse-in-memory" => Ok(Some(json!(recurse_in_memory(amount)))),
            "divide" => Ok(Some(json!(black_box(1_u64) / black_box(amount)))),
            "give-up" => match Vec::<u8>::new().try_reserve(amount as usize) {
                Ok(()) => Ok(None),
                Err(_) => Err(Failure::rejected("no room")),
            },
            "flood-and-panic" => {
                (0..amount).for_each(|line| info!("line {line} of a flood"));
                panic!("at the end of it")
            }
            "memory" => {
                let mut kept = Vec::new();
                loop {
                    kept.push(black_box(vec![1_u8; 1 << 20]));
                }
            }
            "log-flood" => {
                (0..amount).for_each(|line| info!("line {line} of a flood"));
                Ok(None)
            }
            "output-flood" => Ok(Some(json!(
                "x".repeat(usize::try_from(amount).unwrap_or(0))
            ))),
            "log-lines" => {
                // One message of as many lines.
                info!("{}", "x\n".repeat(usize::try_from(amount).unwrap_or(0)));
                Ok(None)
            }
            "hostcall-flood" => loop {
                black_box(now_ms());
            },
            other => Err(Failure::rejected(format!(
                "`do` is {other}, which I cannot"
            ))),
        }
    }
}

/// What the command says under `key`, or else the operator's configuration:
/// so one command makes several probes do different things.
fn asked<T: FromStr>(command: &Command, key: &str) -> Result<Option<T>, Failure> {
    let text = match command.optional_field(key)? {
        Some(Value::String(text)) => Some(text),
        Some(value) => Some(value.to_string()),
        None => config(key),
    };
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Rounds of a mixing function, each of which needs the one before.
fn compute(rounds: u64) -> u64 {
    (0..rounds).fold(1, |mixed: u64, round| {
        black_box(
            (mixed ^ round)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(31),
        )
    })
}

/// So many calls deep; endlessly for 0.
/// Uses the call stack alone: what is counted after the call keeps it from
/// becoming a loop.
fn recurse(depth: u64) -> u64 {
    static RETURNED: AtomicU64 = AtomicU64::new(0);
    if depth == 1 {
        return 1;
    }
    let deeper = recurse(depth.wrapping_sub(1));
    RETURNED.fetch_add(1, Relaxed);
    deeper + 1
}

/// Uses the stack in the guest's own memory as well.
fn recurse_in_memory(depth: u64) -> u64 {
    match depth {
        1 => 1,
        _ => black_box(recurse_in_memory(black_box(depth.wrapping_sub(1)))) + 1,
    }
}

export!(Probe);
