//! Owns one statement on a connection, from its text to its last row. Rows are asked for
//! by the page: what is not asked for is not sent, and a query that is left needs no
//! cancellation, which could hit what comes after it.

use std::{collections::VecDeque, io};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::{
    backend::{Message, RowDescriptionBody},
    frontend,
};
use tokio_postgres::types::{Kind, Type};

use super::{
    Lent, Scope,
    decode::{self, Column},
    fault::said,
    wire::{Wire, statement},
};
use crate::{
    error::SqlError,
    value::{PAGE_ROWS_MAX, SqlPage, SqlValue},
};

/// Runs a statement to its end; how many rows it changed.
pub(super) async fn execute(
    wire: &mut Wire,
    text: &str,
    values: &[SqlValue],
) -> Result<u64, SqlError> {
    wire.write(|out| {
        statement(text, values, out)?;
        frontend::execute("", 0, out)?;
        frontend::sync(out);
        Ok(())
    })
    .await?;
    let tag = wire.ready().await?;
    let rows = tag.rsplit(' ').next().and_then(|rows| rows.parse().ok());
    Ok(rows.unwrap_or(0))
}

/// The rows of a query, on their way.
pub(super) struct Rows {
    columns: Vec<Column>,
    /// Messages that were read before their columns were known.
    held: VecDeque<Message>,
    ahead: Option<Vec<SqlValue>>,
    state: State,
    /// Outside a transaction, the query's own ends with the message that makes the server
    /// ready, and the query with it.
    in_transaction: bool,
    /// Whether the server is ready after what was asked.
    is_ready: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server sends rows.
    Sending,
    /// It has more, which nobody asked for.
    Suspended,
    /// All is read, and the server is ready.
    Done,
}

impl Rows {
    pub(super) async fn ask(
        lent: &mut Lent,
        text: &str,
        values: &[SqlValue],
    ) -> Result<Self, SqlError> {
        let in_transaction = lent.scope != Scope::Statement;
        let bytes_max = lent.shared.bytes_max;
        let wire = lent.wire();
        wire.write(|out| {
            statement(text, values, out)?;
            frontend::describe(b'P', "", out)?;
            // One row more tells whether there is another page.
            frontend::execute("", i32::from(PAGE_ROWS_MAX) + 1, out)?;
            end(in_transaction, out);
            Ok(())
        })
        .await?;
        let mut rows = Self {
            columns: Vec::new(),
            held: VecDeque::new(),
            ahead: None,
            state: State::Sending,
            in_transaction,
            is_ready: false,
        };
        loop {
            match wire.next().await? {
                Message::RowDescription(body) => {
                    rows.describe(wire, &body, bytes_max).await?;
                    return Ok(rows);
                }
                Message::NoData => return Ok(rows),
                Message::ErrorResponse(body) => return Err(rows.failed(wire, said(&body)).await),
                _ => {}
            }
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Learns what the columns are. Types that the database itself has are looked up once
    /// all rows are in that were asked for, which the grant's limit bounds.
    async fn describe(
        &mut self,
        wire: &mut Wire,
        body: &RowDescriptionBody,
        bytes_max: u64,
    ) -> Result<(), SqlError> {
        let mut fields = body.fields();
        let mut unknown = Vec::new();
        let mut columns = Vec::new();
        while let Ok(Some(field)) = fields.next() {
            let oid = field.type_oid();
            let known = Type::from_oid(oid).or_else(|| wire.types.get(&oid).cloned());
            if known.is_none() {
                unknown.push(oid.to_string());
            }
            columns.push((field.name().to_owned(), oid, known));
        }
        if !unknown.is_empty() {
            self.hold(wire, bytes_max).await?;
            if !matches!(self.held.back(), Some(Message::ErrorResponse(_))) {
                self.look_up(wire, &unknown.join(",")).await?;
            }
        }
        let none = || Type::new("unknown".into(), 0, Kind::Pseudo, String::new());
        let columns = columns.into_iter().map(|(name, oid, known)| Column {
            name,
            ty: known
                .or_else(|| wire.types.get(&oid).cloned())
                .unwrap_or_else(none),
        });
        self.columns = columns.collect();
        Ok(())
    }

    /// Reads all that was asked for.
    async fn hold(&mut self, wire: &mut Wire, bytes_max: u64) -> Result<(), SqlError> {
        let mut bytes = 0;
        loop {
            let message = wire.next().await?;
            let is_last = match &message {
                Message::DataRow(body) => {
                    bytes += body.buffer().len() as u64;
                    false
                }
                _ => true,
            };
            self.held.push_back(message);
            if bytes > bytes_max {
                wire.is_over = true;
                return Err(SqlError::too_large(bytes));
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Asks for types, beside the query, which stays open.
    async fn look_up(&mut self, wire: &mut Wire, oids: &str) -> Result<(), SqlError> {
        const PORTAL: &str = "types";
        let in_transaction = self.in_transaction;
        if in_transaction {
            self.settle(wire).await?;
        }
        let text = format!(
            "SELECT oid::pg_catalog.text, typname::pg_catalog.text, (typtype = 'e' OR typname = 'citext')::pg_catalog.text \
             FROM pg_catalog.pg_type WHERE oid IN ({oids})"
        );
        wire.write(|out| {
            frontend::parse("", &text, None, out)?;
            let none = |(): (), _: &mut BytesMut| Ok(postgres_protocol::IsNull::Yes);
            let bound = frontend::bind(PORTAL, "", None, None::<()>, none, None, out);
            bound.map_err(|_| io::Error::other("a message that is too long"))?;
            frontend::execute(PORTAL, 0, out)?;
            frontend::close(b'P', PORTAL, out)?;
            end(in_transaction, out);
            Ok(())
        })
        .await?;
        let columns = vec![
            Column {
                name: String::new(),
                ty: Type::TEXT,
            };
            3
        ];
        loop {
            match wire.next().await? {
                Message::DataRow(body) => {
                    let row = decode::row(&columns, &body)?;
                    if let [
                        SqlValue::Text(oid),
                        SqlValue::Text(name),
                        SqlValue::Text(is_text),
                    ] = row.as_slice()
                        && let Ok(oid) = oid.parse()
                    {
                        let kind = match is_text.as_str() {
                            "true" => Kind::Enum(Vec::new()),
                            _ => Kind::Pseudo,
                        };
                        let ty = Type::new(name.clone(), oid, kind, String::new());
                        wire.types.insert(oid, ty);
                    }
                }
                Message::ErrorResponse(body) => {
                    wire.is_over = true;
                    return Err(said(&body));
                }
                Message::CloseComplete if !in_transaction => return Ok(()),
                Message::ReadyForQuery(_) => return Ok(()),
                _ => {}
            }
        }
    }

    async fn message(&mut self, wire: &mut Wire) -> Result<Message, SqlError> {
        match self.held.pop_front() {
            Some(message) => Ok(message),
            None => wire.next().await,
        }
    }

    /// The next page.
    pub(super) async fn page(&mut self, lent: &mut Lent) -> Result<SqlPage, SqlError> {
        let wire = lent.wire();
        let names = self.columns.iter().map(|column| column.name.clone());
        let mut page = SqlPage {
            columns: names.collect(),
            ..SqlPage::default()
        };
        let mut is_full = self.ahead.take().is_some_and(|row| page.push(row));
        loop {
            if self.state == State::Suspended {
                self.more(wire).await?;
            }
            match self.message(wire).await? {
                Message::DataRow(body) => {
                    let row = decode::row(&self.columns, &body)?;
                    if is_full {
                        self.ahead = Some(row);
                        page.more = true;
                        return Ok(page);
                    }
                    is_full = page.push(row);
                }
                Message::PortalSuspended => {
                    if self.in_transaction {
                        self.settle(wire).await?;
                    }
                    self.state = State::Suspended;
                }
                Message::CommandComplete(_) | Message::EmptyQueryResponse => {
                    self.done(wire).await?;
                    return Ok(page);
                }
                Message::ErrorResponse(body) => return Err(self.failed(wire, said(&body)).await),
                _ => {}
            }
        }
    }

    async fn more(&mut self, wire: &mut Wire) -> Result<(), SqlError> {
        self.state = State::Sending;
        self.is_ready = false;
        let in_transaction = self.in_transaction;
        wire.write(|out| {
            frontend::execute("", PAGE_ROWS_MAX.into(), out)?;
            end(in_transaction, out);
            Ok(())
        })
        .await
    }

    /// Waits for the message that ends a request, which is sent for it in a transaction.
    async fn settle(&mut self, wire: &mut Wire) -> Result<(), SqlError> {
        match self.is_ready {
            true => Ok(()),
            false => {
                self.is_ready = true;
                wire.ready().await.map(drop)
            }
        }
    }

    /// The statement has ended: what it did is there once the server is ready.
    async fn done(&mut self, wire: &mut Wire) -> Result<(), SqlError> {
        self.state = State::Done;
        if !self.in_transaction {
            wire.write(|out| {
                frontend::sync(out);
                Ok(())
            })
            .await?;
        }
        self.settle(wire).await
    }

    async fn failed(&mut self, wire: &mut Wire, error: SqlError) -> SqlError {
        // Of a server that ends, this says more than the end of the connection.
        let _ = self.done(wire).await;
        error
    }

    /// Leaves the query where it is. What was asked for is read, at most what the grant allows.
    pub(super) async fn leave(mut self, lent: &mut Lent) -> Result<(), SqlError> {
        let bytes_max = lent.shared.bytes_max;
        let wire = lent.wire();
        let mut bytes = 0;
        while self.state == State::Sending {
            match self.message(wire).await? {
                Message::DataRow(body) => bytes += body.buffer().len() as u64,
                Message::ErrorResponse(body) => {
                    let error = self.failed(wire, said(&body)).await;
                    return Err(SqlError {
                        message: format!("the rest of the query before: {}", error.message),
                        ..error
                    });
                }
                Message::PortalSuspended
                | Message::CommandComplete(_)
                | Message::EmptyQueryResponse => self.state = State::Suspended,
                _ => {}
            }
            if bytes > bytes_max {
                wire.is_over = true;
                return Err(SqlError::too_large(bytes));
            }
        }
        match self.state {
            State::Done => Ok(()),
            _ => self.done(wire).await,
        }
    }
}

/// What ends a request. In a transaction a query goes on behind it.
fn end(in_transaction: bool, out: &mut BytesMut) {
    match in_transaction {
        true => frontend::sync(out),
        false => frontend::flush(out),
    }
}
