//! Speed of the queue, durability on: `cargo bench --bench queue [-- large]`.
//! `large` holds the claim against a backlog of 500,000 instead of 50,000.
//! On PostgreSQL too where `POINTSMAN_POSTGRES_URL` names a server; it makes
//! schemas called `bench_…` there.
//!
//! A lifecycle is one command to one handler, enqueued, claimed and completed.

use std::{
    collections::HashMap,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use pointsman_core::name::HandlerName;
use pointsman_queue::{
    Capacity, ClaimRequest, Claimed, CommandId, Held, NewCommand, NewDelivery, RunResult,
    Settlement, Store,
    postgres::{Postgres, PostgresConfig},
    sqlite::{Sqlite, SqliteConfig},
    worker::{DeliveryRunner, Worker, WorkerConfig},
};
use tokio_util::sync::CancellationToken;

/// Callers at once.
const CLIENTS: usize = 64;
/// How long each figure is measured.
const MEASURE: Duration = Duration::from_secs(3);

fn command() -> NewCommand {
    let delivery = NewDelivery {
        handler: HandlerName::parse("greet").expect("a name"),
        digest: "0".repeat(64),
        rules: vec!["all".to_owned()],
        key: None,
    };
    let attributes = format!(
        "{{\"requestType\":\"CreatePolicy\",\"note\":\"{}\"}}",
        "x".repeat(300)
    );
    NewCommand::new(attributes, vec![delivery])
}

fn request(max: usize) -> ClaimRequest {
    ClaimRequest {
        max,
        lease: Duration::from_secs(30),
        capacity: Capacity::default(),
        flows_changed: false,
        held: Held::default(),
    }
}

/// Runs `CLIENTS` callers of `work` for a while; answers what they did a second.
async fn rate<F>(store: &Arc<dyn Store>, work: impl Fn(Arc<dyn Store>) -> F) -> f64
where
    F: Future<Output = usize> + Send + 'static,
{
    let started = Instant::now();
    // One call each at a time, all in one set: what ends is begun again.
    let mut calls = tokio::task::JoinSet::new();
    (0..CLIENTS).for_each(|_| drop(calls.spawn(work(Arc::clone(store)))));
    let mut done = 0;
    while let Some(ended) = calls.join_next().await {
        done += ended.expect("ends");
        if started.elapsed() < MEASURE {
            calls.spawn(work(Arc::clone(store)));
        }
    }
    done as f64 / started.elapsed().as_secs_f64()
}

async fn enqueue(store: Arc<dyn Store>, batch: usize) -> usize {
    let commands = (0..batch).map(|_| command()).collect();
    store.enqueue(commands).await.expect("stored").len()
}

async fn lifecycles(store: Arc<dyn Store>, batch: usize) -> usize {
    enqueue(Arc::clone(&store), batch).await;
    let claims = store.claim(request(batch)).await.expect("claimed");
    let settled = claims.deliveries.into_iter().map(|claimed| {
        let store = Arc::clone(&store);
        let settlement = Settlement::Complete {
            output: None,
            follow_ups: Vec::new(),
        };
        async move { store.settle(claimed.lease, settlement).await }
    });
    let settled = futures_util::future::join_all(settled).await;
    let stored = settled.iter().filter(|one| one.is_ok()).count();
    assert_eq!(stored, settled.len(), "{settled:?}");
    stored
}

/// Claims 64 at a time, `rounds` times; answers deliveries a second, by the
/// median claim. Waits for the disk first: right after a fill it still writes.
async fn claims(store: &Arc<dyn Store>, rounds: usize) -> f64 {
    const EACH: usize = 64;
    let synced = std::process::Command::new("sync").status();
    assert!(synced.expect("`sync` runs").success());
    let mut took = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let started = Instant::now();
        let claims = store.claim(request(EACH)).await.expect("claimed");
        assert_eq!(claims.deliveries.len(), EACH);
        took.push(started.elapsed());
    }
    took.sort_unstable();
    EACH as f64 / took[rounds / 2].as_secs_f64()
}

async fn fill(store: &Arc<dyn Store>, count: usize) {
    for _ in 0..count / 5000 {
        enqueue(Arc::clone(store), 5000).await;
    }
}

/// Says when each command began to run.
#[derive(Default)]
struct Starts(Mutex<HashMap<CommandId, Instant>>);

impl DeliveryRunner for Starts {
    fn run<'a>(
        &'a self,
        delivery: &'a Claimed,
        _: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = RunResult> + Send + 'a>> {
        let id = delivery.lease.delivery.command;
        self.0.lock().expect("whole").insert(id, Instant::now());
        Box::pin(async { RunResult::succeeded(None) })
    }
}

/// From the call of `enqueue` to the start of the run, in milliseconds: the
/// median and the 99th percentile of 16 callers that rest between calls.
async fn latency(store: &Arc<dyn Store>) -> (f64, f64) {
    let starts = Arc::new(Starts::default());
    let worker = Worker::start(
        Arc::clone(store),
        Arc::clone(&starts) as Arc<dyn DeliveryRunner>,
        WorkerConfig::default(),
    );
    let began = Instant::now();
    let callers = (0..16).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut sent = Vec::new();
            while began.elapsed() < MEASURE {
                let command = command();
                sent.push((command.id, Instant::now()));
                store.enqueue(vec![command]).await.expect("stored");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            sent
        })
    });
    let mut sent = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        sent.extend(caller.await.expect("ends"));
    }
    while starts.0.lock().expect("whole").len() < sent.len() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.drain(Duration::from_secs(5)).await;
    let starts = starts.0.lock().expect("whole");
    let mut waits: Vec<_> = sent
        .iter()
        .map(|(id, at)| starts[id].saturating_duration_since(*at).as_secs_f64() * 1e3)
        .collect();
    waits.sort_by(f64::total_cmp);
    (waits[waits.len() / 2], waits[waits.len() * 99 / 100])
}

/// The bare engine on the same disk: one row in, changed twice, 1,024 rows a commit.
fn raw(folder: &Path) -> f64 {
    let mut connection = rusqlite::Connection::open(folder.join("raw.sqlite")).expect("opens");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 16384;
             CREATE TABLE job (id INTEGER PRIMARY KEY, body TEXT, state TEXT);
             CREATE INDEX ready ON job(id) WHERE state = 'available';",
        )
        .expect("made");
    let (started, mut done) = (Instant::now(), 0);
    let body = command().attributes;
    while started.elapsed() < MEASURE {
        for step in 0..3 {
            let tx = connection.transaction().expect("begins");
            for id in done..done + 1024 {
                let sql = [
                    "INSERT INTO job (id, body, state) VALUES (?1, ?2, 'available')",
                    "UPDATE job SET state = 'running' WHERE id = ?1 AND ?2 = ?2",
                    "UPDATE job SET state = 'completed' WHERE id = ?1 AND ?2 = ?2",
                ][step];
                tx.prepare_cached(sql)
                    .and_then(|mut s| s.execute((id, &body)))
                    .expect("done");
            }
            tx.commit().expect("commits");
        }
        done += 1024;
    }
    done as f64 / started.elapsed().as_secs_f64()
}

/// Commits of one small row a second, one after the other: what the disk allows.
fn syncs(folder: &Path) -> f64 {
    let connection = rusqlite::Connection::open(folder.join("syncs.sqlite")).expect("opens");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE one (n INTEGER);",
        )
        .expect("made");
    let (started, mut done) = (Instant::now(), 0_u32);
    while started.elapsed() < MEASURE / 3 {
        connection
            .execute("INSERT INTO one VALUES (1)", [])
            .expect("done");
        done += 1;
    }
    f64::from(done) / started.elapsed().as_secs_f64()
}

/// Where the stores of one engine come from: a fresh one each time.
enum Engine {
    Sqlite,
    Postgres(String),
}

impl Engine {
    async fn open(&self, folder: &Path, number: usize) -> Arc<dyn Store> {
        match self {
            Self::Sqlite => {
                let folder = folder.join(number.to_string());
                Arc::new(Sqlite::open(SqliteConfig::new(folder)).expect("opens"))
            }
            Self::Postgres(url) => {
                let config = PostgresConfig {
                    schema: format!("bench_{}_{number}", std::process::id()),
                    ..PostgresConfig::new(url)
                };
                Arc::new(Postgres::open(config).await.expect("opens"))
            }
        }
    }

    async fn measure(&self, name: &str, bare: f64, large: bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let line = |what: &str, figure: f64, unit: &str, more: &str| {
            println!("{name:<10} {what:<44} {figure:>9.0} {unit}{more}");
        };
        for (number, batch) in [1, 16].into_iter().enumerate() {
            let what = format!("{CLIENTS} clients, {batch:>2} at once");
            let store = self.open(folder.path(), 2 * number).await;
            let stored = rate(&store, |store| enqueue(store, batch)).await;
            line(&format!("enqueue, {what}"), stored, "commands/s", "");
            store.close().await.expect("closes");
            let store = self.open(folder.path(), 2 * number + 1).await;
            let lived = rate(&store, |store| lifecycles(store, batch)).await;
            let more = format!("  {:.2} of raw SQLite", lived / bare);
            let what = format!("enqueue, claim, settle, {what}");
            line(&what, lived, "lifecycles/s", &more);
            store.close().await.expect("closes");
        }
        let store = self.open(folder.path(), 4).await;
        let (median, p99) = latency(&store).await;
        println!("{name:<10} enqueue to start: median {median:.1} ms, p99 {p99:.1} ms");
        store.close().await.expect("closes");

        let (small, backlog) = (10_000, if large { 500_000 } else { 50_000 });
        let store = self.open(folder.path(), 5).await;
        fill(&store, small).await;
        let few = claims(&store, 100).await;
        fill(&store, backlog).await;
        let many = claims(&store, 100).await;
        line(&format!("claim, backlog {small}"), few, "deliveries/s", "");
        let more = format!("  {:.2} of the small one", many / few);
        line(
            &format!("claim, backlog {backlog}"),
            many,
            "deliveries/s",
            &more,
        );
        store.close().await.expect("closes");
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let large = arguments.iter().any(|argument| argument == "large");
    let folder = tempfile::tempdir().expect("a folder");
    println!("the disk: {:.0} small commits/s", syncs(folder.path()));
    let bare = raw(folder.path());
    println!("raw SQLite, 3 commits for 1,024 lifecycles: {bare:.0} lifecycles/s");
    Engine::Sqlite.measure("SQLite", bare, large).await;
    match std::env::var("POINTSMAN_POSTGRES_URL") {
        Ok(url) => {
            Engine::Postgres(url)
                .measure("PostgreSQL", bare, large)
                .await
        }
        Err(_) => println!("SKIPPED: PostgreSQL, as POINTSMAN_POSTGRES_URL names no server"),
    }
}
