//! Owns connections to one PostgreSQL server for one handler, and what is said
//! over them. Values travel as text towards the server, which knows their types,
//! and nothing is prepared: one round trip a statement, behind a pooler too.

mod decode;
mod encode;

use std::{
    error::Error as _,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::Peekable};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{Client, Error, NoTls, RowStream, error::SqlState, types::Type};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    engine::{Engaged, failed_transaction, no_more},
    error::{SqlError, SqlFault},
    settings::DatabaseLimits,
    url::{CONNECT_MAX, Target},
    value::{SqlPage, SqlValue},
};

/// How long a connection is kept that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long the end of a session may take on the server.
const DISCARD_MAX: Duration = Duration::from_secs(5);

/// Connections to one server.
#[derive(Debug)]
pub(crate) struct Postgres {
    shared: Arc<Shared>,
}

struct Shared {
    target: Target,
    read_only: bool,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<(Wire, Instant)>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// One connection.
struct Wire {
    client: Client,
    // Moves its messages.
    _task: AbortOnDropHandle<()>,
}

impl Postgres {
    pub(crate) fn new(target: Target, limits: &DatabaseLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                target,
                read_only: limits.read_only,
                places: Arc::new(Semaphore::new(limits.connections_max)),
                idle: Mutex::default(),
            }),
        }
    }

    /// A connection, once there is a place for one.
    pub(crate) async fn take(&self) -> Result<Lent, SqlError> {
        let shared = &self.shared;
        let places = Arc::clone(&shared.places);
        let permit = places.acquire_owned().await;
        let permit = permit.map_err(|_| SqlError::unavailable("the host is shutting down"))?;
        let wire = match shared.waiting() {
            Some(wire) => wire,
            None => shared.connect().await?,
        };
        Ok(Lent {
            shared: Arc::clone(shared),
            wire: Some(wire),
            permit: Some(permit),
            rows: None,
            phase: Phase::Clean,
        })
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Wire, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> Option<Wire> {
        let mut idle = self.idle();
        while let Some((wire, since)) = idle.pop() {
            if since.elapsed() < IDLE_MAX && !wire.client.is_closed() {
                return Some(wire);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Wire, SqlError> {
        let Target { config, tls } = &self.target;
        let connect = async {
            match tls.clone() {
                Some(tls) => {
                    let (client, connection) = config.connect(tls).await?;
                    Ok((client, tokio::spawn(async { drop(connection.await) })))
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    Ok((client, tokio::spawn(async { drop(connection.await) })))
                }
            }
        };
        match timeout(CONNECT_MAX, connect).await {
            Ok(Ok((client, task))) => Ok(Wire {
                client,
                _task: AbortOnDropHandle::new(task),
            }),
            Ok(Err(error)) => Err(unreachable(&error)),
            Err(_) => Err(SqlError::unavailable(format!(
                "the server did not take a connection within {CONNECT_MAX:?}"
            ))),
        }
    }

    /// Keeps a connection for the next call, once nothing of this one is in it.
    async fn keep(self: Arc<Self>, wire: Wire, permit: OwnedSemaphorePermit) {
        let discarded = timeout(DISCARD_MAX, wire.client.batch_execute("DISCARD ALL"));
        if !matches!(discarded.await, Ok(Ok(()))) {
            return;
        }
        let since = Instant::now();
        self.idle().push((wire, since));
        drop(permit);
        sleep(IDLE_MAX).await;
        self.idle().retain(|(_, other)| *other > since);
    }
}

/// No connection came about. What the server says of a password or a database
/// stays with it until someone mends it, and so does a call that is tried again.
fn unreachable(error: &Error) -> SqlError {
    let code = error.code().map(SqlState::code);
    SqlError::new(SqlFault::Unavailable, code, text(error))
}

/// Rows on their way, of which one can be seen ahead.
type Rows = Pin<Box<Peekable<RowStream>>>;

/// A connection that one session has.
pub(crate) struct Lent {
    shared: Arc<Shared>,
    // None only while it is dropped.
    wire: Option<Wire>,
    permit: Option<OwnedSemaphorePermit>,
    rows: Option<Rows>,
    phase: Phase,
}

/// What the connection is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing.
    Clean,
    /// A transaction of the session's own around one query that only reads.
    Reading,
    /// The handler's transaction.
    Transaction,
    /// The same, after one of its statements failed.
    Failed,
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
        matches!(self.phase, Phase::Transaction | Phase::Failed)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.phase == Phase::Asking || self.client().is_closed()
    }

    fn client(&self) -> &Client {
        &self.wire.as_ref().expect("not dropped").client
    }

    /// Sends what needs no parameters.
    async fn batch(&mut self, text: &str, then: Phase) -> Result<(), SqlError> {
        let before = std::mem::replace(&mut self.phase, Phase::Asking);
        let done = self.client().batch_execute(text).await;
        self.phase = if done.is_ok() { then } else { before };
        done.map_err(|error| said(&error))
    }

    /// Ends the last query, if it has more rows.
    async fn finish(&mut self) -> Result<(), SqlError> {
        if let Some(rows) = self.rows.take() {
            drop(rows);
            // The rest is of no use to anyone.
            self.cancel();
        }
        if self.phase == Phase::Reading {
            self.batch("ROLLBACK", Phase::Clean).await?;
        }
        Ok(())
    }

    /// Asks the server to end what it does, over a connection of its own.
    fn cancel(&self) {
        let token = self.client().cancel_token();
        let tls = self.shared.target.tls.clone();
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(timeout(DISCARD_MAX, async move {
            match tls {
                Some(tls) => token.cancel_query(tls).await,
                None => token.cancel_query(NoTls).await,
            }
        }));
    }

    /// Sends a statement. Where nothing may be changed, in a transaction that it cannot leave.
    async fn send(&mut self, text: &str, parameters: Vec<SqlValue>) -> Result<RowStream, SqlError> {
        self.finish().await?;
        if self.phase == Phase::Failed {
            return Err(failed_transaction());
        }
        if self.shared.read_only && self.phase == Phase::Clean {
            self.batch(BEGIN_READ_ONLY, Phase::Reading).await?;
        }
        let before = std::mem::replace(&mut self.phase, Phase::Asking);
        let parameters = parameters.into_iter().map(|value| (value, Type::UNKNOWN));
        let rows = self.client().query_typed_raw(text, parameters).await;
        self.phase = before;
        rows.map_err(|error| self.failed(&error))
    }

    /// What became of the connection by a statement that failed.
    fn failed(&mut self, error: &Error) -> SqlError {
        self.phase = match self.phase {
            Phase::Transaction | Phase::Failed => Phase::Failed,
            phase => phase,
        };
        said(error)
    }

    async fn has_more(&mut self, rows: &mut Rows) -> bool {
        let phase = std::mem::replace(&mut self.phase, Phase::Asking);
        let more = rows.as_mut().peek().await.is_some();
        self.phase = phase;
        more
    }

    async fn rows(&mut self, mut rows: Rows) -> Result<SqlPage, SqlError> {
        let mut page = SqlPage::default();
        loop {
            let phase = std::mem::replace(&mut self.phase, Phase::Asking);
            let row = rows.next().await;
            self.phase = phase;
            match row {
                None => {
                    self.finish().await?;
                    return Ok(page);
                }
                Some(Err(error)) => {
                    let error = self.failed(&error);
                    self.finish().await?;
                    return Err(error);
                }
                Some(Ok(row)) => {
                    if page.columns.is_empty() {
                        page.columns = decode::names(row.columns());
                    }
                    if page.push(decode::row(&row)?) && self.has_more(&mut rows).await {
                        page.more = true;
                        self.rows = Some(rows);
                        return Ok(page);
                    }
                }
            }
        }
    }
}

/// After its first query, a transaction takes no `SET TRANSACTION READ WRITE`.
const BEGIN_READ_ONLY: &str = "BEGIN READ ONLY; SELECT 1";

impl Engaged for Lent {
    async fn query(&mut self, text: &str, parameters: Vec<SqlValue>) -> Result<SqlPage, SqlError> {
        let rows = self.send(text, parameters).await;
        match rows {
            Ok(rows) => self.rows(Box::pin(rows.peekable())).await,
            Err(error) => {
                self.finish().await?;
                Err(error)
            }
        }
    }

    async fn next(&mut self) -> Result<SqlPage, SqlError> {
        let rows = self.rows.take().ok_or_else(no_more)?;
        self.rows(rows).await
    }

    async fn execute(&mut self, text: &str, parameters: Vec<SqlValue>) -> Result<u64, SqlError> {
        let rows = self.send(text, parameters).await;
        let mut rows = match rows {
            Ok(rows) => Box::pin(rows),
            Err(error) => {
                self.finish().await?;
                return Err(error);
            }
        };
        let phase = std::mem::replace(&mut self.phase, Phase::Asking);
        let mut failed = None;
        while let Some(row) = rows.next().await {
            if let Err(error) = row {
                failed = Some(error);
            }
        }
        self.phase = phase;
        let changed = rows.rows_affected().unwrap_or(0);
        let failed = failed.map(|error| self.failed(&error));
        self.finish().await?;
        failed.map_or(Ok(changed), Err)
    }

    async fn begin(&mut self) -> Result<(), SqlError> {
        self.finish().await?;
        let text = match self.shared.read_only {
            true => BEGIN_READ_ONLY,
            false => "BEGIN",
        };
        self.batch(text, Phase::Transaction).await
    }

    async fn commit(&mut self) -> Result<(), SqlError> {
        self.finish().await?;
        if self.phase == Phase::Failed {
            self.batch("ROLLBACK", Phase::Clean).await?;
            return Err(failed_transaction());
        }
        // Where it fails, as for a constraint that was deferred, nothing is open any more.
        let committed = self.batch("COMMIT", Phase::Clean).await;
        if self.phase == Phase::Transaction {
            self.phase = Phase::Clean;
        }
        committed
    }

    async fn rollback(&mut self) -> Result<(), SqlError> {
        self.finish().await?;
        self.batch("ROLLBACK", Phase::Clean).await
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let is_clean = self.phase == Phase::Clean && self.rows.is_none();
        if !is_clean && !self.client().is_closed() {
            self.cancel();
        }
        let (Some(wire), Some(permit)) = (self.wire.take(), self.permit.take()) else {
            return;
        };
        if is_clean
            && !wire.client.is_closed()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(Arc::clone(&self.shared).keep(wire, permit));
        }
    }
}

/// What the server or the driver says of a statement.
fn said(error: &Error) -> SqlError {
    let Some(state) = error.code() else {
        let fault = match error.is_closed() || is_io(error) {
            true => SqlFault::Unavailable,
            // A value or an answer that the driver cannot put into words.
            false => SqlFault::Refused,
        };
        return SqlError::new(fault, None, text(error));
    };
    let code = state.code();
    let fault = if *state == SqlState::READ_ONLY_SQL_TRANSACTION {
        SqlFault::Denied
    } else if may_pass(code) {
        SqlFault::Unavailable
    } else {
        SqlFault::Refused
    };
    SqlError::new(fault, Some(code), text(error))
}

/// Whether what a class of SQLSTATE says may be over with the next try.
fn may_pass(code: &str) -> bool {
    // Connections, rollbacks of the server's own, resources, states of objects,
    // intervention, the system around.
    const CLASSES: [&str; 6] = ["08", "40", "53", "55", "57", "58"];
    // Of connections, but it is about what was sent.
    const PROTOCOL_VIOLATION: &str = "08P01";
    code != PROTOCOL_VIOLATION && CLASSES.iter().any(|class| code.starts_with(class))
}

fn is_io(error: &Error) -> bool {
    error
        .source()
        .is_some_and(|cause| cause.is::<std::io::Error>())
}

/// The message and the detail, which names the key that is there already.
fn text(error: &Error) -> String {
    let text = match error.as_db_error() {
        Some(said) => match said.detail() {
            Some(detail) => format!("{}: {detail}", said.message()),
            None => said.message().to_owned(),
        },
        None => match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    };
    pointsman_core::text::cut(text, pointsman_core::text::MESSAGE_MAX_BYTES)
}
