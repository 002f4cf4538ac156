//! Owns where each setting comes from: what `pointsman config show` prints, and
//! what an error names.

use std::collections::BTreeMap;

use pointsman_core::settings::optional;
use serde::Serialize;
use toml::{Table, Value};

/// A setting that holds credentials, and what is shown in place of it.
const CREDENTIALS: &str = "queue.url";
const HIDDEN: &str = "(hidden)";
/// The source of what nothing set.
const DEFAULT: &str = "default";

/// One setting, its value and where that comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Its dotted key, such as `limits.timeout`.
    pub key: String,
    /// Its value. A URL with credentials is not shown.
    pub value: Value,
    /// `default`, the path of the file, `environment NAME` or `command line`.
    pub source: String,
}

impl Setting {
    /// Whether nothing set it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.source == DEFAULT
    }
}

/// The last source that set each key.
#[derive(Debug, Default)]
pub(super) struct Sources(BTreeMap<String, String>);

impl Sources {
    pub(super) fn set(&mut self, key: String, source: &str) {
        self.0.insert(key, source.into());
    }

    /// Where `key` was set, or an array that it is an element of, as `hosts[0]`.
    pub(super) fn of(&self, key: &str) -> Option<&str> {
        let key = key.split('[').next()?;
        self.0.get(key).map(String::as_str)
    }

    /// All settings in `table`, by key.
    pub(super) fn settings(&self, table: &Table, keys: &[String]) -> Vec<Setting> {
        let setting = |key: &String| {
            let value = at(table, key)?.clone();
            let is_hidden = key == CREDENTIALS && !optional::is_word(&value);
            Some(Setting {
                key: key.clone(),
                value: if is_hidden { HIDDEN.into() } else { value },
                source: self.of(key).unwrap_or(DEFAULT).into(),
            })
        };
        keys.iter().filter_map(setting).collect()
    }
}

/// The value of a key with dots.
pub(super) fn at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((section, rest)) => at(table.get(section)?.as_table()?, rest),
        None => table.get(key),
    }
}
