//! The SQLite store when room is short, clocks are set, its files vanish, another
//! process has its lock, or someone else wrote its rows.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use pointsman_core::outcome::Status;
use pointsman_queue::{
    Claimed, Clock, CommandFilter, DeadFilter, Holds, NewCommand, Page, QueueError,
    RetentionSettings, Settlement, State, Store, Timestamp,
    sqlite::{Sqlite, SqliteConfig},
};
use rusqlite::Connection;

use crate::engines::{command, error, request};

const MIB: u64 = 1 << 20;

fn open(folder: &Path, size_max_bytes: Option<u64>) -> Sqlite {
    let config = SqliteConfig {
        size_max_bytes,
        ..SqliteConfig::new(folder)
    };
    Sqlite::open(config).unwrap()
}

/// A command of so many bytes.
fn of_size(bytes: usize) -> NewCommand {
    let mut command = command(&["greet"]);
    command.attributes = format!("{{\"x\":\"{}\"}}", "y".repeat(bytes));
    command
}

fn answer(bytes: usize) -> Settlement {
    Settlement::Complete {
        output: Some(format!("\"{}\"", "z".repeat(bytes))),
        follow_ups: Vec::new(),
    }
}

async fn claim(store: &Sqlite, max: usize) -> Vec<Claimed> {
    store.claim(request(max)).await.unwrap().deliveries
}

/// Enqueues until there is no more room; how many were taken.
async fn fill(store: &Sqlite, bytes: usize) -> usize {
    for count in 0..10_000 {
        match store.enqueue(vec![of_size(bytes)]).await {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, QueueError::NoRoom), "{error:?}");
                return count;
            }
        }
    }
    panic!("the store never filled");
}

#[tokio::test]
async fn a_store_full_of_finished_work_makes_room_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path(), Some(2 * MIB));
    for round in 0..200 {
        store.enqueue(vec![of_size(20_000)]).await.unwrap();
        let claimed = claim(&store, 1).await.remove(0);
        store.settle(claimed.lease, answer(20_000)).await.unwrap();
        // Also right after a start.
        if round % 50 == 49 {
            drop(store);
            store = open(folder.path(), Some(2 * MIB));
        }
    }
    assert!(store.signals().trouble().is_none());
    let size = fs::metadata(folder.path().join("queue.sqlite"))
        .unwrap()
        .len();
    assert!(size <= 2 * MIB, "{size}");
}

#[tokio::test]
async fn a_store_full_of_waiting_work_drains_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Some(2 * MIB));
    let count = fill(&store, 5_000).await;
    assert_eq!(store.signals().trouble().unwrap().code, "queue-no-room");
    drop(store);
    let store = open(folder.path(), Some(2 * MIB));
    let mut settled = 0;
    loop {
        let claimed = claim(&store, 64).await;
        if claimed.is_empty() {
            break;
        }
        settled += claimed.len();
        for claimed in claimed {
            store.settle(claimed.lease, answer(30_000)).await.unwrap();
        }
    }
    assert_eq!(settled, count);
    store.enqueue(vec![of_size(20_000)]).await.unwrap();
    assert!(store.signals().trouble().is_none());
    store.sweep(RetentionSettings::default()).await.unwrap();
}

#[tokio::test]
async fn a_store_that_had_no_reserve_drains_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), None);
    for _ in 0..400 {
        store.enqueue(vec![of_size(5_000)]).await.unwrap();
    }
    drop(store);
    let store = open(folder.path(), Some(MIB));
    assert_eq!(fill(&store, 10).await, 0);
    for claimed in claim(&store, 500).await {
        store.settle(claimed.lease, answer(10)).await.unwrap();
    }
    // The refused command above was searched room for in vain, and the store
    // pauses before it searches again.
    while let Err(error) = store.enqueue(vec![of_size(5_000)]).await {
        assert!(matches!(error, QueueError::NoRoom), "{error:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_log_that_a_reader_held_up_gives_its_disk_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Some(8 * MIB));
    store.enqueue(vec![of_size(10)]).await.unwrap();
    let reader = Connection::open(folder.path().join("queue.sqlite")).unwrap();
    let count = "SELECT count(*) FROM command";
    reader.execute_batch(&format!("BEGIN; {count}")).unwrap();
    let read = |sql: &str| {
        reader
            .query_row(sql, [], |row| row.get::<_, u64>(0))
            .unwrap()
    };
    read(count);
    let log = || {
        fs::metadata(folder.path().join("queue.sqlite-wal"))
            .unwrap()
            .len()
    };
    while log() < 10 * MIB {
        store.enqueue(vec![of_size(100_000)]).await.ok();
        let Some(claimed) = claim(&store, 1).await.pop() else {
            continue;
        };
        store.settle(claimed.lease, answer(10)).await.unwrap();
    }
    reader.execute_batch("COMMIT").unwrap();
    for _ in 0..10 {
        store.enqueue(vec![of_size(10)]).await.unwrap();
    }
    assert!(log() <= 4 * MIB, "{}", log());
}

#[tokio::test]
async fn another_process_with_the_lock_is_told_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), None);
    store.enqueue(vec![of_size(10)]).await.unwrap();
    let other = || Connection::open(folder.path().join("queue.sqlite")).unwrap();
    // A backup that reads all the time.
    let reader = other();
    reader.execute_batch("BEGIN").unwrap();
    let count = || {
        let sql = "SELECT count(*) FROM command";
        reader
            .query_row(sql, [], |row| row.get::<_, u64>(0))
            .unwrap()
    };
    assert_eq!(count(), 1);
    let writer = other();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.enqueue(vec![of_size(10)]).await.unwrap_err();
    assert_eq!(refused.code(), "queue-busy");
    assert_eq!(store.signals().trouble().unwrap().code, "queue-busy");
    writer.execute_batch("ROLLBACK").unwrap();
    store.enqueue(vec![of_size(10)]).await.unwrap();
    assert!(store.signals().trouble().is_none());
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn files_that_vanish_are_noticed_before_the_next_answer() {
    for name in ["queue.sqlite", "queue.sqlite-wal", "queue.lock"] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), None);
        store.enqueue(vec![of_size(10)]).await.unwrap();
        let (path, aside) = (folder.path().join(name), folder.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        let refused = store.enqueue(vec![of_size(10)]).await.unwrap_err();
        assert_eq!(refused.code(), "queue-replaced");
        assert_eq!(store.check().await.unwrap_err().code(), "queue-replaced");
        assert_eq!(store.signals().trouble().unwrap().code, "queue-replaced");
        // A copy is not the file that is open.
        fs::copy(&aside, &path).unwrap();
        assert!(store.enqueue(vec![of_size(10)]).await.is_err());
        fs::rename(&aside, &path).unwrap();
        store.enqueue(vec![of_size(10)]).await.unwrap();
        assert!(store.signals().trouble().is_none());
    }
}

/// A clock that can be set, beside one that cannot.
#[derive(Debug, Default)]
struct Wall {
    set_ms: AtomicI64,
    passed_ms: AtomicI64,
}

impl Wall {
    const START_MS: i64 = 1_800_000_000_000;

    fn set(&self, hours: i64) {
        self.set_ms.fetch_add(hours * 3_600_000, Ordering::SeqCst);
    }

    fn pass(&self, seconds: i64) {
        self.passed_ms.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        let set = self.set_ms.load(Ordering::SeqCst);
        Timestamp::from_millis(self.steady().as_millis() + set)
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_millis(Self::START_MS + self.passed_ms.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_clock_that_is_set_ends_no_lease_and_moves_no_delay() {
    for hours in [6, -6] {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Wall::default());
        let store = Sqlite::open(SqliteConfig {
            clock: clock.clone(),
            ..SqliteConfig::new(folder.path())
        })
        .unwrap();
        let retried = store.enqueue(vec![of_size(10)]).await.unwrap()[0].id;
        let lease = claim(&store, 1).await.remove(0).lease;
        let retry = Settlement::Retry {
            error: error(Status::Unavailable, "later"),
            delay: Duration::from_secs(20),
            holds: Holds::Delivery,
        };
        store.settle(lease, retry).await.unwrap();
        store.enqueue(vec![of_size(10)]).await.unwrap();
        let running = claim(&store, 1).await.remove(0);
        for _ in 0..4 {
            clock.set(hours);
            assert!(claim(&store, 9).await.is_empty(), "set by {hours} h");
        }
        clock.pass(21);
        let again = claim(&store, 9).await;
        assert_eq!(again.len(), 1, "set by {hours} h");
        assert_eq!(again[0].lease.delivery.command, retried);
        store.settle(running.lease, answer(1)).await.unwrap();
    }
}

#[tokio::test]
async fn damaged_rows_harm_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), None);
    let damages = [
        "UPDATE delivery SET handler = '../..' WHERE seq = 1",
        "UPDATE delivery SET rules = 'no json' WHERE seq = 2",
        "UPDATE delivery SET attempt = -7 WHERE seq = 3",
        "UPDATE delivery SET transient = 9223372036854775807 WHERE seq = 4",
        "UPDATE delivery SET command_id = x'00' WHERE seq = 5",
        "DELETE FROM command WHERE seq = 6",
        "UPDATE command SET attributes = CAST(x'fffe' AS TEXT) WHERE seq = 7",
        "UPDATE delivery SET state = 'running', lease_until_ms = 0, lease_token = x'01' WHERE seq = 8",
        "UPDATE delivery SET state = 'nothing' WHERE seq = 9",
        "UPDATE delivery SET run_at_ms = 9223372036854775807, state = 'retryable' WHERE seq = 10",
        "INSERT INTO failure VALUES (11, 1, -1, 1, 'x', '{')",
        "UPDATE command SET created_ms = -9223372036854775808 WHERE seq = 12",
        "UPDATE delivery SET attempt = 9223372036854775807 WHERE seq = 13",
    ];
    let good = damages.len() + 1;
    for _ in 0..good {
        store.enqueue(vec![of_size(10)]).await.unwrap();
    }
    drop(store);
    let other = Connection::open(folder.path().join("queue.sqlite")).unwrap();
    for sql in damages {
        assert_eq!(other.execute(sql, []).unwrap(), 1, "{sql}");
    }
    drop(other);
    let store = open(folder.path(), None);
    let claimed = claim(&store, 99).await;
    let last = store
        .list(CommandFilter::default(), Page::first(1))
        .await
        .unwrap();
    let found = claimed
        .iter()
        .find(|one| one.lease.delivery.command == last[0].id);
    let lease = found.expect("the good one is claimed").lease.clone();
    assert_eq!(
        store.settle(lease, answer(1)).await.unwrap(),
        State::Completed
    );
    use_all(&store).await;
    let id = store.enqueue(vec![of_size(10)]).await.unwrap()[0].id;
    let claimed = claim(&store, 99).await;
    assert!(claimed.iter().any(|one| one.lease.delivery.command == id));
}

/// Every call; each succeeds or says why not.
async fn use_all(store: &Sqlite) {
    let failed = |error: QueueError| {
        let text = format!("{error:?}");
        assert!(!text.contains("panicked"), "{text}");
    };
    store
        .list(CommandFilter::default(), Page::first(500))
        .await
        .map_or_else(failed, drop);
    store
        .dead(DeadFilter::default(), Page::first(500))
        .await
        .map_or_else(failed, drop);
    store.depth().await.map_or_else(failed, drop);
    store.claim(request(500)).await.map_or_else(failed, drop);
    store
        .retry_dead(DeadFilter::default())
        .await
        .map_or_else(failed, drop);
    store
        .sweep(RetentionSettings {
            bytes_max: 1,
            ..RetentionSettings::default()
        })
        .await
        .map_or_else(failed, drop);
    store
        .enqueue(vec![of_size(10)])
        .await
        .map_or_else(failed, drop);
    store.check().await.map_or_else(failed, drop);
}

#[tokio::test]
async fn a_file_with_random_bytes_is_refused_or_used_and_nothing_panics() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), None);
    for number in 0..60 {
        store.enqueue(vec![of_size(2_000)]).await.unwrap();
        if number % 3 == 0 {
            let lease = claim(&store, 1).await.remove(0).lease;
            store.settle(lease, answer(10)).await.unwrap();
        }
    }
    store.close().await.unwrap();
    drop(store);
    let path = folder.path().join("queue.sqlite");
    let whole = fs::read(&path).unwrap();
    // Xorshift: the same bytes each time.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    for round in 0..12 {
        let mut bytes = whole.clone();
        // Half of the rounds spare the pages of the schema.
        let from = if round % 2 == 0 { 0 } else { 16 << 10 };
        for _ in 0..300 {
            let at = from + next(bytes.len() - from);
            bytes[at] = u8::try_from(next(256)).unwrap();
        }
        for name in ["queue.sqlite-wal", "queue.sqlite-shm"] {
            fs::remove_file(folder.path().join(name)).ok();
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(store) = Sqlite::open(SqliteConfig::new(folder.path())) {
            use_all(&store).await;
            store.close().await.unwrap();
        }
    }
}
