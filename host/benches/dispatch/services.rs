//! Databases and state: what a guest asks of them beside the same in the host, in CPU time
//! of the thread that asks (PostgreSQL), or in time (state, whose store has threads of its own).

use std::time::Instant;

use pointsman::{
    config::Config,
    host::{Host, Unloaded},
    queue::{Engine, SqliteSettings},
    reload::Wait,
};
use pointsman_core::state::{Space, StateRequest};

use super::{WINDOWS, answer, egress::cpu_us, guests, guests::Folders, one_thread, row};

/// As many as one call makes one after the other.
const TIMES: u32 = 200;
/// Where a PostgreSQL listens, as a URL.
const SERVER: &str = "POINTSMAN_BENCH_POSTGRES";
const QUERY: &str = "SELECT 7 AS id, 'Ada' AS name";

/// A one-row query of a guest beside one of tokio-postgres.
pub(crate) fn sql() {
    let Ok(url) = std::env::var(SERVER) else {
        println!("sql: left out, {SERVER} names no server (postgres://…)");
        return;
    };
    let folders = Folders::new(&guests::example("keeps"), 1);
    folders.settings(0, &format!("[sql.main]\nurl = {{ env = \"{SERVER}\" }}"));
    let runtime = one_thread();
    let app = runtime.block_on(Host::load(folders.config()));
    let app = app.expect("a machine that runs wasm");
    let command = |times: u32| {
        format!(r#"{{"to":"one","do":"query","database":"main","sql":"{QUERY}","times":{times}}}"#)
    };
    let (one, many) = (command(1), command(TIMES + 1));
    let client = runtime.block_on(async {
        let connected = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
        let (client, connection) = connected.expect("a server that takes connections");
        tokio::spawn(connection);
        client
    });
    let raw = async || {
        for _ in 0..TIMES {
            let rows = client.query_typed(QUERY, &[]).await.expect("rows");
            assert_eq!(rows[0].get::<_, &str>(1), "Ada");
        }
    };
    let prepared = async || {
        for _ in 0..TIMES {
            let rows = client.query(QUERY, &[]).await.expect("rows");
            assert_eq!(rows[0].get::<_, &str>(1), "Ada");
        }
    };
    let mut best = [f64::INFINITY; 4];
    for _ in 0..WINDOWS {
        runtime.block_on(async {
            best[0] = best[0].min(cpu_us(async || answer(&app, &one).await).await);
            best[1] = best[1].min(cpu_us(async || answer(&app, &many).await).await);
            best[2] = best[2].min(cpu_us(&raw).await);
            best[3] = best[3].min(cpu_us(&prepared).await);
        });
    }
    let [one, many, raw, prepared] = best.map(|us| us / f64::from(TIMES));
    row(
        "query of a guest beside `query`",
        many - one,
        prepared,
        "µs",
    );
    row(
        "query of a guest beside `query_typed`",
        many - one,
        raw,
        "µs",
    );
}

/// An entry that a guest gets, in the queue's SQLite, beside the same asked of the store.
pub(crate) fn state() {
    let folders = Folders::new(&guests::example("keeps"), 1);
    folders.settings(0, "[state]");
    let runtime = one_thread();
    let mut config: Config = folders.config();
    config.queue.engine = Engine::Sqlite(SqliteSettings {
        folder: folders.data(),
        size_max_bytes: None,
    });
    let app = runtime.block_on(async {
        let host = Unloaded::new(config).expect("a machine that runs wasm");
        let host = host.with_queue().await.expect("a queue");
        host.load(Wait::ForAll).await
    });
    let remember = r#"{"to":"one","do":"remember","key":"k","value":{"policy":7}}"#;
    runtime.block_on(answer(&app, remember));
    let command = |times: u32| format!(r#"{{"to":"one","do":"recall","key":"k","times":{times}}}"#);
    let (one, many) = (command(1), command(TIMES + 1));
    let store = app.queue().expect("a queue").store();
    let space = Space {
        name: "probe-p0".to_owned(),
        keys_max: 10,
        bytes_max: 1_000,
    };
    let raw = async || {
        for _ in 0..TIMES {
            let key = "k".to_owned();
            let request = StateRequest::Get { key };
            let answer = store.state(space.clone(), request).await;
            answer.expect("a store").expect("an entry");
        }
    };
    let mut best = [f64::INFINITY; 3];
    for _ in 0..WINDOWS {
        runtime.block_on(async {
            best[0] = best[0].min(us(async || answer(&app, &one).await).await);
            best[1] = best[1].min(us(async || answer(&app, &many).await).await);
            best[2] = best[2].min(us(&raw).await);
        });
    }
    let [one, many, raw] = best.map(|us| us / f64::from(TIMES));
    row(
        "`state.get` of a guest beside the store's",
        many - one,
        raw,
        "µs",
    );
}

async fn us(mut once: impl AsyncFnMut()) -> f64 {
    let began = Instant::now();
    once().await;
    began.elapsed().as_secs_f64() * 1e6
}
