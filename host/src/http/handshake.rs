//! Owns the beginning of a connection on a port that speaks TLS: the handshake within its
//! time, and what becomes of a client that speaks something else.

use std::{io, net::IpAddr, time::Duration};

use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::socket::Socket;
use crate::{
    text::escaped,
    tls::{HTTP2, Tls},
};

/// What a connection turned out to be.
pub(super) enum Begun {
    Tls(Box<TlsStream<Socket>>),
    /// Something that begins as a request in the clear does.
    Plain(Socket),
}

/// Whether both sides agreed on HTTP/2.
pub(super) fn is_http2(stream: &TlsStream<Socket>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// Begins a connection with a client at `address`; none where that failed, which is told.
pub(super) async fn begin(
    tls: &Tls,
    (socket, address): (Socket, IpAddr),
    patience: Duration,
) -> Option<Begun> {
    match timeout(patience, shake(tls, socket)).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) if is_of_client(&error) => {
            tracing::debug!("{address} went away during the TLS handshake: {error}");
            None
        }
        Ok(Err(error)) => {
            tls.failed(address, &escaped(&error.to_string()).to_string());
            None
        }
        Err(_) => {
            tls.failed(address, "it took longer than `http.header_timeout`");
            None
        }
    }
}

async fn shake(tls: &Tls, socket: Socket) -> io::Result<Option<Begun>> {
    // Health checks of load balancers connect and go.
    let Some(first) = socket.first().await? else {
        return Ok(None);
    };
    // A method. A record of TLS begins with a small number.
    if first.is_ascii_alphabetic() {
        return Ok(Some(Begun::Plain(socket)));
    }
    let Some(server) = tls.server() else {
        return Ok(None);
    };
    let stream = TlsAcceptor::from(server).accept(socket).await?;
    Ok(Some(Begun::Tls(Box::new(stream))))
}

/// Whether the client went away, rather than that we did not understand each other.
fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}
