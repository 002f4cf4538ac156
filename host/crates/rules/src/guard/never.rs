//! Finds at load what no command can make true, although each part of it could
//! work: a condition that is needed and never holds makes the rule dead.

use super::{
    GuardError,
    binary::Binary,
    expr::{EachKind, Expr, Kind},
    functions::Function,
};

/// Checks a whole guard, and what it needs.
///
/// # Errors
/// At the first condition that is needed and never holds.
pub(super) fn check(guard: &Expr) -> Result<(), GuardError> {
    let needed = match &guard.kind {
        Kind::Terms {
            decisive: false,
            terms,
        } => {
            two_values(terms)?;
            terms.as_slice()
        }
        _ => std::slice::from_ref(guard),
    };
    for term in needed {
        if let Some(why) = never(term) {
            return Err(GuardError::at(
                term.at,
                format!("this is never true: {why}"),
            ));
        }
    }
    Ok(())
}

fn never(term: &Expr) -> Option<&'static str> {
    match &term.kind {
        Kind::Binary(Binary::In, pair) if is_empty(&pair[1]) => Some("the list is empty"),
        Kind::Each(each)
            if is_empty(&each.range)
                && matches!(each.kind, EachKind::Exists | EachKind::ExistsOne) =>
        {
            Some("the list is empty")
        }
        Kind::Binary(operator, pair) => {
            let [left, right] = &**pair;
            if pair.iter().any(indexes_before_the_start) {
                return Some("the first index is 0");
            }
            if is_size(left) && integer(right).is_some_and(|than| below_zero(*operator, than)) {
                return Some("no size is negative");
            }
            let is_equal = *operator == Binary::Equal;
            let number_and_text = matches!(
                (&left.kind, &right.kind),
                (Kind::Negate(_), Kind::Text(_)) | (Kind::Text(_), Kind::Negate(_))
            );
            (is_equal && number_and_text).then_some("a number is not a string")
        }
        _ => None,
    }
}

/// `command.a == 'x' && command.a == 'y'`
fn two_values(terms: &[Expr]) -> Result<(), GuardError> {
    let mut known: Vec<(String, &Kind)> = Vec::new();
    for term in terms {
        let Some((field, value)) = equality(term) else {
            continue;
        };
        let other = known.iter().find(|(known, _)| *known == field);
        if other.is_some_and(|(_, other)| differ(other, value)) {
            let message = format!("this is never true: `{field}` cannot equal two values");
            return Err(GuardError::at(term.at, message)
                .with_hint(format!("write `{field} in [..]` for one of several")));
        }
        known.push((field, value));
    }
    Ok(())
}

/// The field of the command and the value that a term says are equal.
fn equality(term: &Expr) -> Option<(String, &Kind)> {
    let Kind::Binary(Binary::Equal, pair) = &term.kind else {
        return None;
    };
    let [left, right] = &**pair;
    match (path(left), path(right)) {
        (Some(field), None) => Some((field, &right.kind)),
        (None, Some(field)) => Some((field, &left.kind)),
        _ => None,
    }
}

/// `command.a.b`, where it is nothing but that.
fn path(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Command => Some("command".to_owned()),
        Kind::Field { of, name } => Some(format!("{}.{name}", path(of)?)),
        _ => None,
    }
}

/// Only of literals that are plainly two values: 1 and 1.0 are one.
fn differ(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::Text(one), Kind::Text(other)) => one != other,
        (Kind::Int(one), Kind::Int(other)) => one != other,
        (Kind::Bool(one), Kind::Bool(other)) => one != other,
        (Kind::Text(_), Kind::Int(_) | Kind::Bool(_))
        | (Kind::Int(_) | Kind::Bool(_), Kind::Text(_)) => true,
        _ => false,
    }
}

fn is_empty(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::List(items) => items.is_empty(),
        Kind::Map(entries) => entries.is_empty(),
        _ => false,
    }
}

fn indexes_before_the_start(expr: &Expr) -> bool {
    matches!(&expr.kind, Kind::Index(pair) if integer(&pair[1]).is_some_and(|index| index < 0))
}

fn is_size(expr: &Expr) -> bool {
    matches!(&expr.kind, Kind::Call(Function::Size, _))
}

fn below_zero(operator: Binary, than: i64) -> bool {
    match operator {
        Binary::Less => than <= 0,
        Binary::LessOrEqual | Binary::Equal => than < 0,
        _ => false,
    }
}

fn integer(expr: &Expr) -> Option<i64> {
    match expr.kind {
        Kind::Int(value) => Some(value),
        _ => None,
    }
}
