//! Owns how a server is reached: its addresses in their order, the socket, TLS.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts, SslMode, SslNegotiation},
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::url::Target;

/// The port of a URL without one.
const PORT: u16 = 5432;

/// One place where a server may listen.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    address: Address,
    /// What its certificate must name.
    name: String,
}

#[derive(Clone, Debug)]
enum Address {
    /// A name or an address.
    Tcp(String, u16),
    Socket(SocketAddr),
    #[cfg(unix)]
    Unix(std::path::PathBuf),
}

/// The servers that a URL names, in the order in which they are tried.
pub(super) fn peers(config: &Config) -> Vec<Peer> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let mut peers: Vec<Peer> = (0..hosts.len().max(addresses.len()))
        .map(|at| {
            let ports = config.get_ports();
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(PORT);
            let (address, name) = match (addresses.get(at), hosts.get(at)) {
                (Some(ip), host) => {
                    let name = match host {
                        Some(Host::Tcp(name)) => name.clone(),
                        _ => ip.to_string(),
                    };
                    (Address::Socket(SocketAddr::new(*ip, port)), name)
                }
                #[cfg(unix)]
                (None, Some(Host::Unix(folder))) => {
                    let path = folder.join(format!(".s.PGSQL.{port}"));
                    (Address::Unix(path), String::new())
                }
                (None, Some(Host::Tcp(name))) => (Address::Tcp(name.clone(), port), name.clone()),
                (None, None) => (Address::Tcp(String::new(), port), String::new()),
            };
            Peer { address, name }
        })
        .collect();
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random && !peers.is_empty() {
        let random = RandomState::new().build_hasher().finish();
        let first = usize::try_from(random % peers.len() as u64).unwrap_or(0);
        peers.rotate_left(first);
    }
    peers
}

impl Peer {
    /// This server, at each of its addresses.
    pub(super) async fn addresses(&self) -> io::Result<Vec<Self>> {
        let Address::Tcp(name, port) = &self.address else {
            return Ok(vec![self.clone()]);
        };
        let found = lookup_host((name.as_str(), *port)).await?;
        let found = found.map(|address| Self {
            address: Address::Socket(address),
            name: self.name.clone(),
        });
        Ok(found.collect())
    }

    /// A stream to it, with TLS where the URL asks for it.
    pub(super) async fn open(&self, target: &Target) -> io::Result<Stream> {
        let address = match &self.address {
            #[cfg(unix)]
            Address::Unix(path) => {
                let socket = tokio::net::UnixStream::connect(path).await?;
                return Ok(Stream::Plain(Box::new(socket)));
            }
            Address::Socket(address) => *address,
            Address::Tcp(name, port) => {
                let mut found = lookup_host((name.as_str(), *port)).await?;
                found.next().ok_or(io::ErrorKind::NotFound)?
            }
        };
        let config = &target.config;
        let connect = TcpStream::connect(address);
        let socket = match config.get_connect_timeout() {
            Some(limit) => timeout(*limit, connect).await??,
            None => connect.await?,
        };
        prepare(&socket, config)?;
        self.secure(socket, target).await
    }

    async fn secure(&self, mut socket: TcpStream, target: &Target) -> io::Result<Stream> {
        let config = &target.config;
        let (Some(tls), mode) = (&target.tls, config.get_ssl_mode()) else {
            return Ok(Stream::Plain(Box::new(socket)));
        };
        if mode == SslMode::Disable {
            return Ok(Stream::Plain(Box::new(socket)));
        }
        if config.get_ssl_negotiation() == SslNegotiation::Postgres {
            socket.write_all(&SSL_REQUEST).await?;
            match socket.read_u8().await? {
                b'S' => {}
                _ if mode == SslMode::Prefer => return Ok(Stream::Plain(Box::new(socket))),
                _ => return Err(io::Error::other("the server does not support TLS")),
            }
        }
        let mut tls = tls.clone();
        let connect = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, &self.name);
        let connect = connect.map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(connect.connect(socket).await?)))
    }
}

/// Asks whether the server takes TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// What the URL says of the socket.
fn prepare(socket: &TcpStream, config: &Config) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(config.get_tcp_user_timeout().copied())?;
    if !config.get_keepalives() {
        return Ok(());
    }
    let mut alive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
    if let Some(interval) = config.get_keepalives_interval() {
        alive = alive.with_interval(interval.max(Duration::from_secs(1)));
    }
    #[cfg(unix)]
    if let Some(retries) = config.get_keepalives_retries() {
        alive = alive.with_retries(retries);
    }
    socket.set_tcp_keepalive(&alive)
}

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

type Encrypted = <MakeRustlsConnect as MakeTlsConnect<TcpStream>>::Stream;

/// A way to a server.
pub(super) enum Stream {
    Plain(Box<dyn Duplex>),
    Tls(Box<Encrypted>),
}

impl Stream {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut dyn Duplex> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream.as_mut()),
            Self::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}

/// What a server may send before anyone is logged in. A greeting has a few hundred bytes.
const GREETING_MAX_BYTES: usize = 1 << 20;

/// A stream as the driver has it while it logs in.
pub(super) struct Greeting<'a> {
    stream: &'a mut Stream,
    left: usize,
}

impl<'a> Greeting<'a> {
    pub(super) fn new(stream: &'a mut Stream) -> Self {
        Self {
            stream,
            left: GREETING_MAX_BYTES,
        }
    }
}

impl AsyncRead for Greeting<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *self.stream).poll_read(cx, buffer);
        match self.left.checked_sub(buffer.filled().len() - before) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other("the server's greeting has no end"))),
        }
        polled
    }
}

impl AsyncWrite for Greeting<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

impl TlsStream for Greeting<'_> {
    fn channel_binding(&self) -> ChannelBinding {
        match &*self.stream {
            Stream::Plain(_) => ChannelBinding::none(),
            Stream::Tls(stream) => stream.channel_binding(),
        }
    }
}

/// For the driver: TLS that is there already, where there is any.
pub(super) struct Ready;

impl<'a> TlsConnect<Greeting<'a>> for Ready {
    type Stream = Greeting<'a>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Greeting<'a>>>;

    fn connect(self, stream: Greeting<'a>) -> Self::Future {
        std::future::ready(Ok(stream))
    }
}

/// The settings with which the driver takes a stream of [`Ready`] as it is.
pub(super) fn ready(config: &Config) -> Config {
    let mut config = config.clone();
    config.ssl_mode(SslMode::Require);
    config.ssl_negotiation(SslNegotiation::Direct);
    config
}
