//! Owns the set-up of the tests: a store of each engine with a clock that the
//! test moves, commands and claims in short.

use std::{sync::Arc, time::Duration};

use pointsman_core::{name::HandlerName, outcome::Status};
#[cfg(feature = "postgres")]
use pointsman_queue::postgres::{Postgres, PostgresConfig};
use pointsman_queue::{
    AttemptError, Capacity, ClaimRequest, Claimed, CommandId, Held, ManualClock, NewCommand,
    NewDelivery, QueueError, Settlement, State, Store, Timestamp,
    sqlite::{Sqlite, SqliteConfig},
};

#[cfg(feature = "postgres")]
use crate::{
    pooler::Pooler,
    postgres_server::{Server, new_schema, server},
};

pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// In place of the pause after which someone looks again without news: what is
/// seen within a test was heard of.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// A store, its clock, and what must live as long as it.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    keep: Keep,
}

enum Keep {
    Folder(tempfile::TempDir),
    #[cfg(feature = "postgres")]
    Server(#[expect(dead_code, reason = "held only to be dropped")] Arc<Server>),
    #[cfg(feature = "postgres")]
    #[expect(dead_code, reason = "held only to be dropped")]
    Pooler(Arc<Server>, Pooler),
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)))
}

/// An SQLite store that takes so many unfinished deliveries.
pub(crate) async fn sqlite(depth_max: u64) -> Option<Fixture> {
    Some(sqlite_in(tempfile::tempdir().unwrap(), depth_max).unwrap())
}

/// The same in this folder, which may hold one.
pub(crate) fn sqlite_in(folder: tempfile::TempDir, depth_max: u64) -> Result<Fixture, QueueError> {
    let clock = clock();
    let config = SqliteConfig {
        depth_max,
        reread: NEVER,
        clock: clock.clone(),
        ..SqliteConfig::new(folder.path())
    };
    Ok(Fixture {
        store: Arc::new(Sqlite::open(config)?),
        clock,
        keep: Keep::Folder(folder),
    })
}

#[cfg(feature = "postgres")]
/// The same on PostgreSQL; none where the tests on it are [skipped].
pub(crate) async fn postgres(depth_max: u64) -> Option<Fixture> {
    let server = server()?;
    let config = PostgresConfig {
        depth_max,
        ..config(&server)
    };
    Some(postgres_in(server, config).await.unwrap())
}

#[cfg(feature = "postgres")]
/// The same in the schema that `config` names, which may hold one.
pub(crate) async fn postgres_in(
    server: Arc<Server>,
    config: PostgresConfig,
) -> Result<Fixture, QueueError> {
    let clock = clock();
    let config = PostgresConfig {
        reread: NEVER,
        clock: Some(clock.clone()),
        ..config
    };
    Ok(Fixture {
        store: Arc::new(Postgres::open(config).await?),
        clock,
        keep: Keep::Server(server),
    })
}

#[cfg(feature = "postgres")]
/// The same behind a pooler that hands sessions from one to the next; none where
/// the tests on PostgreSQL are [skipped].
pub(crate) async fn pooled(depth_max: u64) -> Option<Fixture> {
    let (server, clock) = (server()?, clock());
    let pooler = Pooler::before(&server);
    let config = PostgresConfig {
        depth_max,
        reread: NEVER,
        clock: Some(clock.clone()),
        url: pooler.url("postgres"),
        ..config(&server)
    };
    let store = Arc::new(Postgres::open(config).await.unwrap());
    Some(Fixture {
        store,
        clock,
        keep: Keep::Pooler(server, pooler),
    })
}

/// Settings for a schema of its own.
#[cfg(feature = "postgres")]
pub(crate) fn config(server: &Server) -> PostgresConfig {
    PostgresConfig {
        schema: new_schema(),
        connections: 4,
        ..PostgresConfig::new(server.url())
    }
}

/// Whether the tests are to run at full length.
pub(crate) fn stress() -> bool {
    std::env::var_os("POINTSMAN_STRESS").is_some()
}

/// Waits until it holds, for half a minute at most.
#[cfg(feature = "postgres")]
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

pub(crate) fn name(text: &str) -> HandlerName {
    HandlerName::parse(text).unwrap()
}

/// A command to these handlers.
pub(crate) fn command(handlers: &[&str]) -> NewCommand {
    let delivery = |handler: &&str| NewDelivery {
        handler: name(handler),
        digest: "sha256:0".to_owned(),
        rules: vec!["all".to_owned()],
        key: None,
    };
    NewCommand::new(
        r#"{"requestType":"CreatePolicy"}"#,
        handlers.iter().map(delivery).collect(),
    )
}

pub(crate) fn request(max: usize) -> ClaimRequest {
    ClaimRequest {
        max,
        lease: LEASE,
        capacity: Capacity::default(),
        flows_changed: false,
        held: Held::default(),
    }
}

pub(crate) fn error(status: Status, message: &str) -> AttemptError {
    AttemptError {
        status: status.into(),
        message: message.to_owned(),
        logs: Vec::new(),
    }
}

pub(crate) fn done() -> Settlement {
    Settlement::Complete {
        output: Some("{}".to_owned()),
        follow_ups: Vec::new(),
    }
}

impl Fixture {
    pub(crate) async fn add(&self, command: NewCommand) -> CommandId {
        self.store.enqueue(vec![command]).await.unwrap()[0].id
    }

    /// The folder of an SQLite store that is closed.
    pub(crate) fn into_folder(self) -> tempfile::TempDir {
        match self.keep {
            Keep::Folder(folder) => folder,
            #[cfg(feature = "postgres")]
            Keep::Server(_) | Keep::Pooler(..) => panic!("it has no folder"),
        }
    }

    pub(crate) async fn claim(&self, max: usize) -> Vec<Claimed> {
        self.store.claim(request(max)).await.unwrap().deliveries
    }

    pub(crate) async fn claim_one(&self) -> Claimed {
        let mut claims = self.claim(1).await;
        assert_eq!(claims.len(), 1, "nothing to claim");
        claims.remove(0)
    }
}

/// A small generator of random numbers: the same inputs every time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(start: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ start)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Runs each case on a store of each engine, and on PostgreSQL behind a pooler.
macro_rules! on_both_engines {
    ($($case:ident $(($depth_max:literal))?),* $(,)?) => {
        mod sqlite { $($crate::engines::on_both_engines!(@one sqlite $case $($depth_max)?);)* }
        #[cfg(feature = "postgres")]
        mod postgres { $($crate::engines::on_both_engines!(@one postgres $case $($depth_max)?);)* }
        #[cfg(feature = "postgres")]
        mod pooled { $($crate::engines::on_both_engines!(@one pooled $case $($depth_max)?);)* }
    };
    (@one $engine:ident $case:ident) => { $crate::engines::on_both_engines!(@one $engine $case 1000000); };
    (@one $engine:ident $case:ident $depth_max:literal) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            if let Some(fixture) = crate::engines::$engine($depth_max).await {
                super::$case(fixture).await;
            }
        }
    };
}

pub(crate) use on_both_engines;

pub(crate) async fn state(fixture: &Fixture, id: CommandId) -> State {
    fixture.store.get(id).await.unwrap().state()
}
