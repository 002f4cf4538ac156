//! Owns how a setting that may have no value is written: a word stands in its place,
//! so that a source can also take back what one below it set. `auto` has the host
//! choose from the machine, `none` is no limit, no file, no such thing. For a field:
//! `#[serde(with = "optional::auto")]`.

use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use toml::Value;

/// The value is chosen from the machine.
const AUTO: &str = "auto";
/// There is none.
const NONE: &str = "none";

/// Whether the default of a key is one of the words, so that the key takes numbers too.
#[must_use]
pub fn is_word(default: &Value) -> bool {
    matches!(default.as_str(), Some(AUTO | NONE))
}

/// A number, or `auto`.
pub mod auto {
    use super::{AUTO, Deserializer, Number, Serialize, Serializer};

    /// Writes a field.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<T: Serialize, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::write(value.as_ref(), AUTO, serializer)
    }

    /// Reads a field.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        Number::new(AUTO).read(deserializer)
    }
}

/// A number, or `none`.
pub mod none {
    use super::{Deserializer, NONE, Number, Serialize, Serializer};

    /// Writes a field.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<T: Serialize, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::write(value.as_ref(), NONE, serializer)
    }

    /// Reads a field.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        Number::new(NONE).read(deserializer)
    }
}

/// A text, or `none`.
pub mod text {
    use super::{Deserialize, Deserializer, NONE, Serialize, Serializer};
    use serde::de::Error as _;

    /// Writes a field.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<T: Serialize, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::write(value.as_ref(), NONE, serializer)
    }

    /// Reads a field.
    ///
    /// # Errors
    /// Where it is no text, or empty.
    pub fn deserialize<'de, T: From<String>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        match String::deserialize(deserializer)? {
            text if text == NONE => Ok(None),
            text if text.is_empty() => Err(D::Error::custom("is empty: write `none`")),
            text => Ok(Some(text.into())),
        }
    }
}

fn write<T: Serialize, S: Serializer>(
    value: Option<&T>,
    word: &str,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_str(word),
    }
}

/// How a number or `word` is read.
struct Number<T> {
    word: &'static str,
    of: PhantomData<T>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    // Other types are told apart before: the default of the key is a text.
    Word(String),
}

impl<T: TryFrom<u64>> Number<T> {
    fn new(word: &'static str) -> Self {
        let of = PhantomData;
        Self { word, of }
    }

    fn read<'de, D: Deserializer<'de>>(&self, deserializer: D) -> Result<Option<T>, D::Error> {
        let word = self.word;
        let wrong = || D::Error::custom(format_args!("is neither a number from 1 on nor `{word}`"));
        match Written::deserialize(deserializer).map_err(|_| wrong())? {
            // As it was written before there were words.
            Written::Number(0) => Err(D::Error::custom(format_args!(
                "0 means nothing: write `{word}`"
            ))),
            Written::Number(number) => number.try_into().map(Some).map_err(|_| wrong()),
            Written::Word(text) if text == word => Ok(None),
            Written::Word(_) => Err(wrong()),
        }
    }
}
