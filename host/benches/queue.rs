//! Speed of the queue, durability on. `cargo bench --bench queue [-- large]`:
//! `large` holds the claim against a backlog of 500,000 instead of 50,000.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use pointsman::{
    name::HandlerName,
    queue::{
        Capacity, ClaimRequest, NewCommand, NewDelivery, Settlement, Store,
        sqlite::{Sqlite, SqliteConfig},
    },
};

/// Callers at once.
const CLIENTS: usize = 64;
/// How long each figure is measured.
const MEASURE: Duration = Duration::from_secs(3);

fn command() -> NewCommand {
    let delivery = NewDelivery {
        handler: HandlerName::parse("greet").expect("a name"),
        digest: "sha256:0".to_owned(),
        rules: vec!["all".to_owned()],
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
    }
}

fn open(folder: &Path) -> Arc<dyn Store> {
    Arc::new(Sqlite::open(SqliteConfig::new(folder)).expect("opens"))
}

/// Runs 64 clients that enqueue `batch` at once; answers commands a second.
async fn enqueue(store: &Arc<dyn Store>, batch: usize) -> f64 {
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut done = 0;
                while started.elapsed() < MEASURE {
                    let commands = (0..batch).map(|_| command()).collect();
                    done += store.enqueue(commands).await.expect("stored").len();
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for client in clients {
        done += client.await.expect("ends");
    }
    done as f64 / started.elapsed().as_secs_f64()
}

/// 64 clients that each enqueue, claim and settle `batch` at a time.
async fn lifecycles(store: &Arc<dyn Store>, batch: usize) -> f64 {
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut done = 0;
                while started.elapsed() < MEASURE {
                    let commands = (0..batch).map(|_| command()).collect();
                    store.enqueue(commands).await.expect("stored");
                    let claims = store.claim(request(batch)).await.expect("claimed");
                    let settled: Vec<_> = claims
                        .deliveries
                        .into_iter()
                        .map(|claimed| {
                            let store = Arc::clone(&store);
                            let settlement = Settlement::Complete { output: None };
                            tokio::spawn(
                                async move { store.settle(claimed.lease, settlement).await },
                            )
                        })
                        .collect();
                    for one in settled {
                        one.await.expect("ends").expect("settled");
                        done += 1;
                    }
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for client in clients {
        done += client.await.expect("ends");
    }
    f64::from(done) / started.elapsed().as_secs_f64()
}

/// Claims and releases nothing: takes 64 at a time, `rounds` times.
async fn claims(store: &Arc<dyn Store>, rounds: usize) -> f64 {
    let started = Instant::now();
    let mut taken = 0;
    for _ in 0..rounds {
        taken += store
            .claim(request(64))
            .await
            .expect("claimed")
            .deliveries
            .len();
    }
    taken as f64 / started.elapsed().as_secs_f64()
}

async fn fill(store: &Arc<dyn Store>, count: usize) {
    for _ in 0..count / 5000 {
        store
            .enqueue((0..5000).map(|_| command()).collect())
            .await
            .expect("stored");
    }
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

#[tokio::main]
async fn main() {
    let large = std::env::args().any(|argument| argument == "large");
    let folder = tempfile::tempdir().expect("a folder");
    let bare = raw(folder.path());
    println!("raw SQLite, 3 commits for 1,024 lifecycles   {bare:>9.0} lifecycles/s");
    for batch in [1, 16] {
        let folder = tempfile::tempdir().expect("a folder");
        let rate = enqueue(&open(folder.path()), batch).await;
        println!("enqueue, 64 clients, {batch:>2} at once              {rate:>9.0} commands/s");
        let folder = tempfile::tempdir().expect("a folder");
        let rate = lifecycles(&open(folder.path()), batch).await;
        println!(
            "enqueue, claim, settle, 64 clients, {batch:>2} at once {rate:>7.0} lifecycles/s  {:.2} of raw",
            rate / bare
        );
    }
    let (small, backlog) = (10_000, if large { 500_000 } else { 50_000 });
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    fill(&store, small).await;
    let empty = claims(&store, 100).await;
    fill(&store, backlog).await;
    let full = claims(&store, 100).await;
    println!("claim, backlog {small:>7}                     {empty:>9.0} deliveries/s");
    println!(
        "claim, backlog {backlog:>7}                     {full:>9.0} deliveries/s  {:.2} of the small one",
        full / empty
    );
}
