//! Owns one statement on a connection, in the thread of it.

use std::sync::mpsc;

use rusqlite::{
    Connection, Row, Statement,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    fault::said,
    job::{Job, Place, Reply, answer},
};
use crate::{
    error::SqlError,
    value::{SqlPage, SqlValue},
};

/// Gives the rows page by page, for as long as that is what is asked. Gives the
/// job that is not.
pub(super) fn query(
    connection: &Connection,
    (text, parameters, bytes_max): (&str, &[SqlValue], u64),
    mut reply: Reply<SqlPage>,
    inbox: &mpsc::Receiver<(Job, Place)>,
) -> Option<(Job, Place)> {
    let mut statement = match prepare(connection, text, parameters) {
        Ok(statement) => statement,
        Err(error) => {
            answer(connection, reply, Err(error));
            return None;
        }
    };
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.raw_query();
    let mut read = || match rows.next().map_err(|error| said(&error))? {
        None => Ok(None),
        Some(row) => values(row, columns.len(), bytes_max).map(Some),
    };
    // Read ahead, so that a page knows whether another one follows.
    let mut ahead = read();
    loop {
        let mut page = SqlPage {
            columns: columns.clone(),
            ..SqlPage::default()
        };
        let filled = loop {
            match std::mem::replace(&mut ahead, Ok(None)) {
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
                Ok(Some(row)) => {
                    let is_full = page.push(row);
                    ahead = read();
                    if is_full {
                        page.more = matches!(ahead, Ok(Some(_)));
                        break ahead.as_ref().map(drop).map_err(Clone::clone);
                    }
                }
            }
        };
        let more = filled.is_ok() && page.more;
        answer(connection, reply, filled.map(|()| page));
        if !more {
            return None;
        }
        match inbox.recv().ok()? {
            (Job::Next(next), _) => reply = next,
            other => return Some(other),
        }
    }
}

pub(super) fn execute(
    connection: &Connection,
    text: &str,
    parameters: &[SqlValue],
) -> Result<u64, SqlError> {
    let mut statement = prepare(connection, text, parameters)?;
    let before = connection.total_changes();
    let mut rows = statement.raw_query();
    while rows.next().map_err(|error| said(&error))?.is_some() {}
    drop(rows);
    Ok(match connection.total_changes() == before {
        true => 0,
        false => connection.changes(),
    })
}

fn prepare<'a>(
    connection: &'a Connection,
    text: &str,
    parameters: &[SqlValue],
) -> Result<Statement<'a>, SqlError> {
    let mut statement = connection.prepare(text).map_err(|error| said(&error))?;
    let mut used = 0;
    for at in 1..=statement.parameter_count() {
        let number = statement.parameter_name(at).and_then(number);
        let Some(number) = number else {
            return Err(SqlError::refused("parameters are `$1`, `$2` and so on"));
        };
        used = used.max(number);
        let Some(value) = number
            .checked_sub(1)
            .and_then(|index| parameters.get(index))
        else {
            return Err(SqlError::refused(format!(
                "the statement has a parameter `${number}`, and there are {} values",
                parameters.len()
            )));
        };
        let bound = statement.raw_bind_parameter(at, Bound(value));
        bound.map_err(|error| said(&error))?;
    }
    if used < parameters.len() {
        return Err(SqlError::refused(format!(
            "the statement has {used} parameters, and there are {} values",
            parameters.len()
        )));
    }
    Ok(statement)
}

fn number(name: &str) -> Option<usize> {
    let digits = name.strip_prefix(['$', '?'])?;
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

struct Bound<'a>(&'a SqlValue);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            SqlValue::Null => ValueRef::Null,
            SqlValue::Boolean(value) => ValueRef::Integer((*value).into()),
            SqlValue::Integer(value) => ValueRef::Integer(*value),
            SqlValue::Real(value) => ValueRef::Real(*value),
            SqlValue::Text(text) => ValueRef::Text(text.as_bytes()),
            SqlValue::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// The values of a row, which are looked at before they are copied.
fn values(row: &Row<'_>, columns: usize, bytes_max: u64) -> Result<Vec<SqlValue>, SqlError> {
    let mut bytes = 0;
    for at in 0..columns {
        let value = row.get_ref(at).map_err(|error| said(&error))?;
        bytes += match value {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() as u64,
            _ => 0,
        };
    }
    if bytes > bytes_max {
        return Err(SqlError::too_large(bytes));
    }
    let values = (0..columns).map(|at| row.get_ref(at).map(value));
    let values = values.collect::<rusqlite::Result<_>>();
    values.map_err(|error| said(&error))
}

fn value(value: ValueRef<'_>) -> SqlValue {
    match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(value) => SqlValue::Integer(value),
        ValueRef::Real(value) => SqlValue::Real(value),
        // SQLite takes any bytes for text.
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => SqlValue::Text(text.to_owned()),
            Err(_) => SqlValue::Bytes(bytes.to_vec()),
        },
        ValueRef::Blob(bytes) => SqlValue::Bytes(bytes.to_vec()),
    }
}
