//! Owns what is said of a statement that failed.

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// What it means to whoever sent it.
    pub fault: SqlFault,
    /// The SQLSTATE of PostgreSQL, or the name of SQLite's code.
    pub code: Option<String>,
    /// What the database or the host says.
    pub message: String,
}

/// What a failed statement means to whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlFault {
    /// Not granted, or over a limit.
    Denied,
    /// It never will work as it is.
    Refused,
    /// It may work later.
    Unavailable,
}

/// What a value over the limit is called: the SQLSTATE for a limit of a program.
pub(crate) const TOO_LARGE: &str = "54000";
/// A transaction that may have been kept or not.
pub(crate) const UNKNOWN_OUTCOME: &str = "08007";

impl SqlError {
    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(SqlFault::Denied, None, message)
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(SqlFault::Refused, None, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(SqlFault::Unavailable, None, message)
    }

    /// A message of the server, or a value, is longer than the grant allows.
    pub(crate) fn too_large(bytes: u64) -> Self {
        let message = format!("a row or a value of {bytes} bytes, which is over the limit");
        Self::new(SqlFault::Denied, Some(TOO_LARGE), message)
    }

    pub(crate) fn new(fault: SqlFault, code: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            fault,
            code: code.map(str::to_owned),
            message: message.into(),
        }
    }
}
