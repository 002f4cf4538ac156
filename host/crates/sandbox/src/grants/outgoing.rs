//! Owns the HTTP requests that leave a handler through wasi:http: judged by its
//! grants, within its shares and our own timeouts, to an address that was looked
//! at. `connect` finds the way there, `send` speaks HTTP.

mod connect;
mod send;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::granted::{Denial, Grants, Permit};
use crate::shares::Shares;

pub(crate) use connect::Resolver;

/// Far longer than a name look-up and a TCP and TLS handshake round the world take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// As long as most gateways wait for an answer to begin.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that streams sends something more often.
const BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(10);

/// The call that requests belong to.
pub(crate) trait Caller: Send + Sync {
    /// What is left of its time.
    fn time_left(&self) -> Duration;

    /// Notes a use that was not granted.
    fn deny(&self, denial: Denial);
}

/// Sends the requests of one call.
pub(crate) struct Outgoing {
    pub(crate) grants: Arc<Grants>,
    pub(crate) caller: Arc<dyn Caller>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) resolver: Resolver,
}

type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(http::Response<WasiBody>, Done), Error>;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Done,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let permit = match self.grants.judge(request.method(), request.uri()) {
            Ok(permit) => permit,
            Err(denial) => {
                self.grants.report(&denial);
                self.caller.deny(denial);
                return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
            }
        };
        let way = Way {
            permit,
            grants: Arc::clone(&self.grants),
            caller: Arc::clone(&self.caller),
            shares: Arc::clone(&self.shares),
            resolver: self.resolver.clone(),
        };
        let timeouts = self.within(options.unwrap_or_default());
        Box::new(way.answer(request, timeouts))
    }
}

/// How long the parts of a request may take.
#[derive(Clone, Copy)]
struct Timeouts {
    // Over all until the connection stands: our own queue, the look-up, TCP, TLS.
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Outgoing {
    /// What the guest asked for, else our defaults; never longer than is left of its call.
    fn within(&self, asked: RequestOptions) -> Timeouts {
        let left = self.caller.time_left();
        let cap = |asked: Option<Duration>, default: Duration| asked.unwrap_or(default).min(left);
        Timeouts {
            connect: cap(asked.connect_timeout, CONNECT_TIMEOUT),
            first_byte: cap(asked.first_byte_timeout, FIRST_BYTE_TIMEOUT),
            between_bytes: cap(asked.between_bytes_timeout, BETWEEN_BYTES_TIMEOUT),
        }
    }
}

/// One request that may go out, on its way.
struct Way {
    permit: Permit,
    grants: Arc<Grants>,
    caller: Arc<dyn Caller>,
    shares: Arc<Shares>,
    resolver: Resolver,
}

impl Way {
    async fn answer(self, request: http::Request<WasiBody>, timeouts: Timeouts) -> Answer {
        let by = Instant::now() + timeouts.connect;
        let Ok(place) = timeout_at(by, self.shares.outgoing()).await else {
            return Err(Error::ConnectionLimitReached);
        };
        let Ok(descriptor) = self.shares.descriptors(1) else {
            return Err(Error::ConnectionLimitReached);
        };
        let stream = self.connect(by).await?;
        send::send(stream, request, timeouts, (place, descriptor)).await
    }
}
