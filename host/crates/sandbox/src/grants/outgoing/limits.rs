//! Owns the limits of one request: what they are called, and that whoever reaches
//! one is told which setting sets it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use wasmtime_wasi_http::{Error, RequestOptions};

use super::Caller;
use crate::grants::settings::HttpGrant;

/// Far longer than a name look-up and a TCP and TLS handshake round the world take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// As long as most gateways wait for an answer to begin.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that streams sends something more often.
const BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(10);

/// A limit that a request reached.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    ResponseBytes,
    Time,
    PerCall,
    PerHandler,
}

/// How long the parts of a request may take.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    /// Over all until the connection stands: our own queue, the look-up, TCP, TLS.
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) between_bytes: Duration,
    /// When all of it is over.
    pub(super) ends: Instant,
}

impl Timeouts {
    /// What the guest asked for, else our defaults; never longer than is left of its
    /// call and than `total`.
    pub(super) fn new(asked: RequestOptions, left: Duration, total: Duration) -> Self {
        let left = left.min(total);
        let cap = |asked: Option<Duration>, default: Duration| asked.unwrap_or(default).min(left);
        Self {
            connect: cap(asked.connect_timeout, CONNECT_TIMEOUT),
            first_byte: cap(asked.first_byte_timeout, FIRST_BYTE_TIMEOUT),
            between_bytes: cap(asked.between_bytes_timeout, BETWEEN_BYTES_TIMEOUT),
            ends: Instant::now() + left,
        }
    }
}

/// A request, as its limits look at it.
pub(super) struct Request {
    /// `GET https://api.example.com/v1`, without the query.
    pub(super) shown: String,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Arc<HttpGrant>,
    /// The file that sets the limits.
    pub(super) place: Arc<str>,
}

impl Request {
    /// It takes too long: for its own limit, or for its call, which ends by itself.
    pub(super) fn late(&self, caller: &dyn Caller) -> Error {
        match caller.time_left().is_zero() {
            true => Error::HttpResponseTimeout,
            false => self.refuse(caller, Limit::Time),
        }
    }

    /// What the guest gets, where the log of its call says which setting it is.
    pub(super) fn refuse(&self, caller: &dyn Caller, limit: Limit) -> Error {
        let limits = &self.limits;
        let (what, setting) = match limit {
            Limit::ResponseBytes => (
                format!(
                    "the response has more than {} bytes",
                    limits.response_max_bytes
                ),
                "http.response_max_bytes",
            ),
            Limit::Time => (
                format!("took longer than {:?}", limits.timeout),
                "http.timeout",
            ),
            Limit::PerCall => (
                format!(
                    "the call has {} requests open",
                    limits.requests_per_call_max
                ),
                "http.requests_per_call_max",
            ),
            Limit::PerHandler => (
                format!(
                    "the handler has {} requests open, or its part of `host.outgoing_max`",
                    limits.requests_max
                ),
                "http.requests_max",
            ),
        };
        caller.warn(&format!(
            "HTTP request `{}`: {what}; `{setting}` in {} sets the limit",
            self.shown, self.place
        ));
        match limit {
            Limit::ResponseBytes => Error::HttpResponseBodySize(Some(limits.response_max_bytes)),
            Limit::Time => Error::HttpResponseTimeout,
            Limit::PerCall | Limit::PerHandler => Error::ConnectionLimitReached,
        }
    }
}
