//! Owns the connections of one handler, which outlive its calls: kept alive, shared
//! by requests that could each have opened them, and by no other handler's.

use std::{
    collections::BTreeMap,
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use hyper::rt::Executor;
use hyper_util::{
    client::legacy::{self, Client},
    rt::TokioTimer,
};
use pointsman_machine::budget::{Budget, Share};
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime_wasi_http::{Error, WasiBody};

use super::connect::{ConnectError, Connector, Network, Refused};
use crate::{
    grants::{address::Reach, settings::HttpGrant},
    shares::{Held, Shares},
};

/// Bytes of the head of a response, which is in memory whole: eight times what
/// servers and proxies send by default.
const HEAD_MAX_BYTES: u32 = 64 << 10;
/// Bytes of a head that is refused while it comes, by HTTP/2, where such a refusal
/// looks like any broken message: below it, the head is looked at once it is there.
const HEAD_REFUSED_BYTES: u32 = 4 * HEAD_MAX_BYTES;
/// Below the minute after which servers and load balancers close a connection.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// A burst of a few calls finds its connections open; each holds a descriptor.
const IDLE_PER_SERVER_MAX: usize = 8;

/// Bytes of a response that come before the guest reads them, by HTTP/2: a
/// megabyte a second at a quarter of a second to the server and back.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Of all responses of one connection: those that are read do not wait for others.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Requests share a connection by HTTP/2, and would go on doing so after its other
/// end is gone: TCP notices that after a quarter of an hour.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What requests must have in common to share connections, besides the server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    /// How far inside the connection may lead.
    pub(super) reach: Reach,
    /// The secrets that are added, as their places in the grants: a server may take a
    /// connection for that of whoever first proved who they are on it.
    pub(super) injected: Vec<usize>,
}

type Pool = Client<Connector, WasiBody>;

/// The connections of one handler. They are closed when this is dropped.
pub(crate) struct Clients {
    shares: Arc<Shares>,
    network: Network,
    // Requests of all calls.
    open: Arc<Budget>,
    pools: Mutex<BTreeMap<Kind, Pool>>,
    tasks: Tasks,
    _end: DropGuard,
}

impl Clients {
    pub(crate) fn new(shares: Arc<Shares>, network: Network, http: &HttpGrant) -> Arc<Self> {
        let end = CancellationToken::new();
        Arc::new(Self {
            open: Budget::new("http.requests_max", http.requests_max as u64),
            shares,
            network,
            pools: Mutex::default(),
            tasks: Tasks(end.clone()),
            _end: end.drop_guard(),
        })
    }

    /// Connections of its own for the same handler under other settings.
    pub(crate) fn with_settings(&self, http: &HttpGrant) -> Arc<Self> {
        Self::new(Arc::clone(&self.shares), self.network.clone(), http)
    }

    /// Adds what a proxy on the way wants to know.
    pub(super) fn authorize(&self, server: &Uri, headers: &mut HeaderMap) {
        if let Some(proxies) = &self.network.proxies {
            proxies.authorize(server, headers);
        }
    }

    /// A place for one more request of the handler, as soon as there is one.
    pub(super) async fn place(&self) -> (Share, Held) {
        (self.open.wait_for_one().await, self.shares.outgoing().await)
    }

    /// The connections for requests of this kind.
    pub(super) fn of(&self, kind: Kind) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shares.descriptors(1).is_err() {
            // Those that are idle make room; those in use live on.
            pools.clear();
        }
        let reach = kind.reach;
        let pool = pools.entry(kind);
        pool.or_insert_with(|| self.pool(reach)).clone()
    }

    fn pool(&self, reach: Reach) -> Pool {
        let connector = Connector {
            reach,
            shares: Arc::clone(&self.shares),
            network: self.network.clone(),
        };
        Client::builder(self.tasks.clone())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_SERVER_MAX)
            .http1_max_buf_size(HEAD_MAX_BYTES as usize)
            .http2_max_header_list_size(HEAD_REFUSED_BYTES)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_send_buf_size(STREAM_WINDOW_BYTES as usize)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build(connector)
    }
}

/// Runs the connections of one handler until the handler is gone.
#[derive(Clone)]
struct Tasks(CancellationToken);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        tokio::spawn(self.0.clone().run_until_cancelled_owned(task));
    }
}

/// # Errors
/// Where the head of a response is larger than it may be.
pub(super) fn check_head(headers: &HeaderMap) -> Result<(), Error> {
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    match headers.iter().map(field).sum::<usize>() > HEAD_MAX_BYTES as usize {
        true => Err(Error::HttpResponseHeaderSectionSize(Some(HEAD_MAX_BYTES))),
        false => Ok(()),
    }
}

/// Why a request failed, in the terms of WASI.
pub(super) fn failure(error: &legacy::Error) -> Refused {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return error.take();
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return Refused::Failed(of_hyper(error));
        }
        cause = error.source();
    }
    Refused::Failed(Error::ConnectionTerminated)
}

/// Why the talk with a server failed.
pub(super) fn of_hyper(error: &hyper::Error) -> Error {
    let io = error
        .source()
        .and_then(|cause| cause.downcast_ref::<std::io::Error>());
    if error.is_timeout() {
        Error::HttpResponseTimeout
    } else if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(Some(HEAD_MAX_BYTES))
    } else if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else if error.is_canceled() || error.is_closed() || io.is_some() {
        Error::ConnectionTerminated
    } else {
        Error::HttpProtocolError
    }
}
