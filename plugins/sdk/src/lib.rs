//! The SDK for Pointsman handlers in Rust: implement [`Handler`] for a type, pass
//! the type to [`export!`], and build the crate with `pointsman build`.
//!
//! ```
//! use pointsman_sdk::{Command, Failure, Handler, export, info};
//! use serde_json::{Value, json};
//!
//! struct Greet;
//!
//! impl Handler for Greet {
//!     fn handle(command: Command) -> Result<Option<Value>, Failure> {
//!         let name: String = command.field("name")?;
//!         info!("greeting {name}");
//!         Ok(Some(json!({ "greeting": format!("hello {name}") })))
//!     }
//! }
//!
//! export!(Greet);
//! ```
//!
//! The SDK is optional: any component that implements the contract in `wit/` is a
//! handler. A panic is not a [`Failure`]: the host reports it as `trapped`, with
//! its message.

use std::time::Duration;

use serde::de::DeserializeOwned;
pub use serde_json::{self, Value, json};

// Where WASI is, its C library frees what the host allocates here.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
#[expect(unsafe_code, reason = "an allocator is")]
mod heap;

// Generated from `wit/` by the host's tests: `UPDATE_EXPECT=1 cargo test contract`.
#[doc(hidden)]
#[rustfmt::skip]
#[allow(warnings, reason = "generated")]
#[allow(clippy::all, clippy::allow_attributes_without_reason, unsafe_code, reason = "generated")]
pub mod bindings;

pub mod emit;
pub mod http;
pub mod sql;
pub mod state;

use bindings::pointsman::handler::{clock, config, log, random, types};
pub use log::Level;

/// A handler: handles commands one at a time.
///
/// ```
/// use pointsman_sdk::{Command, Failure, Handler, Value, json};
///
/// struct Count;
///
/// impl Handler for Count {
///     fn handle(command: Command) -> Result<Option<Value>, Failure> {
///         let words: Vec<String> = command.field("words")?;
///         Ok(Some(json!({ "count": words.len() })))
///     }
/// }
/// ```
pub trait Handler {
    /// Handles one command. The returned value becomes `output` in the report.
    ///
    /// # Errors
    /// [`Failure::Rejected`] if it can never succeed, [`Failure::Unavailable`] if a
    /// later attempt may.
    fn handle(command: Command) -> Result<Option<Value>, Failure>;
}

/// A command, as delivered to this handler.
///
/// ```
/// # use pointsman_sdk::Command;
/// // In a test, any command will do.
/// let command = Command {
///     attributes: r#"{"requestType":"Greet","name":"Ada"}"#.into(),
///     attempt: 1,
///     ..Command::default()
/// };
/// assert_eq!(command.field::<String>("name"), Ok("Ada".into()));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The command's id, a UUID, the same for every handler of the command.
    pub id: String,
    /// The command as it was sent: the text of one JSON object.
    pub attributes: String,
    /// The attempt number, starting at 1.
    pub attempt: u32,
    /// The id of this delivery. It is the same for every attempt: use it as the
    /// idempotency key of side effects.
    pub delivery_id: String,
    /// The caller's W3C trace context, if it sent one.
    pub traceparent: Option<String>,
}

impl Command {
    /// Deserializes the attributes as a `T`.
    ///
    /// ```
    /// # use pointsman_sdk::{Command, Failure, serde_json};
    /// # let command = Command { attributes: r#"{"name":"Ada","age":36}"#.into(), ..Command::default() };
    /// let attributes: serde_json::Map<_, _> = command.parse()?;
    /// assert_eq!(attributes["age"], 36);
    /// # Ok::<(), Failure>(())
    /// ```
    ///
    /// # Errors
    /// [`Failure::Rejected`] if they do not fit `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.attributes)
            .map_err(|error| Failure::rejected(format!("the command has the wrong shape: {error}")))
    }

    /// Returns one top-level attribute as a `T`.
    ///
    /// ```
    /// # use pointsman_sdk::{Command, Failure};
    /// # let command = Command { attributes: r#"{"name":"Ada","age":36}"#.into(), ..Command::default() };
    /// let age: u32 = command.field("age")?;
    /// assert_eq!(age, 36);
    /// assert_eq!(
    ///     command.field::<String>("street"),
    ///     Err(Failure::rejected("the command has no `street`"))
    /// );
    /// # Ok::<(), Failure>(())
    /// ```
    ///
    /// # Errors
    /// [`Failure::Rejected`] if it is missing or of another type.
    pub fn field<T: DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        self.optional_field(name)?
            .ok_or_else(|| Failure::rejected(format!("the command has no `{name}`")))
    }

    /// Returns one top-level attribute as a `T`, or `None` if it is missing.
    ///
    /// ```
    /// # use pointsman_sdk::{Command, Failure};
    /// # let command = Command { attributes: r#"{"name":"Ada"}"#.into(), ..Command::default() };
    /// let title: Option<String> = command.optional_field("title")?;
    /// assert_eq!(title, None);
    /// # Ok::<(), Failure>(())
    /// ```
    ///
    /// # Errors
    /// [`Failure::Rejected`] if it is of another type.
    pub fn optional_field<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        let mut attributes: serde_json::Map<String, Value> = self.parse()?;
        let Some(value) = attributes.remove(name) else {
            return Ok(None);
        };
        serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Failure::rejected(format!("`{name}` of the command: {error}")))
    }
}

/// Why a handler did not carry out the command.
///
/// ```
/// # use pointsman_sdk::Failure;
/// # use std::time::Duration;
/// fn book(seats: u32, free: u32) -> Result<(), Failure> {
///     if seats == 0 {
///         // Permanent: the command is wrong.
///         return Err(Failure::rejected("a booking has at least one seat"));
///     }
///     if seats > free {
///         // Temporary: somebody may cancel.
///         return Err(Failure::retry_after("no seat is free", Duration::from_secs(60)));
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A permanent failure: the command is wrong for this handler. Not retried.
    Rejected(String),
    /// A temporary failure: a later attempt may succeed.
    Unavailable {
        /// The reason, for people to read.
        message: String,
        /// The minimum time to wait before the next attempt, in whole milliseconds.
        /// Without it, the host's backoff decides.
        retry_after: Option<Duration>,
    },
}

impl Failure {
    /// Creates a permanent failure with its reason.
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::Rejected(message.into())
    }

    /// Creates a temporary failure with its reason.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable {
            message: message.into(),
            retry_after: None,
        }
    }

    /// Creates a temporary failure that is not retried before `retry_after` has passed.
    pub fn retry_after(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::Unavailable {
            message: message.into(),
            retry_after: Some(retry_after),
        }
    }
}

/// Waits. This uses no CPU time, but counts towards the handler's timeout.
///
/// ```no_run
/// pointsman_sdk::sleep(std::time::Duration::from_millis(250));
/// ```
pub fn sleep(duration: Duration) {
    clock::sleep(millis(duration));
}

/// Simulates a slow system: waits for `duration` times the number in the handler's
/// configuration key `delay-scale`, by default 1. For examples and tests.
///
/// # Errors
/// [`Failure::Rejected`] if `delay-scale` is not a number from 0 to 1,000,000.
pub fn simulate_io(duration: Duration) -> Result<(), Failure> {
    let scale = config("delay-scale").map_or(Ok(1.0), |scale| scale.parse::<f64>());
    match scale {
        Ok(scale) if (0.0..=1e6).contains(&scale) => {
            sleep(scaled(duration, scale));
            Ok(())
        }
        _ => Err(Failure::rejected(
            "the configuration's `delay-scale` is not a number from 0 to 1000000",
        )),
    }
}

/// Returns the wall-clock time: milliseconds since 1970-01-01T00:00:00Z.
///
/// ```no_run
/// let began = pointsman_sdk::now_ms();
/// // ...
/// pointsman_sdk::info!("took {} ms", pointsman_sdk::now_ms() - began);
/// ```
#[must_use]
pub fn now_ms() -> u64 {
    clock::now()
}

/// Returns a uniformly distributed random number.
///
/// ```no_run
/// let die = pointsman_sdk::random_number() % 6 + 1;
/// ```
#[must_use]
pub fn random_number() -> u64 {
    random::number()
}

/// Returns `count` random bytes, suitable for cryptographic keys; at most 65,536 per call.
///
/// ```no_run
/// let key = pointsman_sdk::random_bytes(32);
/// ```
#[must_use]
pub fn random_bytes(count: u32) -> Vec<u8> {
    random::bytes(count)
}

/// Returns the value of `key` in this handler's configuration, if it is set.
///
/// ```no_run
/// let greeting = pointsman_sdk::config("greeting").unwrap_or_else(|| "hello".into());
/// ```
#[must_use]
pub fn config(key: &str) -> Option<String> {
    config::get(key)
}

/// Writes a log line. [`info!`](crate::info) and the other macros also format it.
///
/// ```no_run
/// pointsman_sdk::log(pointsman_sdk::Level::Info, "ready");
/// ```
pub fn log(level: Level, message: &str) {
    log::log(level, message);
}

/// Logs fine-grained detail for the handler's author. Takes the arguments of `format!`.
///
/// ```no_run
/// pointsman_sdk::trace!("row {}", 3);
/// ```
#[macro_export]
macro_rules! trace {
    ($($message:tt)*) => { $crate::log($crate::Level::Trace, &::std::format!($($message)*)) };
}

/// Logs details that help with debugging. Takes the arguments of `format!`.
///
/// ```no_run
/// pointsman_sdk::debug!("cache has {} entries", 12);
/// ```
#[macro_export]
macro_rules! debug {
    ($($message:tt)*) => { $crate::log($crate::Level::Debug, &::std::format!($($message)*)) };
}

/// Logs a normal event. Takes the arguments of `format!`.
///
/// ```no_run
/// pointsman_sdk::info!("greeting {}", "Ada");
/// ```
#[macro_export]
macro_rules! info {
    ($($message:tt)*) => { $crate::log($crate::Level::Info, &::std::format!($($message)*)) };
}

/// Logs that something is wrong although the handler continued. Takes the arguments of `format!`.
///
/// ```no_run
/// pointsman_sdk::warn!("no address: the letter is skipped");
/// ```
#[macro_export]
macro_rules! warn {
    ($($message:tt)*) => { $crate::log($crate::Level::Warn, &::std::format!($($message)*)) };
}

/// Logs that something failed. Takes the arguments of `format!`.
///
/// ```no_run
/// pointsman_sdk::error!("the bank's response has no `id`");
/// ```
#[macro_export]
macro_rules! error {
    ($($message:tt)*) => { $crate::log($crate::Level::Error, &::std::format!($($message)*)) };
}

/// Exports a [`Handler`] as the handler of this component.
///
/// ```
/// # use pointsman_sdk::{Command, Failure, Handler, Value};
/// struct Nothing;
///
/// impl Handler for Nothing {
///     fn handle(_: Command) -> Result<Option<Value>, Failure> {
///         Ok(None)
///     }
/// }
///
/// pointsman_sdk::export!(Nothing);
/// ```
#[macro_export]
macro_rules! export {
    ($handler:ty) => {
        const _: () = {
            struct Component;

            impl $crate::bindings::exports::pointsman::handler::command_handler::Guest
                for Component
            {
                fn handle(
                    command: $crate::bindings::pointsman::handler::types::Command,
                ) -> ::std::result::Result<
                    ::std::option::Option<::std::string::String>,
                    $crate::bindings::pointsman::handler::types::Failure,
                > {
                    $crate::run::<$handler>(command)
                }
            }

            $crate::bindings::export_component!(Component with_types_in $crate::bindings);
        };
    };
}

/// Calls a handler with the contract's types; only [`export!`] calls it.
#[doc(hidden)]
pub fn run<H: Handler>(command: types::Command) -> Result<Option<String>, types::Failure> {
    // Without WASI there is no standard error: a panic's text reaches the host as a log line.
    std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));
    let command = Command {
        id: command.id,
        attributes: command.attributes,
        attempt: command.attempt,
        delivery_id: command.delivery_id,
        traceparent: command.traceparent,
    };
    match H::handle(command) {
        Ok(answer) => Ok(answer.map(|answer| answer.to_string())),
        Err(Failure::Rejected(message)) => Err(types::Failure::Rejected(message)),
        Err(Failure::Unavailable {
            message,
            retry_after,
        }) => Err(types::Failure::Unavailable(types::RetryInfo {
            message,
            retry_after_ms: retry_after.map(millis),
        })),
    }
}

/// `duration` times `scale`, which is no NaN and 0 or more; the longest there is
/// where the product has no place in a [`Duration`].
fn scaled(duration: Duration, scale: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * scale).unwrap_or(Duration::MAX)
}

/// In whole milliseconds and never too short, as far as the contract's numbers go.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_never_cut_and_never_too_long_for_the_contract() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_millis(1500)), 1500);
        assert_eq!(millis(Duration::from_micros(1500)), 2);
        assert_eq!(millis(Duration::MAX), u64::MAX);
    }

    #[test]
    fn a_scaled_duration_that_is_too_long_is_the_longest() {
        assert_eq!(
            scaled(Duration::from_secs(3), 0.5),
            Duration::from_millis(1500)
        );
        assert_eq!(scaled(Duration::from_secs(3), 0.0), Duration::ZERO);
        assert_eq!(scaled(Duration::MAX, 1e6), Duration::MAX);
    }
}
