//! Any values in the rows of the queue, as a damaged disk or another program may
//! leave them: every question is answered, with JSON that is valid, or refused.

use std::{
    path::PathBuf,
    sync::{LazyLock, Mutex},
    time::Duration,
};

use pointsman_core::{command::CommandId, name::HandlerName, outcome::Status};
use pointsman_queue::{
    AttemptError, Capacity, ClaimRequest, CommandFilter, DeadFilter, DeliveryId, Held, NewCommand,
    NewDelivery, Page, QueueError, Settlement, Store,
    sqlite::{Sqlite, SqliteConfig},
};
use rusqlite::{Connection, types::Value};

struct Bench {
    runtime: tokio::runtime::Runtime,
    store: Sqlite,
    raw: Connection,
    /// Tables with their columns.
    tables: Vec<(String, Vec<String>)>,
}

static BENCH: LazyLock<Mutex<Bench>> = LazyLock::new(|| Mutex::new(Bench::new()));

pub(crate) fn run(data: &[u8]) {
    // A panic of an earlier input was told by itself.
    let bench = BENCH
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    bench.empty();
    let command = bench.fill();
    bench.damage(data);
    bench.ask(command);
}

impl Bench {
    fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        let folder = folder.join(format!("pointsman-fuzz-rows-{}", std::process::id()));
        let store = Sqlite::open(SqliteConfig::new(&folder)).expect("it opens");
        let files = std::fs::read_dir(&folder).expect("a folder");
        let database = files
            .filter_map(|file| Some(file.ok()?.path()))
            .find(|path| {
                let begin = std::fs::read(path).unwrap_or_default();
                begin.starts_with(b"SQLite format 3")
            })
            .expect("a database");
        let raw = Connection::open(database).expect("it opens");
        raw.busy_timeout(Duration::from_secs(10)).expect("a time");
        let tables = tables(&raw);
        assert!(tables.len() >= 4, "{tables:?}");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Self {
            runtime: runtime.expect("there are threads"),
            store,
            raw,
            tables,
        }
    }

    fn empty(&self) {
        for (table, _) in &self.tables {
            let deleted = self.raw.execute(&format!("DELETE FROM \"{table}\""), []);
            deleted.expect("it can be emptied");
        }
    }

    /// A command with a delivery that waits, one that failed and one that is done.
    fn fill(&self) -> CommandId {
        let delivery = |handler: &str| NewDelivery {
            handler: HandlerName::parse(handler).expect("a name"),
            digest: "sha256:0".to_owned(),
            rules: vec!["all".to_owned()],
            key: None,
        };
        let deliveries = ["a", "b", "c"].map(delivery).to_vec();
        let command = NewCommand::new(r#"{"requestType":"CreatePolicy"}"#, deliveries);
        let error = AttemptError {
            status: Status::Rejected.into(),
            message: "no".to_owned(),
            logs: Vec::new(),
        };
        self.runtime.block_on(async {
            let id = self.store.enqueue(vec![command]).await.expect("room")[0].id;
            let mut claims = self
                .store
                .claim(request())
                .await
                .expect("claims")
                .deliveries;
            claims.truncate(2);
            for (at, claimed) in claims.into_iter().enumerate() {
                let settlement = match at {
                    0 => Settlement::Complete {
                        output: Some("{}".to_owned()),
                        follow_ups: Vec::new(),
                    },
                    _ => Settlement::Discard {
                        error: error.clone(),
                    },
                };
                self.store
                    .settle(claimed.lease, settlement)
                    .await
                    .expect("a lease");
            }
            id
        })
    }

    /// Each six bytes change one column of one table: which, and to what.
    fn damage(&self, data: &[u8]) {
        for change in data.chunks(6) {
            let [table, column, kind, rest @ ..] = change else {
                return;
            };
            let (table, columns) = &self.tables[usize::from(*table) % self.tables.len()];
            let column = &columns[usize::from(*column) % columns.len()];
            let number = rest
                .iter()
                .fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte));
            let value = match kind % 12 {
                0 => Value::Null,
                1 => Value::Integer(number),
                2 => Value::Integer(-number),
                3 => Value::Integer(i64::MAX - number),
                4 => Value::Integer(i64::MIN + number),
                5 => Value::Text(String::from_utf8_lossy(rest).into_owned()),
                6 => Value::Text("[".repeat(usize::try_from(number & 0xffff).unwrap_or(0))),
                7 => Value::Text("{\"a\":1e999}".to_owned()),
                8 => Value::Text(String::new()),
                9 => Value::Blob(rest.to_vec()),
                10 => Value::Blob(vec![0; 16]),
                _ => Value::Text(
                    "x\u{9b}\u{202e}\n".repeat(usize::from(rest.first().copied().unwrap_or(0))),
                ),
            };
            // A constraint of the table may refuse it.
            let _ = self.raw.execute(
                &format!("UPDATE \"{table}\" SET \"{column}\" = ?1"),
                [value],
            );
        }
    }

    fn ask(&self, id: CommandId) {
        let delivery = DeliveryId::new(id, HandlerName::parse("b").expect("a name"));
        let store = &self.store;
        self.runtime.block_on(async {
            shown(
                store
                    .list(
                        CommandFilter::default(),
                        Page {
                            after: None,
                            limit: 50,
                        },
                    )
                    .await,
            );
            shown(store.get(id).await);
            shown(store.glance(id).await);
            shown(store.inspect(delivery.clone()).await);
            shown(
                store
                    .dead(
                        DeadFilter::default(),
                        Page {
                            after: None,
                            limit: 50,
                        },
                    )
                    .await,
            );
            told(store.retry_dead(DeadFilter::default()).await);
            if let Some(claims) = told(store.claim(request()).await) {
                let leases = claims
                    .deliveries
                    .iter()
                    .map(|claimed| claimed.lease.clone());
                told(store.renew(leases.collect(), Duration::from_secs(30)).await);
                for claimed in claims.deliveries {
                    told(
                        store
                            .settle(
                                claimed.lease,
                                Settlement::Complete {
                                    output: None,
                                    follow_ups: Vec::new(),
                                },
                            )
                            .await,
                    );
                }
            }
            told(store.cancel(id).await);
            told(store.discard_dead(DeadFilter::default()).await);
        });
    }
}

fn request() -> ClaimRequest {
    ClaimRequest {
        max: 10,
        lease: Duration::from_secs(30),
        capacity: Capacity::default(),
        flows_changed: false,
        held: Held::default(),
    }
}

fn tables(raw: &Connection) -> Vec<(String, Vec<String>)> {
    let texts = |query: &str| -> Vec<String> {
        let mut statement = raw.prepare(query).expect("a query");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|text| text.expect("a text")).collect()
    };
    let names =
        texts("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'");
    let with_columns = |name: String| {
        let columns = texts(&format!("SELECT name FROM pragma_table_info('{name}')"));
        (name, columns)
    };
    names.into_iter().map(with_columns).collect()
}

/// An answer is JSON that others can read, and an error has words.
fn shown<T: serde::Serialize>(answer: Result<T, QueueError>) {
    if let Some(answer) = told(answer) {
        let json = serde_json::to_string(&answer).expect("it can be shown");
        serde_json::from_str::<serde::de::IgnoredAny>(&json)
            .unwrap_or_else(|error| panic!("{error}: {json}"));
    }
}

fn told<T>(answer: Result<T, QueueError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}
