//! Owns [`Database`], one that an operator named, and [`Session`], the use that
//! one call makes of it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::time::timeout;

use crate::{
    engine::{Engaged, failed_transaction, no_more, unknown_outcome},
    error::{SqlError, SqlFault, TOO_LARGE},
    postgres::{self, Postgres},
    settings::DatabaseLimits,
    sqlite::{self, Sqlite},
    statement,
    url::{self, Wanted},
    value::{SqlPage, SqlValue},
};

/// One database that a handler was granted.
#[derive(Debug)]
pub struct Database {
    /// The name that the operator gave it.
    name: String,
    limits: DatabaseLimits,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Postgres(Postgres),
    Sqlite(Sqlite),
}

/// Why a URL names no database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

impl Database {
    /// The database at `url`: `postgres://…`, or `sqlite:` and a path, which begins
    /// at `base` where it is relative. Nothing is connected to.
    ///
    /// # Errors
    /// [`OpenError`], which does not repeat the URL.
    pub fn new(
        name: impl Into<String>,
        url: &str,
        base: &Path,
        limits: DatabaseLimits,
    ) -> Result<Self, OpenError> {
        let engine = match url.trim().strip_prefix("sqlite:") {
            Some(path) => Engine::Sqlite(Sqlite::new(file(path, base)?, &limits)),
            None => Engine::Postgres(server(url, &limits)?),
        };
        Ok(Self {
            name: name.into(),
            limits,
            engine,
        })
    }

    /// A database in memory for one session after the other, made by `fixture`.
    #[must_use]
    pub fn in_memory(name: impl Into<String>, fixture: &str, limits: DatabaseLimits) -> Self {
        Self {
            name: name.into(),
            engine: Engine::Sqlite(Sqlite::in_memory(fixture, &limits)),
            limits,
        }
    }

    /// The use of one call. It connects with its first statement.
    #[must_use]
    pub fn session(self: &Arc<Self>) -> Session {
        Session {
            database: Arc::clone(self),
            connection: None,
            is_lost: false,
            rows: 0,
            bytes: 0,
        }
    }

    fn limit(&self, key: &str) -> String {
        format!("`sql.{}.{key}` sets the limit", self.name)
    }
}

fn file(path: &str, base: &Path) -> Result<PathBuf, OpenError> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains(['?', '\0']) || path == ":memory:" {
        return Err(OpenError {
            reason: "a SQLite database is `sqlite:` and the path of its file".into(),
            hint: "for example `sqlite:policies.db`, beside the settings".into(),
        });
    }
    Ok(base.join(path))
}

fn server(url: &str, limits: &DatabaseLimits) -> Result<Postgres, OpenError> {
    let wanted = Wanted {
        url,
        root_certificates: None,
        timeout: limits.statement_timeout,
        read_only: limits.read_only,
    };
    let target = url::target(&wanted).map_err(|error| OpenError {
        reason: error.reason,
        hint: error.hint,
    })?;
    Ok(Postgres::new(target, limits))
}

/// The use that one call makes of a database. What is open when it is dropped is
/// rolled back.
#[derive(Debug)]
pub struct Session {
    database: Arc<Database>,
    connection: Option<Connection>,
    /// Whether the connection ended in a transaction, of which nothing is left. It takes no
    /// more statements, and its end says so.
    is_lost: bool,
    // Read so far.
    rows: u64,
    bytes: u64,
}

#[derive(Debug)]
enum Connection {
    Postgres(Box<postgres::Lent>),
    Sqlite(sqlite::Lent),
}

/// What is asked of a connection.
enum Ask<'a> {
    Query(&'a str, Vec<SqlValue>),
    Next,
    Execute(&'a str, Vec<SqlValue>),
    Begin,
    Commit,
    Rollback,
}

/// What it says.
enum Said {
    Page(SqlPage),
    Changed(u64),
    Done,
}

impl Session {
    /// Runs a statement that returns rows; parameters are `$1`, `$2` and so on.
    ///
    /// # Errors
    /// [`SqlError`].
    pub async fn query(
        &mut self,
        text: &str,
        parameters: Vec<SqlValue>,
    ) -> Result<SqlPage, SqlError> {
        statement::check(text)?;
        self.page(Ask::Query(text, parameters)).await
    }

    /// The next rows of the last query.
    ///
    /// # Errors
    /// [`SqlError`], also where there is no query with more rows.
    pub async fn next(&mut self) -> Result<SqlPage, SqlError> {
        if self.connection.is_none() && !self.is_lost {
            return Err(no_more());
        }
        self.page(Ask::Next).await
    }

    /// Runs a statement; gives how many rows it changed.
    ///
    /// # Errors
    /// [`SqlError`].
    pub async fn execute(
        &mut self,
        text: &str,
        parameters: Vec<SqlValue>,
    ) -> Result<u64, SqlError> {
        statement::check(text)?;
        match self.ask(Ask::Execute(text, parameters)).await? {
            Said::Changed(rows) => Ok(rows),
            Said::Page(_) | Said::Done => Ok(0),
        }
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// [`SqlError`], also where one is open.
    pub async fn begin(&mut self) -> Result<(), SqlError> {
        if self.is_lost || self.in_transaction() {
            return Err(SqlError::refused("a transaction is open already"));
        }
        self.ask(Ask::Begin).await.map(drop)
    }

    /// Keeps what the transaction did.
    ///
    /// # Errors
    /// [`SqlError`], also where none is open, or a statement in it failed.
    pub async fn commit(&mut self) -> Result<(), SqlError> {
        self.end(Ask::Commit).await
    }

    /// Undoes what the transaction did.
    ///
    /// # Errors
    /// [`SqlError`], also where none is open.
    pub async fn rollback(&mut self) -> Result<(), SqlError> {
        self.end(Ask::Rollback).await
    }

    async fn end(&mut self, ask: Ask<'_>) -> Result<(), SqlError> {
        if std::mem::take(&mut self.is_lost) {
            return match ask {
                Ask::Rollback => Ok(()),
                _ => Err(failed_transaction()),
            };
        }
        if !self.in_transaction() {
            return Err(SqlError::refused("no transaction is open"));
        }
        self.ask(ask).await.map(drop)
    }

    fn in_transaction(&self) -> bool {
        match &self.connection {
            None => false,
            Some(Connection::Postgres(lent)) => lent.in_transaction(),
            Some(Connection::Sqlite(lent)) => lent.in_transaction(),
        }
    }

    async fn page(&mut self, ask: Ask<'_>) -> Result<SqlPage, SqlError> {
        let Said::Page(page) = self.ask(ask).await? else {
            return Ok(SqlPage::default());
        };
        let limits = &self.database.limits;
        self.rows += page.rows.len() as u64;
        self.bytes += page.bytes as u64;
        if self.rows > limits.rows_max {
            let limit = self.database.limit("rows_max");
            let message = format!("more than {} rows in one call; {limit}", limits.rows_max);
            return Err(SqlError::denied(message));
        }
        if self.bytes > limits.bytes_max {
            let limit = self.database.limit("bytes_max");
            let message = format!("more than {} bytes in one call; {limit}", limits.bytes_max);
            return Err(SqlError::denied(message));
        }
        Ok(page)
    }

    /// Asks within the time of a statement. A connection that does not answer in
    /// time is given up, and whatever it was in with it.
    async fn ask(&mut self, ask: Ask<'_>) -> Result<Said, SqlError> {
        if self.is_lost {
            return Err(failed_transaction());
        }
        let database = Arc::clone(&self.database);
        let limit = database.limits.statement_timeout;
        let ends = matches!(ask, Ask::Commit | Ask::Rollback);
        let commits = matches!(ask, Ask::Commit);
        let was_in_transaction = self.in_transaction();
        let asked = async {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                none => none.insert(database.connect().await?),
            };
            connection.ask(ask).await
        };
        let said = match timeout(limit, asked).await {
            Ok(said) => said,
            Err(_) => {
                let late = SqlError::unavailable(format!(
                    "the database `{}` did not answer within {limit:?}; {}",
                    database.name,
                    database.limit("statement_timeout")
                ));
                Err(match commits {
                    true => unknown_outcome(Some(late)),
                    false => late,
                })
            }
        };
        let is_broken = match &self.connection {
            None => false,
            Some(Connection::Postgres(lent)) => lent.is_broken(),
            Some(Connection::Sqlite(lent)) => lent.is_broken(),
        };
        if is_broken {
            self.is_lost = was_in_transaction && !ends;
            self.connection = None;
        }
        said.map_err(|error| database.explain(error))
    }
}

impl Database {
    async fn connect(&self) -> Result<Connection, SqlError> {
        match &self.engine {
            Engine::Postgres(server) => {
                let lent = server.take().await?;
                Ok(Connection::Postgres(Box::new(lent)))
            }
            Engine::Sqlite(file) => file.take().await.map(Connection::Sqlite),
        }
    }

    /// Names the grant where that is the reason.
    fn explain(&self, error: SqlError) -> SqlError {
        match error.fault {
            SqlFault::Denied if is_too_large(&error) => SqlError {
                message: format!("{}; {}", error.message, self.limit("bytes_max")),
                ..error
            },
            SqlFault::Denied if self.limits.read_only && error.code.is_some() => SqlError {
                message: format!(
                    "the database `{name}` is granted for reading only; `read_only = false` under `[sql.{name}]` grants more",
                    name = self.name
                ),
                ..error
            },
            _ => error,
        }
    }
}

fn is_too_large(error: &SqlError) -> bool {
    matches!(error.code.as_deref(), Some(TOO_LARGE | "SQLITE_TOOBIG"))
}

impl Connection {
    async fn ask(&mut self, ask: Ask<'_>) -> Result<Said, SqlError> {
        match self {
            Self::Postgres(lent) => {
                lent.asks();
                let said = say(lent.as_mut(), ask).await;
                lent.answered();
                said
            }
            Self::Sqlite(lent) => say(lent, ask).await,
        }
    }
}

async fn say(engaged: &mut impl Engaged, ask: Ask<'_>) -> Result<Said, SqlError> {
    match ask {
        Ask::Query(text, parameters) => engaged.query(text, parameters).await.map(Said::Page),
        Ask::Next => engaged.next().await.map(Said::Page),
        Ask::Execute(text, parameters) => {
            engaged.execute(text, parameters).await.map(Said::Changed)
        }
        Ask::Begin => engaged.begin().await.map(|()| Said::Done),
        Ask::Commit => engaged.commit().await.map(|()| Said::Done),
        Ask::Rollback => engaged.rollback().await.map(|()| Said::Done),
    }
}
