//! Owns requests that are judged and completed as all others, and that a test
//! replies to in place of servers.

use std::{pin::Pin, sync::Arc, time::Duration};

use hyper::body::Body as _;
use wasmtime_wasi_http::{Error, WasiBody};

use super::{Answer, Way, codes::RequestFailure, limits::Limit};
use crate::grants::granted::Denial;

/// What is received.
#[derive(Clone, Debug)]
pub enum Received {
    /// A response; with a failure, that comes after its body.
    Response(http::Response<Vec<u8>>, Option<RequestFailure>),
    /// No response.
    Failure(RequestFailure),
    /// The test did not expect the request: it fails as one that is not granted,
    /// with this in the log.
    Unexpected(String),
}

/// Stands in for all servers.
pub(crate) trait StandIn: Send + Sync {
    /// Sends a request whose guest waits for the response for no longer than `patience`.
    fn send(&self, request: http::Request<WasiBody>, patience: Duration) -> Reply;
}

/// The response, once it is there.
pub(crate) type Reply =
    Pin<Box<dyn Future<Output = Result<http::Response<WasiBody>, NoReply>> + Send>>;

/// Why there is no response.
pub(crate) enum NoReply {
    /// The test did not expect the request, and says this of it.
    Unexpected(String),
    /// It comes after the patience.
    Late,
    Failed(Error),
}

impl Way {
    pub(super) fn simulated(
        self,
        servers: &Arc<dyn StandIn>,
        mut request: http::Request<WasiBody>,
    ) -> impl Future<Output = Answer> + Send + use<> {
        self.complete(&mut request);
        let total = self.request.limits.timeout;
        let patience = self.request.timeouts.first_byte.min(total);
        // Now, not when the future is polled: it has begun for the clock.
        let reply = servers.send(request, patience);
        async move {
            let response = reply.await.map_err(|no_reply| match no_reply {
                NoReply::Unexpected(message) => {
                    self.caller.deny(Denial::unexpected(message));
                    Error::HttpRequestDenied
                }
                NoReply::Late if patience < total => Error::ConnectionReadTimeout,
                NoReply::Late => self.request.refuse(&*self.caller, Limit::Time),
                NoReply::Failed(error) => error,
            })?;
            if response.body().size_hint().lower() > self.request.limits.response_max_bytes {
                return Err(self.request.refuse(&*self.caller, Limit::ResponseBytes));
            }
            Ok((response, Box::new(std::future::ready(Ok(()))) as _))
        }
    }
}
