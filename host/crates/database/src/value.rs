//! Owns what goes in and out of a statement.

/// One value, of a parameter or in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlValue {
    /// No value.
    Null,
    /// A boolean; SQLite has 0 and 1 for it.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text, and what has no form of its own here, as the database writes it.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl SqlValue {
    /// What it takes, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        // That of the value itself, wherever it is.
        16 + match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

/// The rows of a query, or some of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SqlPage {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// Rows, each with a value for every column.
    pub rows: Vec<Vec<SqlValue>>,
    /// Whether there are more.
    pub more: bool,
    /// Bytes of its rows.
    pub(crate) bytes: usize,
}

/// Rows of one page at most.
pub(crate) const PAGE_ROWS_MAX: u16 = 1_000;
/// Bytes at which a page ends.
const PAGE_BYTES_MAX: usize = 1 << 20;

impl SqlPage {
    /// Adds a row. Whether the page is full.
    pub(crate) fn push(&mut self, row: Vec<SqlValue>) -> bool {
        self.bytes += row.iter().map(SqlValue::size_bytes).sum::<usize>();
        self.rows.push(row);
        self.rows.len() >= PAGE_ROWS_MAX.into() || self.bytes >= PAGE_BYTES_MAX
    }
}
