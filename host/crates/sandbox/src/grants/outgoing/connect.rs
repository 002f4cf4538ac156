//! Owns the way to the server of a request: one look-up of its name, addresses
//! that its permit reaches, a connection to one of these, and TLS in the name.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Arc, LazyLock},
};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

use super::Way;
use crate::grants::address::Reach;

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

/// A connection, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Way {
    /// Connects to an address that was looked at: nothing is looked up again.
    pub(super) async fn connect(&self, by: Instant) -> Result<Box<dyn Stream>, Error> {
        let Ok(found) = timeout_at(by, self.addresses()).await else {
            return Err(Error::DnsTimeout);
        };
        let found = found?;
        let reach = self.permit.reach;
        let within = |address: &&SocketAddr| Reach::of(address.ip()) <= reach;
        let reached: Vec<_> = found.iter().filter(within).copied().collect();
        if reached.is_empty() {
            let inside = found.iter().map(|address| Reach::of(address.ip())).max();
            return Err(self.prohibit(inside.unwrap_or(Reach::Any)));
        }
        let Ok(stream) = timeout_at(by, connect_to(&reached)).await else {
            return Err(Error::ConnectionTimeout);
        };
        let stream = stream.map_err(Error::Connect)?;
        // This machine under an address of its own, where our API may listen.
        if reach < Reach::Private && is_here(&stream).map_err(Error::Connect)? {
            return Err(self.prohibit(Reach::Private));
        }
        if !self.permit.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(self.permit.host.clone())?;
        match timeout_at(by, connector().connect(name, stream)).await {
            Ok(stream) => Ok(Box::new(stream.map_err(Error::Tls)?)),
            Err(_) => Err(Error::ConnectionTimeout),
        }
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let (host, port) = (self.permit.host.clone(), self.permit.port);
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let resolver = self.resolver.clone();
        let lane = self.shares.lane().await;
        let found = lane.run(move || (resolver.0)(&host, port)).await;
        let found = found.ok().filter(|found| !found.is_empty());
        found.ok_or(Error::DnsError {
            rcode: None,
            info_code: None,
        })
    }

    fn prohibit(&self, inside: Reach) -> Error {
        let denial = self.grants.leads_inside(&self.permit, inside);
        self.grants.report(&denial);
        self.caller.deny(denial);
        Error::DestinationIpProhibited
    }
}

/// The first that answers.
async fn connect_to(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

/// Whether the other end is this machine.
fn is_here(stream: &TcpStream) -> io::Result<bool> {
    Ok(stream.local_addr()?.ip() == stream.peer_addr()?.ip())
}

/// With the authorities that browsers trust, whatever this machine does.
fn connector() -> TlsConnector {
    static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for both versions")
            .with_root_certificates(roots);
        Arc::new(config.with_no_client_auth())
    });
    TlsConnector::from(Arc::clone(&CONFIG))
}

#[cfg(test)]
mod tests;
