//! Owns the bodies of requests: how large one is, how long it may take, how
//! many bytes are in flight, and that a client which is refused hears why.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::problem::Problem;
use crate::{
    budget::{Budget, Share},
    config::Config,
};

/// A body must come that fast, beyond the time that each has: a modem is as fast.
const BYTES_PER_SECOND_MIN: u64 = 8 << 10;
/// A client that was refused may send that long, and so much, before its
/// connection is closed: closed at once, it would lose the answer.
const LINGER_MAX: Duration = Duration::from_secs(30);
const LINGER_MAX_BYTES: usize = 256 << 20;
/// A pause after which it is taken to have heard.
const LINGER_PAUSE: Duration = Duration::from_secs(5);

/// What a body may be.
#[derive(Debug)]
pub(super) struct Bodies {
    max_bytes: usize,
    timeout: Duration,
    /// The parser's buffer of a connection, which grows while a body comes.
    buffer_bytes: u64,
    in_flight: Arc<Budget>,
}

/// Why a body was not taken; what is left of it.
pub(super) struct Refused {
    pub(super) problem: Problem,
    pub(super) rest: Option<Incoming>,
}

impl Bodies {
    pub(super) fn new(config: &Config, in_flight: Arc<Budget>) -> Self {
        Self {
            max_bytes: config.host.command_max_bytes,
            timeout: config.http.body_timeout,
            buffer_bytes: config.http.header_max_bytes as u64,
            in_flight,
        }
    }

    /// The whole body, and its share of those in flight.
    pub(super) async fn read(&self, mut body: Incoming) -> Result<(Bytes, Option<Share>), Refused> {
        if body.is_end_stream() {
            return Ok((Bytes::new(), None));
        }
        // By its declared length, before any of it is read or asked for.
        if body.size_hint().lower() > self.max_bytes as u64 {
            return Err(self.too_large(body));
        }
        let began = Instant::now();
        let (mut first, mut all) = (Bytes::new(), Vec::new());
        let mut share: Option<Share> = None;
        let mut length = 0;
        loop {
            let earned = Duration::from_secs(length as u64 / BYTES_PER_SECOND_MIN);
            let Ok(frame) = timeout_at(began + self.timeout + earned, body.frame()).await else {
                return Err(Refused {
                    problem: Problem::slow_body(self.timeout, BYTES_PER_SECOND_MIN),
                    rest: None,
                });
            };
            let chunk = match frame {
                None => break,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) => {
                    return Err(Refused {
                        problem: Problem::unreadable_body(),
                        rest: None,
                    });
                }
            };
            length += chunk.len();
            if length > self.max_bytes {
                return Err(self.too_large(body));
            }
            let taken = match &mut share {
                // The first chunk keeps the buffer alive that it came in.
                Some(share) if all.is_empty() => share.grow(self.buffer_bytes + chunk.len() as u64),
                Some(share) => share.grow(chunk.len() as u64),
                None => self.in_flight.take(chunk.len() as u64).map(|taken| {
                    share = Some(taken);
                }),
            };
            if let Err(exhausted) = taken {
                return Err(Refused {
                    problem: Problem::exhausted("bodies-full", &exhausted),
                    rest: Some(body),
                });
            }
            // Most bodies are one chunk, which need not be copied.
            if first.is_empty() {
                first = chunk;
            } else {
                if all.is_empty() {
                    // What was declared, which is within the limit: growing would take twice as much.
                    let rest = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                    all.reserve_exact(first.len() + chunk.len() + rest.min(self.max_bytes));
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&chunk);
            }
            if body.is_end_stream() {
                break;
            }
        }
        let whole = if all.is_empty() { first } else { all.into() };
        Ok((whole, share))
    }

    fn too_large(&self, body: Incoming) -> Refused {
        Refused {
            problem: Problem::too_large(self.max_bytes),
            rest: Some(body),
        }
    }
}

/// Reads on, and drops, what a refused client still sends, in `tasks` until `stop`.
pub(super) fn linger(
    mut rest: Incoming,
    headers: &HeaderMap,
    tasks: &TaskTracker,
    stop: CancellationToken,
) {
    // A client that asked first hears the answer before it sends any.
    if rest.is_end_stream() || headers.contains_key(header::EXPECT) {
        return;
    }
    tasks.spawn(async move {
        let reading = async {
            let mut left = LINGER_MAX_BYTES;
            while let Ok(Some(Ok(frame))) = timeout(LINGER_PAUSE, rest.frame()).await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(length) {
                    Some(less) => left = less,
                    None => return,
                }
            }
        };
        // Both ends of it are good ends: the connection closes.
        let _ = stop.run_until_cancelled(timeout(LINGER_MAX, reading)).await;
    });
}
