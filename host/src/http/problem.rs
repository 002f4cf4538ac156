//! Owns the errors that a client sees: `application/problem+json` with a stable
//! `code`, a `detail` for people and, where there is one, a `hint`.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    budget::Exhausted,
    cloudevents::EventError,
    command::CommandError,
    diagnostic::Diagnostic,
    dispatcher::DispatchError,
    queue::{BulkError, EnqueueError, Faults, QueueError, Trouble},
    text::{self, escaped},
};

/// How long a client should wait before it sends a refused command again, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;
/// Of a header or parameter that is repeated in an error.
pub(super) const FOREIGN_MAX_BYTES: usize = 256;

/// An RFC 9457 problem document.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    diagnostic: Diagnostic,
    /// Says how to ask instead.
    header: Option<(HeaderName, HeaderValue)>,
    /// What is wrong with some of many commands.
    lines: Option<Box<Faults>>,
}

/// What of it is in the body.
#[derive(Serialize)]
struct Document<'a> {
    // `about:blank` is the RFC's word for: the status says the kind, `code` the rest.
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'a str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<FaultyLine<'a>>,
}

/// What is wrong with one of many commands.
#[derive(Serialize)]
struct FaultyLine<'a> {
    line: u64,
    code: &'a str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl<'a> FaultyLine<'a> {
    fn new(line: u64, diagnostic: &'a Diagnostic) -> Self {
        let (detail, hint) = told(diagnostic);
        Self {
            line,
            code: diagnostic.code(),
            detail,
            hint,
        }
    }
}

/// Message and hint, both of which may quote the request, or what a file says.
fn told(diagnostic: &Diagnostic) -> (String, Option<String>) {
    let hint = diagnostic.hint_text().map(|hint| escaped(hint).to_string());
    (escaped(diagnostic.message()).to_string(), hint)
}

impl Problem {
    fn new(status: StatusCode, diagnostic: Diagnostic) -> Self {
        Self {
            status,
            diagnostic,
            header: None,
            lines: None,
        }
    }

    fn error(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(status, Diagnostic::error(code, detail))
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            diagnostic: self.diagnostic.hint(hint),
            ..self
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn diagnostic(&self) -> &Diagnostic {
        &self.diagnostic
    }

    pub(super) fn not_found() -> Self {
        Self::error(StatusCode::NOT_FOUND, "no-such-path", "no such path")
            .hint("`GET /` lists all paths")
    }

    pub(super) fn metrics_alone() -> Self {
        Self::error(StatusCode::NOT_FOUND, "no-such-path", "no such path on this address")
            .hint("`http.metrics_listen` serves `/metrics`, `/healthz` and `/readyz`; ask at `http.listen` for the rest")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::error(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "this path does not support the method",
        )
        .hint("the `Allow` header lists the supported methods")
    }

    pub(super) fn internal() -> Self {
        Self::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error; the server's log has the details",
        )
    }

    pub(super) fn tls_required() -> Self {
        Self::error(
            StatusCode::BAD_REQUEST,
            "tls-required",
            "this port speaks TLS, and the request came without",
        )
        .hint("ask for `https://` in place of `http://`")
    }

    pub(super) fn unreadable_body() -> Self {
        Self::error(
            StatusCode::BAD_REQUEST,
            "unreadable-body",
            "the body was cut short",
        )
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("the command has more than {limit} bytes");
        Self::error(StatusCode::PAYLOAD_TOO_LARGE, "command-too-large", detail)
            .hint("`host.command_max_bytes` in pointsman.toml sets the limit")
    }

    pub(super) fn slow_body(start: Duration, bytes_per_second: u64) -> Self {
        let detail = format!(
            "the body took longer than {start:?} plus one second per {bytes_per_second} bytes"
        );
        Self::error(StatusCode::REQUEST_TIMEOUT, "request-timeout", detail)
            .hint("`http.body_timeout` in pointsman.toml sets the limit")
    }

    pub(super) fn unsupported_encoding(found: &str) -> Self {
        let found = text::cut(found.into(), FOREIGN_MAX_BYTES);
        let problem = Self::error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-content-encoding",
            format!("unsupported content encoding `{found}`"),
        );
        let identity = HeaderValue::from_static("identity");
        Self {
            header: Some((header::ACCEPT_ENCODING, identity)),
            ..problem.hint("send the body without a content encoding")
        }
    }

    pub(super) fn unsupported_transfer(found: &str) -> Self {
        let found = text::cut(found.into(), FOREIGN_MAX_BYTES);
        Self::error(
            StatusCode::NOT_IMPLEMENTED,
            "unsupported-transfer-encoding",
            format!("unsupported transfer encoding `{found}`"),
        )
        .hint("send `Content-Length`, or `Transfer-Encoding: chunked` alone")
    }

    pub(super) fn invalid_request(reason: &str) -> Self {
        let detail = format!("the request is not valid HTTP: {reason}");
        Self::error(StatusCode::BAD_REQUEST, "invalid-request", detail)
    }

    pub(super) fn invalid_path() -> Self {
        let detail = "the path is not UTF-8 once its `%` escapes are decoded";
        Self::error(StatusCode::BAD_REQUEST, "invalid-path", detail)
    }

    pub(super) fn unknown_host(found: &str) -> Self {
        let found = text::cut(found.into(), FOREIGN_MAX_BYTES);
        let detail = format!("`{found}` is not a name of this host");
        Self::error(StatusCode::MISDIRECTED_REQUEST, "unknown-host", detail).hint(format!(
            "use the IP address or `localhost`, or add `{found}` to `http.hosts` in pointsman.toml"
        ))
    }

    pub(super) fn cross_site() -> Self {
        Self::error(
            StatusCode::FORBIDDEN,
            "cross-site",
            "the request comes from a web page of another site (`Origin`, `Sec-Fetch-Site`)",
        )
        .hint("send it from a program, or through a server of your own")
    }

    /// Says how to ask, as RFC 6750 has it.
    fn challenge(self, challenge: &'static str) -> Self {
        let value = HeaderValue::from_static(challenge);
        Self {
            header: Some((header::WWW_AUTHENTICATE, value)),
            ..self
        }
    }

    pub(super) fn no_token() -> Self {
        let detail = "the request has no token, and this host asks for one";
        Self::error(StatusCode::UNAUTHORIZED, "no-token", detail)
            .hint("send `Authorization: Bearer TOKEN`; `pointsman token new` makes one")
            .challenge("Bearer realm=\"pointsman\"")
    }

    pub(super) fn invalid_token() -> Self {
        let detail = "the token is not valid: it is unknown, was removed or has expired";
        Self::error(StatusCode::UNAUTHORIZED, "invalid-token", detail)
            .challenge("Bearer realm=\"pointsman\", error=\"invalid_token\"")
    }

    pub(super) fn forbidden(needed: &str) -> Self {
        let detail = format!("the token may not do this: it needs the role {needed}");
        Self::error(StatusCode::FORBIDDEN, "forbidden", detail)
            .hint("`http.tokens` or `http.tokens_file` gives a token its roles")
            .challenge("Bearer realm=\"pointsman\", error=\"insufficient_scope\"")
    }

    pub(super) fn too_many_connections() -> Self {
        Self::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-many-connections",
            "all connections are busy",
        )
        .hint("open fewer connections and reuse them; `http.connections_max` and `http.connections_per_address_max` in pointsman.toml set the limits")
    }

    pub(super) fn exhausted(code: &'static str, exhausted: &Exhausted) -> Self {
        Self::error(StatusCode::SERVICE_UNAVAILABLE, code, exhausted.to_string())
    }

    pub(super) fn one_command() -> Self {
        Self::error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "the body is of many commands, and this takes one",
        )
        .hint("send them to `POST /commands`, or one as `application/json`")
    }

    pub(super) fn two_modes() -> Self {
        let detail = "an event is in `ce-` headers, and the body holds others";
        Self::error(StatusCode::BAD_REQUEST, "invalid-event", detail).hint(
            "send events in the body alone, or one in headers with its data as `application/json`",
        )
    }

    pub(super) fn unsupported_media_type(found: Option<&str>) -> Self {
        let found = match found {
            None => "no content type".into(),
            Some(found) => {
                let found = text::cut(found.into(), FOREIGN_MAX_BYTES);
                format!("the content type `{found}`")
            }
        };
        Self::error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            format!("the body has {found}"),
        )
        .hint("send `Content-Type: application/json`, and the command in UTF-8")
    }
}

/// Of the dashboard.
impl Problem {
    pub(super) fn not_a_form(found: Option<&str>) -> Self {
        Self::unsupported_media_type(found)
            .hint("send the form of the page, as `application/x-www-form-urlencoded`")
    }

    /// Leads a browser to the page where it presents a token, and from there back.
    pub(super) fn log_in(uri: &Uri) -> Self {
        let back = uri.path_and_query().map_or("/ui", |back| back.as_str());
        const LOGIN: &str = "/ui/login?";
        let mut login = form_urlencoded::Serializer::for_suffix(LOGIN.to_owned(), LOGIN.len());
        if back != "/" && back.len() <= FOREIGN_MAX_BYTES {
            login.append_pair("to", back);
        }
        let login = HeaderValue::try_from(login.finish().trim_end_matches('?'));
        let detail = "the page needs a token";
        Self {
            header: login.ok().map(|login| (header::LOCATION, login)),
            ..Self::error(StatusCode::SEE_OTHER, "no-token", detail)
        }
    }

    pub(super) fn stale_form() -> Self {
        Self::error(
            StatusCode::FORBIDDEN,
            "stale-form",
            "the form is not from a page of this server, or from one before its last start",
        )
        .hint("load the page again, then send the form")
    }
}

impl Problem {
    pub(super) fn queue_off() -> Self {
        Self::error(
            StatusCode::NOT_FOUND,
            "queue-off",
            "the queue is turned off",
        )
        .hint("`POST /commands/execute` runs a command without it; set `queue.engine` in pointsman.toml to turn it on")
    }

    pub(super) fn queue_stalled(trouble: Option<Trouble>) -> Self {
        // The code says what asks for it: a worker that does not work.
        let stalled =
            |detail: &str| Self::error(StatusCode::SERVICE_UNAVAILABLE, "queue-stalled", detail);
        match trouble {
            Some(Trouble { diagnostic, .. }) => match diagnostic.hint_text() {
                Some(hint) => stalled(diagnostic.message()).hint(hint),
                None => stalled(diagnostic.message()),
            },
            None => stalled(
                "the worker has not reached the queue's store for several seconds; the log has the details",
            ),
        }
    }

    pub(super) fn task_failed(task: &str) -> Self {
        let detail = format!("the background task `{task}` keeps failing; the log has the details");
        Self::error(StatusCode::SERVICE_UNAVAILABLE, "task-failed", detail)
            .hint("restart the host if it does not recover")
    }

    pub(super) fn parameter(name: &str, reason: impl ToString) -> Self {
        let name = text::cut(name.into(), FOREIGN_MAX_BYTES);
        let detail = format!("`{name}`: {}", reason.to_string());
        Self::error(StatusCode::BAD_REQUEST, "invalid-parameter", detail)
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        let status = match &error {
            QueueError::Invalid { .. }
            | QueueError::TooFarAhead { .. }
            | QueueError::Unstorable { .. } => StatusCode::BAD_REQUEST,
            QueueError::Conflict { .. } | QueueError::NotDead { .. } | QueueError::NotRepeated => {
                StatusCode::CONFLICT
            }
            QueueError::UnknownCommand(_)
            | QueueError::UnknownDelivery(_)
            | QueueError::UnknownSchedule(_) => StatusCode::NOT_FOUND,
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
        Self::new(status, error.diagnostic())
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

impl From<BulkError> for Problem {
    fn from(error: BulkError) -> Self {
        let (code, detail) = (error.code(), error.to_string());
        match error {
            BulkError::Whole(error) => error.into(),
            BulkError::TooMany | BulkError::TooManyDeliveries => {
                Self::error(StatusCode::PAYLOAD_TOO_LARGE, code, detail)
            }
            BulkError::Lines(faults) => Self {
                lines: Some(Box::new(faults)),
                ..Self::error(StatusCode::BAD_REQUEST, code, detail).hint(
                    "`lines` says what is wrong with each of them; fix them and send all again",
                )
            },
        }
    }
}

impl From<EventError> for Problem {
    fn from(error: EventError) -> Self {
        Self::error(StatusCode::BAD_REQUEST, error.code(), error.to_string())
    }
}

impl From<Exhausted> for Problem {
    fn from(error: Exhausted) -> Self {
        Self::exhausted("busy", &error)
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        Self::error(StatusCode::BAD_REQUEST, error.code(), error.to_string())
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
        Self::new(status, error.diagnostic())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, diagnostic) = (self.status, &self.diagnostic);
        let (detail, hint) = told(diagnostic);
        let lines = self.lines.iter().flat_map(|faults| &faults.told);
        let document = Document {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("error"),
            status: status.as_u16(),
            code: diagnostic.code(),
            detail,
            hint,
            lines: lines
                .map(|(line, diagnostic)| FaultyLine::new(*line, diagnostic))
                .collect(),
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        headers.extend(self.header);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}
