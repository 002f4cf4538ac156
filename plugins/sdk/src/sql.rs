//! Databases that the operator granted with `[sql.<name>]` in
//! `plugins/<name>.toml`. A handler that does not use it contains none of this code.
//!
//! ```no_run
//! use pointsman_sdk::{Failure, sql::{self, params}};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Customer {
//!     id: i64,
//!     name: String,
//! }
//!
//! fn rename(id: i64, name: &str) -> Result<Vec<Customer>, Failure> {
//!     let main = sql::connection("main");
//!     main.transaction(|main| {
//!         main.execute("UPDATE customer SET name = $1 WHERE id = $2", params![name, id])?;
//!         Ok(main.query_as("SELECT id, name FROM customer WHERE id = $1", params![id])?)
//!     })
//! }
//! ```
//!
//! Parameters are written as `$1`, `$2` and so on, for PostgreSQL and SQLite alike.
//! With `?`, an [`Error`] becomes a [`Failure`]: temporary errors such as a lost
//! connection or a deadlock are unavailable, so the command is retried; an invalid
//! statement, a violated constraint and a missing grant are rejected.

mod row;

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::de::DeserializeOwned;

use crate::{Failure, bindings::pointsman::handler::sql};

pub use row::Row;
pub use sql::Value;

/// Returns the database that the operator granted as `name`. It connects at the first
/// statement. A transaction that is open at the end of the call is rolled back.
///
/// ```no_run
/// # use pointsman_sdk::{Failure, sql::{self, params}};
/// let main = sql::connection("main");
/// let rows = main.query("SELECT 1", params![])?;
/// # Ok::<(), Failure>(())
/// ```
#[must_use]
pub fn connection(database: &str) -> Connection {
    Connection {
        database: database.to_owned(),
    }
}

/// A database that the operator granted; see [`connection`].
#[derive(Clone, Debug)]
pub struct Connection {
    database: String,
}

/// The parameters of a statement.
///
/// ```
/// use pointsman_sdk::sql::{Value, params};
///
/// let none: Option<&str> = None;
/// assert_eq!(params![1, "a", none], vec![Value::Integer(1), Value::Text("a".into()), Value::Null]);
/// ```
#[doc(inline)]
pub use crate::__params as params;

#[doc(hidden)]
#[macro_export]
macro_rules! __params {
    ($($value:expr),* $(,)?) => {
        ::std::vec::Vec::<$crate::sql::Value>::from([$($crate::sql::Value::from($value)),*])
    };
}

impl Connection {
    /// Returns all rows of a query.
    ///
    /// # Errors
    /// [`Error`], also if there are more rows than the operator grants.
    pub fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        self.each(statement, parameters, |row| rows.push(row))?;
        Ok(rows)
    }

    /// Returns all rows of a query, each as a `T`, by column name.
    ///
    /// # Errors
    /// [`Error`], also if a row does not fit `T`.
    pub fn query_as<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<T>, Error> {
        let rows = self.query(statement, parameters)?;
        rows.into_iter().map(Row::into_typed).collect()
    }

    /// Returns the first row of a query as a `T`, if there is one.
    ///
    /// # Errors
    /// As [`Connection::query_as`].
    pub fn query_first<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Option<T>, Error> {
        begin();
        let page = sql::query(&self.database, statement, &parameters)?;
        let first = rows(page).next();
        first.map(Row::into_typed).transpose()
    }

    /// Calls a function with each row of a query. At most a thousand rows, or one
    /// mebibyte, are in memory at a time.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub fn each(
        &self,
        statement: &str,
        parameters: Vec<Value>,
        mut take: impl FnMut(Row),
    ) -> Result<(), Error> {
        let mut page = sql::query(&self.database, statement, &parameters)?;
        let mine = begin();
        loop {
            let more = page.more;
            rows(page).for_each(&mut take);
            if !more {
                return Ok(());
            }
            if STATEMENTS.load(Relaxed) != mine {
                return Err(Error::row(
                    "another statement ended the rows of this one: `query` reads them all first",
                ));
            }
            page = sql::next(&self.database)?;
        }
    }

    /// Runs a statement. Returns how many rows it changed.
    ///
    /// # Errors
    /// [`Error`].
    pub fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, Error> {
        begin();
        Ok(sql::execute(&self.database, statement, &parameters)?)
    }

    /// Runs `work` in a transaction, which is committed if `work` succeeds and rolled
    /// back if it fails.
    ///
    /// # Errors
    /// The error of `work`, or of the transaction.
    pub fn transaction<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        begin();
        sql::begin(&self.database).map_err(Error::from)?;
        match work(self) {
            Ok(done) => {
                sql::commit(&self.database).map_err(Error::from)?;
                Ok(done)
            }
            Err(failure) => {
                // The reason that counts is that of the work; what is open ends with the call.
                let _ = sql::rollback(&self.database);
                Err(failure)
            }
        }
    }
}

/// How many statements were sent: sending another one ends the rows of the last.
static STATEMENTS: AtomicU64 = AtomicU64::new(0);

fn begin() -> u64 {
    STATEMENTS.fetch_add(1, Relaxed) + 1
}

fn rows(page: sql::Page) -> impl Iterator<Item = Row> {
    let columns: std::rc::Rc<[String]> = page.columns.into();
    let rows = page.rows.into_iter();
    rows.map(move |values| Row::new(std::rc::Rc::clone(&columns), values))
}

/// Why a statement failed.
///
/// ```no_run
/// # use pointsman_sdk::{Failure, sql::{self, params}};
/// let inserted = sql::connection("main").execute("INSERT INTO seen VALUES ($1)", params![7]);
/// match inserted {
///     // An earlier attempt inserted it.
///     Err(error) if error.code() == Some("23505") => {}
///     other => drop(other?),
/// }
/// # Ok::<(), Failure>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    code: Option<String>,
    message: String,
}

/// The kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operator did not grant the database, or a limit was exceeded.
    Denied,
    /// A permanent failure: an invalid statement, a violated constraint.
    Refused,
    /// A temporary failure: no connection, a deadlock, a timeout.
    Unavailable,
    /// A row does not fit the requested type.
    Row,
}

impl Error {
    pub(crate) fn row(message: impl fmt::Display) -> Self {
        Self {
            kind: ErrorKind::Row,
            code: None,
            message: message.to_string(),
        }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The SQLSTATE of PostgreSQL, such as `23505`, or the name of SQLite's code, such as
    /// `SQLITE_CONSTRAINT_UNIQUE`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} ({code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}

impl From<sql::Error> for Error {
    fn from(error: sql::Error) -> Self {
        let (kind, said) = match error {
            sql::Error::Denied(message) => (
                ErrorKind::Denied,
                sql::DatabaseError {
                    code: None,
                    message,
                },
            ),
            sql::Error::Refused(said) => (ErrorKind::Refused, said),
            sql::Error::Unavailable(said) => (ErrorKind::Unavailable, said),
        };
        Self {
            kind,
            code: said.code,
            message: said.message,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind {
            ErrorKind::Unavailable => Self::unavailable(error.to_string()),
            _ => Self::rejected(error.to_string()),
        }
    }
}

/// Conversions into a parameter.
macro_rules! values {
    ($($from:ty => $variant:ident,)*) => { $(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )* };
}

values! {
    bool => Boolean,
    i8 => Integer,
    i16 => Integer,
    i32 => Integer,
    i64 => Integer,
    u8 => Integer,
    u16 => Integer,
    u32 => Integer,
    f32 => Real,
    f64 => Real,
    &str => Text,
    String => Text,
    &String => Text,
    &[u8] => Bytes,
    Vec<u8> => Bytes,
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        Self::Text(json.to_string())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Boolean(one), Self::Boolean(other)) => one == other,
            (Self::Integer(one), Self::Integer(other)) => one == other,
            (Self::Real(one), Self::Real(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Bytes(one), Self::Bytes(other)) => one == other,
            _ => false,
        }
    }
}
