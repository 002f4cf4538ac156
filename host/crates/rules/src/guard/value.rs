//! Owns the values that guards compute with.
//!
//! JSON has one kind of number, so a number of the command is neither an
//! integer nor a double: `99`, `99.0` and `9.9e1` are one value. Arithmetic with
//! such a number is exact where the result is whole, and as precise as a double
//! where it is not: 3 / 2 is 1.5. Literals are CEL's own: 3 / 2 is 1 and 3.0 / 2.0
//! is 1.5; where the kinds meet, the result is as with a number of the command.

use std::{cmp::Ordering, ops::Deref, rc::Rc};

use jiff::{SignedDuration, Timestamp};
use pointsman_core::source::excerpt;

use super::{
    binary::Binary,
    meter::{Meter, Stop},
};
use crate::{
    decimal::Decimal,
    json::{self, Kind},
};

/// Whole doubles up to here are exact.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

#[derive(Clone, Debug)]
pub(super) enum Value<'c> {
    Null,
    Bool(bool),
    /// CEL's `int`: of a literal or a function.
    Int(i64),
    /// CEL's `uint`: of a literal or `uint()`. Not negative; up to the largest
    /// `int`, half of what CEL's own goes to.
    Unsigned(i64),
    /// CEL's `double`: of a literal or a function.
    Double(f64),
    /// A whole number of the command, or computed with one.
    Whole(i64),
    /// Any other number of the command, or computed with one.
    Fraction(f64),
    Text(Text<'c>),
    List(Rc<[Value<'c>]>),
    Map(Rc<Map<'c>>),
    Timestamp(Timestamp),
    Duration(SignedDuration),
}

/// Text of the command or the guard, or made by the guard.
#[derive(Clone, Debug)]
pub(super) enum Text<'c> {
    Borrowed(&'c str),
    Made(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// Members by key.
///
/// Invariant: sorted by key.
#[derive(Debug)]
pub(super) struct Map<'c>(Vec<(Text<'c>, Value<'c>)>);

impl<'c> Map<'c> {
    pub(super) fn new(mut members: Vec<(Text<'c>, Value<'c>)>) -> Self {
        members.sort_by(|(a, _), (b, _)| str::cmp(a, b));
        Self(members)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value<'c>> {
        let at = self.0.binary_search_by(|(known, _)| str::cmp(known, key));
        at.ok().map(|at| &self.0[at].1)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Text<'c>> {
        self.0.iter().map(|(key, _)| key)
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Text::Made(text.into()))
    }
}

impl<'c> Value<'c> {
    /// A value of a command.
    pub(super) fn of_json(value: json::Value<'c>) -> Self {
        match value.kind() {
            Kind::Null => Self::Null,
            Kind::Bool(value) => Self::Bool(value),
            Kind::Number(text) => Self::of_number(text),
            Kind::String => Self::Text(value.string().into()),
            Kind::Array(elements) => Self::List(elements.map(Self::of_json).collect()),
            Kind::Object(entries) => {
                let member = |(key, value)| (Text::from(key), Self::of_json(value));
                Self::Map(Rc::new(Map::new(entries.map(member).collect())))
            }
        }
    }

    /// A JSON number, however it is spelled.
    fn of_number(text: &str) -> Self {
        if let Some(whole) = text.parse().ok().or_else(|| Decimal::parse(text).to_i64()) {
            return Self::Whole(whole);
        }
        Self::Fraction(double(text))
    }

    /// The result of arithmetic with a number of the command.
    fn of_double(value: f64) -> Self {
        if value.fract() == 0.0 && value.abs() <= EXACT_MAX {
            return Self::Whole(value as i64);
        }
        Self::Fraction(value)
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// A whole number as an integer; any other cut at its point.
    pub(super) fn to_int(&self) -> Option<i64> {
        match *self {
            Self::Int(value) | Self::Unsigned(value) | Self::Whole(value) => Some(value),
            Self::Double(value) | Self::Fraction(value) => {
                (value.abs() < i64::MAX as f64).then_some(value as i64)
            }
            _ => None,
        }
    }

    /// The integer that the value is, where it is one.
    pub(super) fn to_index(&self) -> Option<i64> {
        match *self {
            Self::Double(value) | Self::Fraction(value) if value.fract() != 0.0 => None,
            _ => self.to_int(),
        }
    }

    pub(super) fn to_double(&self) -> Option<f64> {
        match *self {
            Self::Int(value) | Self::Unsigned(value) | Self::Whole(value) => Some(value as f64),
            Self::Double(value) | Self::Fraction(value) => Some(value),
            _ => None,
        }
    }

    /// The value as `string()` makes it.
    pub(super) fn spelled(&self) -> Option<String> {
        Some(match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) | Self::Unsigned(value) | Self::Whole(value) => value.to_string(),
            Self::Double(value) | Self::Fraction(value) => value.to_string(),
            Self::Timestamp(at) => at.to_string(),
            Self::Duration(span) => format!("{}s", span.as_secs_f64()),
            _ => return None,
        })
    }

    /// The value in a message.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => format!("`{}`", excerpt(text)),
            value => value.spelled().unwrap_or_else(|| value.kind().to_owned()),
        }
    }

    /// What the value is, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_)
            | Self::Unsigned(_)
            | Self::Double(_)
            | Self::Whole(_)
            | Self::Fraction(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
            Self::Timestamp(_) => "a timestamp",
            Self::Duration(_) => "a duration",
        }
    }

    /// Whether two values are equal; those of different kinds never are.
    pub(super) fn equals(&self, other: &Self, meter: &Meter<'_>) -> Result<bool, Stop> {
        meter.value()?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                meter.read(a.len())?;
                **a == **b
            }
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(&**b) {
                    if !a.equals(b, meter)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Map(a), Self::Map(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for ((key, a), (other, b)) in a.0.iter().zip(&b.0) {
                    meter.read(key.len())?;
                    if **key != **other || !a.equals(b, meter)? {
                        return Ok(false);
                    }
                }
                true
            }
            (a, b) => numbers(a, b).is_some_and(|(a, b)| a.order(b) == Some(Ordering::Equal)),
        })
    }

    /// Which of two values is the greater; none where they have no order.
    pub(super) fn order(&self, other: &Self, meter: &Meter<'_>) -> Result<Option<Ordering>, Stop> {
        Ok(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => {
                meter.read(a.len().min(b.len()))?;
                Some(str::cmp(a, b))
            }
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (a, b) => match numbers(a, b) {
                Some((a, b)) => a.order(b),
                None => None,
            },
        })
    }

    /// `self + other` and the like.
    pub(super) fn combine(
        self,
        operator: Binary,
        other: Self,
        meter: &Meter<'_>,
    ) -> Result<Self, Stop> {
        let out_of_range = || Stop::fault("a time or duration out of range");
        match (operator, &self, &other) {
            (Binary::Add, Self::Text(a), Self::Text(b)) => {
                meter.write(a.len() + b.len())?;
                Ok(Self::from(format!("{}{}", &**a, &**b)))
            }
            (Binary::Add, Self::List(a), Self::List(b)) => {
                meter.make((a.len() + b.len()) * size_of::<Self>())?;
                Ok(Self::List(a.iter().chain(&**b).cloned().collect()))
            }
            (Binary::Add, Self::Duration(span), Self::Timestamp(at))
            | (Binary::Add, Self::Timestamp(at), Self::Duration(span)) => {
                let sum = at.checked_add(*span);
                sum.map(Self::Timestamp).map_err(|_| out_of_range())
            }
            (Binary::Subtract, Self::Timestamp(at), Self::Duration(span)) => {
                let rest = at.checked_sub(*span);
                rest.map(Self::Timestamp).map_err(|_| out_of_range())
            }
            (Binary::Subtract, Self::Timestamp(a), Self::Timestamp(b)) => {
                Ok(Self::Duration(a.duration_since(*b)))
            }
            (Binary::Add | Binary::Subtract, Self::Duration(a), Self::Duration(b)) => {
                let sum = match operator {
                    Binary::Add => a.checked_add(*b),
                    _ => a.checked_sub(*b),
                };
                sum.map(Self::Duration).ok_or_else(out_of_range)
            }
            _ => self.calculate(operator, &other),
        }
    }

    fn calculate(&self, operator: Binary, other: &Self) -> Result<Self, Stop> {
        let Some((a, b)) = numbers(self, other) else {
            return Err(Stop::fault(format_args!(
                "`{}` of {} and {}",
                operator.symbol(),
                self.kind(),
                other.kind()
            )));
        };
        let by_zero = || Stop::fault(format_args!("`{}` by zero", operator.symbol()));
        let divides = matches!(operator, Binary::Divide | Binary::Remainder);
        if divides && b.is_zero() {
            return Err(by_zero());
        }
        match (self, other) {
            (Self::Double(a), Self::Double(b)) if operator != Binary::Remainder => {
                Ok(Self::Double(in_doubles(operator, *a, *b)))
            }
            (Self::Int(a), Self::Int(b)) => {
                let overflow = || Stop::fault("a result beyond 64-bit integers");
                checked(operator, *a, *b)
                    .map(Self::Int)
                    .ok_or_else(overflow)
            }
            (Self::Unsigned(a), Self::Unsigned(b)) => {
                let overflow = || Stop::fault("a result beyond unsigned integers");
                checked(operator, *a, *b)
                    .filter(|result| *result >= 0)
                    .map(Self::Unsigned)
                    .ok_or_else(overflow)
            }
            _ => exact(operator, a, b),
        }
    }

    pub(super) fn negated(&self) -> Result<Self, Stop> {
        Ok(match *self {
            Self::Int(value) => Self::Int(
                value
                    .checked_neg()
                    .ok_or_else(|| Stop::fault("a result beyond 64-bit integers"))?,
            ),
            Self::Double(value) => Self::Double(-value),
            Self::Whole(value) => match value.checked_neg() {
                Some(value) => Self::Whole(value),
                None => Self::Fraction(-(value as f64)),
            },
            Self::Fraction(value) => Self::Fraction(-value),
            Self::Duration(span) => match span.checked_neg() {
                Some(span) => Self::Duration(span),
                None => return Err(Stop::fault("a duration out of range")),
            },
            _ => return Err(Stop::fault(format_args!("`-` of {}", self.kind()))),
        })
    }
}

impl<'c> From<std::borrow::Cow<'c, str>> for Text<'c> {
    fn from(text: std::borrow::Cow<'c, str>) -> Self {
        match text {
            std::borrow::Cow::Borrowed(text) => Self::Borrowed(text),
            std::borrow::Cow::Owned(text) => Self::Made(text.into()),
        }
    }
}

/// The double next to a number; what is not zero does not become zero, as
/// little as in a pattern.
pub(super) fn double(text: &str) -> f64 {
    match text.parse() {
        Ok(0.0) if Decimal::parse(text) != Decimal::parse("0") => {
            f64::from_bits(1).copysign(if text.starts_with('-') { -1.0 } else { 1.0 })
        }
        Ok(value) => value,
        Err(_) => f64::NAN,
    }
}

/// A number without its kind.
#[derive(Clone, Copy)]
enum Number {
    Whole(i64),
    Double(f64),
}

fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<(Number, Number)> {
    let number = |value: &Value<'_>| match *value {
        Value::Int(value) | Value::Unsigned(value) | Value::Whole(value) => {
            Some(Number::Whole(value))
        }
        Value::Double(value) | Value::Fraction(value) => Some(Number::Double(value)),
        _ => None,
    };
    number(a).zip(number(b))
}

impl Number {
    fn is_zero(self) -> bool {
        matches!(self, Self::Whole(0) | Self::Double(0.0))
    }

    fn to_double(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Double(value) => value,
        }
    }

    /// Compares exactly, also an integer that no double holds.
    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Some(a.cmp(&b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(&b),
            (Self::Whole(a), Self::Double(b)) => order(a, b),
            (Self::Double(a), Self::Whole(b)) => order(b, a).map(Ordering::reverse),
        }
    }
}

fn order(whole: i64, double: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() {
        return None;
    }
    if double >= BEYOND {
        return Some(Ordering::Less);
    }
    if double < -BEYOND {
        return Some(Ordering::Greater);
    }
    let cut = double.trunc();
    let by_fraction = || 0.0.partial_cmp(&(double - cut)).unwrap_or(Ordering::Equal);
    Some(whole.cmp(&(cut as i64)).then_with(by_fraction))
}

fn checked(operator: Binary, a: i64, b: i64) -> Option<i64> {
    match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide => a.checked_div(b),
        _ => a.checked_rem(b),
    }
}

fn in_doubles(operator: Binary, a: f64, b: f64) -> f64 {
    match operator {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        _ => a / b,
    }
}

/// Arithmetic with a number of the command: whole results are exact.
fn exact<'c>(operator: Binary, a: Number, b: Number) -> Result<Value<'c>, Stop> {
    if let (Number::Whole(a), Number::Whole(b)) = (a, b) {
        let result = match operator {
            Binary::Add => a.checked_add(b),
            Binary::Subtract => a.checked_sub(b),
            Binary::Multiply => a.checked_mul(b),
            Binary::Divide if a.checked_rem(b) == Some(0) => a.checked_div(b),
            Binary::Divide => None,
            // The one case that overflows leaves no remainder.
            _ => Some(a.checked_rem(b).unwrap_or(0)),
        };
        if let Some(result) = result {
            return Ok(Value::Whole(result));
        }
    } else if operator == Binary::Remainder {
        return Err(Stop::fault("`%` of numbers that are not whole"));
    }
    Ok(Value::of_double(in_doubles(
        operator,
        a.to_double(),
        b.to_double(),
    )))
}
