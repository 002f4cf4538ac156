//! The worker, on SQLite: what it does with runs that fail, panic, hang, and
//! when it is drained.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use pointsman_core::{command::CommandId, name::HandlerName, outcome::Status};
use pointsman_queue::{
    Capacity, Claimed, DeadFilter, Page, RetrySettings, RunResult, State, Store,
    sqlite::{Sqlite, SqliteConfig},
    wait_for,
    worker::{DeliveryRunner, Worker, WorkerConfig},
};
use tokio_util::sync::CancellationToken;

use crate::engines::{LEASE, clock, command, name, stress};

/// Does what the handler's name says, and counts.
#[derive(Default)]
struct Fake {
    runs: Mutex<HashMap<(String, String), u32>>,
}

impl Fake {
    fn most_runs(&self, handler: &str) -> (usize, u32) {
        let runs = self.runs.lock().unwrap();
        let of = runs.iter().filter(|((_, name), _)| name == handler);
        (
            of.clone().count(),
            of.map(|(_, count)| *count).max().unwrap_or(0),
        )
    }
}

impl DeliveryRunner for Fake {
    fn run<'a>(
        &'a self,
        delivery: &'a Claimed,
        cancel: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = RunResult> + Send + 'a>> {
        Box::pin(async move {
            let id = &delivery.lease.delivery;
            let key = (id.command.to_string(), id.handler.to_string());
            *self.runs.lock().unwrap().entry(key).or_default() += 1;
            match id.handler.as_str() {
                "fails" => RunResult::failed(Status::Unavailable, "not now"),
                "panics" => panic!("on purpose"),
                "waits" => {
                    cancel.cancelled().await;
                    RunResult::failed(Status::Cancelled, "interrupted")
                }
                "hangs" => std::future::pending().await,
                "answers" => RunResult::succeeded(Some(format!("\"{}\"", "x".repeat(2 << 20)))),
                _ => RunResult::succeeded(Some("1".to_owned())),
            }
        })
    }

    fn capacity(&self) -> Capacity {
        let names = ["a", "answers", "b", "fails", "hangs", "panics", "waits"];
        Capacity {
            handlers: Some(names.iter().map(|text| name(text)).collect()),
            ..Capacity::default()
        }
    }

    fn retry_policy(&self, _: &HandlerName) -> RetrySettings {
        RetrySettings {
            delay_base: Duration::from_millis(1),
            transient_max: 3,
            trap_max: 2,
            ..RetrySettings::default()
        }
    }
}

struct House {
    store: Arc<Sqlite>,
    runner: Arc<Fake>,
    worker: Worker,
    _folder: tempfile::TempDir,
}

fn house() -> House {
    house_with(SqliteConfig::new(""))
}

/// The same over a store with these settings, in a folder of its own.
fn house_with(settings: SqliteConfig) -> House {
    let folder = tempfile::tempdir().unwrap();
    let settings = SqliteConfig {
        folder: folder.path().to_owned(),
        ..settings
    };
    let store = Arc::new(Sqlite::open(settings).unwrap());
    let runner = Arc::new(Fake::default());
    let config = WorkerConfig {
        interrupt_grace: Duration::from_millis(100),
        poll: Duration::from_millis(50),
        ..WorkerConfig::default()
    };
    let worker = Worker::start(store.clone(), runner.clone(), config);
    House {
        store,
        runner,
        worker,
        _folder: folder,
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

/// A command with two deliveries, both of which run and go on.
async fn two_runs(house: &House) -> CommandId {
    let accepted = house.store.enqueue(vec![command(&["waits", "hangs"])]);
    let id = accepted.await.unwrap()[0].id;
    wait_for(&*house.store, id, PATIENCE, |view| {
        view.deliveries
            .iter()
            .all(|delivery| delivery.state == State::Running)
    })
    .await
    .unwrap();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_handlers_one_fails_and_the_others_run_exactly_once() {
    let house = house();
    let count = if stress() { 10_000 } else { 500 };
    let mut ids = Vec::new();
    for _ in 0..count / 100 {
        let batch = (0..100).map(|_| command(&["a", "b", "fails"])).collect();
        ids.extend(house.store.enqueue(batch).await.unwrap());
    }
    for id in ids {
        let view = wait_for(&*house.store, id.id, PATIENCE, |view| {
            view.state().is_final()
        })
        .await
        .unwrap();
        let states: Vec<_> = view
            .deliveries
            .iter()
            .map(|delivery| delivery.state)
            .collect();
        assert_eq!(
            states,
            [State::Completed, State::Completed, State::Discarded]
        );
    }
    assert_eq!(house.runner.most_runs("a"), (count, 1));
    assert_eq!(house.runner.most_runs("b"), (count, 1));
    assert_eq!(house.runner.most_runs("fails"), (count, 3));
    let (mut buried, mut after) = (0, None);
    loop {
        let page = Page { after, limit: 500 };
        let dead = house.store.dead(DeadFilter::default(), page).await.unwrap();
        let Some(last) = dead.last() else { break };
        after = Some(last.cursor());
        for letter in &dead {
            let id = letter.delivery.id.clone();
            let detail = house.store.inspect(id).await.unwrap();
            let told = detail.failures.iter();
            let told: Vec<_> = told.map(|f| (f.attempt, &*f.error.message)).collect();
            assert_eq!(told, [(1, "not now"), (2, "not now"), (3, "not now")]);
        }
        buried += dead.len();
    }
    assert_eq!(buried, count);
    assert!(house.worker.healthy());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_counts_as_a_trap_and_loses_nothing() {
    let house = house();
    let id = house
        .store
        .enqueue(vec![command(&["panics"])])
        .await
        .unwrap()[0]
        .id;
    let view = wait_for(&*house.store, id, PATIENCE, |view| view.state().is_final())
        .await
        .unwrap();
    assert_eq!(view.state(), State::Discarded);
    let detail = house
        .store
        .inspect(view.deliveries[0].id.clone())
        .await
        .unwrap();
    let told: Vec<_> = detail
        .failures
        .iter()
        .map(|f| (f.error.status, f.error.message.as_str()))
        .collect();
    assert_eq!(
        told,
        [(Status::Trapped.into(), "the attempt panicked: on purpose"); 2]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_interrupts_a_run() {
    let house = house();
    let id = two_runs(&house).await;
    house.store.cancel(id).await.unwrap();
    let view = wait_for(&*house.store, id, PATIENCE, |view| view.state().is_final())
        .await
        .unwrap();
    assert!(
        view.deliveries
            .iter()
            .all(|delivery| delivery.state == State::Cancelled)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_gives_back_what_runs_without_charging_it() {
    let house = house();
    let id = two_runs(&house).await;
    let drained = house.worker.drain(Duration::from_millis(20)).await;
    assert_eq!((drained.finished, drained.interrupted), (0, 2));
    let view = house.store.get(id).await.unwrap();
    let left: Vec<_> = view
        .deliveries
        .iter()
        .map(|d| (d.state, d.attempt))
        .collect();
    assert_eq!(left, [(State::Available, 0); 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_handler_with_many_slow_deliveries_does_not_starve_another() {
    let house = house();
    let flood = (0..300).map(|_| command(&["waits"])).collect();
    house.store.enqueue(flood).await.unwrap();
    while house.worker.running() < 40 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // None of them ends: each of these needs a place that is left free.
    for handler in ["a", "b", "a"] {
        let id = house
            .store
            .enqueue(vec![command(&[handler])])
            .await
            .unwrap()[0]
            .id;
        let view = wait_for(&*house.store, id, PATIENCE, |view| view.is_final()).await;
        assert_eq!(view.unwrap().state(), State::Completed);
    }
    assert!(house.worker.running() < WorkerConfig::default().concurrency);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_run_keeps_its_lease_however_late_the_renewal() {
    let time = clock();
    let house = house_with(SqliteConfig {
        clock: time.clone(),
        ..SqliteConfig::new("")
    });
    let id = two_runs(&house).await;
    for _ in 0..4 {
        time.advance(LEASE * 10);
        // The worker claims, which ends the leases that ran out.
        let other = house.store.enqueue(vec![command(&["a"])]).await.unwrap()[0].id;
        wait_for(&*house.store, other, PATIENCE, |view| view.is_final())
            .await
            .unwrap();
    }
    let view = house.store.get(id).await.unwrap();
    let left = view.deliveries.iter().map(|d| (d.state, d.attempt));
    assert_eq!(left.collect::<Vec<_>>(), [(State::Running, 1); 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_fits_ends_its_delivery() {
    let house = house_with(SqliteConfig {
        size_max_bytes: Some(1 << 20),
        ..SqliteConfig::new("")
    });
    let id = house
        .store
        .enqueue(vec![command(&["answers", "a"])])
        .await
        .unwrap()[0]
        .id;
    let view = wait_for(&*house.store, id, PATIENCE, |view| view.is_final())
        .await
        .unwrap();
    let states: Vec<_> = view.deliveries.iter().map(|d| d.state).collect();
    assert_eq!(states, [State::Completed, State::Discarded]);
    let failure = view.deliveries[1].last_failure.as_ref().unwrap();
    assert_eq!(failure.status, Status::OutputTooLarge.into());
    assert!(
        failure.message.contains("queue.size_max_bytes"),
        "{}",
        failure.message
    );
    assert_eq!(house.runner.most_runs("answers"), (1, 1));
}
