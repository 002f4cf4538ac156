//! The capabilities of a handler. Everything is denied by default, and the error names
//! the line of `plugins/<name>.toml` that would grant it.
//!
//! | file | contains |
//! |---|---|
//! | `settings` | `plugins/<name>.toml` |
//! | `granted` | the granted capabilities, ready for calls |
//! | `secrets` | values that are never shown |
//! | `injected` | secrets that the host adds to requests |
//! | `folders` | granted folders, opened |
//! | `pattern`, `path`, `address` | which requests are allowed, and to which internal addresses |
//! | `outgoing` | requests in progress |
//! | `services` | databases, state and follow-up commands |

mod address;
pub(crate) mod folders;
pub(crate) mod granted;
pub(crate) mod injected;
pub(crate) mod outgoing;
mod path;
pub(crate) mod pattern;
pub(crate) mod secrets;
pub(crate) mod services;
pub(crate) mod settings;
