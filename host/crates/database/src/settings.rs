//! Owns what one call may take of a database.

use std::time::Duration;

/// The limits of a database that a handler was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseLimits {
    /// Whether nothing can be changed through it.
    pub read_only: bool,
    /// Rows that one call reads.
    pub rows_max: u64,
    /// Bytes that one call reads, and those of one value.
    pub bytes_max: u64,
    /// How long a statement may take, waiting for a connection included.
    pub statement_timeout: Duration,
    /// Connections of the handler at once.
    pub connections_max: usize,
}

impl Default for DatabaseLimits {
    fn default() -> Self {
        Self {
            read_only: false,
            rows_max: 100_000,
            bytes_max: 64 << 20,
            statement_timeout: Duration::from_secs(10),
            connections_max: 4,
        }
    }
}
