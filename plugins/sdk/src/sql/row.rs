//! [`Row`], and its conversion into the handler's types.

use std::rc::Rc;

use serde::{
    de::{
        DeserializeOwned, Deserializer, IntoDeserializer, Visitor,
        value::{Error as Invalid, MapDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{Error, Value};

/// A row of a query.
#[derive(Clone, Debug)]
pub struct Row {
    columns: Rc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(super) fn new(columns: Rc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The value of a column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Value> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.values.get(at)
    }

    /// The values, in the order of the columns.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Returns the row as a `T`, by column name.
    ///
    /// # Errors
    /// [`Error`] if it does not fit.
    pub fn into_typed<T: DeserializeOwned>(self) -> Result<T, Error> {
        let values = self.values.into_iter().map(Cell);
        let cells = self.columns.iter().map(String::as_str).zip(values);
        let row = MapDeserializer::<_, Invalid>::new(cells);
        T::deserialize(row).map_err(|error| Error::row(format_args!("a row: {error}")))
    }
}

/// Deserializes one value.
struct Cell(Value);

impl IntoDeserializer<'_, Invalid> for Cell {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Cell {
    type Error = Invalid;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Boolean(value) => visitor.visit_bool(value),
            Value::Integer(value) => visitor.visit_i64(value),
            Value::Real(value) => visitor.visit_f64(value),
            Value::Text(value) => visitor.visit_string(value),
            Value::Bytes(value) => visitor.visit_byte_buf(value),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self.0 {
            // SQLite has no booleans.
            Value::Integer(value @ (0 | 1)) => visitor.visit_bool(value == 1),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        match self.0 {
            Value::Text(text) => {
                let variant: serde::de::value::StringDeserializer<Invalid> =
                    text.into_deserializer();
                variant.deserialize_enum(name, variants, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn row(values: Vec<Value>) -> Row {
        let columns = ["id", "name", "active", "state"].map(str::to_owned);
        Row::new(columns.into(), values)
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum State {
        Open,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Customer {
        id: u32,
        name: Option<String>,
        active: bool,
        state: State,
    }

    #[test]
    fn a_row_becomes_a_type_by_the_names_of_its_columns() {
        let good = row(vec![
            Value::Integer(7),
            Value::Null,
            Value::Integer(1),
            Value::Text("open".into()),
        ]);
        let customer = Customer {
            id: 7,
            name: None,
            active: true,
            state: State::Open,
        };
        assert_eq!(good.into_typed(), Ok(customer));
        let bad = row(vec![Value::Integer(-1), Value::Null, Value::Integer(2)]);
        assert!(bad.into_typed::<Customer>().is_err());
    }
}
