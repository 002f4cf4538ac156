//! A good handler beside everything hostile at once: none of its calls fails,
//! they are hardly slower than beside as many threads that only compute, and the
//! host ends with the memory and the descriptors that it began with.
//!
//! `POINTSMAN_SOAK_MINUTES=30 cargo test --test it -- soak --nocapture` runs it for
//! 30 minutes on each engine of the queue. Without the variable it takes a few
//! seconds, and latencies are printed but not checked.

mod runnable;
mod storm;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    host::{Folders, guest},
    postgres_server::Server,
    queue::program::Program,
};

/// How long the storm is, and whether times are held to their bounds.
fn length() -> (Duration, bool) {
    match std::env::var("POINTSMAN_SOAK_MINUTES") {
        Ok(minutes) => {
            let minutes: f64 = minutes.parse().expect("minutes, such as 30");
            (Duration::from_secs_f64(minutes * 60.0), true)
        }
        Err(_) => (Duration::from_secs(6), false),
    }
}

/// What the host may have kept at the end beside what it had: caches that are
/// filled once, and what the allocator holds back.
const MEMORY_SPARE_BYTES: u64 = 128 << 20;
/// Connections that are kept open for the next request.
const DESCRIPTORS_SPARE: usize = 32;
/// How much slower the p99 of a good command may be in the storm than beside the
/// same number of threads that only compute: where all cores are busy, the
/// system's scheduler alone costs more than the host does.
const SLOWER_MAX: u32 = 3;

/// The good one first.
const HANDLERS: [&str; 4] = ["good", "bad", "worse", "worst"];

/// A good handler, three to harm with, and what the queue is to be.
fn folders(queue: &str) -> Folders {
    let folders = Folders::probes(&HANDLERS);
    for name in &HANDLERS[1..] {
        folders.settings(
            name,
            "[limits]\ntimeout = '1s'\ncpu_max = '200ms'\ninstances_max = 8\n",
        );
    }
    let settings = format!(
        "[limits]\ntimeout = '10s'\n[reload]\npoll = '500ms'\n[queue]\nlease = '5s'\n{queue}"
    );
    fs::write(folders.path().join("pointsman.toml"), settings).unwrap();
    folders
}

/// What the host takes of the machine.
#[derive(Clone, Copy, Debug)]
struct Taken {
    memory_bytes: u64,
    descriptors: usize,
}

impl Taken {
    fn by(process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|line| line.split_whitespace().next());
        Self {
            memory_bytes: kib.expect("a size").parse::<u64>().unwrap() << 10,
            descriptors: fs::read_dir(format!("/proc/{process}/fd")).unwrap().count(),
        }
    }

    fn is_back_at(self, before: Self) -> bool {
        self.memory_bytes <= before.memory_bytes + MEMORY_SPARE_BYTES
            && self.descriptors <= before.descriptors + DESCRIPTORS_SPARE
    }
}

/// Waits until the good handler is loaded: a host listens while it still compiles.
async fn ready(client: &Client, url: &str) {
    for _ in 0..1_000 {
        let plugins = client.get(format!("{url}/plugins")).send().await.unwrap();
        let plugins: Value = plugins.json().await.unwrap();
        let good = plugins["plugins"].as_array().unwrap().iter();
        if good.filter(|one| one["state"] == "loaded").count() == HANDLERS.len() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the handlers were never loaded");
}

/// Calls the good handler for `length`, one call after another with a pause
/// between, and returns how long each took, sorted. On a thread of its own: the
/// attackers must not delay the clock.
async fn steady(url: &str, length: Duration) -> Vec<Duration> {
    let url = format!("{url}/commands/execute");
    let calls = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(calls(&url, Instant::now() + length))
    });
    calls.await.expect("a good command failed")
}

async fn calls(url: &str, until: Instant) -> Vec<Duration> {
    let client = Client::builder()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let mut times = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        let post = client.post(url).header("content-type", "application/json");
        let answer = post.body(r#"{"to":"good","do":"compute","amount":1000}"#);
        let answer = answer.send().await.expect("the host answers");
        let status = answer.status();
        let report: Value = answer.json().await.expect("a report");
        assert_eq!(status, 200, "a good command failed: {report:#}");
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    times.sort();
    times
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Ends the storm when dropped, also by a test that fails.
struct Storm {
    over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    attacks: Arc<AtomicU64>,
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

async fn soak(engine: &str, folders: Folders, server: Option<Arc<Server>>) {
    // One storm at a time: another would be measured too.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ALONE.lock().await;
    let (length, is_long) = length();
    let host = Program::start(&folders);
    let client = Client::builder()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    ready(&client, &host.url).await;
    let processes = [host.id(), std::process::id()];
    // Once through everything, so that caches are full.
    steady(&host.url, length / 20).await;
    let idle = runnable::Sampler::start(processes);
    let calm = steady(&host.url, length / 6).await;
    let idle = idle.mean();
    let before = Taken::by(host.id());

    let mut storm = storm::begin(&host.url, folders.path(), server);
    let busy = runnable::Sampler::start(processes);
    let stormy = steady(&host.url, length).await;
    let busy = busy.mean();
    let during = Taken::by(host.id());
    storm.over.store(true, Relaxed);
    while let Some(ended) = storm.tasks.join_next().await {
        ended.expect("an attacker met an answer that it did not expect");
    }
    let attacks = storm.attacks.load(Relaxed);

    // What it held goes: instances, connections, compiled code of files that are gone.
    let mut after = Taken::by(host.id());
    let patience = Instant::now() + Duration::from_secs(90);
    while !after.is_back_at(before) && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(200)).await;
        after = Taken::by(host.id());
    }
    let still = steady(&host.url, length / 20).await;
    let neutral = runnable::Neutral::start(busy - idle);
    let beside_neutral = steady(&host.url, length / 6).await;
    let neutral = neutral.end();
    let milliseconds = |times: &[Duration]| {
        let percents = [50, 99].map(|percent| percentile(times, percent));
        percents.map(|time| (time.as_secs_f64() * 1e5).round() / 100.0)
    };
    let taken = [before, during, after];
    let runnable = [idle, busy].map(|mean| (mean * 10.0).round() / 10.0);
    println!(
        "{engine}: {}",
        json!({
            "seconds": length.as_secs(),
            "attacks": attacks,
            "goodCalls": stormy.len(),
            "calmMs": milliseconds(&calm),
            "stormMs": milliseconds(&stormy),
            "neutralMs": milliseconds(&beside_neutral),
            "neutralThreads": neutral,
            "runnable": runnable.to_vec(),
            "afterMs": milliseconds(&still),
            "memoryMiB": taken.map(|taken| taken.memory_bytes >> 20).to_vec(),
            "descriptors": taken.map(|taken| taken.descriptors).to_vec(),
        })
    );
    assert!(attacks > 50, "there was no storm: {attacks}");
    assert!(after.is_back_at(before), "{before:?} became {after:?}");
    let panics = host.said(&["panicked"]);
    assert_eq!(panics, 0, "{}", host.log());
    if is_long {
        let usual = percentile(&calm, 99).max(percentile(&beside_neutral, 99));
        let most = usual * SLOWER_MAX;
        assert!(percentile(&stormy, 99) <= most, "p99 is over {most:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_beside_everything_hostile() {
    // The database is soon full.
    let folders = folders("size_max_bytes = 4000000\n[queue.retention]\nbytes_max = 2000000\n");
    soak("sqlite", folders, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_beside_everything_hostile_and_a_server_that_is_killed() {
    let Some(server) = Server::new() else { return };
    let folders = folders(&server.settings());
    soak("postgres", folders, Some(Arc::new(server))).await;
}

/// The probe, to be put in place again and again.
fn probe() -> Vec<u8> {
    guest("probe")
}
