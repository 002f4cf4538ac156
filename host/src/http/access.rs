//! Owns the check of who sends a request: the token in `Authorization`, the roles that
//! its route needs, and the line of the audit log about what it changed.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method, Uri, header},
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

/// What browsers keep of a session: over TLS a name that only this server, and over TLS,
/// can have given it. Whoever answers for a name beside ours, or without TLS, cannot.
fn cookie_name(access: &Access) -> &'static str {
    match access.is_over_tls() {
        true => "__Host-pointsman_session",
        false => "pointsman_session",
    }
}

/// What has a browser keep the session `id` for so many seconds.
pub(super) fn cookie(access: &Access, id: &str, seconds: u64) -> String {
    let secure = if access.is_over_tls() { "; Secure" } else { "" };
    let name = cookie_name(access);
    format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

/// The id of the session that a browser says it is in.
pub(super) fn session<'a>(access: &Access, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = cookie_name(access);
    let cookies = headers.get_all(header::COOKIE).iter();
    let cookies = cookies.filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whether it is of the dashboard.
fn is_page(uri: &Uri) -> bool {
    let path = uri.path();
    path == "/ui" || path.starts_with("/ui/")
}

/// Who sends a request with this head.
///
/// # Errors
/// Where there is no token that lets anybody in, and no session.
pub(super) fn caller(
    access: &Access,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
) -> Result<Caller, Problem> {
    if !access.is_required() {
        return Ok(Caller::anyone());
    }
    let is_read = *method == Method::GET || *method == Method::HEAD;
    // A session reads everything, as pages lead to JSON, and changes what pages change.
    if !headers.contains_key(header::AUTHORIZATION) && (is_read || is_page(uri)) {
        let now = Timestamp::now();
        if let Some(Ok(caller)) = session(access, headers).map(|id| access.caller_in(id, now)) {
            return Ok(caller);
        }
        let accepted = headers.get(header::ACCEPT);
        let accepted = accepted.and_then(|accepted| accepted.to_str().ok());
        let is_browser = accepted.is_some_and(|accepted| accepted.contains("text/html"));
        if is_read && (is_page(uri) || uri.path() == "/" && is_browser) {
            return Err(Problem::log_in(uri));
        }
    }
    by_token(access, headers)
}

fn by_token(access: &Access, headers: &HeaderMap) -> Result<Caller, Problem> {
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
            None => {
                let head = (request.method(), request.uri(), request.headers());
                let caller = caller(&self.access, head)?;
                if is_page(request.uri()) {
                    // The page says who it is, and what they may do.
                    request.extensions_mut().insert(caller.clone());
                }
                caller
            }
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
