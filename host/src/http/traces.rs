//! Owns the span of each request. What it leads to are children of that span: the
//! request is handed on with the span's own `traceparent`.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    response::Response,
};
use futures_util::future::Either;
use tower::{Layer, Service, layer::layer_fn};

use super::server::PROBES;
use crate::telemetry::{Span, Telemetry};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Traces requests where there is telemetry; else it hands them on as they are.
#[derive(Clone, Debug)]
pub(super) struct Traced<S> {
    inner: S,
    telemetry: Option<Telemetry>,
}

impl<S> Traced<S> {
    pub(super) fn layer(telemetry: Option<Telemetry>) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| Self {
            inner,
            telemetry: telemetry.clone(),
        })
    }
}

type Spanned<E> = Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>;

impl<S> Service<Request> for Traced<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Spanned<S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let telemetry = self.telemetry.as_ref();
        let Some(mut span) = telemetry.and_then(|it| begin(it, &mut request)) else {
            return Either::Left(self.inner.call(request));
        };
        let answer = self.inner.call(request);
        if !span.is_recording() {
            return Either::Left(answer);
        }
        Either::Right(Box::pin(async move {
            let answer = answer.await;
            if let Ok(answer) = &answer {
                span.answered(answer.status().as_u16());
            }
            answer
        }))
    }
}

/// The span of a request, which hands its context on; none for probes.
fn begin(telemetry: &Telemetry, request: &mut Request) -> Option<Span> {
    let route = request.extensions().get::<MatchedPath>()?;
    if PROBES.contains(&route.as_str()) {
        return None;
    }
    let given = request.headers().get(TRACEPARENT);
    let given = given.and_then(|it| it.to_str().ok());
    let method = request.method().as_str();
    let span = telemetry.request((method, route.as_str(), request.uri().path()), given);
    if let Ok(own) = HeaderValue::from_str(&span.traceparent()) {
        request.headers_mut().insert(TRACEPARENT, own);
    }
    Some(span)
}
