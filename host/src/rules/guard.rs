//! Owns guards: CEL expressions over the attributes, for conditions that the
//! pattern language cannot say. Only this file knows the `cel` crate.
//!
//! A guard sees one variable, `command`: the attributes. It is asked only
//! after the rule's `match` holds, so the cost falls on few commands.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, ExecutionError, Program, Value};

/// The longest expression. Evaluation has no fuel, so its length is what
/// bounds its cost.
pub(crate) const MAX_GUARD_BYTES: usize = 4_096;

/// Building the standard functions costs more than any guard.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A condition of a rule, compiled.
pub(crate) struct Guard {
    text: Box<str>,
    program: Program,
}

/// The attributes of one command in the form that guards need, made when the
/// first guard asks.
pub(crate) struct Attributes<'a> {
    text: &'a str,
    value: Option<Value>,
}

impl Guard {
    /// Compiles `text`.
    ///
    /// # Errors
    /// The reason in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_GUARD_BYTES {
            return Err(format!("it has more than {MAX_GUARD_BYTES} bytes"));
        }
        let program = ENV.compile(text).map_err(|errors| {
            let first = errors.to_string();
            first
                .lines()
                .next()
                .unwrap_or("it is no CEL expression")
                .trim_start_matches("ERROR: ")
                .to_owned()
        })?;
        let guard = Self {
            text: text.into(),
            program,
        };
        // A name that does not exist is wrong for every command.
        match guard.evaluate(Value::from(HashMap::<String, Value>::new())) {
            Err(ExecutionError::UndeclaredReference(name)) => Err(format!(
                "`{name}` is unknown; the attributes are under `command`, such as `command.requestType`"
            )),
            _ => Ok(guard),
        }
    }

    /// The expression as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the guard holds, and if not, why.
    ///
    /// # Errors
    /// The reason in words; an absent field is one.
    pub(crate) fn check(&self, attributes: &mut Attributes<'_>) -> Result<(), String> {
        match self.evaluate(attributes.value()) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(Value::Bool(false)) => Err("it is false".to_owned()),
            Ok(_) => Err("its value is neither true nor false".to_owned()),
            Err(ExecutionError::NoSuchKey(key)) => Err(format!("`{key}` is absent")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The value of a guard that does not look at the command.
    pub(crate) fn constant(&self) -> Option<bool> {
        if self.program.references().has_variable("command") {
            return None;
        }
        match self.evaluate(Value::Null) {
            Ok(Value::Bool(value)) => Some(value),
            _ => None,
        }
    }

    fn evaluate(&self, command: Value) -> Result<Value, ExecutionError> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.add_variable_from_value("command", command);
        self.program.execute(&context)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.text).finish()
    }
}

impl<'a> Attributes<'a> {
    /// `text` is JSON that has been read before.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, value: None }
    }

    fn value(&mut self) -> Value {
        self.value
            .get_or_insert_with(|| {
                // What the engine reads but serde_json does not, such as 1e999,
                // leaves every field absent.
                serde_json::from_str(self.text).map_or(Value::Null, |value| convert(&value))
            })
            .clone()
    }
}

/// JSON as CEL sees it: whole numbers are `int`, so that `command.count > 5` works.
fn convert(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => {
            Value::from(items.iter().map(convert).collect::<Vec<_>>())
        }
        serde_json::Value::Object(members) => Value::from(
            members
                .iter()
                .map(|(key, value)| (key.clone(), convert(value)))
                .collect::<HashMap<_, _>>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &str, command: &str) -> Result<(), String> {
        Guard::parse(guard)?.check(&mut Attributes::new(command))
    }

    #[test]
    fn a_guard_sees_the_attributes() {
        assert_eq!(
            check(
                "command.amount > command.limit",
                r#"{"amount":5,"limit":4}"#
            ),
            Ok(())
        );
        assert_eq!(
            check(
                "size(command.items) == 2 && command.items[0].id == 'a'",
                r#"{"items":[{"id":"a"},{}]}"#
            ),
            Ok(())
        );
        assert_eq!(check("command.a == 1.5", r#"{"a":1.5}"#), Ok(()));
        assert_eq!(
            check("command.n > 1", r#"{"n":18446744073709551615}"#),
            Ok(())
        );
    }

    #[test]
    fn a_guard_that_does_not_hold_says_why() {
        assert_eq!(
            check("command.amount > 5", r#"{"amount":5}"#),
            Err("it is false".into())
        );
        assert_eq!(
            check("command.amount > 5", "{}"),
            Err("`amount` is absent".into())
        );
        assert_eq!(
            check("command.amount", r#"{"amount":5}"#),
            Err("its value is neither true nor false".into())
        );
        assert!(check("command.amount > 5", r#"{"amount":"x"}"#).is_err());
    }

    #[test]
    fn a_bad_guard_is_refused() {
        assert!(Guard::parse("command.a >").is_err());
        assert!(
            Guard::parse("amount > 5")
                .unwrap_err()
                .contains("`amount` is unknown")
        );
        for unit in ["(", "[", "!", "-", "a.", "{1:", "1+"] {
            assert!(
                Guard::parse(&unit.repeat(4_000 / unit.len())).is_err(),
                "{unit}"
            );
        }
        assert!(
            Guard::parse(&"1+".repeat(3_000))
                .unwrap_err()
                .contains("more than 4096 bytes")
        );
    }
}
