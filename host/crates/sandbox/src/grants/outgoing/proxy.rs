//! Owns the proxies that the operator lets requests go through. A proxy looks names
//! up and connects: where a name leads to is its to judge then, and only what the
//! name itself says is judged here.

use std::{
    env, fmt,
    future::{Ready, ready},
    net::IpAddr,
    sync::{Arc, Once},
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Uri, header::PROXY_AUTHORIZATION};
use hyper_util::{
    client::{
        legacy::connect::proxy::Tunnel,
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower_service::Service;
use wasmtime_wasi_http::Error;

use crate::grants::address::Reach;

/// Which requests go through which proxy.
#[derive(Clone)]
pub(crate) struct Proxies(Arc<Inner>);

struct Inner {
    matcher: Matcher,
    // Its credentials may be wrong for all requests: said once.
    refused: Once,
}

/// The variables that name a proxy.
const VARIABLES: [&str; 6] = [
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

impl Proxies {
    /// Those that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name.
    ///
    /// # Errors
    /// Where one is no proxy that is spoken to by HTTP.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        for variable in VARIABLES {
            let value = env::var(variable).unwrap_or_default();
            if !value.is_empty() && !is_http_proxy(&value) {
                // The value may hold a password.
                anyhow::bail!(
                    "`{variable}` is not the URL of an HTTP proxy; expected such as `http://proxy.example.com:3128`, which \
                     `host.outgoing_proxy = \"environment\"` makes handlers use"
                );
            }
        }
        Ok(Self::new(Matcher::from_env()))
    }

    pub(super) fn new(matcher: Matcher) -> Self {
        Self(Arc::new(Inner {
            matcher,
            refused: Once::new(),
        }))
    }

    /// The proxy for requests to this server.
    pub(super) fn of(&self, server: &Uri) -> Option<Proxy> {
        let intercept = self.0.matcher.intercept(server)?;
        Some(Proxy {
            intercept,
            proxies: self.clone(),
        })
    }

    /// Adds what a proxy wants to know of a request that it reads itself.
    pub(super) fn authorize(&self, server: &Uri, headers: &mut HeaderMap) {
        let is_read = server.scheme_str() == Some("http");
        let proxy = self.of(server).filter(|_| is_read);
        if let Some(credentials) = proxy.as_ref().and_then(Proxy::credentials) {
            headers.insert(PROXY_AUTHORIZATION, credentials);
        }
    }
}

/// Without the proxies, whose URLs hold passwords.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies")
    }
}

fn is_http_proxy(value: &str) -> bool {
    value.parse::<Uri>().is_ok_and(|url| {
        let is_http = url.scheme_str().is_none_or(|scheme| scheme == "http");
        is_http && url.host().is_some_and(|host| !host.is_empty())
    })
}

/// The proxy of one connection.
pub(super) struct Proxy {
    intercept: Intercept,
    proxies: Proxies,
}

impl Proxy {
    /// Its host, without brackets, and its port.
    pub(super) fn address(&self) -> (&str, u16) {
        let url = self.intercept.uri();
        let host = url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (host, url.port_u16().unwrap_or(80))
    }

    fn credentials(&self) -> Option<HeaderValue> {
        self.intercept.basic_auth().cloned()
    }

    /// A way to the server through the connection `stream` to the proxy.
    pub(super) async fn tunnel(&self, stream: TcpStream, server: &Uri) -> Result<TcpStream, Error> {
        let opened = Opened(Some(TokioIo::new(stream)));
        let mut tunnel = Tunnel::new(self.intercept.uri().clone(), opened);
        if let Some(credentials) = self.credentials() {
            tunnel = tunnel.with_auth(credentials);
        }
        let stream = tunnel.call(server.clone()).await.map_err(|error| {
            self.proxies.0.refused.call_once(|| {
                let (host, port) = self.address();
                tracing::warn!(
                    "the proxy {host}:{port} let a request of a handler not pass: {error}"
                );
            });
            Error::DestinationUnavailable
        })?;
        Ok(stream.into_inner())
    }
}

/// A connection to a proxy that is there already.
struct Opened(Option<TokioIo<TcpStream>>);

impl Service<Uri> for Opened {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Ready<std::io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or(std::io::ErrorKind::NotConnected.into()))
    }
}

/// How far inside a host leads by its name alone, which a proxy looks up.
pub(super) fn reach_of_name(host: &str) -> Reach {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Reach::of(ip);
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let last = host.rsplit('.').next().unwrap_or_default();
    // Old spellings of addresses: `127.1`, `2130706433`, `0x7f000001`.
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    match last {
        "localhost" => Reach::Loopback,
        last if digits(last) || last.strip_prefix("0x").is_some_and(hex) => Reach::Any,
        _ => Reach::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_judged_by_what_it_says() {
        for (reach, hosts) in [
            (Reach::Public, "a.example 1.1.1.1 a1 1a 0xg x.0xfoo"),
            (Reach::Private, "10.0.0.1 fd12::1"),
            (
                Reach::Loopback,
                "localhost LOCALHOST localhost. a.localhost 127.0.0.1 ::1",
            ),
            (
                Reach::Any,
                "169.254.169.254 fd00:ec2::254 127.1 2130706433 0x7f000001 0177.0.0.1 127.0.0.1. 0x 127.0.0.0x1",
            ),
        ] {
            for host in hosts.split(' ') {
                assert_eq!(reach_of_name(host), reach, "{host}");
            }
        }
    }

    #[test]
    fn only_http_proxies_are_used() {
        for (value, is) in [
            ("http://proxy.example:3128", true),
            ("http://u:p@proxy.example:3128/", true),
            ("proxy.example:3128", true),
            ("https://proxy.example", false),
            ("socks5://proxy.example", false),
            ("http://", false),
            ("/path", false),
        ] {
            assert_eq!(is_http_proxy(value), is, "{value}");
        }
    }
}
