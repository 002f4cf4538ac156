//! PostgreSQL as people have it: poolers, other defaults, roles with few rights,
//! any name of a schema, other character sets, fewer connections than wanted.

use std::{pin::Pin, sync::Arc, time::Duration};

use pointsman_core::command::CommandId;
use pointsman_queue::{
    Claimed, CommandView, Pooler as PoolerSetting, QueueError, RunResult, State, Store,
    postgres::{Postgres, PostgresConfig},
    wait_for,
    worker::{DeliveryRunner, Worker, WorkerConfig},
};
use tokio_util::sync::CancellationToken;

use crate::{
    engines::{NEVER, command, done, request, until},
    pooler::Pooler,
    postgres_server::{Server, new_schema, server},
};

async fn open(url: String, schema: &str) -> Result<Arc<Postgres>, QueueError> {
    let config = PostgresConfig {
        schema: schema.to_owned(),
        connections: 4,
        ..PostgresConfig::new(url)
    };
    Postgres::open(config).await.map(Arc::new)
}

/// Runs everything that waits, up to its end; how many.
async fn run_all(store: &Postgres) -> usize {
    let mut ran = 0;
    loop {
        let claims = store.claim(request(16)).await.unwrap().deliveries;
        if claims.is_empty() {
            return ran;
        }
        for claimed in claims {
            store.settle(claimed.lease, done()).await.unwrap();
            ran += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_each_command_stays_in_its_own_schema() {
    let Some(server) = server() else { return };
    let pooler = Pooler::before(&server);
    let database = server.database("");
    let schemas = ["prod", "staging"];
    let mut senders = Vec::new();
    let mut stores = Vec::new();
    for schema in schemas {
        let store = open(pooler.url(&database), schema).await.unwrap();
        for _ in 0..6 {
            let store = Arc::clone(&store);
            senders.push(tokio::spawn(async move {
                for _ in 0..5 {
                    store.enqueue(vec![command(&["greet"])]).await.unwrap();
                }
            }));
        }
        stores.push(store);
    }
    for sender in senders {
        sender.await.unwrap();
    }
    for (store, schema) in stores.iter().zip(schemas) {
        let count = format!("SELECT count(*) FROM {schema}.command");
        assert_eq!(server.sql(&database, &count), "30");
        assert_eq!(run_all(store).await, 30, "{schema}");
        store.check().await.unwrap();
    }
    // Nothing is left behind in the sessions that others get.
    let settings = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'";
    assert_eq!(server.sql(&database, settings), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_is_noticed_and_the_setting_says_otherwise() {
    let Some(server) = server() else { return };
    let pooler = Pooler::before(&server);
    let database = server.database("");
    let opened = async |url: String, pooler: PoolerSetting| {
        let config = PostgresConfig {
            pooler,
            ..PostgresConfig::new(url)
        };
        Postgres::open(config).await.unwrap()
    };
    let direct = server.url_of("postgres", &database);
    let store = opened(direct.clone(), PoolerSetting::Auto).await;
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'";
    until("it listens", || server.sql(&database, sessions) == "1").await;
    assert!(store.signals().listening());
    for (url, setting) in [
        (direct, PoolerSetting::Transaction),
        (pooler.url(&database), PoolerSetting::Auto),
    ] {
        let store = opened(url, setting).await;
        until("it does without news", || !store.signals().listening()).await;
    }
}

/// Defaults of a database that would change what the queue does, were it not to
/// say what it wants.
const DEFAULTS: [&str; 7] = [
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on",
    "statement_timeout = '40ms'",
    "lock_timeout = '10ms'",
    "idle_in_transaction_session_timeout = '500ms'",
    "search_path = 'pg_temp'",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_defaults_change_nothing() {
    let Some(server) = server() else { return };
    let pooler = Pooler::before(&server);
    for setting in DEFAULTS {
        let database = server.database("");
        let alter = format!("ALTER DATABASE {database} SET {setting}");
        server.sql("postgres", &alter);
        for url in [server.url_of("postgres", &database), pooler.url(&database)] {
            let first = open(url.clone(), "pointsman").await.unwrap();
            let second = open(url, "pointsman").await.unwrap();
            let mut senders = Vec::new();
            for number in 0..24 {
                let store = Arc::clone([&first, &second][number % 2]);
                let mut ordered = command(&["greet"]);
                ordered.ordering_key = Some("one".to_owned());
                senders.push(tokio::spawn(async move {
                    store.enqueue(vec![ordered]).await.map(drop)
                }));
            }
            for sender in senders {
                let sent = sender.await.unwrap();
                sent.unwrap_or_else(|error| panic!("{setting}: {error:?}"));
            }
            // One at a time, whoever asks, until none is left.
            for _ in 0..24 {
                let (a, b) = tokio::join!(first.claim(request(8)), second.claim(request(8)));
                let mut claims = a.unwrap().deliveries;
                claims.extend(b.unwrap().deliveries);
                if claims.is_empty() {
                    // Both saw the lock of the other.
                    claims = first.claim(request(8)).await.unwrap().deliveries;
                }
                assert_eq!(claims.len(), 1, "{setting}");
                let lease = claims.remove(0).lease;
                first.settle(lease, done()).await.unwrap();
            }
            assert_eq!(run_all(&second).await, 0, "{setting}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_others_hold_is_waited_for_whatever_the_servers_timeouts_are() {
    let Some(server) = server() else { return };
    let database = server.database("");
    for setting in ["statement_timeout = '40ms'", "lock_timeout = '10ms'"] {
        let alter = format!("ALTER DATABASE {database} SET {setting}");
        server.sql("postgres", &alter);
    }
    let url = server.url_of("postgres", &database);
    let store = open(url, "pointsman").await.unwrap();
    let plain = server.url_of("postgres", &database);
    let connected = tokio_postgres::connect(&plain, tokio_postgres::NoTls).await;
    let (client, connection) = connected.unwrap();
    let driven = tokio::spawn(connection);
    client
        .batch_execute("SET statement_timeout = 0; BEGIN; LOCK TABLE pointsman.command")
        .await
        .unwrap();
    let waiter = Arc::clone(&store);
    let waiting = tokio::spawn(async move { waiter.enqueue(vec![command(&["greet"])]).await });
    // Longer than both timeouts.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND now() - query_start > '100ms'";
    while server.sql(&database, waits) == "0" {
        assert!(!waiting.is_finished(), "{:?}", waiting.await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.batch_execute("COMMIT").await.unwrap();
    waiting.await.unwrap().unwrap();
    driven.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_may_have_any_name() {
    let Some(server) = server() else { return };
    let database = server.database("");
    let url = server.url_of("postgres", &database);
    let long = "x".repeat(63);
    for schema in [
        "my-app", "MyApp", "myapp", "2024", "select", "user", "größe", "o'b\"c.d", "a b", "@.",
        &long,
    ] {
        let store = open(url.clone(), schema).await.unwrap();
        let mut late = command(&["greet"]);
        late.ordering_key = Some("one".to_owned());
        store.enqueue(vec![late]).await.unwrap();
        assert_eq!(run_all(&store).await, 1, "{schema}");
        let policy = pointsman_queue::RetentionSettings {
            bytes_max: 0,
            ..Default::default()
        };
        assert_eq!(store.sweep(policy).await.unwrap().commands, 1, "{schema}");
        // Opened again, its tables are found.
        open(url.clone(), schema).await.unwrap();
    }
    for schema in ["pg_queue", "", "a\u{0}b"] {
        let error = open(url.clone(), schema).await.unwrap_err();
        assert_eq!(error.code(), "queue-config", "{schema}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_needs_only_the_rights_that_it_uses() {
    let Some(server) = Server::new() else { return };
    server.sql("postgres", "CREATE ROLE app LOGIN; CREATE ROLE dml LOGIN");
    let database = server.database("");
    let app = || server.url_of("app", &database);
    let refused = async |url: String, named: &[&str]| {
        let error = open(url, "pointsman").await.unwrap_err();
        assert_eq!(error.code(), "queue-config", "{error}");
        let text = error.to_string();
        assert!(named.iter().all(|part| text.contains(part)), "{text}");
    };
    refused(
        app(),
        &[
            "CREATE SCHEMA \"pointsman\" AUTHORIZATION \"app\"",
            "GRANT CREATE ON DATABASE",
        ],
    )
    .await;
    server.sql(&database, "CREATE SCHEMA pointsman");
    refused(
        app(),
        &["GRANT USAGE, CREATE ON SCHEMA \"pointsman\" TO \"app\""],
    )
    .await;
    server.sql(
        &database,
        "DROP SCHEMA pointsman; CREATE SCHEMA pointsman AUTHORIZATION app",
    );
    let store = open(app(), "pointsman").await.unwrap();
    store.enqueue(vec![command(&["greet"])]).await.unwrap();
    let dml = || server.url_of("dml", &database);
    refused(
        dml(),
        &[
            "\"dml\"",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES",
        ],
    )
    .await;
    server.sql(&database, "GRANT USAGE ON SCHEMA pointsman TO dml; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA pointsman TO dml");
    refused(dml(), &["GRANT USAGE ON ALL SEQUENCES"]).await;
    server.sql(&database, "GRANT DELETE ON ALL TABLES IN SCHEMA pointsman TO dml; GRANT USAGE ON ALL SEQUENCES IN SCHEMA pointsman TO dml");
    let store = open(dml(), "pointsman").await.unwrap();
    store.enqueue(vec![command(&["greet"])]).await.unwrap();
    assert_eq!(run_all(&store).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_utf8_is_refused_with_the_reason() {
    let Some(server) = server() else { return };
    for encoding in ["LATIN1", "SQL_ASCII", "EUC_JP"] {
        let options =
            format!("ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
        let database = server.database(&options);
        let error = open(server.url_of("postgres", &database), "pointsman")
            .await
            .unwrap_err();
        assert_eq!(error.code(), "queue-config");
        let text = error.to_string();
        assert!(text.contains(encoding) && text.contains("UTF-8"), "{text}");
    }
}

/// Answers what the database is set to refuse.
struct Refused;

impl DeliveryRunner for Refused {
    fn run<'a>(
        &'a self,
        delivery: &'a Claimed,
        _: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = RunResult> + Send + 'a>> {
        let status = match delivery.lease.delivery.handler.as_str() {
            "fails" => pointsman_core::outcome::Status::Rejected,
            _ => return Box::pin(async { RunResult::succeeded(Some("\"forbidden\"".to_owned())) }),
        };
        Box::pin(async move { RunResult::failed(status, "forbidden") })
    }
}

async fn ended(store: &Postgres, id: CommandId) -> CommandView {
    let done = |view: &CommandView| view.deliveries.iter().all(|d| d.state.is_final());
    let view = wait_for(store, id, Duration::from_secs(60), done)
        .await
        .unwrap();
    assert!(done(&view), "{view:?}");
    view
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_stored_ends_its_delivery() {
    let Some(server) = server() else { return };
    let database = server.database("");
    let store = open(server.url_of("postgres", &database), "pointsman")
        .await
        .unwrap();
    server.sql(
        &database,
        "ALTER TABLE pointsman.delivery ADD CHECK (output NOT LIKE '%forbidden%');
         ALTER TABLE pointsman.failure ADD CHECK (error NOT LIKE '%\"forbidden%');
         ALTER TABLE pointsman.command ADD CHECK (attributes NOT LIKE '%forbidden%')",
    );
    let mut refused = command(&["greet"]);
    refused.attributes = r#"{"a":"forbidden"}"#.to_owned();
    let error = store.enqueue(vec![refused]).await.unwrap_err();
    assert_eq!(error.code(), "invalid-command", "{error}");
    assert!(!error.is_engine(), "asking again can not help");

    let worker = Worker::start(store.clone(), Arc::new(Refused), WorkerConfig::default());
    for (handler, status) in [("greet", "invalid-output"), ("fails", "rejected")] {
        let id = store.enqueue(vec![command(&[handler])]).await.unwrap()[0].id;
        let view = ended(&store, id).await;
        assert_eq!(view.deliveries[0].state, State::Discarded);
        let failure = view.deliveries[0].last_failure.clone().unwrap();
        assert_eq!(failure.status.as_str(), status, "{failure:?}");
        assert!(failure.message.contains("the store rejects"), "{failure:?}");
    }
    worker.drain(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_for_the_connections_that_there_are() {
    let Some(server) = Server::new() else { return };
    server.sql("postgres", "CREATE ROLE few LOGIN CONNECTION LIMIT 3");
    let database = server.database("");
    server.sql(
        "postgres",
        &format!("GRANT CREATE ON DATABASE {database} TO few"),
    );
    let config = PostgresConfig {
        connections: 16,
        schema: new_schema(),
        ..PostgresConfig::new(server.url_of("few", &database))
    };
    let store = Arc::new(Postgres::open(config).await.unwrap());
    let senders: Vec<_> = (0..40)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.enqueue(vec![command(&["greet"])]).await.map(drop) })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap().unwrap();
    }
    assert_eq!(run_all(&store).await, 40);
}

/// Runs until it is cancelled, and says so.
struct UntilCancelled;

impl DeliveryRunner for UntilCancelled {
    fn run<'a>(
        &'a self,
        _: &'a Claimed,
        cancel: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = RunResult> + Send + 'a>> {
        Box::pin(async move {
            cancel.cancelled().await;
            RunResult::failed(pointsman_core::outcome::Status::Cancelled, "interrupted")
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_hear_of_each_others_work_and_cancellations() {
    let Some(server) = server() else { return };
    let database = server.database("");
    let url = server.url_of("postgres", &database);
    let (near, far) = (
        open(url.clone(), "pointsman").await.unwrap(),
        open(url, "pointsman").await.unwrap(),
    );
    // Nothing is found by looking, and no lease is renewed.
    let config = WorkerConfig {
        poll: NEVER,
        lease: NEVER,
        ..WorkerConfig::default()
    };
    let worker = Worker::start(far.clone(), Arc::new(UntilCancelled), config);
    // It looks once when it begins, and once when it begins to listen.
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'";
    until("both listen", || server.sql(&database, sessions) == "2").await;
    let claims =
        "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid()";
    until("they are quiet", || server.sql(&database, claims) == "0").await;
    let id = near.enqueue(vec![command(&["greet"])]).await.unwrap()[0].id;
    until("the other host hears of work", || worker.running() == 1).await;
    near.cancel(id).await.unwrap();
    until("it hears of the cancellation", || worker.running() == 0).await;
    assert_eq!(near.get(id).await.unwrap().state(), State::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_meets_a_claim_interrupts_what_was_claimed() {
    let Some(server) = server() else { return };
    let database = server.database("");
    let url = server.url_of("postgres", &database);
    let store = open(url.clone(), "pointsman").await.unwrap();
    let id = store.enqueue(vec![command(&["greet"])]).await.unwrap()[0].id;
    let connected = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
    let (client, connection) = connected.unwrap();
    let driven = tokio::spawn(connection);
    // Another host's claim, before its commit.
    client
        .batch_execute("BEGIN; UPDATE pointsman.delivery SET state = 'running'")
        .await
        .unwrap();
    let canceller = Arc::clone(&store);
    let cancelling = tokio::spawn(async move { canceller.cancel(id).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while server.sql(&database, waits) == "0" {
        assert!(!cancelling.is_finished(), "{:?}", cancelling.await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.batch_execute("COMMIT").await.unwrap();
    let done = cancelling.await.unwrap().unwrap();
    assert_eq!((done.cancelled, done.interrupting), (0, 1));
    driven.abort();
}
