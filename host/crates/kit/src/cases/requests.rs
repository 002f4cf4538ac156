//! Owns the requests that a case expects, and what comes of each: replies in place
//! of servers, and what is not as expected of those that are sent.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderName, Method, Uri, uri::Scheme};
use pointsman_core::json;
use pointsman_sandbox::{Received, SimulatedReply, SimulatedServers};
use serde_json::Value;

use super::{
    diff::diff,
    expect::{Difference, canonical},
};

/// The key in a case file, and in what is said of it.
pub(super) const KEY: &str = "requests";

/// Requests of one case that are reported: a loop may send any number.
const DIFFERENCES_MAX: usize = 20;

/// Bytes of a body that the line for a request repeats.
const SHOWN_BODY_MAX_BYTES: usize = 2_000;

/// A request that the handler sends once, and what comes of it.
#[derive(Clone, Debug)]
pub struct ExpectedRequest {
    /// Its method.
    pub method: Method,
    /// Its URL, with the query.
    pub url: Uri,
    /// Headers that it has, among others.
    pub headers: Vec<(HeaderName, String)>,
    /// Its body.
    pub body: Option<ExpectedBody>,
    /// How long it takes, in milliseconds of the simulated clock.
    pub delay_ms: u64,
    /// What is received.
    pub received: Received,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub enum ExpectedBody {
    /// This JSON text, whatever the order of its keys.
    Json(String),
    /// This text.
    Text(String),
}

/// Stands in for the servers of one call.
pub(super) struct Expectations {
    expected: Vec<ExpectedRequest>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    // For each expected one: whether it was sent, as it should be or not.
    sent: Vec<bool>,
    differences: Vec<Difference>,
}

impl Expectations {
    pub(super) fn new(expected: Vec<ExpectedRequest>) -> Self {
        let sent = vec![false; expected.len()];
        Self {
            expected,
            seen: Mutex::new(Seen {
                sent,
                ..Seen::default()
            }),
        }
    }

    /// What is not as expected, once the call has ended.
    pub(super) fn differences(&self) -> Vec<Difference> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = self.expected.iter().zip(&seen.sent);
        let missing = missing.filter(|(_, sent)| !**sent).map(|(expected, _)| {
            Difference::new(KEY, format!("`{}` was not sent", expected.line()))
        });
        let all = seen.differences.iter().cloned().chain(missing);
        all.take(DIFFERENCES_MAX).collect()
    }
}

impl SimulatedServers for Expectations {
    fn reply(&self, request: &http::Request<Vec<u8>>) -> SimulatedReply {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let open = (0..self.expected.len()).filter(|at| !seen.sent[*at]);
        let same_line = open.filter(|at| self.expected[*at].is_to(request));
        let compared = same_line.map(|at| (at, self.expected[at].differs(request)));
        let mut compared: Vec<_> = compared.collect();
        // As it should be before one that is only to the same place.
        compared.sort_by_key(|(_, differences)| !differences.is_empty());
        let line = line(request.method(), request.uri());
        let differences = match compared.into_iter().next() {
            Some((at, differences)) => {
                seen.sent[at] = true;
                if differences.is_empty() {
                    return self.expected[at].reply();
                }
                differences
            }
            None => vec![Difference::new(
                KEY,
                format!(
                    "`{line}` is not expected; to expect it, add to `requests`: {}",
                    entry(request)
                ),
            )],
        };
        if seen.differences.len() < DIFFERENCES_MAX {
            seen.differences.extend(differences);
        }
        let message = format!("the case does not expect the HTTP request `{line}`");
        SimulatedReply {
            after: Duration::ZERO,
            received: Received::Unexpected(message),
        }
    }
}

impl ExpectedRequest {
    fn line(&self) -> String {
        line(&self.method, &self.url)
    }

    fn is_to(&self, request: &http::Request<Vec<u8>>) -> bool {
        self.method == *request.method() && same_url(&self.url, request.uri())
    }

    /// What is not as expected of a request to the same place.
    fn differs(&self, request: &http::Request<Vec<u8>>) -> Vec<Difference> {
        let of = |what: &str| format!("`{}`: {what}", self.line());
        let headers = self.headers.iter().filter_map(|(name, expected)| {
            let found = request.headers().get_all(name).iter();
            let found: Vec<_> = found
                .map(|it| String::from_utf8_lossy(it.as_bytes()))
                .collect();
            let found = found.join(", ");
            let what = || match request.headers().contains_key(name) {
                true => format!("header `{name}`: expected `{expected}`, found `{found}`"),
                false => format!("header `{name}`: expected `{expected}`, found none"),
            };
            (found != *expected).then(|| Difference::new(KEY, of(&what())))
        });
        let found = String::from_utf8_lossy(request.body());
        let body = self.body.as_ref().and_then(|body| {
            let (expected, found) = match body {
                ExpectedBody::Json(expected) => (canonical(expected), canonical(&found)),
                ExpectedBody::Text(expected) => (lines(expected), lines(&found)),
            };
            (expected != found).then(|| {
                let mut difference = Difference::new(KEY, of("the body is not as expected"));
                difference.diff = diff(&expected, &found, |e, f| e == f);
                difference.cut()
            })
        });
        headers.chain(body).collect()
    }

    fn reply(&self) -> SimulatedReply {
        SimulatedReply {
            after: Duration::from_millis(self.delay_ms),
            received: self.received.clone(),
        }
    }
}

fn lines(text: &str) -> Vec<String> {
    text.split('\n').map(str::to_owned).collect()
}

fn line(method: &Method, url: &Uri) -> String {
    format!("{method} {url}")
}

/// Whether both are the same place: hosts in any case, and the port of the scheme said or not.
fn same_url(a: &Uri, b: &Uri) -> bool {
    let port = |url: &Uri| {
        let default = if url.scheme() == Some(&Scheme::HTTP) {
            80
        } else {
            443
        };
        url.port_u16().unwrap_or(default)
    };
    let host = |url: &Uri| url.host().unwrap_or_default().to_ascii_lowercase();
    a.scheme() == b.scheme()
        && host(a) == host(b)
        && port(a) == port(b)
        && a.path_and_query() == b.path_and_query()
}

/// What expects this request, as a case has it.
fn entry(request: &http::Request<Vec<u8>>) -> String {
    let mut members = vec![request_member(request)];
    let body = Some(request.body()).filter(|body| body.len() <= SHOWN_BODY_MAX_BYTES);
    members.extend(body.and_then(|body| body_member(body)));
    members.push(r#""response": { "status": 200 }"#.to_owned());
    format!("{{ {} }}", members.join(", "))
}

/// `"request": "GET https://a.example"`.
pub(super) fn request_member(request: &http::Request<Vec<u8>>) -> String {
    let line = line(request.method(), request.uri());
    format!(r#""request": {}"#, Value::from(line))
}

/// `"json": …`, or `"body": …` where it is other text; none for what is no text, or empty.
pub(super) fn body_member(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok().filter(|it| !it.is_empty())?;
    // As deep as it stands in a case: in the response of one of its requests.
    let in_a_case = || json::parse(&format!("[[[[{body}]]]]")).map(drop);
    Some(match json::parse(body).and_then(|_| in_a_case()) {
        Ok(()) => format!(r#""json": {}"#, body.trim()),
        Err(_) => format!(r#""body": {}"#, Value::from(body)),
    })
}
