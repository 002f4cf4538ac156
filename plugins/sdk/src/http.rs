//! HTTP requests. The operator grants them with `[http]` in `plugins/<name>.toml`. A
//! handler that sends none contains none of this code.
//!
//! ```no_run
//! use pointsman_sdk::{Failure, http};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Customer {
//!     name: String,
//! }
//!
//! fn customer(id: u64) -> Result<Customer, Failure> {
//!     let url = format!("https://api.example.com/customers/{id}");
//!     Ok(http::get(url)?.error_for_status()?.json::<Customer>()?)
//! }
//! ```
//!
//! With `?`, an [`Error`] becomes a [`Failure`](crate::Failure): a missing response or a
//! temporary status is unavailable, so the command is retried; a request that is not granted
//! is rejected.

mod error;
mod exchange;
mod redirect;
mod request;
mod response;
mod target;

pub use error::{Error, ErrorKind};
pub use request::Request;
pub use response::Response;

/// Sends a GET request and waits for its whole response.
///
/// ```no_run
/// # use pointsman_sdk::{Failure, Value, http};
/// let rates: Value = http::get("https://api.example.com/rates")?.json()?;
/// # Ok::<(), Failure>(())
/// ```
///
/// # Errors
/// [`Error`] if there is no response. A status such as 404 is a response; see
/// [`Response::error_for_status`].
pub fn get(url: impl Into<String>) -> Result<Response, Error> {
    Request::get(url).send()
}

/// Sends all requests concurrently and waits for all responses, which are in the order of
/// the requests. It takes as long as the slowest.
///
/// ```no_run
/// # use pointsman_sdk::{Failure, http::{self, Request}, json};
/// let body = json!({ "amount": 12 });
/// let [quote, limits] = http::send_all([
///     Request::post("https://api.example.com/quotes").json(&body),
///     Request::get("https://api.example.com/limits"),
/// ]);
/// let (quote, limits) = (quote?, limits?);
/// # Ok::<(), Failure>(())
/// ```
pub fn send_all<const N: usize>(requests: [Request; N]) -> [Result<Response, Error>; N] {
    let responses = exchange::send_all(requests.into());
    let Ok(responses) = responses.try_into() else {
        unreachable!("one response per request");
    };
    responses
}

/// Like [`send_all`], for any number of requests.
///
/// ```no_run
/// # use pointsman_sdk::{Failure, http::{self, Request}};
/// # let ids = [1, 2, 3];
/// let requests = ids.iter().map(|id| Request::get(format!("https://api.example.com/{id}")));
/// for response in http::send_each(requests) {
///     response?.error_for_status()?;
/// }
/// # Ok::<(), Failure>(())
/// ```
pub fn send_each(requests: impl IntoIterator<Item = Request>) -> Vec<Result<Response, Error>> {
    exchange::send_all(requests.into_iter().collect())
}
