//! Owns the HTTP requests that leave a handler through wasi:http: judged by
//! its grants, within our own timeouts.

use std::{pin::Pin, sync::Arc, time::Duration};

use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, default_hooks};

use super::Grants;
use crate::plugin::state::Shared;

/// Far longer than a TCP and TLS handshake round the world takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// As long as most gateways wait for an answer to begin.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that streams sends something more often.
const BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends the requests of one call.
pub(in crate::plugin) struct Outgoing {
    pub(in crate::plugin) grants: Arc<Grants>,
    pub(in crate::plugin) shared: Arc<Shared>,
}

type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(http::Response<WasiBody>, Done), Error>;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        done: Done,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        if let Err(denial) = self.grants.judge(request.method(), request.uri()) {
            self.grants.report(&denial);
            self.shared.deny(denial);
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        }
        let options = self.within(options.unwrap_or_default());
        let begin = options
            .connect_timeout
            .into_iter()
            .chain(options.first_byte_timeout)
            .sum();
        let sent = default_hooks().send_request(request, Some(options), done);
        // Over the whole beginning, since the TLS handshake has no timeout of its own.
        Box::new(async move {
            match tokio::time::timeout(begin, Pin::from(sent)).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::ConnectionTimeout),
            }
        })
    }
}

impl Outgoing {
    /// What the guest asked for, else our defaults; never longer than is left of its call.
    fn within(&self, asked: RequestOptions) -> RequestOptions {
        let left = self.shared.time_left();
        let cap =
            |asked: Option<Duration>, default: Duration| Some(asked.unwrap_or(default).min(left));
        RequestOptions {
            connect_timeout: cap(asked.connect_timeout, CONNECT_TIMEOUT),
            first_byte_timeout: cap(asked.first_byte_timeout, FIRST_BYTE_TIMEOUT),
            between_bytes_timeout: cap(asked.between_bytes_timeout, BETWEEN_BYTES_TIMEOUT),
        }
    }
}
