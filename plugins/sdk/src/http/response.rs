//! [`Response`]: a complete response.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{Error, ErrorKind};

/// A complete response.
#[derive(Clone, Debug)]
pub struct Response {
    pub(super) url: String,
    pub(super) status: u16,
    // Names in lower case.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// The URL that it came from: the last one, if there were redirects.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The status, such as 200.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is from 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..=299).contains(&self.status)
    }

    /// The first header with this name, ignoring case, if its value is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// All headers, with their names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let headers = self.headers.iter();
        headers.map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.body
    }

    /// The body as text. Invalid UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a `T`, whatever the status.
    ///
    /// # Errors
    /// [`ErrorKind::Body`] if it is not JSON or does not fit `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let reason = format!(
                "the response with status {} is not the expected JSON: {error}",
                self.status
            );
            Error::new(ErrorKind::Body, &self.url, reason)
        })
    }

    /// Returns the response if its status is below 400.
    ///
    /// # Errors
    /// [`ErrorKind::Status`], which makes the command unavailable for 408, 429 and 5xx,
    /// with the wait that `retry-after` asks for in seconds, and rejects it for any other
    /// status.
    pub fn error_for_status(self) -> Result<Self, Error> {
        if self.status < 400 {
            return Ok(self);
        }
        let reason = format!("the server answered with status {}", self.status);
        let mut error = Error::new(ErrorKind::Status(self.status), &self.url, reason);
        let seconds = self.header("retry-after").and_then(|it| it.parse().ok());
        error.retry_after = seconds.map(Duration::from_secs);
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Failure;

    fn response(status: u16, body: &str) -> Response {
        Response {
            url: "http://a.example".into(),
            status,
            headers: vec![("retry-after".into(), b"7".to_vec())],
            body: body.into(),
        }
    }

    #[test]
    fn a_status_from_400_on_is_an_error_that_may_pass_or_not() {
        for (status, failure) in [
            (
                404,
                Failure::rejected("http://a.example: the server answered with status 404"),
            ),
            (
                503,
                Failure::retry_after(
                    "http://a.example: the server answered with status 503",
                    Duration::from_secs(7),
                ),
            ),
        ] {
            let error = response(status, "").error_for_status().unwrap_err();
            assert_eq!(Failure::from(error), failure);
        }
        assert_eq!(response(304, "").error_for_status().unwrap().status(), 304);
    }

    #[test]
    fn json_that_has_another_shape_is_named_with_its_status() {
        assert_eq!(response(200, "[1]").json::<Vec<u8>>().unwrap(), [1]);
        let error = response(502, "<html>").json::<Vec<u8>>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Body);
        assert!(error.to_string().contains("status 502"), "{error}");
    }
}
