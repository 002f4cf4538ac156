//! The way to PostgreSQL with things going wrong on it: connections that go
//! silent, an address that leads to a standby, a server without TLS.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pointsman_queue::{
    Claimed, RunResult, Store,
    postgres::{Postgres, PostgresConfig},
    worker::{DeliveryRunner, Worker, WorkerConfig},
};
use tokio_util::sync::CancellationToken;

use crate::{
    engines::{LEASE, command, done, request},
    postgres_server::{Server, new_schema, server},
    proxy::Proxy,
};

async fn open(url: String, timeout: Duration) -> Arc<Postgres> {
    let config = PostgresConfig {
        connections: 4,
        schema: new_schema(),
        timeout,
        ..PostgresConfig::new(url)
    };
    Arc::new(Postgres::open(config).await.unwrap())
}

/// Opens as many connections as the store may have.
async fn warm(store: &Arc<Postgres>) {
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.enqueue(vec![command(&["greet"])]).await.unwrap() })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_goes_silent_is_given_up_and_replaced() {
    let Some(server) = server() else { return };
    let proxy = Proxy::to(server.port).await;
    let database = server.database("");
    let store = open(proxy.url(&database), Duration::from_millis(500)).await;
    warm(&store).await;
    let claimed = store.claim(request(2)).await.unwrap().deliveries;
    assert!(proxy.silence() > 1);
    let error = store.enqueue(vec![command(&["greet"])]).await.unwrap_err();
    assert_eq!(error.code(), "queue-unavailable", "{error:?}");
    // The one that was waited for tells on the others: the next call has a new one.
    store.enqueue(vec![command(&["greet"])]).await.unwrap();
    let leases = claimed
        .iter()
        .map(|claimed| claimed.lease.clone())
        .collect();
    store.renew(leases, LEASE).await.unwrap();
    for claimed in claimed {
        store.settle(claimed.lease, done()).await.unwrap();
    }
    assert_eq!(store.claim(request(99)).await.unwrap().deliveries.len(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_leaves_no_silent_connection_behind() {
    let Some(server) = server() else { return };
    let proxy = Proxy::to(server.port).await;
    // The caller has less patience than the store.
    let store = open(proxy.url(&server.database("")), Duration::from_secs(600)).await;
    warm(&store).await;
    proxy.silence();
    for _ in 0..4 {
        let call = store.enqueue(vec![command(&["greet"])]);
        let patience = Duration::from_millis(50);
        assert!(tokio::time::timeout(patience, call).await.is_err());
    }
    store.enqueue(vec![command(&["greet"])]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_led_to_a_standby_for_a_while_is_no_harm() {
    let Some(server) = Server::new() else { return };
    let database = server.database("");
    let standby = server.standby();
    let config = || PostgresConfig::new(standby.url_of("postgres", &database));
    let error = Postgres::open(config()).await.unwrap_err();
    assert_eq!(error.code(), "queue-unavailable");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("standby"), "{source}");
    // Of several, the one that takes writes is found.
    let both = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/{database}",
        standby.port, server.port
    );
    open(both, Duration::from_secs(10)).await;

    let proxy = Proxy::to(server.port).await;
    let store = open(proxy.url(&database), Duration::from_secs(10)).await;
    warm(&store).await;
    proxy.lead_to(standby.port);
    proxy.cut();
    for _ in 0..6 {
        let error = store.enqueue(vec![command(&["greet"])]).await.unwrap_err();
        assert_eq!(error.code(), "queue-unavailable", "{error:?}");
        let error = store.check().await.unwrap_err();
        assert_eq!(error.code(), "queue-unavailable", "{error:?}");
    }
    // What was opened meanwhile stays open, and is not used.
    proxy.lead_to(server.port);
    warm(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_takes_over() {
    let Some(server) = Server::new() else { return };
    let database = server.database("");
    let proxy = Proxy::to(server.port).await;
    let store = open(proxy.url(&database), Duration::from_secs(10)).await;
    warm(&store).await;
    let standby = server.standby();
    proxy.lead_to(standby.port);
    server.stop();
    standby.sql("postgres", "SELECT pg_promote(true)");
    // At most one call for each connection that is gone.
    for _ in 0..8 {
        if store.enqueue(vec![command(&["greet"])]).await.is_ok() {
            break;
        }
    }
    warm(&store).await;
    let claimed = store.claim(request(1)).await.unwrap().deliveries.remove(0);
    store.settle(claimed.lease, done()).await.unwrap();
    server.start();
}

#[tokio::test(flavor = "multi_thread")]
async fn news_is_heard_again_after_the_connection_that_listens_was_lost() {
    let Some(server) = server() else { return };
    let proxy = Proxy::to(server.port).await;
    let database = server.database("");
    let schema = new_schema();
    let config = |url| PostgresConfig {
        schema: schema.clone(),
        ..PostgresConfig::new(url)
    };
    let teller = Postgres::open(config(server.url_of("postgres", &database)));
    let teller = teller.await.unwrap();
    let hearer = Postgres::open(config(proxy.url(&database))).await.unwrap();
    for _ in 0..2 {
        // News that comes while it is made anew is lost, and so is told again.
        let mut work = hearer.signals().work();
        let mut heard = false;
        for _ in 0..600 {
            teller.enqueue(vec![command(&["greet"])]).await.unwrap();
            let told = tokio::time::timeout(Duration::from_millis(100), work.changed());
            if told.await.is_ok() && hearer.signals().listening() {
                heard = true;
                break;
            }
        }
        assert!(heard, "no news came");
        proxy.cut();
        while hearer.signals().listening() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Runs until told to stop, and hears of nothing.
struct Deaf(AtomicUsize);

impl DeliveryRunner for Deaf {
    fn run<'a>(
        &'a self,
        _: &'a Claimed,
        _: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = RunResult> + Send + 'a>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_though_the_store_never_answers() {
    let Some(server) = server() else { return };
    let proxy = Proxy::to(server.port).await;
    let store = open(proxy.url(&server.database("")), Duration::from_secs(36_000)).await;
    warm(&store).await;
    let runner = Arc::new(Deaf(AtomicUsize::new(0)));
    let config = WorkerConfig {
        interrupt_grace: Duration::from_secs(36_000),
        ..WorkerConfig::default()
    };
    let worker = Worker::start(
        store.clone(),
        Arc::clone(&runner) as Arc<dyn DeliveryRunner>,
        config,
    );
    while runner.0.load(Ordering::SeqCst) < 16 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    proxy.silence();
    let bound = Duration::from_secs(120);
    let drained = tokio::time::timeout(bound, worker.drain(Duration::from_millis(100)));
    assert_eq!(drained.await.expect("the drain ends").interrupted, 16);
    let closed = tokio::time::timeout(bound, store.close());
    closed.await.expect("the store closes").unwrap();
}

/// A server without TLS that asks for the password in clear; what it was sent.
fn overhearer() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let kept = Arc::clone(&heard);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = socket.read(&mut buffer) {
                let said = &buffer[..count];
                kept.lock().unwrap().extend_from_slice(said);
                let wants_tls = count == 8 && said[4..] == 80_877_103_u32.to_be_bytes();
                let answer: &[u8] = if wants_tls {
                    b"N"
                } else {
                    b"R\0\0\0\x08\0\0\0\x03"
                };
                if socket.write_all(answer).is_err() {
                    break;
                }
            }
        }
    });
    (port, heard)
}

#[tokio::test]
async fn a_password_leaves_this_machine_only_over_tls() {
    let (port, heard) = overhearer();
    for options in [
        "",
        "&sslmode=prefer",
        "&sslmode=allow",
        "&sslmode=require",
        "&sslmode=verify-full",
    ] {
        let url =
            format!("postgres://u:hunter2@db.example.com:{port}/x?hostaddr=127.0.0.1{options}");
        let error = Postgres::open(PostgresConfig::new(url)).await.unwrap_err();
        let mut text = error.to_string();
        text.push_str(&std::error::Error::source(&error).unwrap().to_string());
        assert!(text.contains("sslmode=disable"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    assert!(!heard.contains("hunter2"), "{heard:?}");
}
