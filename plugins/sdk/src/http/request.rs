//! [`Request`]: a request to send.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{
    Error, ErrorKind, Response, exchange,
    redirect::REDIRECTS_MAX,
    target::{self, Target},
};

/// A request that has not been sent yet.
///
/// ```no_run
/// # use pointsman_sdk::{Failure, http::Request, json};
/// use std::time::Duration;
///
/// let response = Request::post("https://api.example.com/policies")
///     .query("dry-run", "true")
///     .header("Idempotency-Key", "5f0c")
///     .json(&json!({ "product": "home" }))
///     .timeout(Duration::from_secs(5))
///     .send()?;
/// # Ok::<(), Failure>(())
/// ```
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) timeout: Option<Duration>,
    /// The maximum number of redirects to follow, and how many were.
    pub(super) redirects_max: u32,
    pub(super) redirects: u32,
    // The first thing that was wrong.
    wrong: Option<String>,
}

impl Request {
    /// Creates a request with this method, such as `GET` or `PROPFIND`.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: None,
            timeout: None,
            redirects_max: 0,
            redirects: 0,
            wrong: None,
        }
    }

    /// Creates a GET request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// Creates a POST request.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// Creates a PUT request.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// Creates a PATCH request.
    pub fn patch(url: impl Into<String>) -> Self {
        Self::new("PATCH", url)
    }

    /// Creates a DELETE request.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// Adds a header. Others with the same name are kept.
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// Adds `name=value` to the query of the URL, percent-encoded.
    pub fn query(mut self, name: &str, value: impl fmt::Display) -> Self {
        target::add_to_query(&mut self.url, name, &value.to_string());
        self
    }

    /// Sets the body to these bytes.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets the body to `body` as JSON, with the header `content-type: application/json`
    /// unless another was added before.
    pub fn json(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.body = Some(body),
            Err(error) => {
                let wrong = || format!("the body cannot be written as JSON: {error}");
                self.wrong.get_or_insert_with(wrong);
            }
        }
        let is_type = |(name, _): &(String, _)| name.eq_ignore_ascii_case("content-type");
        match self.headers.iter().any(is_type) {
            true => self,
            false => self.header("content-type", "application/json"),
        }
    }

    /// Limits the time until the whole response has arrived. Without it, only the limits
    /// of the host and of the call apply.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Follows up to `max` redirects, at most 10; one more is an error. Without it, a
    /// redirect is a response with a status of 3xx.
    ///
    /// As in browsers, each redirect is a request of its own, which must be granted. A POST
    /// becomes a GET at 301, 302 and 303, and `authorization` and `cookie` are not sent to
    /// another origin. The timeout covers all of them together.
    pub fn follow_redirects(mut self, max: u32) -> Self {
        self.redirects_max = max.min(REDIRECTS_MAX);
        self
    }

    /// Sends it and waits for the whole response.
    ///
    /// # Errors
    /// [`Error`] if there is no response.
    pub fn send(self) -> Result<Response, Error> {
        let mut responses = exchange::send_all(vec![self]);
        responses.pop().expect("one response per request")
    }

    /// The URL.
    pub(super) fn target(&self) -> Result<Target<'_>, Error> {
        if let Some(wrong) = &self.wrong {
            return Err(Error::new(ErrorKind::Invalid, &self.url, wrong));
        }
        Target::parse(&self.url).map_err(|reason| Error::new(ErrorKind::Invalid, &self.url, reason))
    }
}

/// Omits the query, the headers and the body: they may contain secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &url)
            .field("headers", &names)
            .field("body_bytes", &self.body.as_ref().map(Vec::len))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_sets_its_type_unless_another_is_there() {
        let request = Request::post("http://a.example").json(&[1, 2]);
        assert_eq!(request.body.as_deref(), Some(&b"[1,2]"[..]));
        assert_eq!(request.headers.len(), 1);
        let request = Request::post("http://a.example")
            .header("Content-Type", "application/problem+json")
            .json("x");
        assert_eq!(request.headers[0].1, b"application/problem+json");
        assert_eq!(request.headers.len(), 1);
    }

    #[test]
    fn a_body_that_is_no_json_fails_when_it_is_sent() {
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = Request::post("http://a.example")
            .json(&keys)
            .send()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("cannot be written as JSON"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let request = Request::post("http://a.example?key=hunter2")
            .header("authorization", "hunter2")
            .body("hunter2");
        assert!(!format!("{request:?}").contains("hunter2"));
    }
}
