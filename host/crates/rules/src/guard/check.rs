//! Finds at load what can never work: operators and functions on values that
//! they do not take, a guard that is not a condition, a constant part that has
//! no value.

use super::{
    GuardError,
    binary::Binary,
    eval::Evaluation,
    expr::{Each, EachKind, Expr, Kind},
    meter::Stop,
    never,
    types::Type::{self, Bool, Duration, Dyn, List, Map, Null, Number, Text, Timestamp},
};
use crate::fuel::Fuel;

/// The steps of the constant parts of one guard.
const CONSTANT_STEPS_MAX: u64 = 20_000;

/// Checks a whole guard.
///
/// # Errors
/// At the first thing that can never work.
pub(super) fn check(guard: &Expr) -> Result<(), GuardError> {
    let found = type_of(guard)?;
    if !found.may_be(Bool) {
        let message = format!("its value is {}, neither true nor false", found.name());
        return Err(GuardError::at(guard.at, message)
            .with_hint("a guard is a condition, such as `command.amount > 5`"));
    }
    constants(guard, &Fuel::new(CONSTANT_STEPS_MAX))?;
    never::check(guard)
}

/// Checks a whole expression that gives a key.
///
/// # Errors
/// At the first thing that can never work.
pub(super) fn check_key(key: &Expr) -> Result<(), GuardError> {
    let found = type_of(key)?;
    if ![Text, Number, Bool].iter().any(|one| found.may_be(*one)) {
        let message = format!("its value is {}", found.name());
        return Err(GuardError::at(key.at, message)
            .with_hint("a key is a string, a number or a boolean, such as `command.tenant`"));
    }
    constants(key, &Fuel::new(CONSTANT_STEPS_MAX))
}

/// Evaluates the largest constant parts.
fn constants(expr: &Expr, fuel: &Fuel) -> Result<(), GuardError> {
    if expr.is_constant() && !expr.is_literal() {
        let message = match Evaluation::without_command(fuel).of(expr) {
            Ok(_) => return Ok(()),
            Err(Stop::Limit(_)) => "this constant part takes too many steps".to_owned(),
            Err(Stop::Absent(what)) => format!("this constant part has no value: {what} is absent"),
            Err(Stop::Fault(fault)) => format!("this constant part has no value: {fault}"),
        };
        return Err(GuardError::at(expr.at, message));
    }
    let mut result = Ok(());
    expr.kind.parts(&mut |part| {
        if result.is_ok() {
            result = constants(part, fuel);
        }
    });
    result
}

fn expect(expr: &Expr, wanted: &[Type], by: &str) -> Result<Type, GuardError> {
    let found = type_of(expr)?;
    if wanted.is_empty() || wanted.iter().any(|wanted| found.may_be(*wanted)) {
        return Ok(found);
    }
    let wanted: Vec<&str> = wanted.iter().map(|wanted| wanted.name()).collect();
    let wanted = wanted.join(" or ");
    let message = format!("`{by}` needs {wanted}, found {}", found.name());
    Err(GuardError::at(expr.at, message))
}

fn type_of(expr: &Expr) -> Result<Type, GuardError> {
    Ok(match &expr.kind {
        Kind::Null => Null,
        Kind::Bool(_) => Bool,
        Kind::Int(_) | Kind::Unsigned(_) | Kind::Double(_) => Number,
        Kind::Text(_) => Text,
        Kind::Command => Map,
        Kind::Variable(_) => Dyn,
        Kind::Field { of, name } => {
            expect(of, &[Map], &format!(".{name}"))?;
            Dyn
        }
        Kind::Has { of, name } => {
            expect(of, &[Map], &format!(".{name}"))?;
            Bool
        }
        Kind::Index(pair) => {
            let [of, index] = &**pair;
            let wanted = match expect(of, &[List, Map], "[]")? {
                List => &[Number][..],
                Map => &[Text],
                _ => &[Number, Text],
            };
            expect(index, wanted, "[]")?;
            Dyn
        }
        Kind::Terms { decisive, terms } => {
            let by = if *decisive { "||" } else { "&&" };
            for term in terms {
                expect(term, &[Bool], by)?;
            }
            Bool
        }
        Kind::Not(of) => expect(of, &[Bool], "!").map(|_| Bool)?,
        Kind::Negate(of) => expect(of, &[Number, Duration], "-")?,
        Kind::Binary(operator, pair) => binary(expr, *operator, pair)?,
        Kind::Choice(parts) => {
            let [condition, yes, no] = &**parts;
            expect(condition, &[Bool], "?")?;
            let (yes, no) = (type_of(yes)?, type_of(no)?);
            if yes == no { yes } else { Dyn }
        }
        Kind::List(items) => {
            for item in items {
                type_of(item)?;
            }
            List
        }
        Kind::Map(entries) => {
            for [key, value] in entries {
                expect(key, &[Text], "{key: value}")?;
                type_of(value)?;
            }
            Map
        }
        Kind::Call(function, arguments) => {
            for argument in arguments {
                expect(argument, function.takes(), function.name())?;
            }
            function.makes()
        }
        Kind::Matches(of, _) => expect(of, &[Text], "matches").map(|_| Bool)?,
        Kind::Each(each) => of_each(each)?,
    })
}

/// The type of a macro.
fn of_each(each: &Each) -> Result<Type, GuardError> {
    expect(&each.range, &[List, Map], each.kind.name())?;
    if let Some(condition) = &each.condition {
        expect(condition, &[Bool], each.kind.name())?;
    }
    each.makes.as_ref().map_or(Ok(Dyn), type_of)?;
    Ok(match each.kind {
        EachKind::Filter | EachKind::Map => List,
        EachKind::All | EachKind::Exists | EachKind::ExistsOne => Bool,
    })
}

fn binary(expr: &Expr, operator: Binary, pair: &[Expr; 2]) -> Result<Type, GuardError> {
    let (left, right) = (type_of(&pair[0])?, type_of(&pair[1])?);
    let fits = match operator {
        Binary::Equal | Binary::NotEqual => left.may_be(right) || left == Null || right == Null,
        Binary::In => matches!(right, Dyn | List) || right == Map && left.may_be(Text),
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            let ordered = [Dyn, Bool, Number, Text, Timestamp, Duration];
            left.may_be(right) && ordered.contains(&left) && ordered.contains(&right)
        }
        Binary::Multiply | Binary::Divide | Binary::Remainder => {
            left.may_be(Number) && right.may_be(Number)
        }
        Binary::Add | Binary::Subtract => return sum(expr, operator, left, right),
    };
    match fits {
        true if matches!(
            operator,
            Binary::Multiply | Binary::Divide | Binary::Remainder
        ) =>
        {
            Ok(Number)
        }
        true => Ok(Bool),
        false => Err(unfit(expr, operator, left, right)),
    }
}

fn sum(expr: &Expr, operator: Binary, left: Type, right: Type) -> Result<Type, GuardError> {
    Ok(match (operator, left, right) {
        (_, Dyn, Dyn) | (_, Dyn, Duration) => Dyn,
        (Binary::Add, Duration, Dyn) | (Binary::Subtract, Timestamp, Dyn) => Dyn,
        (Binary::Add, Timestamp, Duration | Dyn) | (Binary::Add, Duration | Dyn, Timestamp) => {
            Timestamp
        }
        (Binary::Subtract, Timestamp, Duration) => Timestamp,
        (Binary::Subtract, Timestamp | Dyn, Timestamp) => Duration,
        (_, Duration, Duration) | (Binary::Subtract, Duration, Dyn) => Duration,
        (_, Number | Dyn, Number) | (_, Number, Dyn) => Number,
        (Binary::Add, Text | Dyn, Text) | (Binary::Add, Text, Dyn) => Text,
        (Binary::Add, List | Dyn, List) | (Binary::Add, List, Dyn) => List,
        _ => return Err(unfit(expr, operator, left, right)),
    })
}

fn unfit(expr: &Expr, operator: Binary, left: Type, right: Type) -> GuardError {
    let message = format!(
        "`{}` cannot take {} and {}",
        operator.symbol(),
        left.name(),
        right.name()
    );
    let error = GuardError::at(expr.at, message);
    match (left, right) {
        (Timestamp, Text) | (Text, Timestamp) => {
            error.with_hint("write `timestamp('…')` around the string")
        }
        (Number, Text) | (Text, Number) => {
            error.with_hint("write `string(…)` around the number, or `double(…)` around the string")
        }
        _ => error,
    }
}

impl EachKind {
    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Exists => "exists",
            Self::ExistsOne => "exists_one",
            Self::Filter => "filter",
            Self::Map => "map",
        }
    }
}
