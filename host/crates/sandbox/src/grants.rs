//! What a handler may do: deny is the default, and what is denied names the line
//! of `plugins/<name>.toml` that would grant it.
//!
//! | file | owns |
//! |---|---|
//! | `settings` | `plugins/<name>.toml` |
//! | `granted` | what was granted, as calls meet it |
//! | `secrets` | values that are never shown |
//! | `injected` | secrets that the host adds to requests |
//! | `folders` | granted folders, open |
//! | `pattern`, `path`, `address` | which requests may go out, and how far inside they may lead |
//! | `outgoing` | requests on their way |
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
