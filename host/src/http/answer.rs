//! Owns answers that may be large: what is rendered takes its share of
//! `http.answers_max_bytes` first, and holds it until it is sent.

use axum::{
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::problem::Problem;
use crate::{budget::Share, host::Host};

/// Renders `value`, which takes about `weight` bytes as JSON.
pub(super) fn answer(
    host: &Host,
    weight: usize,
    value: &impl Serialize,
) -> Result<Response, Problem> {
    // What was read and its text are there at the same time.
    let share = host.budgets().answers.take(weight as u64 * 2)?;
    Ok(json(render(weight, value)?, share))
}

/// Renders `value`, which takes about `weight` bytes as JSON and tells of what
/// has been done: it is never refused, and counts while it is sent.
pub(super) fn done(
    host: &Host,
    weight: usize,
    value: &impl Serialize,
) -> Result<Response, Problem> {
    let body = render(weight, value)?;
    let share = host.budgets().answers.hold(body.len() as u64);
    Ok(json(body, share))
}

fn render(weight: usize, value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::with_capacity(weight);
    serde_json::to_writer(&mut body, value).map_err(|_| Problem::internal())?;
    Ok(body)
}

fn json(body: Vec<u8>, share: Share) -> Response {
    sent("application/json", body, share)
}

/// The media type of a page.
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// A page that was made, which is never refused, and counts while it is sent.
pub(super) fn html(host: &Host, page: String) -> Response {
    let share = host.budgets().answers.hold(page.len() as u64);
    sent(HTML, page.into_bytes(), share)
}

fn sent(media: &'static str, body: Vec<u8>, share: Share) -> Response {
    let body = Bytes::from_owner(Rendered {
        body,
        _share: share,
    });
    ([(header::CONTENT_TYPE, media)], body).into_response()
}

/// A body on its way to the client.
struct Rendered {
    body: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Rendered {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
