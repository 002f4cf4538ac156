//! HTTP requests. What may be requested is granted by the operator, under `[http]`
//! of `plugins/<name>.toml`; a handler that sends none carries nothing of this.
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
//! [`Error`] becomes a [`Failure`](crate::Failure) with `?`: no response, or one that may pass, is
//! unavailable and is tried again; a request that is not granted is rejected.

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
/// [`Error`] where no response came. A status such as 404 is a response; see
/// [`Response::error_for_status`].
pub fn get(url: impl Into<String>) -> Result<Response, Error> {
    Request::get(url).send()
}

/// Sends all requests at once and waits for all responses, which come in the order
/// of the requests: it takes as long as the slowest.
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

/// [`send_all`] for as many requests as there are.
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
