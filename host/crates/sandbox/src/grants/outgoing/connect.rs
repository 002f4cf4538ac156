//! Owns the way to the server of a request: one look-up of its name, addresses
//! that its permit reaches, a connection to one of these, or to a proxy, and TLS in
//! the name, where both sides agree on HTTP/2 or HTTP/1.1.

use std::{
    fmt,
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{self, Connected},
    rt::TokioIo,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{ServerName, TrustAnchor},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tower_service::Service;
use wasmtime_wasi_http::Error;

use super::{
    limits::CONNECT_TIMEOUT,
    proxy::{Proxies, Proxy, reach_of_name},
};
use crate::{
    grants::address::Reach,
    settings::ProxySource,
    shares::{Held, Shares},
};

/// Finds the addresses of a name. Blocks.
#[derive(Clone)]
pub(crate) struct Resolver(Arc<Lookup>);

type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

impl Resolver {
    /// This machine's: `/etc/hosts`, DNS and what else it is set up to ask.
    pub(crate) fn system() -> Self {
        Self::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }

    pub(super) fn new(
        lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(lookup))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// How handlers reach servers from this machine.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(super) resolver: Resolver,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) proxies: Option<Proxies>,
}

impl Network {
    /// Names as this machine knows them, the authorities that browsers trust, and
    /// the proxies that the operator allows.
    ///
    /// # Errors
    /// Where the environment names a proxy that is none.
    pub(crate) fn system(proxy: ProxySource) -> anyhow::Result<Self> {
        let network = Self::new(Resolver::system(), webpki_roots::TLS_SERVER_ROOTS.into());
        Ok(match proxy {
            ProxySource::None => network,
            ProxySource::Environment => Self {
                proxies: Some(Proxies::from_env()?),
                ..network
            },
        })
    }

    /// With the authorities `roots`, whatever this machine trusts.
    pub(super) fn new(resolver: Resolver, roots: Vec<TrustAnchor<'static>>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for both versions")
            .with_root_certificates(RootCertStore { roots });
        let mut tls = config.with_no_client_auth();
        tls.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        Self {
            resolver,
            tls: Arc::new(tls),
            proxies: None,
        }
    }
}

/// What TLS calls HTTP/2.
const H2: &[u8] = b"h2";

/// Opens connections of one handler that lead to addresses within a reach.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) reach: Reach,
    pub(super) shares: Arc<Shares>,
    pub(super) network: Network,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Refused {
    /// The name leads to an address that is further inside than was granted.
    Inside(Reach),
    Failed(Error),
}

/// [`Refused`] on its way through the client, which lends it and does not give it.
#[derive(Debug)]
pub(super) struct ConnectError(Mutex<Option<Refused>>);

impl ConnectError {
    pub(super) fn take(&self) -> Refused {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused
            .take()
            .unwrap_or(Refused::Failed(Error::ConnectionTerminated))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no connection")
    }
}

impl std::error::Error for ConnectError {}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let opened = timeout(CONNECT_TIMEOUT, connector.open(&server)).await;
            let opened = opened.unwrap_or_else(|_| Err(Error::ConnectionTimeout.into()));
            opened
                .map(TokioIo::new)
                .map_err(|refused| ConnectError(Mutex::new(Some(refused))))
        })
    }
}

impl Connector {
    async fn open(&self, server: &Uri) -> Result<Connection, Refused> {
        let secure = server.scheme_str() == Some("https");
        let host = server.host().unwrap_or_default();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let port = server.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let proxies = self.network.proxies.as_ref();
        let proxy = proxies.and_then(|proxies| proxies.of(server));
        // Idle connections that had to make room are closed in a moment.
        let descriptor = self.shares.descriptor().await;
        let stream = match &proxy {
            None => self.directly(host, port).await?,
            Some(proxy) => self.to_proxy(proxy, host).await?,
        };
        let connection = |stream, speaks| Connection {
            stream,
            speaks,
            _descriptor: descriptor,
        };
        if !secure {
            let speaks = match proxy {
                None => Speaks::Http1,
                Some(_) => Speaks::Http1ToProxy,
            };
            return Ok(connection(Box::new(stream), speaks));
        }
        let stream = match &proxy {
            None => stream,
            Some(proxy) => proxy.tunnel(stream, server).await?,
        };
        let name = ServerName::try_from(host.to_owned()).map_err(Error::from)?;
        let tls = TlsConnector::from(Arc::clone(&self.network.tls));
        let stream = tls.connect(name, stream).await.map_err(Error::Tls)?;
        let speaks = match stream.get_ref().1.alpn_protocol() {
            Some(H2) => Speaks::Http2,
            _ => Speaks::Http1,
        };
        Ok(connection(Box::new(stream), speaks))
    }

    /// Connects to an address that was looked at: nothing is looked up again.
    async fn directly(&self, host: &str, port: u16) -> Result<TcpStream, Refused> {
        let found = self.addresses(host, port).await?;
        let within = |address: &&SocketAddr| Reach::of(address.ip()) <= self.reach;
        let reached: Vec<_> = found.iter().filter(within).copied().collect();
        if reached.is_empty() {
            let inside = found.iter().map(|address| Reach::of(address.ip())).max();
            return Err(Refused::Inside(inside.unwrap_or(Reach::Any)));
        }
        let stream = connect_to(&reached).await.map_err(Error::Connect)?;
        // This machine under an address of its own, where our API may listen.
        if self.reach < Reach::Private && is_here(&stream).map_err(Error::Connect)? {
            return Err(Refused::Inside(Reach::Private));
        }
        Ok(stream)
    }

    /// Connects to the proxy, wherever it is, for a server whose name is within reach.
    async fn to_proxy(&self, proxy: &Proxy, host: &str) -> Result<TcpStream, Refused> {
        let named = reach_of_name(host);
        if named > self.reach {
            return Err(Refused::Inside(named));
        }
        let (host, port) = proxy.address();
        let found = self.addresses(host, port).await?;
        Ok(connect_to(&found).await.map_err(Error::Connect)?)
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let (resolver, host) = (self.network.resolver.clone(), host.to_owned());
        let lane = self.shares.lane().await;
        let found = lane.run(move || (resolver.0)(&host, port)).await;
        let found = found.ok().filter(|found| !found.is_empty());
        found.ok_or(Error::DnsError {
            rcode: None,
            info_code: None,
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, with TLS or without.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    speaks: Speaks,
    _descriptor: Held,
}

enum Speaks {
    Http1,
    /// A proxy reads the requests, which name the server.
    Http1ToProxy,
    Http2,
}

impl connect::Connection for Connection {
    fn connected(&self) -> Connected {
        match self.speaks {
            Speaks::Http1 => Connected::new(),
            Speaks::Http1ToProxy => Connected::new().proxy(true),
            Speaks::Http2 => Connected::new().negotiated_h2(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The first that answers.
async fn connect_to(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A request is written whole: nothing is gained by waiting for more.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

/// Whether the other end is this machine.
fn is_here(stream: &TcpStream) -> io::Result<bool> {
    Ok(stream.local_addr()?.ip() == stream.peer_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_is_known_by_its_own_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        assert!(is_here(&stream).unwrap());
    }
}
