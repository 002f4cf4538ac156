//! [`Error`]: why there is no usable response.

use std::{fmt, time::Duration};

use wasip2::http::types::ErrorCode;

use crate::Failure;

/// Why there is no usable response.
///
/// With `?` it becomes a [`Failure`]: unavailable if [`Error::may_pass`], otherwise
/// rejected.
///
/// ```
/// # use pointsman_sdk::{Failure, http::{self, ErrorKind}};
/// let error = http::get("ftp://example.com").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert!(matches!(Failure::from(error), Failure::Rejected(_)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    pub(super) retry_after: Option<Duration>,
}

/// The kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The URL, the method, a header or the body is not valid: nothing was sent.
    Invalid,
    /// The operator did not grant the request, or the address that its host name resolves to.
    Denied,
    /// There was no response in time.
    Timeout,
    /// There was no response, or it was cut off.
    Failed,
    /// A redirect leads to a URL that is not http or https, or there are too many; see
    /// [`Request::follow_redirects`](super::Request::follow_redirects).
    Redirect,
    /// The response has this status; see [`Response::error_for_status`](super::Response::error_for_status).
    Status(u16),
    /// The response exceeds a limit that the operator set.
    TooLarge,
    /// The body of the response does not fit the requested type.
    Body,
}

impl Error {
    /// `url` is shown without its query, which may contain secrets.
    pub(super) fn new(kind: ErrorKind, url: &str, reason: impl fmt::Display) -> Self {
        let end = url.find(['?', '#']).unwrap_or(url.len());
        let url = &url[..end];
        // Where user names and passwords stand.
        let url = match url.contains('@') {
            true => "(URL with a user name)",
            false => url,
        };
        Self {
            kind,
            message: format!("{url}: {reason}"),
            retry_after: None,
        }
    }

    /// Which codes are temporary is the same in every SDK.
    pub(super) fn of_code(url: &str, code: &ErrorCode) -> Self {
        let kind = match code {
            ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => ErrorKind::Denied,
            ErrorCode::HttpRequestLengthRequired
            | ErrorCode::HttpRequestBodySize(_)
            | ErrorCode::HttpRequestMethodInvalid
            | ErrorCode::HttpRequestUriInvalid
            | ErrorCode::HttpRequestUriTooLong
            | ErrorCode::HttpRequestHeaderSectionSize(_)
            | ErrorCode::HttpRequestHeaderSize(_)
            | ErrorCode::HttpRequestTrailerSectionSize(_)
            | ErrorCode::HttpRequestTrailerSize(_) => ErrorKind::Invalid,
            ErrorCode::DnsTimeout
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout => ErrorKind::Timeout,
            ErrorCode::HttpResponseHeaderSectionSize(_)
            | ErrorCode::HttpResponseHeaderSize(_)
            | ErrorCode::HttpResponseBodySize(_)
            | ErrorCode::HttpResponseTrailerSectionSize(_)
            | ErrorCode::HttpResponseTrailerSize(_) => ErrorKind::TooLarge,
            _ => ErrorKind::Failed,
        };
        let reason = match code {
            ErrorCode::HttpRequestDenied => {
                "the request is not granted; the log has the line that grants it".into()
            }
            ErrorCode::DestinationIpProhibited => {
                "the name leads to an address that is not granted; the log says how to grant it"
                    .into()
            }
            ErrorCode::HttpResponseBodySize(_) => {
                "the response exceeds the limit that the log names".into()
            }
            ErrorCode::InternalError(Some(reason)) => reason.clone(),
            // Such as `ConnectionRefused`.
            code => words(&format!("{code:?}")),
        };
        Self::new(kind, url, reason)
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether a later attempt may succeed: there was no response, or one with status 408,
    /// 429 or 5xx.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self.kind {
            ErrorKind::Timeout | ErrorKind::Failed => true,
            ErrorKind::Status(status) => matches!(status, 408 | 429 | 500..),
            ErrorKind::Invalid
            | ErrorKind::Denied
            | ErrorKind::Redirect
            | ErrorKind::TooLarge
            | ErrorKind::Body => false,
        }
    }
}

/// `ConnectionReadTimeout` as `connection read timeout`.
fn words(name: &str) -> String {
    let name = name.strip_prefix("ErrorCode::").unwrap_or(name);
    let mut words = String::new();
    let mut before = ' ';
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
        before = letter;
    }
    words
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.may_pass() {
            true => Self::Unavailable {
                message: error.message,
                retry_after: error.retry_after,
            },
            false => Self::Rejected(error.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_neither_query_nor_password() {
        for (url, shown) in [
            ("https://a.example/b?token=hunter2", "https://a.example/b"),
            ("https://u:hunter2@a.example/b", "(URL with a user name)"),
            ("https://a.example#hunter2", "https://a.example"),
        ] {
            let error = Error::new(ErrorKind::Failed, url, "no");
            assert_eq!(error.to_string(), format!("{shown}: no"));
        }
    }

    #[test]
    fn what_may_pass_is_unavailable_and_the_rest_is_rejected() {
        for (code, kind, may_pass) in [
            (ErrorCode::HttpRequestDenied, ErrorKind::Denied, false),
            (ErrorCode::DestinationIpProhibited, ErrorKind::Denied, false),
            (ErrorCode::HttpRequestUriInvalid, ErrorKind::Invalid, false),
            (ErrorCode::ConnectionRefused, ErrorKind::Failed, true),
            (ErrorCode::DnsTimeout, ErrorKind::Timeout, true),
            (
                ErrorCode::HttpResponseBodySize(None),
                ErrorKind::TooLarge,
                false,
            ),
        ] {
            let error = Error::of_code("https://a.example", &code);
            assert_eq!(
                (error.kind(), error.may_pass()),
                (kind, may_pass),
                "{code:?}"
            );
            let unavailable = matches!(Failure::from(error), Failure::Unavailable { .. });
            assert_eq!(unavailable, may_pass, "{code:?}");
        }
        assert_eq!(words("ConnectionReadTimeout"), "connection read timeout");
    }
}
