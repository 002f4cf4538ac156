//! Owns how a value comes from the server: in its binary form, by its type.

use fallible_iterator::FallibleIterator as _;
use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, Time},
    tz::TimeZone,
};
use postgres_protocol::message::backend::DataRowBody;
use tokio_postgres::types::{FromSql, Kind, Type};

use crate::{error::SqlError, value::SqlValue};

type Failed = Box<dyn std::error::Error + Sync + Send>;

/// A column of a query.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) ty: Type,
}

/// The values of a row.
pub(super) fn row(columns: &[Column], body: &DataRowBody) -> Result<Vec<SqlValue>, SqlError> {
    let cut_short = || SqlError::refused("a row that the server cut short");
    let mut values = Vec::with_capacity(columns.len());
    let mut ranges = body.ranges();
    while let Some(range) = ranges.next().map_err(|_| cut_short())? {
        let column = columns.get(values.len()).ok_or_else(cut_short)?;
        let value = match range {
            None => Some(SqlValue::Null),
            Some(_) if !<SqlValue as FromSql>::accepts(&column.ty) => None,
            Some(range) => {
                let raw = body.buffer().get(range).ok_or_else(cut_short)?;
                SqlValue::from_sql(&column.ty, raw).ok()
            }
        };
        values.push(value.ok_or_else(|| formless(column))?);
    }
    Ok(values)
}

fn formless(column: &Column) -> SqlError {
    SqlError::refused(format!(
        "column `{name}` has the type `{}`, which is not supported: select `{name}::text`",
        column.ty.name(),
        name = column.name,
    ))
}

impl<'a> FromSql<'a> for SqlValue {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failed> {
        if let Kind::Domain(inner) = ty.kind() {
            return Self::from_sql(inner, raw);
        }
        Ok(match *ty {
            Type::BOOL => Self::Boolean(bool::from_sql(ty, raw)?),
            Type::INT2 => Self::Integer(i16::from_sql(ty, raw)?.into()),
            Type::INT4 => Self::Integer(i32::from_sql(ty, raw)?.into()),
            Type::INT8 => Self::Integer(i64::from_sql(ty, raw)?),
            Type::OID => Self::Integer(u32::from_sql(ty, raw)?.into()),
            Type::FLOAT4 => Self::Real(f32::from_sql(ty, raw)?.into()),
            Type::FLOAT8 => Self::Real(f64::from_sql(ty, raw)?),
            Type::BYTEA => Self::Bytes(raw.to_vec()),
            Type::UUID => Self::Text(uuid::Uuid::from_slice(raw)?.to_string()),
            Type::NUMERIC => Self::Text(numeric(raw)?),
            Type::DATE => Self::Text(date(i32::from_sql(&Type::INT4, raw)?)?),
            Type::TIME => Self::Text(time(i64::from_sql(&Type::INT8, raw)?)?),
            Type::TIMESTAMP => {
                let moment = moment(i64::from_sql(&Type::INT8, raw)?)?;
                Self::Text(moment.to_zoned(TimeZone::UTC).datetime().to_string())
            }
            Type::TIMESTAMPTZ => Self::Text(moment(i64::from_sql(&Type::INT8, raw)?)?.to_string()),
            // A byte with the version of the form goes before the text.
            Type::JSONB => match raw.split_first() {
                Some((1, text)) => Self::Text(std::str::from_utf8(text)?.to_owned()),
                _ => return Err("JSON of an unknown version".into()),
            },
            _ => Self::Text(std::str::from_utf8(raw)?.to_owned()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Failed> {
        Ok(Self::Null)
    }

    fn accepts(ty: &Type) -> bool {
        match ty.kind() {
            Kind::Domain(inner) => <Self as FromSql>::accepts(inner),
            Kind::Enum(_) => true,
            _ => {
                let is_text = matches!(
                    *ty,
                    Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN
                ) || matches!(*ty, Type::JSON | Type::JSONB | Type::XML)
                    || ty.name() == "citext";
                let is_number = matches!(*ty, Type::INT2 | Type::INT4 | Type::INT8 | Type::OID)
                    || matches!(
                        *ty,
                        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC | Type::BOOL
                    );
                let is_time = matches!(
                    *ty,
                    Type::DATE | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ
                );
                is_text || is_number || is_time || matches!(*ty, Type::UUID | Type::BYTEA)
            }
        }
    }
}

/// PostgreSQL counts days from there, and microseconds from its midnight.
const EPOCH: Date = jiff::civil::date(2000, 1, 1);
/// What it has for the ends of time.
const INFINITE: &str = "infinity";

fn date(days: i32) -> Result<String, Failed> {
    Ok(match days {
        i32::MAX => INFINITE.to_owned(),
        i32::MIN => format!("-{INFINITE}"),
        days => EPOCH
            .checked_add(SignedDuration::from_hours(i64::from(days) * 24))?
            .to_string(),
    })
}

fn time(micros: i64) -> Result<String, Failed> {
    let time = Time::midnight().checked_add(SignedDuration::from_micros(micros))?;
    Ok(time.to_string())
}

fn moment(micros: i64) -> Result<Timestamp, Failed> {
    let epoch = EPOCH.to_zoned(TimeZone::UTC)?.timestamp();
    Ok(epoch.checked_add(SignedDuration::from_micros(micros))?)
}

/// An exact number: digits to the base 10,000, the weight of the first, the sign
/// and how many decimals are shown.
fn numeric(raw: &[u8]) -> Result<String, Failed> {
    let words: Vec<u16> = raw
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    let [count, weight, sign, scale, digits @ ..] = words.as_slice() else {
        return Err("a number that is cut short".into());
    };
    if digits.len() != usize::from(*count) {
        return Err("a number that is cut short".into());
    }
    let negative = match *sign {
        0 => "",
        0x4000 => "-",
        0xc000 => return Ok("NaN".to_owned()),
        0xd000 => return Ok("Infinity".to_owned()),
        0xf000 => return Ok("-Infinity".to_owned()),
        _ => return Err("a number of an unknown sign".into()),
    };
    let weight = i32::from(weight.cast_signed());
    // The group that stands for 10,000 to that power.
    let group = |power: i32| {
        let at = usize::try_from(weight - power).ok();
        at.and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };
    let mut text = String::from(negative);
    match weight < 0 {
        true => text.push('0'),
        false => {
            text.push_str(&group(weight).to_string());
            (0..weight)
                .rev()
                .for_each(|power| text.push_str(&format!("{:04}", group(power))));
        }
    }
    let scale = usize::from(*scale);
    if scale > 0 {
        let groups = i32::try_from(scale.div_ceil(4))?;
        let decimals: String = (1..=groups)
            .map(|at| format!("{:04}", group(-at)))
            .collect();
        text.push('.');
        text.push_str(&decimals[..scale]);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn exact_numbers_are_written_out() {
        for (words, text) in [
            (&[0, 0, 0, 0][..], "0"),
            (&[1, 0, 0, 0, 7], "7"),
            (&[2, 1, 0x4000, 2, 12, 3456], "-123456.00"),
            (&[3, 1, 0, 3, 1, 0, 5000], "10000.500"),
            (&[1, 0xffff, 0, 4, 1], "0.0001"),
            (&[1, 0xfffe, 0, 8, 1], "0.00000001"),
            (&[1, 2, 0, 0, 1], "100000000"),
            (&[0, 0, 0xc000, 0], "NaN"),
        ] {
            assert_eq!(numeric(&raw(words)).unwrap(), text);
        }
        assert!(numeric(&raw(&[2, 0, 0, 0, 1])).is_err());
        assert!(numeric(&[]).is_err());
    }

    #[test]
    fn times_are_in_their_usual_form() {
        assert_eq!(date(0).unwrap(), "2000-01-01");
        assert_eq!(date(-1).unwrap(), "1999-12-31");
        assert_eq!(date(i32::MAX).unwrap(), "infinity");
        assert_eq!(time(1_500_000).unwrap(), "00:00:01.5");
        assert_eq!(moment(0).unwrap().to_string(), "2000-01-01T00:00:00Z");
        assert!(moment(i64::MAX).is_err());
    }
}
