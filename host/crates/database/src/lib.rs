#![doc = include_str!("../README.md")]

mod engine;
mod error;
mod postgres;
mod session;
mod settings;
mod sqlite;
mod statement;
pub mod url;
mod value;

pub use error::{SqlError, SqlFault};
pub use session::{Database, OpenError, Session};
pub use settings::DatabaseLimits;
pub use value::{SqlPage, SqlValue};
