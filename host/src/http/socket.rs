//! Owns the socket under a connection: its options, and how long a client may take
//! nothing of what is sent to it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

/// A peer that vanished is noticed after two minutes without a word.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_PROBES: u32 = 3;

/// A socket that fails once its client has taken nothing for too long.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    patience: Duration,
    // While the client takes nothing.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, patience: Duration) -> Self {
        if let Err(error) = configure(&tcp) {
            // It works without, or is gone.
            tracing::debug!("could not set the options of a connection: {error}");
        }
        Self {
            tcp,
            patience,
            timer: None,
        }
    }

    /// The first byte that the client sends, which stays there to be read; none of one
    /// that ends before.
    pub(super) async fn first(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let count = self.tcp.peek(&mut byte).await?;
        Ok((count > 0).then_some(byte[0]))
    }

    fn wrote<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let patience = self.patience;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Answers are sent at once, and a peer that vanished is noticed.
#[cfg(unix)]
fn configure(tcp: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    #[cfg(target_os = "linux")]
    {
        sockopt::set_tcp_keepidle(tcp, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(tcp, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(tcp, KEEPALIVE_PROBES)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn configure(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.tcp).poll_write(cx, bytes);
        this.wrote(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.tcp).poll_write_vectored(cx, parts);
        this.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
