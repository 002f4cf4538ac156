//! SQLite with things going wrong: what was not stored is not acknowledged,
//! what was acknowledged is there after.

use std::{process::Command, time::Duration};

use pointsman_queue::{
    CommandFilter, CommandId, Page, QueueError, State, Store,
    sqlite::{Sqlite, SqliteConfig},
};

use crate::engines::command;

fn large() -> pointsman_queue::NewCommand {
    let mut command = command(&["greet"]);
    command.attributes = format!("{{\"x\":\"{}\"}}", "y".repeat(2000));
    command
}

async fn stored(folder: &std::path::Path) -> Vec<CommandId> {
    let store = Sqlite::open(SqliteConfig::new(folder)).unwrap();
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = store
            .list(CommandFilter::default(), Page { after, limit: 500 })
            .await
            .unwrap();
        assert!(
            page.iter().all(|view| view.deliveries.len() == 1),
            "a half-written command"
        );
        let Some(last) = page.last() else { return ids };
        after = Some(last.id);
        ids.extend(page.iter().map(|view| view.id));
    }
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_reopens() {
    let folder = tempfile::tempdir().unwrap();
    let config = SqliteConfig {
        size_max_bytes: Some(1 << 20),
        ..SqliteConfig::new(folder.path())
    };
    let store = Sqlite::open(config).unwrap();
    let mut acknowledged = Vec::new();
    let refused = loop {
        match store.enqueue(vec![large()]).await {
            Ok(enqueued) => acknowledged.push(enqueued[0].id),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 10_000, "the disk never filled");
    };
    assert!(matches!(refused, QueueError::NoRoom), "{refused:?}");
    // What fits goes on: a cancellation needs no new page.
    store.cancel(acknowledged[0]).await.unwrap();
    drop(store);
    let mut stored = stored(folder.path()).await;
    stored.reverse();
    assert_eq!(stored, acknowledged);
}

/// Run by the test below in a process whose files cannot grow.
#[tokio::test]
#[ignore = "a part of an_io_error_acknowledges_nothing_and_reopens"]
async fn io_error_child() {
    let Ok(folder) = std::env::var("POINTSMAN_TEST_FOLDER") else {
        return;
    };
    let store = Sqlite::open(SqliteConfig::new(folder)).unwrap();
    for _ in 0..400 {
        match store.enqueue(vec![large(), large()]).await {
            Ok(enqueued) => enqueued.iter().for_each(|one| println!("ACK {}", one.id)),
            Err(error) => println!("REFUSED {}", error.code()),
        }
    }
}

#[tokio::test]
async fn an_io_error_acknowledges_nothing_and_reopens() {
    // The limit, in blocks of 512 bytes, meets the log at different steps of a commit.
    for blocks in [1000, 1003, 1007, 1013, 1024] {
        let folder = tempfile::tempdir().unwrap();
        drop(Sqlite::open(SqliteConfig::new(folder.path())).unwrap());
        let script = format!(
            r#"trap "" XFSZ; ulimit -f {blocks}; exec "$0" --ignored --exact --nocapture faults::io_error_child"#
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env("POINTSMAN_TEST_FOLDER", folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut acknowledged: Vec<CommandId> = text
            .lines()
            .filter_map(|line| line.split_once("ACK ")?.1.parse().ok())
            .collect();
        assert!(
            text.contains("REFUSED queue-failed"),
            "{text} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!acknowledged.is_empty());
        let stored = stored(folder.path()).await;
        acknowledged.retain(|id| !stored.contains(id));
        assert_eq!(acknowledged, [], "acknowledged and lost");
        assert_eq!(stored.len() % 2, 0, "a half-written batch");
    }
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let first = Sqlite::open(SqliteConfig::new(folder.path())).unwrap();
    let second = Sqlite::open(SqliteConfig::new(folder.path())).unwrap_err();
    assert_eq!(second.code(), "queue-locked");
    drop(first);
    Sqlite::open(SqliteConfig::new(folder.path())).unwrap();
}

#[tokio::test]
async fn what_was_stored_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(SqliteConfig::new(folder.path())).unwrap();
    let mut late = command(&["greet"]);
    late.run_at = Some(pointsman_queue::Timestamp::from_millis(i64::MAX / 2));
    let id = store.enqueue(vec![late]).await.unwrap()[0].id;
    drop(store);
    let store = Sqlite::open(SqliteConfig::new(folder.path())).unwrap();
    let view = pointsman_queue::wait_for(&store, id, Duration::ZERO, |_| true)
        .await
        .unwrap();
    assert_eq!(view.state(), State::Scheduled);
}
