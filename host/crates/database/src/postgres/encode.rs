//! Owns how a value goes to the server: as text, which takes the type that the
//! statement gives it there.

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::value::SqlValue;

type Failed = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for SqlValue {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failed> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Boolean(value) => out.put_slice(if *value { b"true" } else { b"false" }),
            Self::Integer(value) => out.put_slice(value.to_string().as_bytes()),
            // The shortest text that is the same number again.
            Self::Real(value) if value.is_finite() => {
                out.put_slice(format!("{value:?}").as_bytes())
            }
            Self::Real(value) if value.is_nan() => out.put_slice(b"NaN"),
            Self::Real(value) if *value > 0.0 => out.put_slice(b"Infinity"),
            Self::Real(_) => out.put_slice(b"-Infinity"),
            Self::Text(text) => {
                if text.contains('\0') {
                    return Err("PostgreSQL keeps no text with a NUL byte".into());
                }
                out.put_slice(text.as_bytes());
            }
            Self::Bytes(bytes) => {
                out.put_slice(b"\\x");
                for byte in bytes {
                    out.put_slice(format!("{byte:02x}").as_bytes());
                }
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
