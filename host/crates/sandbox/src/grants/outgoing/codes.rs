//! Owns the names of the errors of wasi:http: as a test of a handler writes them,
//! and as the bodies of responses end with them.

use std::mem::discriminant;

use wasmtime_wasi_http::{
    Error,
    p2::bindings::http::types::{
        DnsErrorPayload, ErrorCode, FieldSizePayload, TlsAlertReceivedPayload,
    },
};

/// Why a simulated request gets no response, or not all of it: an error of wasi:http.
#[derive(Clone, Copy, Debug)]
pub struct RequestFailure {
    name: &'static str,
    code: fn() -> ErrorCode,
}

impl RequestFailure {
    /// All of them.
    pub const ALL: [Self; 39] = [
        named("dns-timeout", || ErrorCode::DnsTimeout),
        named("dns-error", || {
            ErrorCode::DnsError(DnsErrorPayload {
                rcode: None,
                info_code: None,
            })
        }),
        named("destination-not-found", || ErrorCode::DestinationNotFound),
        named("destination-unavailable", || {
            ErrorCode::DestinationUnavailable
        }),
        named("destination-ip-prohibited", || {
            ErrorCode::DestinationIpProhibited
        }),
        named("destination-ip-unroutable", || {
            ErrorCode::DestinationIpUnroutable
        }),
        named("connection-refused", || ErrorCode::ConnectionRefused),
        named("connection-terminated", || ErrorCode::ConnectionTerminated),
        named("connection-timeout", || ErrorCode::ConnectionTimeout),
        named("connection-read-timeout", || {
            ErrorCode::ConnectionReadTimeout
        }),
        named("connection-write-timeout", || {
            ErrorCode::ConnectionWriteTimeout
        }),
        named("connection-limit-reached", || {
            ErrorCode::ConnectionLimitReached
        }),
        named("tls-protocol-error", || ErrorCode::TlsProtocolError),
        named("tls-certificate-error", || ErrorCode::TlsCertificateError),
        named("tls-alert-received", || {
            ErrorCode::TlsAlertReceived(TlsAlertReceivedPayload {
                alert_id: None,
                alert_message: None,
            })
        }),
        named("http-request-denied", || ErrorCode::HttpRequestDenied),
        named("http-request-length-required", || {
            ErrorCode::HttpRequestLengthRequired
        }),
        named("http-request-body-size", || {
            ErrorCode::HttpRequestBodySize(None)
        }),
        named("http-request-method-invalid", || {
            ErrorCode::HttpRequestMethodInvalid
        }),
        named("http-request-uri-invalid", || {
            ErrorCode::HttpRequestUriInvalid
        }),
        named("http-request-uri-too-long", || {
            ErrorCode::HttpRequestUriTooLong
        }),
        named("http-request-header-section-size", || {
            ErrorCode::HttpRequestHeaderSectionSize(None)
        }),
        named("http-request-header-size", || {
            ErrorCode::HttpRequestHeaderSize(None)
        }),
        named("http-request-trailer-section-size", || {
            ErrorCode::HttpRequestTrailerSectionSize(None)
        }),
        named("http-request-trailer-size", || {
            ErrorCode::HttpRequestTrailerSize(NO_FIELD)
        }),
        named("http-response-incomplete", || {
            ErrorCode::HttpResponseIncomplete
        }),
        named("http-response-header-section-size", || {
            ErrorCode::HttpResponseHeaderSectionSize(None)
        }),
        named("http-response-header-size", || {
            ErrorCode::HttpResponseHeaderSize(NO_FIELD)
        }),
        named("http-response-body-size", || {
            ErrorCode::HttpResponseBodySize(None)
        }),
        named("http-response-trailer-section-size", || {
            ErrorCode::HttpResponseTrailerSectionSize(None)
        }),
        named("http-response-trailer-size", || {
            ErrorCode::HttpResponseTrailerSize(NO_FIELD)
        }),
        named("http-response-transfer-coding", || {
            ErrorCode::HttpResponseTransferCoding(None)
        }),
        named("http-response-content-coding", || {
            ErrorCode::HttpResponseContentCoding(None)
        }),
        named("http-response-timeout", || ErrorCode::HttpResponseTimeout),
        named("http-upgrade-failed", || ErrorCode::HttpUpgradeFailed),
        named("http-protocol-error", || ErrorCode::HttpProtocolError),
        named("loop-detected", || ErrorCode::LoopDetected),
        named("configuration-error", || ErrorCode::ConfigurationError),
        named("internal-error", || ErrorCode::InternalError(None)),
    ];

    /// What wasi:http calls it, in lower case, such as `connection-refused`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn error(self) -> Error {
        (self.code)().into()
    }

    /// The one that an error is, or that comes next to it.
    pub(super) fn like(error: &Error) -> Self {
        let name = match error {
            Error::Connect(_) => "connection-refused",
            Error::Tls(_) => "tls-protocol-error",
            _ => "internal-error",
        };
        let is = |it: &&Self| discriminant(&it.error()) == discriminant(error);
        let known = Self::ALL.iter().find(is);
        let next = || Self::ALL.iter().find(|it| it.name == name);
        *known.or_else(next).expect("all of these names are there")
    }
}

const NO_FIELD: FieldSizePayload = FieldSizePayload {
    field_name: None,
    field_size: None,
};

const fn named(name: &'static str, code: fn() -> ErrorCode) -> RequestFailure {
    RequestFailure { name, code }
}

/// The code of an error at the end of a response's body.
pub(crate) fn of_body(error: &Error) -> ErrorCode {
    match error {
        Error::HttpResponseBodySize(bytes) => ErrorCode::HttpResponseBodySize(*bytes),
        // The client has one name for both; the head is there.
        Error::HttpResponseHeaderSectionSize(bytes) => {
            ErrorCode::HttpResponseTrailerSectionSize(*bytes)
        }
        error => match (RequestFailure::like(error).code)() {
            ErrorCode::InternalError(_) => ErrorCode::InternalError(Some(error.to_string())),
            code => code,
        },
    }
}
