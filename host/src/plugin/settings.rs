//! Owns what the operator says of one handler in `plugins/<name>.toml`: its
//! limits over the host's defaults, and its configuration. Nothing here comes
//! from the plugin itself.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::config::{self, ConfigError, HandlerLimits};

/// The settings of one handler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlerSettings {
    /// What one call may use.
    pub limits: HandlerLimits,
    /// What the handler reads with the contract's `config.get`.
    pub config: BTreeMap<String, String>,
}

impl HandlerSettings {
    /// The settings of a handler without a file.
    #[must_use]
    pub fn new(limits: HandlerLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Lays the TOML in `text`, from the file `origin`, over the host's default `limits`.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file and the key.
    pub fn parse(origin: &Path, text: &str, limits: &HandlerLimits) -> Result<Self, ConfigError> {
        let origin = origin.display().to_string();
        let mut merged = config::table_of(&Self::new(limits.clone()));
        // Its keys are the handler's own: all are allowed.
        let mut given: Table = config::parse(&origin, text)?;
        let handler_config = given.remove("config");
        config::merge(&mut merged, given, &origin, "")?;
        if let Some(handler_config) = handler_config {
            merged.insert("config".into(), strings(handler_config));
        }
        config::typed(merged, &origin)
    }
}

/// A number or a boolean in `[config]` is handed over as its text: handlers read strings.
fn strings(value: Value) -> Value {
    let Value::Table(table) = value else {
        return value;
    };
    let text = |value| match value {
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Value::String(value.to_string()),
        other => other,
    };
    Value::Table(
        table
            .into_iter()
            .map(|(key, value)| (key, text(value)))
            .collect(),
    )
}
