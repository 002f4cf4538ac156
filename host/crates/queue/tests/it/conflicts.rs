//! Transactions on PostgreSQL that meet others: they are undone by the server and
//! run again, and after a few times in a row say so.

use std::{sync::Arc, time::Duration};

use pointsman_core::outcome::Status;
use pointsman_queue::{
    Clock as _, DeadFilter, Lease, QueueError, RetentionSettings, Settlement, State, Store,
    StoreFuture,
    postgres::{Postgres, PostgresConfig},
};

use crate::{
    engines::{LEASE, command, done, error, postgres_in, request, until},
    postgres_server::{Server, server},
};

async fn open(server: &Server, database: &str) -> Arc<Postgres> {
    let config = PostgresConfig {
        connections: 2,
        ..PostgresConfig::new(server.url_of("postgres", database))
    };
    Arc::new(Postgres::open(config).await.unwrap())
}

/// A session of its own, besides the store's.
async fn session(url: &str) -> tokio_postgres::Client {
    let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
    let (client, connection) = connected.unwrap();
    // Ends with its client.
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_tried_again() {
    let Some(server) = server() else { return };
    let database = server.database("");
    // The store is the one that looks for the deadlock, long after both sessions wait.
    let alter = format!("ALTER DATABASE {database} SET deadlock_timeout = '3s'");
    server.sql("postgres", &alter);
    let store = open(&server, &database).await;
    let id = store.enqueue(vec![command(&["a", "b"])]).await.unwrap()[0].id;
    let url = server.url_of("postgres", &database);
    let (other, watcher) = (session(&url).await, session(&url).await);
    let lock = |handler: &str| {
        format!("UPDATE pointsman.delivery SET priority = 1 WHERE handler = '{handler}'")
    };
    let begin = format!("SET deadlock_timeout = '1h'; BEGIN; {}", lock("b"));
    other.batch_execute(&begin).await.unwrap();
    // It has `a` and waits for `b` ...
    let canceller = Arc::clone(&store);
    let cancelling = tokio::spawn(async move { canceller.cancel(id).await });
    let waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while watcher.query(waits, &[]).await.unwrap().is_empty() {
        assert!(!cancelling.is_finished(), "{:?}", cancelling.await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // ... while this has `b` and waits for `a`: it gets it only because the store gives up.
    other.batch_execute(&lock("a")).await.unwrap();
    other.batch_execute("COMMIT").await.unwrap();
    let cancelled = cancelling.await.unwrap().unwrap();
    assert_eq!((cancelled.cancelled, cancelled.interrupting), (2, 0));
    let view = store.get(id).await.unwrap();
    assert_eq!(view.state(), State::Cancelled);
    assert!(view.deliveries.iter().all(|one| one.priority == 1));
    let deadlocks = format!("SELECT deadlocks FROM pg_stat_database WHERE datname = '{database}'");
    // A server process may keep what it counted to itself until it ends.
    store.close().await.unwrap();
    until("it is counted", || server.sql(&database, &deadlocks) != "0").await;
}

/// Makes the first changes of a table fail, each with its transaction: a sequence
/// counts them, as it alone is not undone with them.
fn fail(server: &Server, database: &str, table: &str, state: &str, times: u32) {
    let sql = format!(
        "DROP SEQUENCE IF EXISTS public.faults;
         CREATE SEQUENCE public.faults;
         CREATE OR REPLACE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('public.faults') <= {times} THEN
                 RAISE EXCEPTION 'met another transaction' USING ERRCODE = '{state}';
             END IF;
             RETURN NULL;
         END $$;
         DROP TRIGGER IF EXISTS fail ON pointsman.{table};
         CREATE TRIGGER fail AFTER INSERT OR UPDATE OR DELETE ON pointsman.{table}
             FOR EACH STATEMENT EXECUTE FUNCTION public.fail()"
    );
    server.sql(database, &sql);
}

fn mend(server: &Server, database: &str, table: &str) {
    server.sql(database, &format!("DROP TRIGGER fail ON pointsman.{table}"));
}

/// How often the trigger ran.
fn tries(server: &Server, database: &str) -> u32 {
    let sql = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.faults";
    server.sql(database, sql).parse().unwrap()
}

/// One call of the store that writes.
struct Write {
    name: &'static str,
    /// Where it writes.
    table: &'static str,
    call: fn(&Postgres, Lease) -> StoreFuture<'_, ()>,
}

fn discard() -> Settlement {
    Settlement::Discard {
        error: error(Status::Rejected, "no"),
    }
}

/// The result of a call, whatever it is.
fn done_with<'s, T: Send + 's>(
    call: impl Future<Output = Result<T, QueueError>> + Send + 's,
) -> StoreFuture<'s, ()> {
    Box::pin(async move { call.await.map(drop) })
}

/// Every kind of call that writes. Each gets the lease of a delivery that runs.
const WRITES: [Write; 10] = [
    Write {
        name: "enqueue",
        table: "command",
        call: |store, _| done_with(store.enqueue(vec![command(&["greet"])])),
    },
    Write {
        name: "claim",
        table: "delivery",
        call: |store, _| done_with(store.claim(request(1))),
    },
    Write {
        name: "renew",
        table: "delivery",
        call: |store, lease| done_with(store.renew(vec![lease], LEASE)),
    },
    Write {
        name: "complete",
        table: "delivery",
        call: |store, lease| done_with(store.settle(lease, done())),
    },
    Write {
        name: "complete with a follow-up",
        table: "command",
        call: |store, lease| {
            let emits = Settlement::Complete {
                output: None,
                follow_ups: vec![command(&["greet"])],
            };
            done_with(store.settle(lease, emits))
        },
    },
    Write {
        name: "fail",
        table: "failure",
        call: |store, lease| done_with(store.settle(lease, discard())),
    },
    Write {
        name: "cancel",
        table: "delivery",
        call: |store, lease| done_with(store.cancel(lease.delivery.command)),
    },
    Write {
        name: "retry",
        table: "delivery",
        call: |store, _| done_with(store.retry_dead(DeadFilter::default())),
    },
    Write {
        name: "give up",
        table: "delivery",
        call: |store, _| done_with(store.discard_dead(DeadFilter::default())),
    },
    Write {
        name: "sweep",
        table: "command",
        call: |store, _| {
            let all = RetentionSettings {
                age: Duration::ZERO,
                ..RetentionSettings::default()
            };
            done_with(store.sweep(all))
        },
    },
];

/// Makes something for each call to change: a delivery in the dead letter, one that
/// is completed, one that waits and one that runs, whose lease this is.
async fn furnish(store: &Postgres) -> Lease {
    let mut lease = None;
    for settlement in [Some(discard()), Some(done()), None] {
        store.enqueue(vec![command(&["greet"])]).await.unwrap();
        let claimed = store.claim(request(1)).await.unwrap().deliveries.remove(0);
        match settlement {
            Some(settlement) => drop(store.settle(claimed.lease, settlement).await.unwrap()),
            None => lease = Some(claimed.lease),
        }
    }
    store.enqueue(vec![command(&["greet"])]).await.unwrap();
    lease.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_transaction_that_met_another_is_tried_again_a_few_times() {
    let Some(server) = server() else { return };
    for code in ["40P01", "40001"] {
        let database = server.database("");
        let store = open(&server, &database).await;
        for write in WRITES {
            let (name, table) = (write.name, write.table);
            let lease = furnish(&store).await;
            fail(&server, &database, table, code, u32::MAX);
            let refused = (write.call)(&store, lease.clone()).await.unwrap_err();
            assert_eq!(refused.code(), "queue-unavailable", "{name}: {refused:?}");
            let cause = std::error::Error::source(&refused).unwrap().to_string();
            assert!(cause.contains(code), "{name}: {cause}");
            assert_eq!(tries(&server, &database), 4, "{name}, {code}");
            // Once less, and it is done as if nothing had been.
            fail(&server, &database, table, code, 3);
            let answer = (write.call)(&store, lease).await;
            answer.unwrap_or_else(|error| panic!("{name}, {code}: {error:?}"));
            assert!(tries(&server, &database) >= 4, "{name}, {code}");
            mend(&server, &database, table);
            // Leaves nothing for the next one to find.
            server.sql(&database, "TRUNCATE pointsman.delivery, pointsman.command");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_other_try_can_help_is_tried_once() {
    let Some(server) = server() else { return };
    let database = server.database("");
    let store = open(&server, &database).await;
    for (code, expected) in [
        ("23505", "invalid-command"),
        ("55P03", "queue-unavailable"),
        ("42501", "queue-failed"),
    ] {
        fail(&server, &database, "command", code, 1);
        let refused = store.enqueue(vec![command(&["greet"])]).await.unwrap_err();
        assert_eq!(refused.code(), expected, "{code}: {refused:?}");
        assert_eq!(tries(&server, &database), 1, "{code}");
    }
}

/// What enters a line from elsewhere than an enqueue.
#[derive(Clone, Copy, Debug)]
enum Entering {
    FromItsTime,
    FromTheDeadLetter,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_enters_a_line_that_another_host_is_adding_to_enters_behind_that() {
    let Some(server) = server() else { return };
    for entering in [Entering::FromItsTime, Entering::FromTheDeadLetter] {
        let database = server.database("");
        let url = server.url_of("postgres", &database);
        let config = PostgresConfig::new(url.as_str());
        let fixture = postgres_in(Arc::clone(&server), config).await.unwrap();
        let mut ordered = command(&["greet"]);
        ordered.ordering_key = Some("k".to_owned());
        let later = fixture.clock.now().after(Duration::from_secs(10));
        ordered.run_at = matches!(entering, Entering::FromItsTime).then_some(later);
        let second = fixture.add(ordered).await;
        if let Entering::FromTheDeadLetter = entering {
            let lease = fixture.claim_one().await.lease;
            fixture.store.settle(lease, discard()).await.unwrap();
        }
        fixture.clock.advance(Duration::from_secs(10));
        // Another host has the line for itself, to add to it.
        let other = session(&url).await;
        let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('pointsmano/greet/k', 0))";
        other.batch_execute(lock).await.unwrap();
        let store = Arc::clone(&fixture.store);
        let enters = tokio::spawn(async move {
            match entering {
                Entering::FromItsTime => store.claim(request(0)).await.map(drop),
                Entering::FromTheDeadLetter => {
                    store.retry_dead(DeadFilter::default()).await.map(drop)
                }
            }
        });
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'
             AND datname = current_database()";
        until("it waits for the line", || {
            server.sql(&database, waits) == "1"
        })
        .await;
        let add = "WITH added AS (
                 INSERT INTO pointsman.command (id, attributes, rules_generation, created_ms)
                 VALUES ('01980a5c-7d3e-7000-8000-000000000001', '{}', 0, 0) RETURNING id)
             INSERT INTO pointsman.delivery (command_id, handler, digest, rules, state, priority, run_at_ms, ordering_key)
             SELECT id, 'greet', '', '[]', 'available', 0, 0, 'k' FROM added; COMMIT";
        other.batch_execute(add).await.unwrap();
        enters.await.unwrap().unwrap();
        let first = fixture.claim(9).await;
        assert_eq!(first.len(), 1, "{entering:?}: two of a line run at once");
        assert_ne!(first[0].lease.delivery.command, second);
        fixture
            .store
            .settle(first[0].lease.clone(), done())
            .await
            .unwrap();
        let next = fixture.claim_one().await;
        assert_eq!(next.lease.delivery.command, second);
    }
}
