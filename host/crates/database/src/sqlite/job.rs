//! Owns what a session asks of the thread of its connection, and how that answers.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    error::SqlError,
    value::{SqlPage, SqlValue},
};

/// Held for as long as a thread is at work for whoever has it: a disk that hangs keeps
/// no more threads than there are places.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

/// What a statement gave, and whether a transaction is open behind it: SQLite ends one
/// by itself for some errors.
pub(super) struct Answer<T> {
    pub(super) said: Result<T, SqlError>,
    pub(super) in_transaction: bool,
}

pub(super) type Reply<T> = oneshot::Sender<Answer<T>>;

/// Answers. A reply that nobody waits for was given up.
pub(super) fn answer<T>(connection: &Connection, reply: Reply<T>, said: Result<T, SqlError>) {
    let in_transaction = !connection.is_autocommit();
    drop(reply.send(Answer {
        said,
        in_transaction,
    }));
}

pub(super) enum Job {
    Query(String, Vec<SqlValue>, Reply<SqlPage>),
    Next(Reply<SqlPage>),
    Execute(String, Vec<SqlValue>, Reply<u64>),
    Own(&'static str, Reply<()>),
    /// The session is over: nothing of it stays.
    Leave,
}
