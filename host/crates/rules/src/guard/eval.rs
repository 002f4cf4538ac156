//! Evaluates a guard, within bounds: every node and every element costs fuel,
//! and what lists and strings take is counted.

use std::{cmp::Ordering, rc::Rc};

use super::{
    binary::Binary,
    expr::{Each, EachKind, Expr, Kind},
    meter::{Meter, Stop},
    value::{Map, Text, Value},
};
use crate::fuel::Fuel;

type Result<T> = std::result::Result<T, Stop>;

/// One evaluation.
pub(super) struct Evaluation<'c, 'f> {
    command: Value<'c>,
    meter: Meter<'f>,
    /// Of the macros around the current node, the outermost first.
    variables: Vec<Value<'c>>,
}

impl<'c, 'f> Evaluation<'c, 'f> {
    pub(super) fn new(command: Value<'c>, fuel: &'f Fuel) -> Self {
        Self {
            command,
            meter: Meter::new(fuel),
            variables: Vec::new(),
        }
    }

    /// For what does not look at it.
    pub(super) fn without_command(fuel: &'f Fuel) -> Self {
        Self::new(Value::Null, fuel)
    }

    /// The value of `expr`.
    pub(super) fn of(&mut self, expr: &'c Expr) -> Result<Value<'c>> {
        self.meter.node()?;
        match &expr.kind {
            Kind::Null => Ok(Value::Null),
            Kind::Bool(value) => Ok(Value::Bool(*value)),
            Kind::Int(value) => Ok(Value::Int(*value)),
            Kind::Unsigned(value) => Ok(Value::Unsigned(*value)),
            Kind::Double(value) => Ok(Value::Double(*value)),
            Kind::Text(text) => Ok(Value::Text(Text::Borrowed(text))),
            Kind::Command => Ok(self.command.clone()),
            Kind::Variable(number) => match self.variables.get(*number) {
                Some(value) => Ok(value.clone()),
                None => Err(Stop::fault("a variable outside its macro")),
            },
            Kind::Field { of, name } => {
                let of = self.of(of)?;
                self.field(&of, name)
            }
            Kind::Has { of, name } => match self.of(of)? {
                Value::Map(map) => {
                    self.meter.look_up(name, map.len())?;
                    Ok(Value::Bool(map.get(name).is_some()))
                }
                _ => Ok(Value::Bool(false)),
            },
            Kind::Index(pair) => self.index(pair),
            Kind::Terms { decisive, terms } => self.terms(*decisive, terms),
            Kind::Not(of) => Ok(Value::Bool(!condition(&self.of(of)?, "!")?)),
            Kind::Negate(of) => self.of(of)?.negated(),
            Kind::Binary(operator, pair) => self.binary(*operator, pair),
            Kind::Choice(parts) => {
                let [is, yes, no] = &**parts;
                match condition(&self.of(is)?, "?")? {
                    true => self.of(yes),
                    false => self.of(no),
                }
            }
            Kind::List(items) => {
                self.meter.make(items.len() * size_of::<Value<'_>>())?;
                let items: Result<Rc<[_]>> = items.iter().map(|item| self.of(item)).collect();
                items.map(Value::List)
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Call(function, arguments) => {
                let values: Result<Vec<_>> = arguments.iter().map(|part| self.of(part)).collect();
                function.call(&values?, &self.meter)
            }
            Kind::Matches(of, regex) => match self.of(of)? {
                Value::Text(text) => {
                    self.meter.scan(text.len())?;
                    Ok(Value::Bool(regex.is_match(&text)))
                }
                other => Err(Stop::fault(format_args!("`matches` of {}", other.kind()))),
            },
            Kind::Each(each) => self.each(each),
        }
    }

    fn field(&self, of: &Value<'c>, name: &str) -> Result<Value<'c>> {
        let among = match of {
            Value::Map(map) => map.len(),
            _ => 0,
        };
        self.meter.look_up(name, among)?;
        let value = match of {
            Value::Map(map) => map.get(name).cloned(),
            _ => None,
        };
        value.ok_or_else(|| Stop::Absent(name.into()))
    }

    fn index(&mut self, pair: &'c [Expr; 2]) -> Result<Value<'c>> {
        let (of, index) = (self.of(&pair[0])?, self.of(&pair[1])?);
        match (&of, &index) {
            (Value::List(items), index) => {
                let Some(number) = index.to_index() else {
                    let what = index.kind();
                    return Err(Stop::fault(format_args!("{what} as an index of a list")));
                };
                let item = usize::try_from(number).ok().and_then(|at| items.get(at));
                let absent = || Stop::Absent(format!("[{number}]").into());
                item.cloned().ok_or_else(absent)
            }
            (_, Value::Text(name)) => self.field(&of, name),
            (of, index) => Err(Stop::fault(format_args!(
                "{} as an index of {}",
                index.kind(),
                of.kind()
            ))),
        }
    }

    /// The term that decides does so whatever the others come to.
    fn terms(&mut self, decisive: bool, terms: &'c [Expr]) -> Result<Value<'c>> {
        let by = if decisive { "||" } else { "&&" };
        let mut failed = None;
        for term in terms {
            match self.of(term).and_then(|value| condition(&value, by)) {
                Ok(value) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(Stop::Limit(limit)) => return Err(Stop::Limit(limit)),
                Err(stop) => {
                    self.meter.heavy()?;
                    failed = failed.or(Some(stop));
                }
            }
        }
        failed.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn map(&mut self, entries: &'c [[Expr; 2]]) -> Result<Value<'c>> {
        let size = size_of::<(Text<'_>, Value<'_>)>();
        self.meter.make(entries.len() * size)?;
        let mut members = Vec::with_capacity(entries.len());
        for [key, value] in entries {
            match self.of(key)? {
                // Sorting compares it with so many others.
                Value::Text(key) => {
                    self.meter.look_up(&key, entries.len())?;
                    members.push((key, self.of(value)?));
                }
                key => return Err(Stop::fault(format_args!("{} as a key", key.kind()))),
            }
        }
        Ok(Value::Map(Rc::new(Map::new(members))))
    }

    fn binary(&mut self, operator: Binary, pair: &'c [Expr; 2]) -> Result<Value<'c>> {
        let (left, right) = (self.of(&pair[0])?, self.of(&pair[1])?);
        let is = match operator {
            Binary::Equal => left.equals(&right, &self.meter)?,
            Binary::NotEqual => !left.equals(&right, &self.meter)?,
            Binary::In => self.contains(&left, &right)?,
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                let Some(order) = left.order(&right, &self.meter)? else {
                    return Err(Stop::fault(format_args!(
                        "`{}` of {} and {}",
                        operator.symbol(),
                        left.kind(),
                        right.kind()
                    )));
                };
                match operator {
                    Binary::Less => order == Ordering::Less,
                    Binary::LessOrEqual => order != Ordering::Greater,
                    Binary::Greater => order == Ordering::Greater,
                    _ => order != Ordering::Less,
                }
            }
            _ => return left.combine(operator, right, &self.meter),
        };
        Ok(Value::Bool(is))
    }

    fn contains(&self, value: &Value<'c>, of: &Value<'c>) -> Result<bool> {
        match (of, value) {
            (Value::List(items), value) => {
                for item in items.iter() {
                    if item.equals(value, &self.meter)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Value::Map(map), Value::Text(key)) => {
                self.meter.look_up(key, map.len())?;
                Ok(map.get(key).is_some())
            }
            (Value::Map(_), _) => Ok(false),
            (of, _) => Err(Stop::fault(format_args!("`in` {}", of.kind()))),
        }
    }

    fn each(&mut self, each: &'c Each) -> Result<Value<'c>> {
        let range: Rc<[Value<'c>]> = match self.of(&each.range)? {
            Value::List(items) => items,
            Value::Map(map) => {
                self.meter.make(map.len() * size_of::<Value<'_>>())?;
                map.keys().cloned().map(Value::Text).collect()
            }
            other => return Err(Stop::fault(format_args!("a macro over {}", other.kind()))),
        };
        let mut found = Vec::new();
        let (mut failed, mut count) = (None, 0_usize);
        for item in range.iter() {
            let holds = match self.element(each, item.clone(), &mut found) {
                Ok(holds) => holds,
                Err(Stop::Limit(limit)) => return Err(Stop::Limit(limit)),
                // Another element may decide all the same.
                Err(stop) if matches!(each.kind, EachKind::All | EachKind::Exists) => {
                    self.meter.heavy()?;
                    failed = failed.or(Some(stop));
                    continue;
                }
                Err(stop) => return Err(stop),
            };
            match (each.kind, holds) {
                (EachKind::All, false) => return Ok(Value::Bool(false)),
                (EachKind::Exists, true) => return Ok(Value::Bool(true)),
                (_, holds) => count += usize::from(holds),
            }
        }
        match (each.kind, failed) {
            (_, Some(stop)) => Err(stop),
            (EachKind::All, None) => Ok(Value::Bool(true)),
            (EachKind::Exists, None) => Ok(Value::Bool(false)),
            (EachKind::ExistsOne, None) => Ok(Value::Bool(count == 1)),
            (EachKind::Filter | EachKind::Map, None) => Ok(Value::List(found.into())),
        }
    }

    /// Whether the condition holds for one element; what `filter` and `map`
    /// make of it goes to `found`.
    fn element(
        &mut self,
        each: &'c Each,
        item: Value<'c>,
        found: &mut Vec<Value<'c>>,
    ) -> Result<bool> {
        // After an error in an inner macro, its variables are still there.
        self.variables.truncate(each.variable);
        self.variables.push(item);
        let holds = match &each.condition {
            Some(is) => condition(&self.of(is)?, "a macro")?,
            None => true,
        };
        let made = match (&each.makes, each.kind) {
            _ if !holds => None,
            (Some(makes), _) => Some(self.of(makes)?),
            (None, EachKind::Filter) => self.variables.get(each.variable).cloned(),
            (None, _) => None,
        };
        if let Some(made) = made {
            self.meter.make(size_of::<Value<'_>>())?;
            found.push(made);
        }
        Ok(holds)
    }
}

fn condition(value: &Value<'_>, by: &str) -> Result<bool> {
    match value {
        Value::Bool(value) => Ok(*value),
        other => Err(Stop::fault(format_args!("`{by}` of {}", other.kind()))),
    }
}
