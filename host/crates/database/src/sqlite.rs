//! Owns connections to one SQLite file for one handler. Each has a thread of its
//! own, since SQLite waits and computes in the caller's.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use rusqlite::{
    Connection, ErrorCode, InterruptHandle, OpenFlags, Statement,
    config::DbConfig,
    ffi,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
    types::{ToSqlOutput, ValueRef},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    engine::{Engaged, no_more},
    error::{SqlError, SqlFault},
    settings::DatabaseLimits,
    value::{SqlPage, SqlValue},
};

/// How long a connection is kept that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// SQLite counts the milliseconds in 32 bits.
const BUSY_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// Connections to one file.
#[derive(Debug)]
pub(crate) struct Sqlite(Arc<Shared>);

struct Shared {
    source: Source,
    read_only: bool,
    busy_max: Duration,
    value_max_bytes: i32,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Worker>>,
}

enum Source {
    File(PathBuf),
    /// What makes the tables.
    Memory(String),
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Sqlite {
    pub(crate) fn new(path: PathBuf, limits: &DatabaseLimits) -> Self {
        Self::of(Source::File(path), limits.connections_max, limits)
    }

    /// One connection, which is the database, for as long as this is there.
    pub(crate) fn in_memory(fixture: &str, limits: &DatabaseLimits) -> Self {
        Self::of(Source::Memory(fixture.to_owned()), 1, limits)
    }

    fn of(source: Source, connections: usize, limits: &DatabaseLimits) -> Self {
        Self(Arc::new(Shared {
            source,
            read_only: limits.read_only,
            busy_max: limits.statement_timeout.min(BUSY_MAX),
            value_max_bytes: i32::try_from(limits.bytes_max).unwrap_or(i32::MAX),
            places: Arc::new(Semaphore::new(connections)),
            idle: Mutex::default(),
        }))
    }

    /// A connection, once there is a place for one.
    pub(crate) async fn take(&self) -> Result<Lent, SqlError> {
        let shared = &self.0;
        let place = Arc::clone(&shared.places).acquire_owned().await;
        let place = place.map_err(|_| SqlError::unavailable("the host is shutting down"))?;
        let place = Arc::new(place);
        let waiting = shared.idle().pop();
        let worker = match waiting {
            Some(worker) if worker.is_there() => worker,
            _ => Worker::start(Arc::clone(shared), Arc::clone(&place)).await?,
        };
        Ok(Lent {
            shared: Arc::clone(shared),
            worker: Some(worker),
            place,
            phase: Phase::Clean,
        })
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let mut connection = match &self.source {
            Source::Memory(fixture) => {
                let connection = Connection::open_in_memory()?;
                connection.execute_batch(fixture)?;
                connection.pragma_update(None, "query_only", self.read_only)?;
                connection
            }
            Source::File(path) => {
                regular(path, self.read_only)?;
                let mode = match self.read_only {
                    true => OpenFlags::SQLITE_OPEN_READ_ONLY,
                    false => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
                };
                // Not as a URI: a path is a path.
                let connection =
                    Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
                connection.busy_timeout(self.busy_max)?;
                if !self.read_only {
                    // Readers do not hold up the writer.
                    connection.pragma_update(None, "journal_mode", "WAL")?;
                }
                connection
            }
        };
        connection.pragma_update(None, "foreign_keys", true)?;
        // The file may be anyone's: its schema must not call what has effects.
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, self.value_max_bytes)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.authorizer(Some(judge))?;
        Ok(connection)
    }
}

/// Makes a file that is missing, for its owner alone, and refuses what is none: a
/// pipe would hold the thread for ever.
fn regular(path: &Path, read_only: bool) -> rusqlite::Result<()> {
    let refused = |reason: String| {
        let code = ffi::Error::new(ffi::SQLITE_CANTOPEN);
        Err(rusqlite::Error::SqliteFailure(code, Some(reason)))
    };
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => refused("it is no regular file".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !read_only => {
            let mut made = fs::OpenOptions::new();
            made.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut made, 0o600);
            match made.open(path) {
                // Another connection was first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                Err(error) => refused(format!("the file cannot be made: {error}")),
                Ok(_) => Ok(()),
            }
        }
        Err(error) => refused(format!("the file cannot be opened: {error}")),
    }
}

/// What a statement of a handler may do. Transactions are the session's, which
/// says so around its own.
fn judge(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Pragma { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::Unknown { .. } => Authorization::Deny,
        AuthAction::Transaction { .. } if !OWN.get() => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

thread_local! {
    /// Whether the session itself speaks: each connection has a thread of its own.
    static OWN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A connection and its thread.
struct Worker {
    jobs: mpsc::Sender<(Job, Place)>,
    interrupt: InterruptHandle,
    gone: Arc<AtomicBool>,
}

/// Held for as long as a thread is at work for whoever has it: a disk that hangs keeps
/// no more threads than there are places.
type Place = Arc<OwnedSemaphorePermit>;

type Reply<T> = oneshot::Sender<Result<T, SqlError>>;

enum Job {
    Query(String, Vec<SqlValue>, Reply<SqlPage>),
    Next(Reply<SqlPage>),
    Execute(String, Vec<SqlValue>, Reply<u64>),
    Own(&'static str, Reply<()>),
}

impl Worker {
    async fn start(shared: Arc<Shared>, place: Place) -> Result<Self, SqlError> {
        let (jobs, inbox) = mpsc::channel();
        let (opened, started) = oneshot::channel();
        let gone = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&gone);
        let spawned = thread::Builder::new()
            .name("database".to_owned())
            .spawn(move || {
                // What a statement computes is beside the CPU time of the call.
                #[cfg(target_os = "linux")]
                let _ = rustix::process::nice(10);
                // Not kept alive by an idle connection.
                let connection = shared.open();
                let in_memory = matches!(shared.source, Source::Memory(_));
                drop((shared, place));
                match connection {
                    Ok(connection) => {
                        if opened.send(Ok(connection.get_interrupt_handle())).is_ok() {
                            serve(&connection, &inbox, in_memory);
                        }
                    }
                    Err(error) => drop(opened.send(Err(said(&error)))),
                }
                ended.store(true, Ordering::Relaxed);
            });
        if let Err(error) = spawned {
            return Err(SqlError::unavailable(format!("no thread: {error}")));
        }
        match started.await {
            Ok(Ok(interrupt)) => Ok(Self {
                jobs,
                interrupt,
                gone,
            }),
            // Also where the file cannot be opened now: that may change.
            Ok(Err(error)) => Err(SqlError {
                fault: SqlFault::Unavailable,
                ..error
            }),
            Err(_) => Err(SqlError::unavailable("the database could not be opened")),
        }
    }

    fn is_there(&self) -> bool {
        !self.gone.load(Ordering::Relaxed)
    }
}

/// Does what is asked until nobody can ask any more.
fn serve(connection: &Connection, inbox: &mpsc::Receiver<(Job, Place)>, in_memory: bool) {
    let next = |limit: Duration| match in_memory {
        true => inbox.recv().ok(),
        false => inbox.recv_timeout(limit).ok(),
    };
    let mut job = next(IDLE_MAX);
    while let Some((asked, place)) = job.take() {
        // A reply that nobody waits for was given up.
        job = match asked {
            Job::Query(text, parameters, reply) => {
                query(connection, &text, &parameters, reply, inbox)
            }
            Job::Next(reply) => {
                drop(reply.send(Err(no_more())));
                None
            }
            Job::Execute(text, parameters, reply) => {
                drop(reply.send(execute(connection, &text, &parameters)));
                None
            }
            Job::Own(text, reply) => {
                OWN.set(true);
                let done = connection.execute_batch(text);
                OWN.set(false);
                drop(reply.send(done.map_err(|error| said(&error))));
                None
            }
        };
        drop(place);
        job = job.or_else(|| next(IDLE_MAX));
    }
}

/// Gives the rows page by page, for as long as that is what is asked. Gives the
/// job that is not.
fn query(
    connection: &Connection,
    text: &str,
    parameters: &[SqlValue],
    mut reply: Reply<SqlPage>,
    inbox: &mpsc::Receiver<(Job, Place)>,
) -> Option<(Job, Place)> {
    let mut statement = match prepare(connection, text, parameters) {
        Ok(statement) => statement,
        Err(error) => {
            drop(reply.send(Err(error)));
            return None;
        }
    };
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.raw_query();
    let mut read = || match rows.next() {
        Ok(None) => Ok(None),
        Ok(Some(row)) => {
            let values = (0..columns.len()).map(|at| row.get_ref(at).map(value));
            values.collect::<rusqlite::Result<Vec<_>>>().map(Some)
        }
        Err(error) => Err(error),
    };
    // Read ahead, so that a page knows whether another one follows.
    let mut ahead = read();
    loop {
        let mut page = SqlPage {
            columns: columns.clone(),
            ..SqlPage::default()
        };
        let filled = loop {
            match std::mem::replace(&mut ahead, Ok(None)) {
                Ok(None) => break Ok(()),
                Err(error) => break Err(said(&error)),
                Ok(Some(row)) => {
                    let is_full = page.push(row);
                    ahead = read();
                    if is_full {
                        page.more = matches!(ahead, Ok(Some(_)));
                        break ahead.as_ref().map(drop).map_err(said);
                    }
                }
            }
        };
        let more = filled.is_ok() && page.more;
        drop(reply.send(filled.map(|()| page)));
        if !more {
            return None;
        }
        match inbox.recv().ok()? {
            (Job::Next(next), _) => reply = next,
            other => return Some(other),
        }
    }
}

fn execute(connection: &Connection, text: &str, parameters: &[SqlValue]) -> Result<u64, SqlError> {
    let mut statement = prepare(connection, text, parameters)?;
    let before = connection.total_changes();
    let mut rows = statement.raw_query();
    while rows.next().map_err(|error| said(&error))?.is_some() {}
    drop(rows);
    Ok(match connection.total_changes() == before {
        true => 0,
        false => connection.changes(),
    })
}

fn prepare<'a>(
    connection: &'a Connection,
    text: &str,
    parameters: &[SqlValue],
) -> Result<Statement<'a>, SqlError> {
    let mut statement = connection.prepare(text).map_err(|error| said(&error))?;
    let mut used = 0;
    for at in 1..=statement.parameter_count() {
        let number = statement.parameter_name(at).and_then(number);
        let Some(number) = number else {
            return Err(SqlError::refused("parameters are `$1`, `$2` and so on"));
        };
        used = used.max(number);
        let Some(value) = number
            .checked_sub(1)
            .and_then(|index| parameters.get(index))
        else {
            return Err(SqlError::refused(format!(
                "the statement has a parameter `${number}`, and there are {} values",
                parameters.len()
            )));
        };
        let bound = statement.raw_bind_parameter(at, Bound(value));
        bound.map_err(|error| said(&error))?;
    }
    if used < parameters.len() {
        return Err(SqlError::refused(format!(
            "the statement has {used} parameters, and there are {} values",
            parameters.len()
        )));
    }
    Ok(statement)
}

fn number(name: &str) -> Option<usize> {
    let digits = name.strip_prefix(['$', '?'])?;
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

struct Bound<'a>(&'a SqlValue);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            SqlValue::Null => ValueRef::Null,
            SqlValue::Boolean(value) => ValueRef::Integer((*value).into()),
            SqlValue::Integer(value) => ValueRef::Integer(*value),
            SqlValue::Real(value) => ValueRef::Real(*value),
            SqlValue::Text(text) => ValueRef::Text(text.as_bytes()),
            SqlValue::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn value(value: ValueRef<'_>) -> SqlValue {
    match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(value) => SqlValue::Integer(value),
        ValueRef::Real(value) => SqlValue::Real(value),
        // SQLite takes any bytes for text.
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => SqlValue::Text(text.to_owned()),
            Err(_) => SqlValue::Bytes(bytes.to_vec()),
        },
        ValueRef::Blob(bytes) => SqlValue::Bytes(bytes.to_vec()),
    }
}

/// A connection that one session has.
pub(crate) struct Lent {
    shared: Arc<Shared>,
    // None only while it is dropped.
    worker: Option<Worker>,
    place: Place,
    phase: Phase,
}

/// What the connection is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Clean,
    /// A query that has more rows.
    Reading,
    Transaction,
    /// In the middle of something whose end nobody saw.
    Asking,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Lent {
    pub(crate) fn in_transaction(&self) -> bool {
        self.phase == Phase::Transaction
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.phase == Phase::Asking || self.worker.as_ref().is_none_or(|worker| !worker.is_there())
    }

    async fn ask<T>(&mut self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, SqlError> {
        let gone = || SqlError::unavailable("the connection to the database ended");
        let before = std::mem::replace(&mut self.phase, Phase::Asking);
        let (reply, answer) = oneshot::channel();
        let worker = self.worker.as_ref().ok_or_else(gone)?;
        let order = (job(reply), Arc::clone(&self.place));
        worker.jobs.send(order).map_err(|_| gone())?;
        let answer = answer.await.map_err(|_| gone())?;
        self.phase = before;
        answer
    }

    fn leave_rows(&mut self) {
        if self.phase == Phase::Reading {
            self.phase = Phase::Clean;
        }
    }

    fn read(&mut self, page: Result<SqlPage, SqlError>) -> Result<SqlPage, SqlError> {
        if self.phase != Phase::Transaction {
            self.phase = match &page {
                Ok(page) if page.more => Phase::Reading,
                _ => Phase::Clean,
            };
        }
        page
    }
}

impl Engaged for Lent {
    async fn query(&mut self, text: &str, parameters: Vec<SqlValue>) -> Result<SqlPage, SqlError> {
        self.leave_rows();
        let page = self.ask(|reply| Job::Query(text.to_owned(), parameters, reply));
        let page = page.await;
        self.seen(page)
    }

    async fn next(&mut self) -> Result<SqlPage, SqlError> {
        let page = self.ask(Job::Next).await;
        self.seen(page)
    }

    async fn execute(&mut self, text: &str, parameters: Vec<SqlValue>) -> Result<u64, SqlError> {
        self.leave_rows();
        self.ask(|reply| Job::Execute(text.to_owned(), parameters, reply))
            .await
    }

    async fn begin(&mut self) -> Result<(), SqlError> {
        self.leave_rows();
        // A writer waits for the lock here, not in the middle.
        let text = match self.shared.read_only {
            true => "BEGIN",
            false => "BEGIN IMMEDIATE",
        };
        self.ask(|reply| Job::Own(text, reply)).await?;
        self.phase = Phase::Transaction;
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), SqlError> {
        let done = self.ask(|reply| Job::Own("COMMIT", reply)).await;
        if done.is_err() && self.phase == Phase::Transaction {
            // As in PostgreSQL, what cannot be kept is undone.
            self.ask(|reply| Job::Own("ROLLBACK", reply)).await?;
        }
        self.ended(done)
    }

    async fn rollback(&mut self) -> Result<(), SqlError> {
        let done = self.ask(|reply| Job::Own("ROLLBACK", reply)).await;
        self.ended(done)
    }
}

impl Lent {
    /// An answer came: nothing is open whose end nobody saw.
    fn seen(&mut self, page: Result<SqlPage, SqlError>) -> Result<SqlPage, SqlError> {
        match self.phase {
            Phase::Asking => page,
            _ => self.read(page),
        }
    }

    fn ended(&mut self, done: Result<(), SqlError>) -> Result<(), SqlError> {
        if self.phase == Phase::Transaction {
            self.phase = Phase::Clean;
        }
        done
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(worker) = self.worker.take() else {
            return;
        };
        match self.phase {
            Phase::Clean if worker.is_there() => self.shared.idle().push(worker),
            Phase::Clean => {}
            Phase::Asking => worker.interrupt.interrupt(),
            Phase::Reading | Phase::Transaction => {
                // In a database of one connection, this is the database.
                let in_memory = matches!(self.shared.source, Source::Memory(_));
                let (reply, _) = oneshot::channel();
                let rolled_back = match self.phase {
                    Phase::Transaction => {
                        let order = (Job::Own("ROLLBACK", reply), Arc::clone(&self.place));
                        worker.jobs.send(order).is_ok()
                    }
                    _ => true,
                };
                if in_memory && rolled_back {
                    self.shared.idle().push(worker);
                }
            }
        }
    }
}

/// What SQLite says of a statement.
fn said(error: &rusqlite::Error) -> SqlError {
    let rusqlite::Error::SqliteFailure(failure, message) = error else {
        let text = match error {
            rusqlite::Error::SqlInputError { error, msg, .. } => {
                let code = name(error.extended_code);
                return SqlError::new(SqlFault::Refused, Some(code), msg.clone());
            }
            rusqlite::Error::MultipleStatement => "more than one statement at once".to_owned(),
            other => other.to_string(),
        };
        return SqlError::refused(text);
    };
    let fault = match failure.code {
        ErrorCode::ReadOnly => SqlFault::Denied,
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::DiskFull
        | ErrorCode::SystemIoFailure
        | ErrorCode::OutOfMemory
        | ErrorCode::CannotOpen
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::OperationInterrupted => SqlFault::Unavailable,
        _ => SqlFault::Refused,
    };
    let text = message.clone().unwrap_or_else(|| failure.to_string());
    SqlError::new(fault, Some(name(failure.extended_code)), text)
}

/// The name of a code; that of its class where it has no name here.
fn name(code: i32) -> &'static str {
    match code {
        ffi::SQLITE_CONSTRAINT_UNIQUE => "SQLITE_CONSTRAINT_UNIQUE",
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => "SQLITE_CONSTRAINT_PRIMARYKEY",
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "SQLITE_CONSTRAINT_FOREIGNKEY",
        ffi::SQLITE_CONSTRAINT_NOTNULL => "SQLITE_CONSTRAINT_NOTNULL",
        ffi::SQLITE_CONSTRAINT_CHECK => "SQLITE_CONSTRAINT_CHECK",
        ffi::SQLITE_CONSTRAINT_TRIGGER => "SQLITE_CONSTRAINT_TRIGGER",
        ffi::SQLITE_CONSTRAINT_ROWID => "SQLITE_CONSTRAINT_ROWID",
        ffi::SQLITE_CONSTRAINT_DATATYPE => "SQLITE_CONSTRAINT_DATATYPE",
        _ => match code & 0xff {
            ffi::SQLITE_BUSY => "SQLITE_BUSY",
            ffi::SQLITE_LOCKED => "SQLITE_LOCKED",
            ffi::SQLITE_NOMEM => "SQLITE_NOMEM",
            ffi::SQLITE_READONLY => "SQLITE_READONLY",
            ffi::SQLITE_INTERRUPT => "SQLITE_INTERRUPT",
            ffi::SQLITE_IOERR => "SQLITE_IOERR",
            ffi::SQLITE_CORRUPT => "SQLITE_CORRUPT",
            ffi::SQLITE_FULL => "SQLITE_FULL",
            ffi::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
            ffi::SQLITE_SCHEMA => "SQLITE_SCHEMA",
            ffi::SQLITE_TOOBIG => "SQLITE_TOOBIG",
            ffi::SQLITE_CONSTRAINT => "SQLITE_CONSTRAINT",
            ffi::SQLITE_MISMATCH => "SQLITE_MISMATCH",
            ffi::SQLITE_AUTH => "SQLITE_AUTH",
            ffi::SQLITE_RANGE => "SQLITE_RANGE",
            ffi::SQLITE_NOTADB => "SQLITE_NOTADB",
            _ => "SQLITE_ERROR",
        },
    }
}
