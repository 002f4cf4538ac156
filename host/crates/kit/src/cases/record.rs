//! Owns the writing of requests that were sent for real into the file of their case,
//! which replies to them from then on.

use http::header::{CONTENT_TYPE, ETAG, HeaderName, LINK, LOCATION, RETRY_AFTER};
use pointsman_core::diagnostic::Diagnostic;
use pointsman_sandbox::{Received, RecordedRequest};
use serde_json::Value;

use super::{
    Case, CaseError,
    file::{self, text},
    requests::{KEY, body_member, request_member},
    update::{value, write},
};

/// Headers of a response that are written. Others say how it came, change with each
/// run, or are not for a file: cookies and what else names a session.
const HEADERS: [HeaderName; 5] = [CONTENT_TYPE, ETAG, LINK, LOCATION, RETRY_AFTER];

/// Writes the requests into the file of `case`, in place of those that it has. What
/// the host adds to them, such as secrets, and headers of the handler stay out.
///
/// # Errors
/// [`CaseError`], if the file cannot be read or written, or a response is not text.
pub fn record(case: &Case, recorded: &[RecordedRequest]) -> Result<(), CaseError> {
    let path = &case.path;
    if let Some(request) = recorded.iter().find(|it| !is_text(it)) {
        let message = format!(
            "the response to `{} {}` is not text, and a case can only contain text",
            request.request.method(),
            request.request.uri()
        );
        let error = Diagnostic::error("not-text", message).within(path.display().to_string());
        let hint = "test it with a response that you write by hand, or against a server";
        return Err(error.hint(hint).into());
    }
    let old = text(path)?;
    let places = file::places(path, &old)?;
    let entries: Vec<_> = recorded.iter().map(entry).collect();
    let list = format!("[{}]", entries.join(", "));
    let list = value(&list, 1, "  \"requests\": ".len());
    let new = match (places.requests, places.expect_key) {
        (Some(range), _) => format!("{}{list}{}", &old[..range.start], &old[range.end..]),
        (None, Some(at)) => {
            let (before, after) = old.split_at(at);
            format!("{before}\"{KEY}\": {list},\n  {after}")
        }
        (None, None) => {
            let (before, after) = old.split_at(places.end);
            format!("{before},\n  \"{KEY}\": {list}{after}")
        }
    };
    write(path, &new)
}

fn is_text(recorded: &RecordedRequest) -> bool {
    match &recorded.received {
        Some(Received::Response(response, _)) => str::from_utf8(response.body()).is_ok(),
        _ => true,
    }
}

fn entry(recorded: &RecordedRequest) -> String {
    let mut members = vec![request_member(&recorded.request)];
    members.extend(body_member(recorded.request.body()));
    match &recorded.received {
        Some(Received::Response(answer, failure)) => {
            members.push(format!(r#""response": {}"#, response(answer)));
            members.extend(failure.map(|failure| fails(failure.name())));
        }
        Some(Received::Failure(failure)) => members.push(fails(failure.name())),
        // The call ended before: so will the next one.
        _ => members.push(r#""delay_ms": 86400000"#.to_owned()),
    }
    format!("{{ {} }}", members.join(", "))
}

fn fails(name: &str) -> String {
    format!(r#""fails": "{name}""#)
}

fn response(response: &http::Response<Vec<u8>>) -> String {
    let mut members = vec![format!(r#""status": {}"#, response.status().as_u16())];
    let body = body_member(response.body());
    let is_json = body
        .as_ref()
        .is_some_and(|body| body.starts_with(r#""json""#));
    let headers = HEADERS.iter().filter_map(|name| {
        let value = response.headers().get(name)?.to_str().ok()?;
        // As it is without being said.
        let implied = is_json && *name == CONTENT_TYPE && value == "application/json";
        let header = format!("{}: {}", Value::from(name.as_str()), Value::from(value));
        (!implied).then_some(header)
    });
    let headers: Vec<_> = headers.collect();
    if !headers.is_empty() {
        members.push(format!(r#""headers": {{ {} }}"#, headers.join(", ")));
    }
    members.extend(body);
    format!("{{ {} }}", members.join(", "))
}
