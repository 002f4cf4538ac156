//! Owns the HTTP requests that leave a handler through wasi:http: judged by its
//! grants, within its limits and shares, over connections to addresses that were
//! looked at. `connect` finds the way there, `clients` keeps it, `body` brings the
//! response.

mod body;
mod clients;
pub(crate) mod codes;
mod connect;
mod limits;
mod proxy;
mod recorded;
mod simulated;

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};

use http::{HeaderName, HeaderValue, Method};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::{self, ResponseFuture, connect::capture_connection};
use pointsman_machine::budget::{Budget, Share};
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::{
    address::Reach,
    granted::{Denial, Grants, Permit},
};
use body::Limited;
use clients::Kind;
use connect::Refused;
use limits::{Limit, Request, Timeouts};

pub(crate) use clients::Clients;
pub use codes::RequestFailure;
pub(crate) use connect::Network;
pub use recorded::{RecordedRequest, Recorder};
pub use simulated::Received;
pub(crate) use simulated::{NoReply, Reply, StandIn};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The call that requests belong to.
pub(crate) trait Caller: Send + Sync {
    /// What is left of its time.
    fn time_left(&self) -> Duration;

    /// The W3C trace context of its command.
    fn traceparent(&self) -> Option<&str>;

    /// Notes a use that was not granted.
    fn deny(&self, denial: Denial);

    /// Writes a line into its log.
    fn warn(&self, message: &str);

    /// Who replies to its requests in place of servers.
    fn stand_in(&self) -> Option<Arc<dyn StandIn>>;

    /// Who records its requests.
    fn recorder(&self) -> Option<Recorder>;
}

/// Sends the requests of one call.
pub(crate) struct Outgoing {
    grants: Arc<Grants>,
    clients: Arc<Clients>,
    place: Arc<str>,
    caller: Arc<dyn Caller>,
    // Of this call.
    open: Arc<Budget>,
}

type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Began = Result<http::Response<Incoming>, legacy::Error>;
type Answer = Result<(http::Response<WasiBody>, Done), Error>;

impl Outgoing {
    /// For the call `caller` of a handler whose limits are set in the file `place`.
    pub(crate) fn new(
        grants: &Arc<Grants>,
        clients: &Arc<Clients>,
        place: &Arc<str>,
        caller: Arc<dyn Caller>,
    ) -> Self {
        Self {
            open: open(grants),
            grants: Arc::clone(grants),
            clients: Arc::clone(clients),
            place: Arc::clone(place),
            caller,
        }
    }

    /// Serves the call `caller` from now on.
    pub(crate) fn begin(&mut self, caller: Arc<dyn Caller>) {
        self.caller = caller;
        self.open = open(&self.grants);
    }

    /// Whether the request may go out, and within which limits.
    fn admit<B>(&self, request: &http::Request<B>, asked: RequestOptions) -> Result<Way, Error> {
        // A tunnel would lead past the grants, and an echo shows what the host added.
        if [Method::CONNECT, Method::TRACE].contains(request.method()) {
            return Err(Error::HttpRequestMethodInvalid);
        }
        // The expectations of a test grant what they name, unless it has grants too.
        let is_expected = !self.grants.has_http() && self.caller.stand_in().is_some();
        let otherwise = is_expected.then_some(Reach::Public);
        let judged = self
            .grants
            .judge(request.method(), request.uri(), otherwise);
        let permit = match judged {
            Ok(permit) => permit,
            Err(denial) => {
                self.grants.report(&denial);
                self.caller.deny(denial);
                return Err(Error::HttpRequestDenied);
            }
        };
        let limits = self.grants.http();
        let request = Request {
            shown: permit.shown().to_owned(),
            timeouts: Timeouts::new(asked, self.caller.time_left(), limits.timeout),
            limits: Arc::clone(limits),
            place: Arc::clone(&self.place),
        };
        let Ok(open) = self.open.take(1) else {
            return Err(request.refuse(&*self.caller, Limit::PerCall));
        };
        Ok(Way {
            permit,
            request,
            open,
            grants: Arc::clone(&self.grants),
            caller: Arc::clone(&self.caller),
            clients: Arc::clone(&self.clients),
        })
    }
}

/// Of one call: so many requests, each until the end of its response.
fn open(grants: &Grants) -> Arc<Budget> {
    let max = grants.http().requests_per_call_max;
    Budget::new("http.requests_per_call_max", max as u64)
}

impl WasiHttpHooks for Outgoing {
    // The client sets it for HTTP/1, from the URL that was judged.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Done,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        match self.admit(&request, options.unwrap_or_default()) {
            Ok(way) => match (self.caller.stand_in(), self.caller.recorder()) {
                (Some(servers), _) => Box::new(way.simulated(&servers, request)),
                (None, Some(recorder)) => Box::new(way.recorded(recorder, request)),
                (None, None) => Box::new(way.answer(request)),
            },
            Err(error) => Box::new(std::future::ready(Err(error))),
        }
    }
}

/// One request that may go out, on its way.
struct Way {
    permit: Permit,
    request: Request,
    open: Share,
    grants: Arc<Grants>,
    caller: Arc<dyn Caller>,
    clients: Arc<Clients>,
}

impl Way {
    async fn answer(self, mut request: http::Request<WasiBody>) -> Answer {
        let by = Instant::now() + self.request.timeouts.connect;
        let Ok(place) = timeout_at(by, self.clients.place()).await else {
            return Err(self.request.refuse(&*self.caller, Limit::PerHandler));
        };
        self.complete(&mut request);
        let pool = self.clients.of(Kind {
            reach: self.permit.reach,
            injected: self.permit.injected.clone(),
        });
        let mut captured = capture_connection(&mut request);
        let mut response = pool.request(request);
        // The response may be there, or have failed, before the connection is noticed.
        let connected = pin!(captured.wait_for_connection_metadata());
        let early = match timeout_at(by, select(&mut response, connected)).await {
            Ok(Either::Left((response, _))) => Some(response),
            Ok(Either::Right(_)) => None,
            Err(_) => return Err(Error::ConnectionTimeout),
        };
        let response = match early {
            Some(response) => response,
            None => self.begins(response).await?,
        };
        let response = response.map_err(|error| match clients::failure(&error) {
            Refused::Inside(inside) => self.prohibit(inside),
            Refused::Failed(error) => error,
        })?;
        clients::check_head(response.headers())?;
        if response.body().size_hint().lower() > self.request.limits.response_max_bytes {
            return Err(self.request.refuse(&*self.caller, Limit::ResponseBytes));
        }
        let (told, holds) = ((self.request, self.caller), (place, self.open));
        let body = |incoming| Limited::new(incoming, told, holds).boxed_unsync();
        Ok((response.map(body), Box::new(std::future::ready(Ok(())))))
    }

    /// Adds what the guest leaves out, or may not see.
    fn complete(&self, request: &mut http::Request<WasiBody>) {
        let given = self.caller.traceparent().map(HeaderValue::from_str);
        if let Some(Ok(traceparent)) = given {
            request
                .headers_mut()
                .entry(TRACEPARENT)
                .or_insert(traceparent);
        }
        self.grants.inject(&self.permit, request.headers_mut());
        let server = request.uri().clone();
        self.clients.authorize(&server, request.headers_mut());
    }

    /// Waits for the head of the response.
    async fn begins(&self, response: ResponseFuture) -> Result<Began, Error> {
        let timeouts = &self.request.timeouts;
        let by = (Instant::now() + timeouts.first_byte).min(timeouts.ends);
        timeout_at(by, response)
            .await
            .map_err(|_| match by < timeouts.ends {
                true => Error::ConnectionReadTimeout,
                false => self.request.late(&*self.caller),
            })
    }

    fn prohibit(&self, inside: Reach) -> Error {
        let denial = self.grants.leads_inside(&self.permit, inside);
        self.grants.report(&denial);
        self.caller.deny(denial);
        Error::DestinationIpProhibited
    }
}

#[cfg(test)]
mod tests;
