//! Owns a PostgreSQL of the tests' own. The tests of the host include this file, too.

use std::{
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc, Mutex, Once, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

/// A PostgreSQL server of the tests' own, stopped and removed with its last user.
pub(crate) struct Server {
    pub(crate) bin: PathBuf,
    pub(crate) folder: PathBuf,
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

    pub(crate) fn url(&self) -> String {
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
