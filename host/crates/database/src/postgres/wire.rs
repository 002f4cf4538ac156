//! Owns one connection to a server: its messages out and in, one behind the other,
//! none of them held that is longer than the grant allows.

use std::{collections::HashMap, future::Future as _, io, pin::pin, task::Context, time::Duration};

use bytes::BytesMut;
use futures_util::task::noop_waker;
use postgres_protocol::message::{backend::Message, frontend};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_postgres::{CancelToken, config::TargetSessionAttrs, types::Type};

use super::{
    encode,
    fault::{said, unreachable},
    stream::{Greeting, Peer, Ready, Stream, peers, ready},
};
use crate::{
    error::SqlError,
    url::{CONNECT_MAX, Target},
    value::SqlValue,
};

/// A limit on messages leaves room for what the server says of a statement.
const MESSAGE_MIN_BYTES: u64 = 64 << 10;
/// What a read asks for.
const READ_BYTES: usize = 8 << 10;
/// Between two tries to end a statement that nobody waits for any more.
const CANCEL_AGAIN: Duration = Duration::from_secs(2);

/// One connection.
pub(super) struct Wire {
    stream: Stream,
    inbox: BytesMut,
    outbox: BytesMut,
    message_max_bytes: u64,
    peer: Peer,
    token: CancelToken,
    /// Types of the database itself. None of them ever becomes another one.
    pub(super) types: HashMap<u32, Type>,
    pub(super) status: Status,
    /// Whether nothing can be sent any more.
    pub(super) is_over: bool,
}

/// What the connection is in, as the server last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Idle,
    Transaction,
    /// A transaction in which a statement failed.
    Failed,
}

/// A server that was reached, and how to reach it again.
struct Found {
    stream: Stream,
    peer: Peer,
    token: CancelToken,
}

impl Wire {
    pub(super) async fn connect(target: &Target, bytes_max: u64) -> Result<Self, SqlError> {
        let connect = async {
            let mut failed = SqlError::unavailable("the URL names no server");
            for peer in peers(&target.config) {
                match peer.addresses().await {
                    Err(error) => failed = no_connection(&error),
                    Ok(addresses) => {
                        for peer in addresses {
                            match Self::log_in(peer, target, bytes_max).await {
                                Ok(wire) => return Ok(wire),
                                Err(error) => failed = error,
                            }
                        }
                    }
                }
            }
            Err(failed)
        };
        timeout(CONNECT_MAX, connect).await.unwrap_or_else(|_| {
            Err(SqlError::unavailable(format!(
                "the server did not take a connection within {CONNECT_MAX:?}"
            )))
        })
    }

    async fn log_in(peer: Peer, target: &Target, bytes_max: u64) -> Result<Self, SqlError> {
        let found = greet(peer, target).await?;
        let mut wire = Self {
            stream: found.stream,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            message_max_bytes: bytes_max.max(MESSAGE_MIN_BYTES),
            peer: found.peer,
            token: found.token,
            types: HashMap::new(),
            status: Status::Idle,
            is_over: false,
        };
        let wanted = match target.config.get_target_session_attrs() {
            TargetSessionAttrs::ReadWrite => "off",
            TargetSessionAttrs::ReadOnly => "on",
            _ => return Ok(wire),
        };
        match wire.setting("SHOW transaction_read_only").await? == wanted {
            true => Ok(wire),
            false => Err(SqlError::unavailable(
                "the server is none that `target_session_attrs` asks for",
            )),
        }
    }

    /// The one value of the one row of a statement without parameters.
    async fn setting(&mut self, text: &str) -> Result<String, SqlError> {
        self.simple(text).await?;
        let mut value = String::new();
        loop {
            match self.next().await? {
                Message::DataRow(body) => {
                    // The length of the value is before it.
                    let bytes = body.buffer().get(4..).unwrap_or_default();
                    value = String::from_utf8_lossy(bytes).into_owned();
                }
                Message::ErrorResponse(body) => return Err(said(&body)),
                Message::ReadyForQuery(_) => return Ok(value),
                _ => {}
            }
        }
    }

    /// Whether the other end is still there, and has said nothing since.
    pub(super) fn is_quiet(&mut self) -> bool {
        if self.is_over || !self.inbox.is_empty() {
            return false;
        }
        let waker = noop_waker();
        let mut byte = [0];
        pin!(self.stream.read(&mut byte))
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    }

    fn lost(&mut self, error: &io::Error) -> SqlError {
        self.is_over = true;
        SqlError::unavailable(format!("the connection to the database ended: {error}"))
    }

    /// Sends statements that have no parameters.
    pub(super) async fn simple(&mut self, text: &str) -> Result<(), SqlError> {
        self.write(|out| frontend::query(text, out)).await
    }

    /// Writes messages and sends them. An error in them leaves the connection as it was.
    pub(super) async fn write(
        &mut self,
        messages: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), SqlError> {
        self.outbox.clear();
        if let Err(error) = messages(&mut self.outbox) {
            return Err(SqlError::refused(error.to_string()));
        }
        let sent = async {
            self.stream.write_all(&self.outbox).await?;
            self.stream.flush().await
        };
        let sent = sent.await;
        // A large value is not held until the next one.
        if self.outbox.capacity() > (1 << 20) {
            self.outbox = BytesMut::new();
        }
        sent.map_err(|error| self.lost(&error))
    }

    /// The next message that answers something.
    pub(super) async fn next(&mut self) -> Result<Message, SqlError> {
        loop {
            if let Some(header) = self.inbox.get(1..5) {
                let length = header.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
                if length > self.message_max_bytes {
                    self.is_over = true;
                    return Err(SqlError::too_large(length));
                }
                if self.inbox.len() as u64 > length {
                    let message = Message::parse(&mut self.inbox);
                    match message.map_err(|error| self.lost(&error))? {
                        None
                        | Some(
                            Message::NoticeResponse(_)
                            | Message::NotificationResponse(_)
                            | Message::ParameterStatus(_),
                        ) => continue,
                        Some(message) => return Ok(message),
                    }
                }
            }
            self.inbox.reserve(READ_BYTES);
            match self.stream.read_buf(&mut self.inbox).await {
                Ok(0) => return Err(self.lost(&io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    /// Waits until the server is ready. The tag of the last statement that was done.
    pub(super) async fn ready(&mut self) -> Result<String, SqlError> {
        let mut failed = None;
        let mut tag = String::new();
        loop {
            match self.next().await {
                Ok(Message::ReadyForQuery(body)) => {
                    self.status = match body.status() {
                        b'T' => Status::Transaction,
                        b'E' => Status::Failed,
                        _ => Status::Idle,
                    };
                    return failed.map_or(Ok(tag), Err);
                }
                Ok(Message::ErrorResponse(body)) => {
                    failed.get_or_insert_with(|| said(&body));
                }
                Ok(Message::CommandComplete(body)) => {
                    body.tag().unwrap_or_default().clone_into(&mut tag)
                }
                Ok(_) => {}
                // Of a server that ends, what it said says more.
                Err(error) => return Err(failed.unwrap_or(error)),
            }
        }
    }

    /// Runs statements that have no parameters.
    pub(super) async fn run(&mut self, text: &str) -> Result<String, SqlError> {
        self.simple(text).await?;
        self.ready().await
    }

    /// Asks the server, over a connection of its own, to end what it does.
    async fn cancel(&mut self, target: &Target) {
        let cancelled = async {
            let mut stream = self.peer.open(target).await.ok()?;
            let stream = Greeting::new(&mut stream);
            self.token.cancel_query_raw(stream, Ready).await.ok()
        };
        // Tried again as long as the statement runs.
        let _ = timeout(CONNECT_MAX, cancelled).await;
    }

    /// Ends the connection, and comes back when the server has ended it, too: a statement
    /// may go on for as long as it likes.
    pub(super) async fn end(mut self, target: &Target) {
        loop {
            self.cancel(target).await;
            let ended = async {
                if self.stream.shutdown().await.is_err() {
                    return;
                }
                loop {
                    self.inbox.clear();
                    self.inbox.reserve(READ_BYTES);
                    match self.stream.read_buf(&mut self.inbox).await {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    }
                }
            };
            if timeout(CANCEL_AGAIN, ended).await.is_ok() {
                return;
            }
        }
    }
}

/// Connects and logs in, which is the driver's.
async fn greet(peer: Peer, target: &Target) -> Result<Found, SqlError> {
    let stream = peer.open(target).await;
    let mut stream = stream.map_err(|error| no_connection(&error))?;
    let token = {
        let greeting = Greeting::new(&mut stream);
        let config = ready(&target.config);
        let (client, _connection) = config
            .connect_raw(greeting, Ready)
            .await
            .map_err(|error| unreachable(&error))?;
        client.cancel_token()
    };
    Ok(Found {
        stream,
        peer,
        token,
    })
}

fn no_connection(error: &io::Error) -> SqlError {
    SqlError::unavailable(format!("error connecting to server: {error}"))
}

/// Writes a statement with its values, whose portal has no name.
pub(super) fn statement(text: &str, values: &[SqlValue], out: &mut BytesMut) -> io::Result<()> {
    /// The formats of values out and in.
    const TEXT: i16 = 0;
    const BINARY: i16 = 1;
    frontend::parse("", text, None, out)?;
    let write = |value: &SqlValue, out: &mut BytesMut| encode::text(value, out);
    let bound = frontend::bind("", "", Some(TEXT), values, write, Some(BINARY), out);
    bound.map_err(|error| match error {
        frontend::BindError::Conversion(error) => io::Error::other(error),
        frontend::BindError::Serialization(error) => error,
    })
}
