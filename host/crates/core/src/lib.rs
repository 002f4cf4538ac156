//! The nouns of Pointsman, without I/O and without async: what a command is,
//! what comes back, what things are called, and what can be wrong with them.
//!
//! | module | owns |
//! |---|---|
//! | [`command`] | one valid JSON object and its id |
//! | [`outcome`] | what a handler's call and a command came to |
//! | [`name`] | names of handlers and rules, nearest names |
//! | [`diagnostic`] | something to fix, as data |
//! | [`source`] | a text with a name: byte offset → line and column |
//! | [`json`] | exact JSON: numbers as they were spelled, values with their places |
//! | [`decimal`] | exact numbers |
//! | [`settings`] | TOML over defaults |
//! | [`text`] | foreign text, made safe to print and bounded |

pub mod command;
pub mod decimal;
pub mod diagnostic;
pub mod json;
pub mod name;
pub mod outcome;
pub mod settings;
pub mod source;
pub mod text;
