//! Owns what a failed call means: whether its connection is still of use,
//! whether trying again can help, and which [`QueueError`] it is. Everything is
//! decided by SQLSTATE, nothing by the server's words.

use std::{error::Error as _, fmt, time::Duration};

use tokio_postgres::error::SqlState;

use crate::QueueError;
use pointsman_core::{diagnostic::Diagnostic, text};

/// Why a call to the server failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server refused it, or the connection broke.
    Server(tokio_postgres::Error),
    /// TLS is required, and did not come about.
    Tls(tokio_postgres::Error),
    /// The server's certificate is not trusted.
    Certificate(tokio_postgres::Error),
    /// No answer within the limit.
    Silent(Duration),
    /// The server only reads: a standby.
    Standby,
    /// The server or the connection uses another character set.
    Encoding {
        /// Whose it is: `server_encoding` or `client_encoding`.
        setting: &'static str,
        found: String,
    },
    /// The server took no further connection a moment ago.
    Full,
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

/// How a fault is told: on one line, each cause once. Only the server's message
/// and its code: the detail of an error may quote rows.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnostic().fmt(f)
    }
}

/// An error of the driver, with its causes.
fn causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {}", text::escaped(&error.to_string())));
        cause = error.source();
    }
    text
}

/// The fault as the source of a [`QueueError`]. Its `Debug` is its text on one
/// line, so that a log line has neither rows nor settings in it.
struct Told(Fault);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", text::escaped(&self.0.to_string()))
    }
}

impl std::error::Error for Told {}

impl Fault {
    /// The same as each other thing to fix.
    fn diagnostic(&self) -> Diagnostic {
        let fault = |message: String| Diagnostic::error("queue-database", message);
        match self {
            Self::Server(error) => fault(match error.as_db_error() {
                Some(error) => format!(
                    "{} (SQLSTATE {})",
                    text::escaped(&text::bounded(error.message(), text::MESSAGE_MAX_BYTES)),
                    error.code().code()
                ),
                None => causes(error),
            }),
            Self::Tls(error) => fault(causes(error)).hint(
                "if the server has no TLS, set `sslmode=disable` in `queue.url`; the password is then sent in clear text",
            ),
            Self::Certificate(error) => fault(causes(error)).hint(
                "set `queue.root_certificates` to a file with the certificate authority; the name in `queue.url` must be in the certificate",
            ),
            Self::Silent(limit) => fault(format!("no response within {} ms", limit.as_millis()))
                .hint("`queue.timeout` is the limit"),
            Self::Standby => fault("the server is a read-only standby".into()).hint(
                "name the primary in `queue.url`, or all servers: postgres://host1,host2/database",
            ),
            Self::Encoding { setting, found } => {
                let found = text::escaped(found);
                fault(format!(
                    "`{setting}` is `{found}`, and commands are UTF-8 text"
                ))
                .hint("create a database for the queue: CREATE DATABASE pointsman ENCODING 'UTF8' TEMPLATE template0")
            }
            Self::Full => fault("the server accepts no more connections".into())
                .hint("lower `queue.connections`, or raise the server's limit"),
        }
    }

    fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Server(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the connection is as good as before. Only what is known to leave
    /// it so: a connection costs a few milliseconds, and one that is of no use
    /// and kept costs every call from then on.
    pub(super) fn spares_connection(&self) -> bool {
        match self {
            Self::Server(error) => match error.code() {
                Some(code) => kind(code) != Kind::Connection,
                // The driver's own complaints about a value or a row.
                None => !error.is_closed() && is_about_values(error),
            },
            _ => false,
        }
    }

    /// Whether the transaction met another one, was undone, and may be tried again.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(
            self.code(),
            Some(&SqlState::T_R_DEADLOCK_DETECTED | &SqlState::T_R_SERIALIZATION_FAILURE)
        )
    }

    /// Whether the server has as many connections as it takes.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Full) || self.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
    }
}

/// What an error of the server is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What was to be stored: it never can be.
    Value,
    /// The state of the server or of the data: it may pass.
    Passing,
    /// No room.
    Room,
    /// Something that somebody must fix: a missing table or right.
    Mistake,
    /// This connection, or the server behind it.
    Connection,
}

fn kind(code: &SqlState) -> Kind {
    let text = code.code();
    match text {
        "53100" => Kind::Room,
        // Cancelled by a timeout or an operator; a lock that was not had in time.
        "57014" | "55P03" => Kind::Passing,
        // A prepared statement that is gone, or there twice: the session is not ours alone.
        "26000" | "42P05" => Kind::Connection,
        // The class. It comes from the other end and may be no code at all.
        _ => match text.get(..2).unwrap_or_default() {
            // Data, integrity constraints, the size of a value, a trigger that refuses.
            "22" | "23" | "54" | "P0" => Kind::Value,
            // Transactions that met; a lack of resources.
            "40" | "53" | "55" => Kind::Passing,
            "42" | "3F" => Kind::Mistake,
            // Read-only, shutdown, failover, protocol, internal and unknown errors.
            _ => Kind::Connection,
        },
    }
}

/// An error that the driver made of a value or a row, not of the connection.
fn is_about_values(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::types::{WasNull, WrongType};
    error.source().is_some_and(|source| {
        source.is::<WrongType>() || source.is::<WasNull>() || source.is::<crate::QueueError>()
    })
}

/// Makes a [`QueueError`] of a fault, for `map_err`.
pub(super) fn to<F: Into<Fault>>(doing: &'static str) -> impl FnOnce(F) -> QueueError {
    move |fault| {
        let fault = fault.into();
        let kind = match &fault {
            Fault::Server(error) => match error.code() {
                Some(code) => kind(code),
                None if is_about_values(error) => Kind::Mistake,
                None => Kind::Connection,
            },
            Fault::Encoding { .. } => {
                let fault = fault.diagnostic();
                let message = format!("the queue's database cannot be used: {}", fault.message());
                return QueueError::config_with_hint(
                    message,
                    fault.hint_text().unwrap_or_default(),
                );
            }
            Fault::Tls(_)
            | Fault::Certificate(_)
            | Fault::Silent(_)
            | Fault::Standby
            | Fault::Full => Kind::Connection,
        };
        let source = Box::new(Told(fault));
        match kind {
            Kind::Room => QueueError::NoRoom,
            Kind::Value => QueueError::Unstorable { doing, source },
            Kind::Passing | Kind::Connection => QueueError::Unavailable { doing, source },
            Kind::Mistake => QueueError::Storage { doing, source },
        }
    }
}

/// Whether the transaction may be tried again at once: nothing of it was done.
pub(super) fn is_conflict(error: &QueueError) -> bool {
    matches!(error, QueueError::Unavailable { source, .. }
        if source.downcast_ref::<Told>().is_some_and(|told| told.0.is_conflict()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_known_to_be_harmless_keep_a_connection() {
        for (code, expected) in [
            ("22021", Kind::Value),
            ("23514", Kind::Value),
            ("54000", Kind::Value),
            ("40001", Kind::Passing),
            ("40P01", Kind::Passing),
            ("53300", Kind::Passing),
            ("55P03", Kind::Passing),
            ("57014", Kind::Passing),
            ("53100", Kind::Room),
            ("42501", Kind::Mistake),
            ("42P01", Kind::Mistake),
            ("25006", Kind::Connection),
            ("25P03", Kind::Connection),
            ("57P01", Kind::Connection),
            ("57P03", Kind::Connection),
            ("08006", Kind::Connection),
            ("08P01", Kind::Connection),
            ("0A000", Kind::Connection),
            ("26000", Kind::Connection),
            ("42P05", Kind::Connection),
            ("XX000", Kind::Connection),
            // What no PostgreSQL says.
            ("", Kind::Connection),
            ("4", Kind::Connection),
            ("\u{2603}", Kind::Connection),
        ] {
            assert_eq!(kind(&SqlState::from_code(code)), expected, "{code}");
        }
    }
}
