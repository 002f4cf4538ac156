//! Owns the set-up of the queue tests: a store of each engine with a clock
//! that the test moves, a PostgreSQL of their own, commands and claims in short.

use std::{
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc, Mutex, Once, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use pointsman::{
    name::HandlerName,
    outcome::Status,
    queue::{
        AttemptError, Capacity, ClaimRequest, Claimed, Held, ManualClock, NewCommand, NewDelivery,
        Settlement, Store, Timestamp,
        postgres::{Postgres, PostgresConfig},
        sqlite::{Sqlite, SqliteConfig},
    },
};

use crate::queue_postgres_setup::Pooler;

pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// In place of the pause after which someone looks again without news: what is
/// seen within a test was heard of.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// A store, its clock, and what must live as long as it.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    _keep: Keep,
}

#[expect(dead_code, reason = "held only to be dropped")]
enum Keep {
    Folder(tempfile::TempDir),
    Server(Arc<Server>),
    Pooler(Arc<Server>, Pooler),
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)))
}

/// An SQLite store that takes so many unfinished deliveries.
pub(crate) async fn sqlite(depth_max: u64) -> Option<Fixture> {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let config = SqliteConfig {
        depth_max,
        reread: NEVER,
        clock: clock.clone(),
        ..SqliteConfig::new(folder.path())
    };
    let store = Arc::new(Sqlite::open(config).unwrap());
    Some(Fixture {
        store,
        clock,
        _keep: Keep::Folder(folder),
    })
}

/// The same on PostgreSQL; none where the tests on it are [skipped].
pub(crate) async fn postgres(depth_max: u64) -> Option<Fixture> {
    let (server, clock) = (server()?, clock());
    let config = PostgresConfig {
        depth_max,
        reread: NEVER,
        clock: Some(clock.clone()),
        ..server.config()
    };
    let store = Arc::new(Postgres::open(config).await.unwrap());
    Some(Fixture {
        store,
        clock,
        _keep: Keep::Server(server),
    })
}

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
        ..server.config()
    };
    let store = Arc::new(Postgres::open(config).await.unwrap());
    Some(Fixture {
        store,
        clock,
        _keep: Keep::Pooler(server, pooler),
    })
}

/// A PostgreSQL server of the tests' own, stopped and removed with its last user.
pub(crate) struct Server {
    bin: PathBuf,
    folder: PathBuf,
    pub(crate) port: u16,
}

/// The running server, or a new one; none where the tests on it are [skipped].
pub(crate) fn server() -> Option<Arc<Server>> {
    static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    // Only ever assigned whole: a test that failed here leaves it sound.
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = running.upgrade() {
        return Some(server);
    }
    let server = Arc::new(Server::new()?);
    *running = Arc::downgrade(&server);
    Some(server)
}

impl Server {
    /// A server that no other test uses; none where the tests on it are [skipped].
    pub(crate) fn new() -> Option<Self> {
        if skipped() {
            return None;
        }
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten();
        let bin = versions.map(|version| version.path().join("bin")).max();
        Some(Self::create(
            bin.unwrap_or_else(|| missing("PostgreSQL", "postgresql")),
        ))
    }

    fn create(bin: PathBuf) -> Self {
        let folder = folder();
        let data = folder.join("data");
        as_postgres(
            &bin.join("initdb"),
            &[
                "-D",
                data.to_str().unwrap(),
                "-A",
                "trust",
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--no-sync",
            ],
        );
        let server = Self {
            bin,
            folder,
            port: free_port(),
        };
        server.start();
        server
    }

    /// A server that follows this one, and only reads.
    pub(crate) fn standby(&self) -> Self {
        let folder = folder();
        let (data, port) = (folder.join("data"), self.port.to_string());
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R"];
        let to = ["-X", "stream", "-c", "fast", "-D", data.to_str().unwrap()];
        let all: Vec<_> = arguments.into_iter().chain(to).collect();
        as_postgres(&self.bin.join("pg_basebackup"), &all);
        let server = Self {
            bin: self.bin.clone(),
            folder,
            port: free_port(),
        };
        server.start();
        server
    }

    pub(crate) fn start(&self) {
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c max_connections=200 -k {}",
            self.port,
            self.folder.display()
        );
        self.control(&[
            "start",
            "-w",
            "-l",
            self.folder.join("log").to_str().unwrap(),
            "-o",
            &options,
        ]);
    }

    /// Kills it: no connection is closed in order.
    pub(crate) fn stop(&self) {
        self.control(&["stop", "-m", "immediate"]);
    }

    fn control(&self, arguments: &[&str]) {
        let data = self.folder.join("data");
        let all: Vec<_> = ["-D", data.to_str().unwrap()]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        as_postgres(&self.bin.join("pg_ctl"), &all);
    }

    fn url(&self) -> String {
        self.url_of("postgres", "postgres")
    }

    pub(crate) fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// A database of its own, with these options; its name.
    pub(crate) fn database(&self, options: &str) -> String {
        static DATABASES: AtomicU32 = AtomicU32::new(0);
        let name = format!("db_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} {options}"));
        name
    }

    /// Runs a statement as the superuser; what it answers.
    pub(crate) fn sql(&self, database: &str, statement: &str) -> String {
        let port = self.port.to_string();
        let to = [
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "postgres",
            "-d",
            database,
        ];
        let how = [
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
        ];
        let all: Vec<_> = to.into_iter().chain(how).collect();
        let output = as_postgres(&self.bin.join("psql"), &all);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Settings for a schema of its own.
    pub(crate) fn config(&self) -> PostgresConfig {
        PostgresConfig {
            schema: new_schema(),
            connections: 4,
            ..PostgresConfig::new(self.url())
        }
    }

    /// The same for `[queue]` of a settings file.
    pub(crate) fn settings(&self) -> String {
        format!(
            "engine = \"postgres\"\nurl = \"{}\"\nschema = \"{}\"\nconnections = 8\n",
            self.url(),
            new_schema()
        )
    }

    /// Cuts every connection to it.
    pub(crate) fn cut(&self) {
        let port = self.port.to_string();
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-c", cut];
        as_postgres(&self.bin.join("psql"), &arguments);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.folder.join("data");
        let arguments = ["-m", "immediate", "-D", &data.to_string_lossy(), "stop"];
        try_as_postgres(&self.bin.join("pg_ctl"), &arguments);
        remove(&self.folder);
    }
}

/// Removes a folder of the server's, as far as it can be: for destructors.
pub(crate) fn remove(folder: &Path) {
    try_as_postgres(Path::new("rm"), &["-rf", &folder.to_string_lossy()]);
}

/// Runs a program whatever comes of it. For destructors, which must not panic:
/// that of a test that fails would end all the others with it.
pub(crate) fn try_as_postgres(program: &Path, arguments: &[&str]) {
    let failed = match postgres_command(program).args(arguments).output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    let _ = writeln!(std::io::stderr(), "{}: {failed}", program.display());
}

/// Whether `POINTSMAN_SKIP_POSTGRES=1` leaves out the tests on PostgreSQL. Then
/// says so, once, past the harness, which keeps what a test that passes prints.
fn skipped() -> bool {
    static TOLD: Once = Once::new();
    let skip = std::env::var("POINTSMAN_SKIP_POSTGRES").is_ok_and(|value| value == "1");
    if skip {
        TOLD.call_once(|| {
            let _ = std::io::stderr().write_all(
                b"\nSKIPPED: the queue's tests on PostgreSQL did not run (POINTSMAN_SKIP_POSTGRES=1)\n\n",
            );
        });
    }
    skip
}

/// Fails the test for want of a program.
pub(crate) fn missing(program: &str, package: &str) -> ! {
    panic!(
        "{program} is not installed\n  hint: `apt-get install {package}`, or leave out the tests that need it with `POINTSMAN_SKIP_POSTGRES=1`"
    )
}

/// A folder that the server may write.
pub(crate) fn folder() -> PathBuf {
    let made = as_postgres(Path::new("mktemp"), &["-d", "/tmp/pointsman-pg-XXXXXX"]);
    PathBuf::from(String::from_utf8(made.stdout).unwrap().trim())
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The server refuses to run as root.
pub(crate) fn postgres_command(program: &Path) -> Command {
    let root = rustix::process::geteuid().is_root();
    let mut command = if root {
        Command::new("runuser")
    } else {
        Command::new(program)
    };
    if root {
        command.args(["-u", "postgres", "--"]).arg(program);
    }
    command.current_dir("/tmp");
    command
}

pub(crate) fn as_postgres(program: &Path, arguments: &[&str]) -> Output {
    let output = postgres_command(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{}: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub(crate) fn new_schema() -> String {
    static SCHEMAS: AtomicU32 = AtomicU32::new(0);
    format!("test_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed))
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
    }
}

impl Fixture {
    pub(crate) async fn add(&self, command: NewCommand) -> pointsman::queue::CommandId {
        self.store.enqueue(vec![command]).await.unwrap()[0].id
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

/// Runs each case on a store of each engine, and on PostgreSQL behind a pooler.
macro_rules! on_both_engines {
    ($($case:ident $(($depth_max:literal))?),* $(,)?) => {
        mod sqlite { $($crate::queue_engines::on_both_engines!(@one sqlite $case $($depth_max)?);)* }
        mod postgres { $($crate::queue_engines::on_both_engines!(@one postgres $case $($depth_max)?);)* }
        mod pooled { $($crate::queue_engines::on_both_engines!(@one pooled $case $($depth_max)?);)* }
    };
    (@one $engine:ident $case:ident) => { $crate::queue_engines::on_both_engines!(@one $engine $case 1000000); };
    (@one $engine:ident $case:ident $depth_max:literal) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            if let Some(fixture) = crate::queue_engines::$engine($depth_max).await {
                super::$case(fixture).await;
            }
        }
    };
}

pub(crate) use on_both_engines;

pub(crate) async fn state(
    fixture: &Fixture,
    id: pointsman::queue::CommandId,
) -> pointsman::queue::State {
    fixture.store.get(id).await.unwrap().state()
}
