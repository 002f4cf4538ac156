//! Owns the name of the schema: which names are allowed, and how they stand in
//! SQL, quoted, before the name of every table.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::QueueError;
use pointsman_core::text;

/// The longest identifier of PostgreSQL, in bytes; it cuts longer ones in silence.
const IDENTIFIER_MAX_BYTES: usize = 63;
/// What the name of each channel begins with.
const CHANNEL: &str = "pointsman_";

/// The schema that holds the tables.
#[derive(Debug)]
pub(super) struct Schema {
    name: String,
    /// `"name".`
    prefix: String,
}

impl Schema {
    /// # Errors
    /// [`QueueError::Config`] where PostgreSQL has no such names.
    pub(super) fn new(name: &str) -> Result<Self, QueueError> {
        let refused = |reason: &str, hint: &str| {
            let name = text::bounded(name, 100);
            let message = format!("`queue.schema` `{}`: {reason}", text::escaped(&name));
            Err(QueueError::config_with_hint(message, hint))
        };
        if name.is_empty() {
            return refused("the name is empty", "the default is `pointsman`");
        }
        if name.len() > IDENTIFIER_MAX_BYTES {
            return refused(
                "names in PostgreSQL have at most 63 bytes",
                "choose a shorter one",
            );
        }
        if name.contains(char::is_control) {
            return refused("the name has a control character", "leave it out");
        }
        if name.starts_with("pg_") || name == "information_schema" {
            return refused(
                "PostgreSQL keeps this name for itself",
                "choose one that does not begin with `pg_`",
            );
        }
        Ok(Self {
            name: name.to_owned(),
            prefix: format!("{}.", quoted(name)),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name, quoted.
    pub(super) fn quoted(&self) -> &str {
        self.prefix.trim_end_matches('.')
    }

    /// The qualified name of one of its tables, quoted.
    pub(super) fn table(&self, table: &str) -> String {
        format!("{}{table}", self.prefix)
    }

    /// The statement with the schema where `@.` stands; inside a literal, too.
    pub(super) fn qualify<'s>(&self, sql: &'s str) -> Cow<'s, str> {
        let mut parts = sql.split("@.");
        let first = parts.next().unwrap_or_default();
        if first.len() == sql.len() {
            return Cow::Borrowed(sql);
        }
        let mut qualified = String::with_capacity(sql.len() + 8 * self.prefix.len());
        qualified.push_str(first);
        let mut before = first;
        for part in parts {
            if before.ends_with('\'') {
                qualified.push_str(&self.prefix.replace('\'', "''"));
            } else {
                qualified.push_str(&self.prefix);
            }
            qualified.push_str(part);
            before = part;
        }
        Cow::Owned(qualified)
    }

    /// The channel of its news. A name that is too long for one is hashed.
    pub(super) fn channel(&self) -> String {
        if CHANNEL.len() + self.name.len() <= IDENTIFIER_MAX_BYTES {
            return format!("{CHANNEL}{}", self.name);
        }
        let digest = Sha256::digest(&self.name);
        let hex = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
        format!("{CHANNEL}{}", hex.collect::<String>())
    }
}

/// An identifier, quoted.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_wherever_they_stand() {
        let schema = Schema::new("o'b\"c@.d").unwrap();
        assert_eq!(schema.quoted(), "\"o'b\"\"c@.d\"");
        assert_eq!(
            schema.qualify("SELECT nextval('@.place') FROM @.command"),
            "SELECT nextval('\"o''b\"\"c@.d\".place') FROM \"o'b\"\"c@.d\".command"
        );
    }

    #[test]
    fn what_postgresql_refuses_is_refused_with_the_reason() {
        for name in [
            "",
            "pg_queue",
            "information_schema",
            "a\nb",
            &"x".repeat(64),
        ] {
            let error = Schema::new(name).unwrap_err();
            assert_eq!(error.code(), "queue-config", "{name}");
        }
        for name in [
            "my-app",
            "MyApp",
            "2024",
            "select",
            "größe",
            &"x".repeat(63),
        ] {
            Schema::new(name).unwrap();
            assert!(Schema::new(name).unwrap().channel().len() <= 63, "{name}");
        }
    }
}
