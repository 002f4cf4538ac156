//! Owns what is said of a statement that failed, or of a server that cannot be reached.

use std::error::Error as _;

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::ErrorResponseBody;
use tokio_postgres::{Error, error::SqlState};

use crate::error::{SqlError, SqlFault};

/// No connection came about. What the server says of a password or a database
/// stays with it until someone fixes it, and so does a call that is tried again.
pub(super) fn unreachable(error: &Error) -> SqlError {
    let text = match (error.as_db_error(), error.source()) {
        (Some(said), _) => said.message().to_owned(),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    };
    SqlError::new(
        SqlFault::Unavailable,
        error.code().map(SqlState::code),
        cut(text),
    )
}

/// What the server says of a statement: the message and the detail, which names
/// the key that is there already.
pub(super) fn said(body: &ErrorResponseBody) -> SqlError {
    const CODE: u8 = b'C';
    const MESSAGE: u8 = b'M';
    const DETAIL: u8 = b'D';
    let (mut code, mut message, mut detail) = (String::new(), String::new(), None);
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            CODE => code = value,
            MESSAGE => message = value,
            DETAIL => detail = Some(value),
            _ => {}
        }
    }
    let fault = if code == SqlState::READ_ONLY_SQL_TRANSACTION.code() {
        SqlFault::Denied
    } else if may_pass(&code) {
        SqlFault::Unavailable
    } else {
        SqlFault::Refused
    };
    let text = match detail {
        Some(detail) => format!("{message}: {detail}"),
        None => message,
    };
    SqlError::new(fault, Some(&code), cut(text))
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

fn cut(text: String) -> String {
    pointsman_core::text::cut(text, pointsman_core::text::MESSAGE_MAX_BYTES)
}
