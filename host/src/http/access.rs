//! Owns the check of who sends a request: the token in `Authorization`, the roles that
//! its route needs, and the line of the audit log about what it changed.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use jiff::Timestamp;
use tower::{Layer, Service, layer::layer_fn};

use super::{
    audit::{Audited, Entry},
    problem::Problem,
    routes,
};
use crate::access::{Access, Caller, Invalid};

/// Who sends a request with these headers.
///
/// # Errors
/// Where there is no token that lets anybody in.
pub(super) fn caller(access: &Access, headers: &HeaderMap) -> Result<Caller, Problem> {
    if !access.is_required() {
        return Ok(Caller::anyone());
    }
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(authorization) = given.next() else {
        return Err(Problem::no_token());
    };
    // Of two, a proxy may have checked the other.
    if given.next().is_some() {
        return Err(Problem::invalid_request(
            "it has two `Authorization` headers",
        ));
    }
    let (scheme, token) = split(authorization.as_bytes());
    if !scheme.eq_ignore_ascii_case(b"bearer") || token.is_empty() {
        return Err(Problem::no_token());
    }
    access.caller(token, Timestamp::now()).map_err(|invalid| {
        match &invalid {
            Invalid::Unknown => tracing::debug!("a request has a token that is nobody's"),
            Invalid::Expired(name) => {
                tracing::debug!(token = &**name, "a request has a token that has expired");
            }
        }
        Problem::invalid_token()
    })
}

/// The scheme, and what is behind the spaces after it.
fn split(authorization: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', authorization) {
        Some(at) => (&authorization[..at], authorization[at..].trim_ascii()),
        None => (authorization, &[]),
    }
}

/// Lets through to a route whoever may use it.
#[derive(Clone, Debug)]
pub(super) struct Guard<S> {
    inner: S,
    access: Arc<Access>,
}

impl<S> Guard<S> {
    pub(super) fn layer(access: Arc<Access>) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| Self {
            inner,
            access: Arc::clone(&access),
        })
    }

    /// What the audit log will say of the request, if it may be answered.
    fn admit(&self, request: &mut Request) -> Result<Option<Entry>, Problem> {
        let path = request.extensions().get::<MatchedPath>();
        let route = path.and_then(|path| routes::find(request.method(), path.as_str()));
        // Another method is refused behind this.
        let Some(route) = route.filter(|route| !matches!(route.needs, routes::Needs::Nothing))
        else {
            return Ok(None);
        };
        let caller = match request.extensions().get::<Caller>() {
            Some(caller) => caller.clone(),
            None => caller(&self.access, request.headers())?,
        };
        let entry = Entry::of(route, &caller, request.uri());
        if route.needs.allows(caller.roles) {
            return Ok(entry);
        }
        let problem = Problem::forbidden(&route.needs.text());
        if let Some(entry) = entry {
            entry.write(problem.status(), None);
        }
        Err(problem)
    }
}

impl<S: Service<Request, Response = Response>> Service<Request> for Guard<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Audited<S::Future>, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match self.admit(&mut request) {
            Ok(entry) => Either::Left(Audited::new(self.inner.call(request), entry)),
            Err(problem) => Either::Right(ready(Ok(problem.into_response()))),
        }
    }
}
