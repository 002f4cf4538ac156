//! Owns guards: CEL expressions over the attributes, for conditions that the
//! pattern language cannot say. A guard sees one variable, `command`: the
//! attributes. It is evaluated only after the rule's `match` holds.
//!
//! This is an evaluator of our own because a guard works on whatever a client
//! sends: every step and byte is counted, numbers do not change with their
//! spelling, and what can never hold is refused with the rule.
//! `lexer` → `parser` → `expr` (names resolved, depth bounded) → `types` (what
//! can never work) at load; `eval` over `value`s, bounded by a `meter`, for a
//! command.

mod binary;
mod check;
mod eval;
mod expr;
mod functions;
mod lexer;
mod meter;
mod never;
mod parser;
mod regex;
mod types;
mod value;

use std::fmt;

use self::{
    eval::Evaluation,
    expr::{Expr, Kind},
    meter::Stop,
    value::Value,
};
use super::fuel::Fuel;
use pointsman_core::command::Command;

pub(crate) use meter::Exceeded;

/// The longest expression.
pub(crate) const MAX_GUARD_BYTES: usize = 4_096;

/// The steps for a guard that does not look at the command; more are refused at load.
const CONSTANT_STEPS_MAX: u64 = 100_000;

/// A condition of a rule, compiled.
pub(crate) struct Guard {
    text: Box<str>,
    expr: Expr,
}

/// The attributes of one command in the form that guards need, made when the
/// first guard asks.
pub(crate) struct Attributes<'a> {
    command: &'a Command,
    value: Option<Value<'a>>,
}

/// What is wrong with a guard, where, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuardError {
    /// Byte offset in the guard's text.
    pub(crate) at: usize,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// Why a guard does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    False,
    /// The command does not have this field.
    Absent(Box<str>),
    /// It has values that the guard cannot work with.
    Fault(Box<str>),
    /// It would take more than it may.
    Limit(Exceeded),
}

impl GuardError {
    fn at(at: usize, message: String) -> Self {
        Self {
            at,
            message,
            hint: None,
        }
    }

    fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::False => f.write_str("it is false"),
            Self::Absent(name) => write!(f, "`{name}` is absent"),
            Self::Fault(fault) => f.write_str(fault),
            Self::Limit(exceeded) => write!(f, "it {exceeded}"),
        }
    }
}

impl Guard {
    /// Compiles `text`.
    ///
    /// # Errors
    /// At the first thing wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, GuardError> {
        if text.len() > MAX_GUARD_BYTES {
            let message = format!("it has more than {MAX_GUARD_BYTES} bytes");
            return Err(GuardError::at(0, message));
        }
        let expr = parser::parse(text)?;
        check::check(&expr)?;
        Ok(Self {
            text: text.into(),
            expr,
        })
    }

    /// The expression as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The bytes that its regular expressions take.
    pub(crate) fn regex_bytes(&self) -> usize {
        fn add(expr: &Expr, bytes: &mut usize) {
            if let Kind::Matches(_, regex) = &expr.kind {
                *bytes += regex.bytes();
            }
            expr.kind.parts(&mut |part| add(part, bytes));
        }
        let mut bytes = 0;
        add(&self.expr, &mut bytes);
        bytes
    }

    /// Whether the guard holds, and if not, why.
    ///
    /// # Errors
    /// [`Unmet`]; an absent field is one reason.
    pub(crate) fn check(&self, attributes: &mut Attributes<'_>, fuel: &Fuel) -> Result<(), Unmet> {
        let value = match attributes.value(fuel) {
            Ok(command) => Evaluation::new(command, fuel).of(&self.expr),
            Err(stop) => Err(stop),
        };
        match value {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(Value::Bool(false)) => Err(Unmet::False),
            Ok(value) => {
                let fault = format!("its value is {}, neither true nor false", value.kind());
                Err(Unmet::Fault(fault.into()))
            }
            Err(Stop::Absent(name)) => Err(Unmet::Absent(name)),
            Err(Stop::Fault(fault)) => Err(Unmet::Fault(fault)),
            Err(Stop::Limit(exceeded)) => Err(Unmet::Limit(exceeded)),
        }
    }

    /// The value of a guard that does not look at the command.
    pub(crate) fn constant(&self) -> Option<bool> {
        if !self.expr.is_constant() {
            return None;
        }
        let fuel = Fuel::new(CONSTANT_STEPS_MAX);
        match Evaluation::without_command(&fuel).of(&self.expr) {
            Ok(Value::Bool(value)) => Some(value),
            _ => None,
        }
    }
}

/// An expression whose value says whose a command is: text, a number or a boolean.
pub struct Key(Guard);

/// Why a command has no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// What the expression asks for is not there, or is not such a value.
    Fault(String),
    /// It would take more than it may.
    Limit(String),
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(reason) | Self::Limit(reason) => f.write_str(reason),
        }
    }
}

impl Key {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What is wrong with it, and how to fix it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = || {
            if text.len() > MAX_GUARD_BYTES {
                let message = format!("it has more than {MAX_GUARD_BYTES} bytes");
                return Err(GuardError::at(0, message));
            }
            let expr = parser::parse(text)?;
            check::check_key(&expr)?;
            let text = text.into();
            Ok(Self(Guard { text, expr }))
        };
        read().map_err(|error: GuardError| {
            let hint = error.hint.map(|hint| format!("; {hint}"));
            let hint = hint.unwrap_or_default();
            format!("at byte {}: {}{hint}", error.at, error.message)
        })
    }

    /// The keys of one command, which these give within `steps_max` steps together.
    #[must_use]
    pub fn all(
        keys: &[impl AsRef<Self>],
        command: &Command,
        steps_max: u64,
    ) -> Vec<Result<String, KeyFault>> {
        let (fuel, mut attributes) = (Fuel::new(steps_max), Attributes::new(command));
        let keys = keys.iter().map(AsRef::as_ref);
        keys.map(|key| key.of(&mut attributes, &fuel)).collect()
    }

    fn of(&self, attributes: &mut Attributes<'_>, fuel: &Fuel) -> Result<String, KeyFault> {
        let value = match attributes.value(fuel) {
            Ok(command) => Evaluation::new(command, fuel).of(&self.0.expr),
            Err(stop) => Err(stop),
        };
        match value {
            Ok(Value::Text(text)) => Ok(text.to_string()),
            Ok(value @ (Value::Timestamp(_) | Value::Duration(_))) => {
                Err(KeyFault::Fault(no_key(value.kind())))
            }
            Ok(value) => value
                .spelled()
                .ok_or_else(|| KeyFault::Fault(no_key(value.kind()))),
            Err(Stop::Absent(name)) => Err(KeyFault::Fault(format!("`{name}` is absent"))),
            Err(Stop::Fault(fault)) => Err(KeyFault::Fault(fault.into())),
            Err(Stop::Limit(exceeded)) => Err(KeyFault::Limit(format!("it {exceeded}"))),
        }
    }
}

fn no_key(kind: &str) -> String {
    format!("its value is {kind}, and a key is a string, a number or a boolean")
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.0.text).finish()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.text).finish()
    }
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(command: &'a Command) -> Self {
        Self {
            command,
            value: None,
        }
    }

    fn value(&mut self, fuel: &Fuel) -> Result<Value<'a>, Stop> {
        if let Some(value) = &self.value {
            return Ok(value.clone());
        }
        if !fuel.spend(1 + self.command.attributes().len() as u64 / 4) {
            return Err(Stop::Limit(Exceeded::Steps));
        }
        let value = Value::of_json(self.command.root());
        Ok(self.value.insert(value).clone())
    }
}

#[cfg(test)]
mod tests;
