//! Owns the reading of single values of a case file.

use toml::{Table, Value};

use pointsman_core::{
    diagnostic::Diagnostic,
    json::{Member, Node, NodeValue},
    source::{Source, excerpt, suggest},
};

pub(super) type Read<T> = Result<T, Diagnostic>;

pub(super) struct Reader<'r, 't> {
    pub(super) source: &'r Source<'t>,
}

impl Reader<'_, '_> {
    /// The members of an object that has no key but `allowed`, each once.
    pub(super) fn object<'n, 'd>(
        &self,
        node: &'n Node<'d>,
        what: &str,
        allowed: &[&str],
    ) -> Read<&'n [Member<'d>]> {
        let NodeValue::Object(members) = &node.value else {
            return Err(self.wrong_kind(node, what, "an object"));
        };
        for (at, member) in members.iter().enumerate() {
            if !allowed.contains(&&*member.key) {
                let message = format!("unknown key `{}` in {what}", excerpt(&member.key));
                let hint = suggest(&member.key, allowed);
                let error =
                    self.source
                        .error_with_hint(member.key_at, "unknown-key", message, hint);
                return Err(error);
            }
            if members[..at].iter().any(|other| other.key == member.key) {
                return Err(self.duplicate(member));
            }
        }
        Ok(members)
    }

    pub(super) fn duplicate(&self, member: &Member<'_>) -> Diagnostic {
        let message = format!("duplicate key `{}`", excerpt(&member.key));
        self.source.error(member.key_at, "duplicate-key", message)
    }

    pub(super) fn text<'n>(&self, node: &'n Node<'_>, what: &str) -> Read<&'n str> {
        match &node.value {
            NodeValue::String(text) => Ok(text),
            _ => Err(self.wrong_kind(node, what, "a string")),
        }
    }

    pub(super) fn number(&self, node: &Node<'_>, what: &str) -> Read<u64> {
        let wrong = || self.wrong_kind(node, what, "a whole number of at least 0");
        match &node.value {
            NodeValue::Number(text) => text.parse().map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    pub(super) fn one_of(&self, node: &Node<'_>, what: &str, names: &[&str]) -> Read<usize> {
        let text = self.text(node, what)?;
        names.iter().position(|name| *name == text).ok_or_else(|| {
            let message = format!("{what} cannot be `{}`", excerpt(text));
            self.source
                .error_with_hint(node.at, "unknown-value", message, suggest(text, names))
        })
    }

    pub(super) fn wrong_kind(&self, node: &Node<'_>, what: &str, wanted: &str) -> Diagnostic {
        let message = format!("{what} must be {wanted}, found {}", node.kind());
        self.source.error(node.at, "wrong-type", message)
    }

    /// A setting as `plugins/<name>.toml` would have it.
    pub(super) fn toml(&self, node: &Node<'_>) -> Read<Value> {
        Ok(match &node.value {
            NodeValue::Null => {
                let error = self
                    .source
                    .error(node.at, "null", "a setting cannot be null");
                return Err(error);
            }
            NodeValue::Bool(value) => Value::Boolean(*value),
            NodeValue::Number(text) => match (text.parse(), text.parse()) {
                (Ok(integer), _) => Value::Integer(integer),
                (Err(_), Ok(float)) => Value::Float(float),
                _ => return Err(self.wrong_kind(node, "a setting", "a number in range")),
            },
            NodeValue::String(text) => Value::String(text.to_string()),
            NodeValue::Array(items) => {
                let items = items.iter().map(|item| self.toml(item));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            NodeValue::Object(members) => {
                let mut table = Table::new();
                for member in members {
                    let value = self.toml(&member.value)?;
                    if table.insert(member.key.to_string(), value).is_some() {
                        return Err(self.duplicate(member));
                    }
                }
                Value::Table(table)
            }
        })
    }
}

pub(super) fn find<'n, 't>(members: &'n [Member<'t>], key: &str) -> Option<&'n Node<'t>> {
    members
        .iter()
        .find(|member| member.key == key)
        .map(|member| &member.value)
}
