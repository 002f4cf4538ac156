//! Owns the errors that a client sees: `application/problem+json` with a stable
//! `code`, a `detail` for people and, where there is one, a `hint`.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    budget::Exhausted,
    command::CommandError,
    dispatcher::DispatchError,
    queue::{EnqueueError, QueueError, Trouble},
    text::{self, escaped},
};

/// How long a client should wait before it sends a refused command again, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;
/// Of a header or parameter that is repeated in an error.
pub(super) const FOREIGN_MAX_BYTES: usize = 256;

/// An RFC 9457 problem document.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    // `about:blank` is the RFC's word for: the status says the kind, `code` the rest.
    r#type: &'static str,
    title: &'static str,
    #[serde(serialize_with = "number")]
    status: StatusCode,
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl ToString) -> Self {
        // The text of an error may carry its hint on a second line.
        let detail = detail.to_string();
        let (detail, hint) = match detail.split_once("\n  hint: ") {
            Some((detail, hint)) => (detail, Some(hint)),
            None => (detail.as_str(), None),
        };
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("error"),
            status,
            code,
            // Both may quote the request, or what a file says.
            detail: escaped(detail).to_string(),
            hint: hint.map(|hint| escaped(hint).to_string()),
        }
    }

    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-path",
            "there is nothing at this path\n  hint: `GET /` lists what there is",
        )
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "this path takes another method\n  hint: the `Allow` header names those that it takes",
        )
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the host failed on this request; its log says more",
        )
    }

    pub(super) fn unreadable_body() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "unreadable-body",
            "the body was cut short",
        )
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!(
            "the command has more than {limit} bytes\n  hint: `host.command_max_bytes` in pointsman.toml sets the limit"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "command-too-large", detail)
    }

    pub(super) fn slow_body(start: Duration, bytes_per_second: u64) -> Self {
        let detail = format!(
            "the body took longer than {start:?} and a second for each {bytes_per_second} bytes\n  hint: `http.body_timeout_ms` in pointsman.toml sets the limit"
        );
        Self::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", detail)
    }

    pub(super) fn unsupported_encoding(found: &str) -> Self {
        let found = text::cut(found.into(), FOREIGN_MAX_BYTES);
        let detail =
            format!("the body has the content encoding `{found}`\n  hint: send it as it is");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-content-encoding",
            detail,
        )
    }

    pub(super) fn unsupported_transfer(found: &str) -> Self {
        let found = text::cut(found.into(), FOREIGN_MAX_BYTES);
        let detail = format!(
            "the body has the transfer encoding `{found}`\n  hint: send it with `Content-Length`, or `chunked` alone"
        );
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "unsupported-transfer-encoding",
            detail,
        )
    }

    pub(super) fn invalid_request(reason: &str) -> Self {
        let detail = format!("the request is not valid HTTP: {reason}");
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", detail)
    }

    pub(super) fn invalid_path() -> Self {
        let detail = "the path is not UTF-8 once its `%` escapes are decoded";
        Self::new(StatusCode::BAD_REQUEST, "invalid-path", detail)
    }

    pub(super) fn unknown_host(found: &str) -> Self {
        let found = text::cut(found.into(), FOREIGN_MAX_BYTES);
        let detail = format!(
            "`{found}` is not a name of this host\n  hint: ask it by its IP address or as `localhost`, or add `{found}` to `http.hosts` in pointsman.toml"
        );
        Self::new(StatusCode::MISDIRECTED_REQUEST, "unknown-host", detail)
    }

    pub(super) fn cross_site() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "cross-site",
            "the request comes from a web page of another site (`Origin`, `Sec-Fetch-Site`)\n  hint: send it from a program, or through a server of your own",
        )
    }

    pub(super) fn too_many_connections() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-many-connections",
            "all connections are busy\n  hint: use fewer, and each for many requests; `http.connections_max` and `http.connections_per_address_max` in pointsman.toml set the limits",
        )
    }

    pub(super) fn exhausted(code: &'static str, exhausted: &Exhausted) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, exhausted)
    }

    pub(super) fn unsupported_media_type(found: Option<&str>) -> Self {
        let found = found.map_or_else(|| "no content type".into(), |found| format!("`{found}`"));
        let detail = format!("the body has {found}\n  hint: send `Content-Type: application/json`");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            detail,
        )
    }
}

impl Problem {
    pub(super) fn queue_off() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "queue-off",
            "this host keeps no commands\n  hint: POST /commands/execute runs one at once; `queue.engine` in pointsman.toml turns the queue on",
        )
    }

    pub(super) fn queue_stalled(trouble: Option<Trouble>) -> Self {
        let detail = match trouble {
            Some(trouble) => trouble.detail,
            None => {
                "the worker has not reached its store for some seconds; the log says why".to_owned()
            }
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "queue-stalled", detail)
    }

    pub(super) fn task_failed(task: &str) -> Self {
        let detail = format!(
            "the background task `{task}` fails again and again; the log says why\n  hint: restart the host if it does not recover"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "task-failed", detail)
    }

    pub(super) fn parameter(name: &str, reason: impl ToString) -> Self {
        let detail = format!("`{name}`: {}", reason.to_string());
        Self::new(StatusCode::BAD_REQUEST, "invalid-parameter", detail)
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        let status = match &error {
            QueueError::Invalid { .. } | QueueError::Unstorable { .. } => StatusCode::BAD_REQUEST,
            QueueError::Conflict { .. } | QueueError::NotDead { .. } => StatusCode::CONFLICT,
            QueueError::UnknownCommand(_) | QueueError::UnknownDelivery(_) => StatusCode::NOT_FOUND,
            QueueError::LeaseLost(_) | QueueError::Config(_) => StatusCode::INTERNAL_SERVER_ERROR,
            QueueError::Full { .. }
            | QueueError::Locked(_)
            | QueueError::NewerSchema { .. }
            | QueueError::NoRoom
            | QueueError::Busy { .. }
            | QueueError::Replaced(_)
            | QueueError::Storage { .. }
            | QueueError::Unavailable { .. }
            | QueueError::Closed => StatusCode::SERVICE_UNAVAILABLE,
        };
        // The store says what is wrong with it when it begins, not for each request.
        let is_told = matches!(
            error,
            QueueError::Full { .. }
                | QueueError::NoRoom
                | QueueError::Busy { .. }
                | QueueError::Replaced(_)
                | QueueError::Unavailable { .. }
                | QueueError::Closed
        );
        if status.is_server_error() && !is_told {
            tracing::error!(code = error.code(), error = ?error, "the queue refused a request");
        }
        Self::new(status, error.code(), error)
    }
}

impl From<EnqueueError> for Problem {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Dispatch(error) => error.into(),
            EnqueueError::Queue(error) => error.into(),
        }
    }
}

impl From<Exhausted> for Problem {
    fn from(error: Exhausted) -> Self {
        Self::exhausted("busy", &error)
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.code(), error)
    }
}

impl From<DispatchError> for Problem {
    fn from(error: DispatchError) -> Self {
        let status = match error {
            DispatchError::NoMatchingHandler { .. } => StatusCode::NOT_FOUND,
            DispatchError::Busy { .. } | DispatchError::Starting | DispatchError::Draining => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            DispatchError::Attributes(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.code(), error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code) = (self.status, self.code);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        if code == "unsupported-content-encoding" {
            let identity = HeaderValue::from_static("identity");
            headers.insert(header::ACCEPT_ENCODING, identity);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}
