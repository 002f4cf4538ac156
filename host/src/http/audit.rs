//! Owns the audit log: one event for each request that changes something, under the
//! target `audit`, which says who did what to what and how it ended.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    http::{HeaderMap, StatusCode, Uri, header},
    response::Response,
};
use pin_project_lite::pin_project;

use super::{problem::FOREIGN_MAX_BYTES, routes::Route};
use crate::{access::Caller, command::CommandId, text};

/// The target of its events.
pub(crate) const TARGET: &str = "audit";

/// The command that an answer is about, where nothing else of it says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject(pub(super) CommandId);

/// What is known of a request before it is answered.
#[derive(Debug)]
pub(super) struct Entry {
    action: &'static str,
    who: Option<Arc<str>>,
    address: Option<IpAddr>,
    // Path and query: they name what is changed.
    target: String,
}

impl Entry {
    /// The entry of a request; none where it changes nothing. That somebody runs a
    /// command is told only where it is known who.
    pub(super) fn of(route: &Route, caller: &Caller, uri: &Uri) -> Option<Self> {
        let action = route.action?;
        if caller.name.is_none() && action == "execute" {
            return None;
        }
        let target = uri.path_and_query().map_or(uri.path(), |it| it.as_str());
        Some(Self {
            action,
            who: caller.name.clone(),
            address: caller.address,
            target: text::cut(target.into(), FOREIGN_MAX_BYTES),
        })
    }

    /// Writes it, with how the request ended and the command that it made.
    pub(super) fn write(&self, status: StatusCode, command: Option<&str>) {
        tracing::info!(
            target: TARGET,
            action = self.action,
            token = self.who.as_deref(),
            address = self.address.map(tracing::field::display),
            request = self.target,
            command,
            status = status.as_u16(),
        );
    }

    fn answered(&self, response: &Response) {
        let said = response.extensions().get::<Subject>();
        let said = said.map(|subject| subject.0.to_string());
        let command = said.as_deref().or_else(|| located(response.headers()));
        self.write(response.status(), command);
    }
}

/// The command in `Location: /commands/{id}`.
fn located(headers: &HeaderMap) -> Option<&str> {
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    location.strip_prefix("/commands/")
}

pin_project! {
    /// An answer on its way, of which the audit log tells once it is there. A client that
    /// disconnects before gets none, and the log says so.
    #[derive(Debug)]
    pub(super) struct Audited<F> {
        #[pin]
        inner: F,
        unanswered: Unanswered,
    }
}

#[derive(Debug)]
struct Unanswered(Option<Entry>);

/// What nginx writes of a client that did not wait.
const CLIENT_CLOSED: u16 = 499;

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let (Some(entry), Ok(status)) = (self.0.take(), StatusCode::from_u16(CLIENT_CLOSED)) {
            entry.write(status, None);
        }
    }
}

impl<F> Audited<F> {
    pub(super) fn new(inner: F, entry: Option<Entry>) -> Self {
        Self {
            inner,
            unanswered: Unanswered(entry),
        }
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Audited<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        if let (Some(entry), Ok(response)) = (this.unanswered.0.take(), &answer) {
            entry.answered(response);
        }
        Poll::Ready(answer)
    }
}
