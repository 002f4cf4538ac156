//! Stores that other versions of this program wrote: older ones are brought up to
//! date with all that they hold, newer ones are refused and left alone.

use std::time::Duration;

use pointsman_queue::{
    CommandFilter, CommandId, DeadFilter, Ending, NewCommand, Page, QueueError, RetentionSettings,
    State,
    sqlite::{Sqlite, SqliteConfig},
};
use rusqlite::Connection;

use crate::engines::{Fixture, command, done, sqlite, sqlite_in, state};

/// The store of each version, as `tests/released/` describes it.
const SQLITE: [&str; 1] = [include_str!("../released/sqlite-1.sql")];

/// The id of a command in `tests/released/`.
fn id(number: u32) -> CommandId {
    let text = format!("01980a5c-7d3e-7000-8000-{number:012x}");
    text.parse().unwrap()
}

/// Holds a store that was opened with the rows of `tests/released/` to what they say.
async fn is_taken_over(fixture: &Fixture) {
    for (number, expected) in [
        (1, State::Available),
        (2, State::Running),
        (3, State::Retryable),
        (4, State::Scheduled),
        (5, State::Completed),
        (6, State::Discarded),
        (7, State::Cancelled),
        (8, State::Retryable),
        (9, State::Available),
        (10, State::Running),
        (11, State::Completed),
    ] {
        assert_eq!(state(fixture, id(number)).await, expected, "{number}");
    }
    let first = fixture.store.get(id(1)).await.unwrap();
    assert_eq!(first.attributes.as_deref(), Some(r#"{"n":1}"#));
    assert_eq!(first.idempotency_key.as_deref(), Some("first"));
    assert_eq!(first.rules_generation, 3);
    let outputs: Vec<_> = first.deliveries.iter().map(|d| d.output.clone()).collect();
    assert_eq!(outputs, [Some("null".to_owned()), None]);
    let dead = fixture.store.get(id(6)).await.unwrap();
    let detail = dead.deliveries[0].id.clone();
    let detail = fixture.store.inspect(detail).await.unwrap();
    let told: Vec<_> = detail
        .failures
        .iter()
        .map(|failure| (failure.attempt, failure.error.message.as_str()))
        .collect();
    assert_eq!(told, [(1, "unreachable"), (2, "unreachable again")]);
    assert_eq!(detail.failures[0].error.logs[0].message, "about to");
    let repeat = NewCommand {
        idempotency_key: Some("first".to_owned()),
        attributes: r#"{"n":1}"#.to_owned(),
        ..command(&["greet"])
    };
    let repeated = fixture.store.enqueue(vec![repeat]).await.unwrap()[0];
    assert_eq!((repeated.id, repeated.repeated), (id(1), true));
}

/// Runs what waits, which is of these commands in this order.
async fn runs(fixture: &Fixture, expected: &[u32]) {
    let mut ran = Vec::new();
    loop {
        let claims = fixture.claim(9).await;
        if claims.is_empty() {
            break;
        }
        for claimed in claims {
            ran.push(claimed.lease.delivery.command);
            let settled = fixture.store.settle(claimed.lease, done()).await.unwrap();
            assert_eq!(settled, State::Completed);
        }
    }
    let expected: Vec<_> = expected.iter().map(|number| id(*number)).collect();
    assert_eq!(ran, expected);
}

/// Runs what waits in such a store to its end, and what comes back from its dead letter.
async fn is_worked_off(fixture: &Fixture) {
    // Leases of a host that is gone last for a moment longer.
    fixture.clock.advance(Duration::from_secs(2));
    runs(fixture, &[1, 2, 3, 8, 9]).await;
    let lost = fixture.store.get(id(2)).await.unwrap();
    let lost = lost.deliveries[0].last_failure.clone().unwrap();
    assert_eq!((lost.attempt, lost.status), (1, Ending::HostLost));
    assert_eq!(state(fixture, id(10)).await, State::Cancelled);
    fixture.clock.advance(Duration::from_secs(60));
    runs(fixture, &[4]).await;
    let retried = fixture.store.retry_dead(DeadFilter::default());
    assert_eq!(retried.await.unwrap(), 1);
    let new = fixture.add(command(&["greet"])).await;
    let again = fixture.claim(9).await;
    assert_eq!((again[0].attempt, again[0].failures.trap), (3, 0));
    let order: Vec<_> = again.iter().map(|c| c.lease.delivery.command).collect();
    assert_eq!(order, [id(6), new]);
    for claimed in again {
        fixture.store.settle(claimed.lease, done()).await.unwrap();
    }
    let all = RetentionSettings {
        age: Duration::ZERO,
        ..RetentionSettings::default()
    };
    assert_eq!(fixture.store.sweep(all).await.unwrap().commands, 12);
    let left = fixture
        .store
        .list(CommandFilter::default(), Page::first(9))
        .await;
    assert_eq!(left.unwrap().len(), 0);
}

/// The error of a store that a newer version wrote: it was at this version before.
fn is_refused(error: &QueueError, version: i64) {
    assert_eq!(error.code(), "queue-schema-newer", "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "the queue's schema is version {}, this program knows up to {version}: use the newer program",
            version + 1
        )
    );
}

/// The statements that make the tables and indexes of a database.
fn made(database: &Connection) -> Vec<String> {
    let mut statement = database
        .prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name")
        .unwrap();
    let all = statement
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap();
    // How they are laid out says nothing.
    all.map(|sql| sql.unwrap().split_whitespace().collect())
        .collect()
}

#[tokio::test]
async fn sqlite_stores_of_each_release_are_brought_up_to_date_and_worked_off() {
    let new = tempfile::tempdir().unwrap();
    drop(Sqlite::open(SqliteConfig::new(new.path())).unwrap());
    let new = made(&Connection::open(new.path().join("queue.sqlite")).unwrap());
    for released in SQLITE {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("queue.sqlite");
        let database = Connection::open(&file).unwrap();
        database.execute_batch(released).unwrap();
        drop(database);
        let fixture = sqlite_in(folder, 100).unwrap();
        assert_eq!(made(&Connection::open(&file).unwrap()), new);
        is_taken_over(&fixture).await;
        is_worked_off(&fixture).await;
    }
}

#[tokio::test]
async fn an_sqlite_store_of_a_newer_version_is_refused_and_left_alone() {
    let fixture = sqlite(100).await.unwrap();
    let kept = fixture.add(command(&["greet"])).await;
    fixture.store.close().await.unwrap();
    let folder = fixture.into_folder();
    let path = folder.path().to_owned();
    let database = Connection::open(path.join("queue.sqlite")).unwrap();
    let version = || {
        let version = database.pragma_query_value(None, "user_version", |row| row.get(0));
        version.unwrap()
    };
    let known: i64 = version();
    let set = |version: i64| {
        database
            .pragma_update(None, "user_version", version)
            .unwrap();
    };
    set(known + 1);
    let before = made(&database);
    let config = SqliteConfig::new(&path);
    is_refused(&Sqlite::open(config).unwrap_err(), known);
    assert_eq!((version(), made(&database)), (known + 1, before));
    set(known);
    let fixture = sqlite_in(folder, 100).unwrap();
    assert_eq!(state(&fixture, kept).await, State::Available);
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::Arc;

    use pointsman_queue::postgres::{Postgres, PostgresConfig};

    use super::{is_refused, is_taken_over, is_worked_off};
    use crate::{
        engines::{command, postgres_in},
        postgres_server::{Server, server},
    };

    /// As for SQLite.
    const POSTGRES: [&str; 1] = [include_str!("../released/postgres-1.sql")];

    fn config(server: &Server, database: &str) -> PostgresConfig {
        PostgresConfig {
            schema: "released".to_owned(),
            ..PostgresConfig::new(server.url_of("postgres", database))
        }
    }

    /// What the schema is made of: columns with their types and defaults, indexes and constraints.
    fn made(server: &Server, database: &str) -> String {
        let columns =
            "SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default
             FROM information_schema.columns WHERE table_schema = 'released' ORDER BY 1, 2";
        let indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'released' ORDER BY 1";
        let rest = "SELECT relname, relkind, reloptions FROM pg_class WHERE relnamespace = 'released'::regnamespace ORDER BY 1";
        [columns, indexes, rest]
            .map(|sql| server.sql(database, sql))
            .join("\n")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn stores_of_each_release_are_brought_up_to_date_and_worked_off() {
        let Some(server) = server() else { return };
        let new = server.database("");
        let opened = Postgres::open(config(&server, &new)).await;
        drop(opened.unwrap());
        let new = made(&server, &new);
        assert!(new.contains("delivery_ready"), "{new}");
        for released in POSTGRES {
            let database = server.database("");
            server.sql(&database, released);
            let config = config(&server, &database);
            let fixture = postgres_in(Arc::clone(&server), config).await.unwrap();
            assert_eq!(made(&server, &database), new);
            is_taken_over(&fixture).await;
            is_worked_off(&fixture).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_of_a_newer_version_is_refused_and_left_alone() {
        let Some(server) = server() else { return };
        let database = server.database("");
        let fixture = postgres_in(Arc::clone(&server), config(&server, &database)).await;
        let kept = fixture.unwrap().add(command(&["greet"])).await;
        let version = || -> i64 {
            let found = server.sql(&database, "SELECT version FROM released.schema_version");
            found.parse().unwrap()
        };
        let known = version();
        server.sql(
            &database,
            "UPDATE released.schema_version SET version = version + 1",
        );
        let before = made(&server, &database);
        let refused = Postgres::open(config(&server, &database)).await;
        is_refused(&refused.unwrap_err(), known);
        assert_eq!(version(), known + 1);
        assert_eq!(made(&server, &database), before);
        let count = format!("SELECT count(*) FROM released.command WHERE id = '{kept}'");
        assert_eq!(server.sql(&database, &count), "1");
    }
}
