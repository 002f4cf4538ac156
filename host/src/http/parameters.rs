//! Owns the parameters behind `?`: a route is reached with those that it knows,
//! each once. One that is misspelled would be passed over, and a filter match
//! too much.

use std::{
    collections::HashMap,
    fmt::Display,
    future::{Ready, ready},
    ops::RangeInclusive,
    str::FromStr,
    task::{Context, Poll},
};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use percent_encoding::percent_decode_str;
use pointsman_core::integer;
use tower::{Layer, Service, layer::layer_fn};

use super::{
    problem::{FOREIGN_MAX_BYTES, Problem},
    routes,
};
use crate::{
    name::{HandlerName, nearest},
    queue::{DeadFilter, PAGE_MAX, Page, Timestamp},
    text,
};

/// Entries of a page where no `limit` is given.
const PAGE: usize = 50;

/// Reads the parameters of a request for the handler of its route, and refuses
/// what the route does not know. Most requests have none, and pay nothing.
#[derive(Clone, Debug)]
pub(super) struct Reading<S>(S);

impl<S> Reading<S> {
    pub(super) fn layer() -> impl Layer<S, Service = Self> + Clone {
        layer_fn(Self)
    }
}

impl<S: Service<Request, Response = Response>> Service<Request> for Reading<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match read(&mut request) {
            Ok(()) => Either::Left(self.0.call(request)),
            Err(problem) => Either::Right(ready(Ok(problem.into_response()))),
        }
    }
}

fn read(request: &mut Request) -> Result<(), Problem> {
    let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else {
        return Ok(());
    };
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or("", MatchedPath::as_str);
    let route = routes::find(request.method(), path);
    // Another method is refused behind this.
    if let Some(route) = route {
        let parameters = Parameters::parse(query, route.parameters)?;
        request.extensions_mut().insert(parameters);
    }
    Ok(())
}

/// The parameters of a request, as [`Reading`] has left them.
#[derive(Clone, Default)]
pub(super) struct Parameters(HashMap<String, String>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match head.extensions.remove() {
            Some(read) => Ok(read),
            None if head.uri.query().is_none_or(str::is_empty) => Ok(Self::default()),
            // Only on a route that is not in the table.
            None => Err(Problem::internal()),
        }
    }
}

impl Parameters {
    /// # Errors
    /// Where one is unknown, given twice, or not UTF-8.
    fn parse(query: &str, names: &[&str]) -> Result<Self, Problem> {
        let mut read = HashMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                let what = "is not UTF-8 once its `%` escapes are decoded";
                return Err(Problem::parameter(name, what));
            };
            if !names.contains(&name.as_str()) {
                let known = match names {
                    [] => "there are no parameters".into(),
                    names => names.join(", "),
                };
                let unknown = Problem::parameter(&name, format!("unknown parameter: {known}"));
                return Err(match nearest(&name, names.iter().copied()) {
                    Some(near) => unknown.hint(format!("did you mean `{near}`?")),
                    None => unknown,
                });
            }
            if read.insert(name.clone(), value).is_some() {
                return Err(Problem::parameter(&name, "is given twice: keep one"));
            }
        }
        Ok(Self(read))
    }

    /// Leaves out what a form sends of the fields that were not filled in.
    pub(super) fn drop_empty(&mut self) {
        self.0.retain(|_, value| !value.is_empty());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take<T: FromStr<Err: ToString>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        let text = self.0.remove(name);
        text.map(|text| parse(name, &text)).transpose()
    }

    /// `true` or `false`, which it is where it is not given.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.0.remove(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(not(other, name, "`true` or `false`")),
        }
    }

    pub(super) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Problem> {
        const WANTED: &str =
            "a time: write it as RFC 3339, such as 2026-11-25T00:00:00Z, with `+` as `%2B`";
        let text = self.0.remove(name);
        text.map(|text| match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Timestamp::from_millis(time.as_millisecond())),
            Err(_) => Err(not(&text, name, WANTED)),
        })
        .transpose()
    }

    pub(super) fn number<N: FromStr + PartialOrd + Display>(
        &mut self,
        name: &str,
        range: RangeInclusive<N>,
    ) -> Result<Option<N>, Problem> {
        let text = self.0.remove(name);
        text.map(|text| match integer::parse(&text) {
            Some(number) if range.contains(&number) => Ok(number),
            _ => {
                let wanted = format!("a whole number from {} to {}", range.start(), range.end());
                Err(not(&text, name, &wanted))
            }
        })
        .transpose()
    }

    pub(super) fn handler(&mut self) -> Result<Option<HandlerName>, Problem> {
        let text = self.0.remove("handler");
        text.map(|text| HandlerName::parse(&text))
            .transpose()
            .map_err(|error| Problem::parameter("handler", error))
    }

    pub(super) fn dead(&mut self) -> Result<DeadFilter, Problem> {
        Ok(DeadFilter {
            delivery: self.take("delivery")?,
            handler: self.handler()?,
            status: self.take("status")?,
            finished_from: self.time("from")?,
            finished_until: self.time("until")?,
        })
    }

    pub(super) fn page<C: FromStr<Err: ToString>>(&mut self) -> Result<Page<C>, Problem> {
        Ok(Page {
            after: self.take("after")?,
            limit: self.number("limit", 1..=PAGE_MAX)?.unwrap_or(PAGE),
        })
    }
}

/// A name or value as it was before a form encoded it.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let text = percent_decode_str(&text).decode_utf8().ok()?;
    Some(text.into_owned())
}

pub(super) fn parse<T: FromStr<Err: ToString>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|error: T::Err| Problem::parameter(name, error.to_string()))
}

/// The problem of a parameter that is not what is wanted.
pub(super) fn not(text: &str, name: &str, wanted: &str) -> Problem {
    let text = text::cut(text.into(), FOREIGN_MAX_BYTES);
    Problem::parameter(name, format!("`{text}` is not {wanted}"))
}
