//! Owns how a connection is made, and what is asked of the server before it is
//! used: whether it takes writes, whether its text is UTF-8, and whether a
//! pooler stands between.

use std::{
    error::Error as _,
    future::{Ready, poll_fn, ready},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pointsman_database::url::CONNECT_MAX;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf},
    time::{Instant, timeout_at},
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, Error, NoTls,
    config::{self, SslMode},
    tls::{ChannelBinding, TlsConnect, TlsStream},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::{
    fault::Fault,
    session::{Ownership, Session, Terms},
};
use crate::settings::Pooler;

/// Makes connections to one server.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) config: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) pooler: Pooler,
    pub(super) terms: Arc<Terms>,
}

impl Connector {
    /// A connection that is fit for the queue. `hear` is told the payload of
    /// each notification.
    pub(super) async fn connect(
        &self,
        hear: impl Fn(&str) + Send + 'static,
    ) -> Result<(Session, Ownership), Fault> {
        let deadline = Instant::now() + CONNECT_MAX;
        let connect = async {
            match self.tls.clone() {
                Some(tls) => {
                    let (client, connection) = self.config.connect(tls).await?;
                    Ok((client, drive(connection, hear)))
                }
                None => {
                    let (client, connection) = self.config.connect(NoTls).await?;
                    Ok((client, drive(connection, hear)))
                }
            }
        };
        let (client, task) = bounded(deadline, connect)
            .await
            .map_err(|fault| self.about_tls(fault))?;
        let ownership = bounded(deadline, async { self.examine(&client).await }).await?;
        let session = Session::new(client, task, Arc::clone(&self.terms), ownership);
        session.take(deadline).await?;
        Ok((session, ownership))
    }

    /// Tells what is wrong with TLS from what is wrong with the network, which
    /// fails as I/O, and with the server, which has a code.
    fn about_tls(&self, fault: Fault) -> Fault {
        let Fault::Server(error) = fault else {
            return fault;
        };
        let io = error
            .source()
            .and_then(|cause| cause.downcast_ref::<io::Error>());
        let untrusted = io
            .and_then(io::Error::get_ref)
            .is_some_and(|cause| cause.is::<rustls::Error>());
        // With channel binding it may be that instead, and its error says so.
        let required = self.config.get_ssl_mode() == SslMode::Require
            && self.config.get_channel_binding() != config::ChannelBinding::Require;
        if untrusted {
            Fault::Certificate(error)
        } else if required && io.is_none() && error.code().is_none() && !error.is_closed() {
            Fault::Tls(error)
        } else {
            Fault::Server(error)
        }
    }

    /// Whose the session is; refuses a server that the queue cannot use.
    async fn examine(&self, client: &Client) -> Result<Ownership, Fault> {
        let rows = client
            .query_typed(include_str!("sql/examine.sql"), &[])
            .await?;
        let row = rows.first().ok_or(Fault::Silent(CONNECT_MAX))?;
        for (column, setting) in [(2, "server_encoding"), (3, "client_encoding")] {
            let found: String = row.try_get(column)?;
            if found != "UTF8" {
                return Err(Fault::Encoding { setting, found });
            }
        }
        if row.try_get(1)? {
            return Err(Fault::Standby);
        }
        match self.pooler {
            Pooler::Session => Ok(Ownership::Ours),
            Pooler::Transaction => Ok(Ownership::Shared),
            // Whoever hands a session from one client to the next must give each client
            // a key of its own to cancel with, in place of the process's.
            Pooler::Auto => {
                let process: i32 = row.try_get(0)?;
                Ok(match process_id(client).await {
                    Ok(told) if told == process => Ownership::Ours,
                    _ => Ownership::Shared,
                })
            }
        }
    }
}

async fn bounded<T>(
    deadline: Instant,
    call: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout_at(deadline, call)
        .await
        .unwrap_or(Err(Fault::Silent(CONNECT_MAX)))
}

/// Moves the connection's messages until it ends.
fn drive<S, T>(
    mut connection: Connection<S, T>,
    hear: impl Fn(&str) + Send + 'static,
) -> AbortOnDropHandle<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(async move {
        // An error ends the connection; whoever uses it next is told.
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(told) = message {
                hear(told.payload());
            }
        }
    }))
}

/// The process id that the server, or what stands before it, gave this
/// connection. The driver tells it only in a request to cancel: it is made to
/// write one into a pipe.
async fn process_id(client: &Client) -> Result<i32, Error> {
    // A request to cancel: length, code, process, key. One for TLS: length, code.
    const REQUEST: usize = 16;
    const TLS_REQUEST: usize = 8;
    const TLS_CODE: [u8; 4] = 80_877_103_u32.to_be_bytes();
    let (ours, mut theirs) = tokio::io::duplex(64);
    let read = async {
        let mut request = [0; REQUEST];
        theirs.read_exact(&mut request[..TLS_REQUEST]).await?;
        if request[4..TLS_REQUEST] == TLS_CODE {
            theirs.write_all(b"S").await?;
            theirs.read_exact(&mut request[..TLS_REQUEST]).await?;
        }
        theirs.read_exact(&mut request[TLS_REQUEST..]).await?;
        let [.., a, b, c, d, _, _, _, _] = request;
        io::Result::Ok(i32::from_be_bytes([a, b, c, d]))
    };
    let token = client.cancel_token();
    let (written, read) = tokio::join!(token.cancel_query_raw(ours, Plain(())), read);
    written?;
    // Zero is no process: taken for another one.
    Ok(read.unwrap_or(0))
}

/// A pipe in place of a TLS connection: what is written into it goes nowhere.
struct Plain<S>(S);

impl TlsConnect<DuplexStream> for Plain<()> {
    type Stream = Plain<DuplexStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Stream>>;

    fn connect(self, pipe: DuplexStream) -> Self::Future {
        ready(Ok(Plain(pipe)))
    }
}

impl TlsStream for Plain<DuplexStream> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Plain<DuplexStream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Plain<DuplexStream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
