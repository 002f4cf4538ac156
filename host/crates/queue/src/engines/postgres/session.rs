//! Owns one connection and what is said over it. Nothing relies on the state of
//! a session: names are qualified, a transaction says its isolation level and
//! sets what it needs for itself, and every call has an end. What is remembered
//! between transactions (prepared statements) is used only where the session is
//! known to be this connection's alone.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::TryStreamExt as _;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{
    Client, Error, IsolationLevel, Row, Statement, Transaction,
    types::{ToSql, Type},
};
use tokio_util::task::AbortOnDropHandle;

use super::{fault::Fault, param::Param, schema::Schema};
use crate::Timestamp;

/// What the calls of one store have in common.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) schema: Schema,
    /// How long one call may take, waiting for a connection included.
    pub(super) limit: Duration,
    /// Milliseconds from `born` to the start of the last call that was not
    /// answered: a connection that has not answered since is not trusted. 0: none.
    suspect_ms: AtomicU64,
    born: Instant,
}

/// PostgreSQL counts the milliseconds of its timeouts in 32 bits.
const LIMIT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

impl Terms {
    pub(super) fn new(schema: Schema, limit: Duration) -> Self {
        Self {
            schema,
            limit: limit.min(LIMIT_MAX),
            suspect_ms: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    fn elapsed_ms(&self) -> u64 {
        // One more, so that 0 is before everything.
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX) + 1
    }

    /// The settings that a transaction relies on, as a list for `SELECT`.
    ///
    /// - A server that is set to answer before the commit is durable would make 202 a lie.
    /// - The timeouts end on the server what this host no longer waits for, and free
    ///   the locks of a host that stopped in the middle of a transaction.
    /// - With a long backlog the planner takes a claim for costly, though it reads
    ///   the front of an index, and would compile it first: 35 ms for work of 4.
    /// - Where statistics are missing, as after a bulk load, it would read the
    ///   whole index of what waits into a bitmap to take its first few rows.
    fn settings(&self, local: bool) -> String {
        let limit = self.limit.as_millis();
        format!(
            "set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                 WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, {local}),
             set_config('statement_timeout', '{limit}', {local}),
             set_config('lock_timeout', '{limit}', {local}),
             set_config('idle_in_transaction_session_timeout', '{limit}', {local}),
             set_config('jit', 'off', {local}),
             set_config('enable_bitmapscan', 'off', {local})"
        )
    }
}

/// Whose the session on the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// This connection's, from first to last.
    Ours,
    /// A pooler's: each transaction may meet another one.
    Shared,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    inner: Inner,
    task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Inner {
    terms: Arc<Terms>,
    ownership: Ownership,
    // By text as written here. The texts are fixed, and so is their number.
    statements: Mutex<HashMap<String, Statement>>,
    /// Set where an error said that the connection is of no use any more.
    useless: AtomicBool,
    /// Set during a call: where it is set before one, the call was given up.
    busy: AtomicBool,
    /// As `Terms::suspect_ms`: when it last answered.
    answered_ms: AtomicU64,
}

/// What a connection is fit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Good,
    /// A call on it was given up: it may still be at it.
    Unsure,
    Useless,
}

impl Session {
    pub(super) fn new(
        client: Client,
        task: AbortOnDropHandle<()>,
        terms: Arc<Terms>,
        ownership: Ownership,
    ) -> Self {
        let answered_ms = AtomicU64::new(terms.elapsed_ms());
        let inner = Inner {
            terms,
            ownership,
            statements: Mutex::default(),
            useless: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            answered_ms,
        };
        Self {
            client,
            inner,
            task,
        }
    }

    /// Makes the session ours: what single statements rely on. With a pooler
    /// there is none, and nothing is set: others would find it.
    pub(super) async fn take(&self, deadline: Instant) -> Result<(), Fault> {
        if self.inner.ownership == Ownership::Shared {
            return Ok(());
        }
        let first = format!(
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
             SELECT {}",
            self.inner.terms.settings(false)
        );
        self.inner
            .bounded(deadline, self.client.batch_execute(&first))
            .await
    }

    pub(super) fn condition(&self) -> Condition {
        let inner = &self.inner;
        let silent = inner.answered_ms.load(Ordering::Relaxed)
            <= inner.terms.suspect_ms.load(Ordering::Relaxed);
        if self.client.is_closed() || silent || inner.useless.load(Ordering::Relaxed) {
            Condition::Useless
        } else if inner.busy.load(Ordering::Relaxed) {
            Condition::Unsure
        } else {
            Condition::Good
        }
    }

    /// Whether the server answers.
    pub(super) async fn ping(&self, deadline: Instant) -> Result<(), Fault> {
        self.inner
            .bounded(deadline, self.client.batch_execute(""))
            .await
    }

    /// Waits until the connection is closed.
    pub(super) async fn closed(&mut self) {
        // How its task ended does not matter: the next call says so.
        let _ = (&mut self.task).await;
    }

    /// A transaction, which is undone unless it is committed.
    pub(super) async fn begin(&mut self, deadline: Instant) -> Result<Scope<'_>, Fault> {
        let started = self
            .client
            .build_transaction()
            .isolation_level(IsolationLevel::ReadCommitted)
            .read_only(false)
            .start();
        let on = On::Transaction(self.inner.bounded(deadline, started).await?);
        Ok(Scope {
            on,
            inner: &self.inner,
            deadline,
        })
    }

    /// For single statements, each a transaction of its own. With a pooler it
    /// is one transaction, so that it has its settings; to be committed either way.
    pub(super) async fn single(&mut self, deadline: Instant) -> Result<Scope<'_>, Fault> {
        if self.inner.ownership == Ownership::Ours {
            return Ok(Scope {
                on: On::Client(&self.client),
                inner: &self.inner,
                deadline,
            });
        }
        let scope = self.begin(deadline).await?;
        scope.now().await?;
        Ok(scope)
    }
}

impl Inner {
    /// Waits for an answer until the deadline, and takes note of what it says
    /// about the connection.
    async fn bounded<T>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Fault> {
        let started = self.terms.elapsed_ms();
        self.busy.store(true, Ordering::Relaxed);
        let answer = match timeout_at(deadline, call).await {
            Ok(answer) => answer.map_err(Fault::from),
            Err(_) => Err(Fault::Silent(self.terms.limit)),
        };
        self.busy.store(false, Ordering::Relaxed);
        match &answer {
            Err(fault) if !fault.spares_connection() => {
                self.useless.store(true, Ordering::Relaxed);
                if matches!(fault, Fault::Silent(_)) {
                    self.terms.suspect_ms.fetch_max(started, Ordering::Relaxed);
                }
            }
            _ => self
                .answered_ms
                .store(self.terms.elapsed_ms(), Ordering::Relaxed),
        }
        answer
    }

    fn known(&self, sql: &str) -> Option<Statement> {
        let statements = self.statements.lock();
        let statements = statements.unwrap_or_else(PoisonError::into_inner);
        statements.get(sql).cloned()
    }

    async fn prepared(
        &self,
        client: &Client,
        sql: &str,
        params: &[&dyn Param],
    ) -> Result<Statement, Error> {
        if let Some(statement) = self.known(sql) {
            return Ok(statement);
        }
        let types: Vec<Type> = params.iter().map(|param| param.kind()).collect();
        let statement = client
            .prepare_typed(&self.terms.schema.qualify(sql), &types)
            .await?;
        let mut statements = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// A transaction, or single statements.
pub(super) struct Scope<'s> {
    on: On<'s>,
    inner: &'s Inner,
    deadline: Instant,
}

enum On<'s> {
    Client(&'s Client),
    Transaction(Transaction<'s>),
}

impl Scope<'_> {
    fn client(&self) -> &Client {
        match &self.on {
            On::Client(client) => client,
            On::Transaction(transaction) => transaction.client(),
        }
    }

    /// Runs one statement, in which `@.` stands for the schema: its rows, and how
    /// many it changed.
    async fn run(&self, sql: &str, params: &[&dyn Param]) -> Result<(Vec<Row>, u64), Fault> {
        let client = self.client();
        let call = async {
            let rows = match self.inner.ownership {
                Ownership::Ours => {
                    let statement = self.inner.prepared(client, sql, params).await?;
                    client.query_raw(&statement, values(params)).await?
                }
                Ownership::Shared => {
                    let sql = self.inner.terms.schema.qualify(sql);
                    client.query_typed_raw(&sql, typed(params)).await?
                }
            };
            let mut rows = pin!(rows);
            let mut found = Vec::new();
            while let Some(row) = rows.as_mut().try_next().await? {
                found.push(row);
            }
            Ok((found, rows.rows_affected().unwrap_or(0)))
        };
        self.inner.bounded(self.deadline, call).await
    }

    /// Runs one statement, in which `@.` stands for the schema; its rows.
    pub(super) async fn query(&self, sql: &str, params: &[&dyn Param]) -> Result<Vec<Row>, Fault> {
        Ok(self.run(sql, params).await?.0)
    }

    /// As [`Scope::query`]: how many rows it changed.
    pub(super) async fn execute(&self, sql: &str, params: &[&dyn Param]) -> Result<u64, Fault> {
        Ok(self.run(sql, params).await?.1)
    }

    pub(super) async fn query_opt(
        &self,
        sql: &str,
        params: &[&dyn Param],
    ) -> Result<Option<Row>, Fault> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Several statements at once, none with a parameter, in which `@.` stands
    /// for the schema.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Fault> {
        self.verbatim(&self.inner.terms.schema.qualify(sql)).await
    }

    /// As [`Scope::batch`], with nothing that stands for something else.
    pub(super) async fn verbatim(&self, sql: &str) -> Result<(), Fault> {
        let call = self.client().batch_execute(sql);
        self.inner.bounded(self.deadline, call).await
    }

    /// Lets each statement of the transaction take longer than a call.
    pub(super) async fn may_take(&self, limit: Duration) -> Result<(), Fault> {
        let limit = limit.as_millis();
        let sql =
            format!("SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit}");
        self.verbatim(&sql).await
    }

    /// The server's time. In a session that is not ours it also sets what the
    /// transaction relies on, so it comes first.
    pub(super) async fn now(&self) -> Result<Timestamp, Fault> {
        const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8";
        let rows = match self.inner.ownership {
            Ownership::Ours => self.query(NOW, &[]).await?,
            Ownership::Shared => {
                let sql = format!("{NOW}, {}", self.inner.terms.settings(true));
                self.query(&sql, &[]).await?
            }
        };
        let now = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        Ok(Timestamp::from_millis(now))
    }

    /// An advisory lock, held until the transaction ends.
    pub(super) async fn lock(&self, name: &str) -> Result<(), Fault> {
        let name = format!("{}{name}", self.inner.terms.schema.name());
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
        self.query(sql, &[&name]).await.map(drop)
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.inner.terms.schema
    }

    pub(super) async fn commit(self) -> Result<(), Fault> {
        match self.on {
            On::Client(_) => Ok(()),
            On::Transaction(transaction) => {
                self.inner
                    .bounded(self.deadline, transaction.commit())
                    .await
            }
        }
    }
}

fn values<'p>(params: &[&'p dyn Param]) -> Vec<&'p (dyn ToSql + Sync)> {
    params.iter().map(|param| param.value()).collect()
}

fn typed<'p>(params: &[&'p dyn Param]) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
    let with_type = |param: &&'p dyn Param| (param.value(), param.kind());
    params.iter().map(with_type).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_may_take_as_long_as_a_setting_can_say() {
        let century = Duration::from_secs(36_525 * 24 * 3_600);
        let terms = Terms::new(Schema::new("pointsman").unwrap(), century);
        let settings = terms.settings(true);
        assert!(
            settings.contains("set_config('statement_timeout', '2147483647', true)"),
            "{settings}"
        );
    }
}
