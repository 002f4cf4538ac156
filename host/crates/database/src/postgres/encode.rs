//! Owns how a value goes to the server: as text, which takes the type that the
//! statement gives it there.

use bytes::{BufMut as _, BytesMut};
use postgres_protocol::IsNull;

use crate::value::SqlValue;

type Failed = Box<dyn std::error::Error + Sync + Send>;

/// Writes a value as text.
pub(super) fn text(value: &SqlValue, out: &mut BytesMut) -> Result<IsNull, Failed> {
    match value {
        SqlValue::Null => return Ok(IsNull::Yes),
        SqlValue::Boolean(value) => out.put_slice(if *value { b"true" } else { b"false" }),
        SqlValue::Integer(value) => out.put_slice(value.to_string().as_bytes()),
        // The shortest text that is the same number again.
        SqlValue::Real(value) if value.is_finite() => {
            out.put_slice(format!("{value:?}").as_bytes())
        }
        SqlValue::Real(value) if value.is_nan() => out.put_slice(b"NaN"),
        SqlValue::Real(value) if *value > 0.0 => out.put_slice(b"Infinity"),
        SqlValue::Real(_) => out.put_slice(b"-Infinity"),
        SqlValue::Text(text) => {
            if text.contains('\0') {
                return Err("PostgreSQL keeps no text with a NUL byte".into());
            }
            out.put_slice(text.as_bytes());
        }
        SqlValue::Bytes(bytes) => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.put_slice(b"\\x");
            for byte in bytes {
                out.put_u8(DIGITS[usize::from(byte >> 4)]);
                out.put_u8(DIGITS[usize::from(byte & 15)]);
            }
        }
    }
    Ok(IsNull::No)
}
