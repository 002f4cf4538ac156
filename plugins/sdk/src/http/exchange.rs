//! Requests in progress: each makes progress until it has to wait, and all of them
//! wait together.

use std::{mem, time::Duration};

use wasip2::{
    clocks::monotonic_clock,
    http::{
        outgoing_handler,
        types::{
            Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody,
            OutgoingRequest, RequestOptions, Scheme,
        },
    },
    io::{
        poll::{Pollable, poll},
        streams::{InputStream, OutputStream, StreamError},
    },
};

use super::{Error, ErrorKind, Request, Response};

/// How many bytes are read or written at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// Sends all requests concurrently; the responses are in the order of the requests.
pub(super) fn send_all(requests: Vec<Request>) -> Vec<Result<Response, Error>> {
    let mut exchanges: Vec<_> = requests.into_iter().map(Exchange::start).collect();
    loop {
        let mut waiting: Vec<_> = exchanges.iter_mut().filter_map(Exchange::advance).collect();
        if waiting.is_empty() {
            break;
        }
        let ends = exchanges.iter().filter_map(Exchange::ends_at).min();
        waiting.extend(ends.map(monotonic_clock::subscribe_instant));
        poll(&waiting.iter().collect::<Vec<_>>());
        // A pollable is a child of what it waits for, and goes first.
    }
    let ended = exchanges.into_iter().map(|exchange| match exchange.at {
        At::Done(ended) => ended,
        _ => unreachable!("nothing waits"),
    });
    ended.collect()
}

/// A request in progress.
struct Exchange {
    url: String,
    ends_at: Option<u64>,
    at: At,
    // Whole, where redirects of it are followed.
    request: Option<Request>,
}

enum At {
    Uploading(Upload),
    /// Sent; there is no response yet.
    Sent(FutureIncomingResponse),
    Waiting(FutureIncomingResponse),
    Reading(Download),
    Done(Result<Response, Error>),
}

// Fields are dropped in their order: children before parents.

struct Upload {
    sink: OutputStream,
    body: OutgoingBody,
    future: FutureIncomingResponse,
    bytes: Vec<u8>,
    sent: usize,
}

struct Download {
    source: InputStream,
    body: IncomingBody,
    response: IncomingResponse,
    bytes: Vec<u8>,
}

enum Step {
    MovesTo(At),
    WaitsIn(At, Pollable),
}

impl Exchange {
    fn start(mut request: Request) -> Self {
        let nanoseconds = |timeout: Duration| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let timeout = request.timeout.map(nanoseconds);
        let whole = (request.redirects_max > 0).then(|| request.clone());
        Self {
            request: whole,
            at: open(&mut request).unwrap_or_else(|error| At::Done(Err(error))),
            ends_at: timeout.map(|timeout| monotonic_clock::now().saturating_add(timeout)),
            url: request.url,
        }
    }

    /// When it times out.
    fn ends_at(&self) -> Option<u64> {
        match self.at {
            At::Done(_) => None,
            _ => self.ends_at,
        }
    }

    /// Makes progress until it has to wait for the returned pollable, or is done.
    fn advance(&mut self) -> Option<Pollable> {
        if self
            .ends_at()
            .is_some_and(|at| monotonic_clock::now() >= at)
        {
            let error = Error::new(ErrorKind::Timeout, &self.url, "no response came in time");
            self.at = At::Done(Err(error));
        }
        loop {
            let failed = || At::Done(Err(Error::new(ErrorKind::Failed, &self.url, "no response")));
            let step = match mem::replace(&mut self.at, failed()) {
                At::Uploading(upload) => upload.step(),
                At::Sent(future) => {
                    let pollable = future.subscribe();
                    Step::WaitsIn(At::Waiting(future), pollable)
                }
                At::Waiting(future) => received(future, &self.url),
                At::Reading(download) => download.step(&self.url),
                At::Done(ended) => {
                    self.at = At::Done(ended);
                    match self.redirected() {
                        true => continue,
                        false => return None,
                    }
                }
            };
            match step {
                Step::MovesTo(at) => self.at = at,
                Step::WaitsIn(at, pollable) => {
                    self.at = at;
                    return Some(pollable);
                }
            }
        }
    }
}

impl Exchange {
    /// Starts over with the next request if the response is a redirect to follow.
    fn redirected(&mut self) -> bool {
        let (Some(request), At::Done(Ok(response))) = (&self.request, &self.at) else {
            return false;
        };
        match request.redirected(response) {
            Ok(None) => false,
            Ok(Some(next)) => {
                let ends_at = self.ends_at;
                *self = Self::start(next);
                self.ends_at = ends_at;
                true
            }
            Err(error) => {
                self.at = At::Done(Err(error));
                false
            }
        }
    }
}

/// Hands the request to the host.
fn open(request: &mut Request) -> Result<At, Error> {
    let target = request.target()?;
    let wrong = |what: &str| Error::new(ErrorKind::Invalid, &request.url, what);
    let headers = headers(request)?;
    let outgoing = OutgoingRequest::new(headers);
    // `GET` is what a new request has: each call of the host has its cost.
    let method = method(&request.method);
    if !matches!(method, Method::Get) {
        let set = outgoing.set_method(&method);
        set.map_err(|()| wrong("the method is not valid"))?;
    }
    let scheme = match target.secure {
        true => Scheme::Https,
        false => Scheme::Http,
    };
    outgoing
        .set_scheme(Some(&scheme))
        .and_then(|()| outgoing.set_authority(Some(target.authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(&target.path_with_query)))
        .map_err(|()| wrong("is not a valid http or https URL"))?;
    let options = request.timeout.map(options);
    let body = request.body.is_some().then(|| outgoing.body());
    let sent = outgoing_handler::handle(outgoing, options);
    let future = sent.map_err(|code| Error::of_code(&request.url, &code))?;
    let (Some(Ok(body)), Some(bytes)) = (body, request.body.take()) else {
        return Ok(At::Sent(future));
    };
    match body.write() {
        Ok(sink) => Ok(At::Uploading(Upload {
            sink,
            body,
            future,
            bytes,
            sent: 0,
        })),
        Err(()) => Ok(At::Waiting(future)),
    }
}

fn headers(request: &Request) -> Result<Fields, Error> {
    let fields = Fields::new();
    let add = |name: &String, value: &[u8]| {
        fields.append(name, value).map_err(|error| {
            let reason = format!("the header `{}` is not valid: {error}", name.escape_debug());
            Error::new(ErrorKind::Invalid, &request.url, reason)
        })
    };
    for (name, value) in &request.headers {
        add(name, value)?;
    }
    if let Some(body) = &request.body {
        add(&"content-length".into(), body.len().to_string().as_bytes())?;
    }
    Ok(fields)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.into()),
    }
}

fn options(timeout: Duration) -> RequestOptions {
    let options = RequestOptions::new();
    let timeout = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    // A host that knows none of them still has the timeout of the exchange.
    let _ = options.set_connect_timeout(timeout);
    let _ = options.set_first_byte_timeout(timeout);
    let _ = options.set_between_bytes_timeout(timeout);
    options
}

impl Upload {
    fn step(mut self) -> Step {
        let left = &self.bytes[self.sent..];
        if !left.is_empty() {
            match self.sink.check_write() {
                Ok(0) => {
                    let pollable = self.sink.subscribe();
                    return Step::WaitsIn(At::Uploading(self), pollable);
                }
                Ok(room) => {
                    let room = usize::try_from(room.min(CHUNK_BYTES)).unwrap_or(usize::MAX);
                    let part = &left[..left.len().min(room)];
                    if self.sink.write(part).is_ok() {
                        self.sent += part.len();
                        return Step::MovesTo(At::Uploading(self));
                    }
                }
                // A server that stops reading may have answered all the same.
                Err(_) => {}
            }
        }
        let _ = self.sink.flush();
        drop(self.sink);
        let _ = OutgoingBody::finish(self.body, None);
        Step::MovesTo(At::Waiting(self.future))
    }
}

fn received(future: FutureIncomingResponse, url: &str) -> Step {
    let failed = |error| Step::MovesTo(At::Done(Err(error)));
    let Some(got) = future.get() else {
        let pollable = future.subscribe();
        return Step::WaitsIn(At::Waiting(future), pollable);
    };
    // The outer result is for a second `get`, which does not happen.
    let response = match got {
        Ok(Ok(response)) => response,
        Ok(Err(code)) => return failed(Error::of_code(url, &code)),
        Err(()) => return failed(Error::new(ErrorKind::Failed, url, "no response")),
    };
    let parts = response.consume().and_then(|body| {
        let source = body.stream()?;
        Ok((source, body))
    });
    match parts {
        Ok((source, body)) => Step::MovesTo(At::Reading(Download {
            source,
            body,
            response,
            bytes: Vec::new(),
        })),
        Err(()) => failed(Error::new(
            ErrorKind::Failed,
            url,
            "the response has no body",
        )),
    }
}

impl Download {
    fn step(mut self, url: &str) -> Step {
        match self.source.read(CHUNK_BYTES) {
            Ok(part) if part.is_empty() => {
                let pollable = self.source.subscribe();
                Step::WaitsIn(At::Reading(self), pollable)
            }
            Ok(part) => {
                self.bytes.extend_from_slice(&part);
                Step::MovesTo(At::Reading(self))
            }
            Err(StreamError::Closed) => Step::MovesTo(At::Done(Ok(self.whole(url)))),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                let failed = match code {
                    Some(code) => Error::of_code(url, &code),
                    None => Error::new(
                        ErrorKind::Failed,
                        url,
                        format!("the response broke off: {}", error.to_debug_string()),
                    ),
                };
                Step::MovesTo(At::Done(Err(failed)))
            }
        }
    }

    fn whole(self, url: &str) -> Response {
        let headers = self.response.headers().entries().into_iter();
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value));
        let response = Response {
            url: url.to_owned(),
            status: self.response.status(),
            headers: headers.collect(),
            body: self.bytes,
        };
        drop(self.source);
        drop(self.body);
        response
    }
}
