//! Owns the reading of numbers that are compared: `numeric`, and what numbers a
//! dialect can compare at all.

use super::{Read, Reader};
use crate::{
    Dialect,
    decimal::Decimal,
    json::{Node, NodeValue},
    matcher::{Bound, Range},
};
use pointsman_core::source::{excerpt, list};

const COMPARISONS: [&str; 5] = ["<", "<=", "=", ">", ">="];

impl Reader<'_, '_> {
    pub(super) fn extreme<T>(&self, node: &Node<'_>, text: &str) -> Read<T> {
        let message = format!(
            "the number {} for `{}` is out of range",
            excerpt(text),
            self.field
        );
        self.error_with_hint(
            node.at,
            "number-range",
            message,
            "exponents go up to 12 digits",
        )
    }

    /// A number that can be compared.
    pub(super) fn number(&self, node: &Node<'_>, after: &str) -> Read<Decimal> {
        let NodeValue::Number(text) = &node.value else {
            let message = format!(
                "{after} must be followed by a number, found {}",
                node.kind()
            );
            return self.error(node.at, "operator-value", message);
        };
        let number = Decimal::parse(text);
        if number.is_extreme() {
            return self.extreme(node, text);
        }
        if self.dialect == Dialect::EventBridge && !Decimal::is_double(text) {
            let message = format!(
                "the number {} for `{}` cannot be represented exactly as a double",
                excerpt(text),
                self.field
            );
            return self.error_with_hint(
                node.at,
                "number-range",
                message,
                "the `pointsman` dialect compares any decimal exactly",
            );
        }
        Ok(number)
    }

    /// `["=", n]`, `[">", n]`, `[">=", n, "<", m]` and the like.
    pub(super) fn numeric(&self, node: &Node<'_>) -> Read<Range> {
        const HINT: &str = "such as `[\"=\", 5]`, `[\"<\", 10]` or `[\">\", 0, \"<=\", 5]`";
        let items = match &node.value {
            NodeValue::Array(items) if !items.is_empty() => items,
            NodeValue::Array(_) => {
                let message = format!("`numeric` for `{}` is empty", self.field);
                return self.error_with_hint(node.at, "operator-value", message, HINT);
            }
            _ => {
                let message = format!(
                    "`numeric` for `{}` must be an array, found {}",
                    self.field,
                    node.kind()
                );
                return self.error_with_hint(node.at, "operator-value", message, HINT);
            }
        };
        let (first, value) = self.comparison(items, &COMPARISONS)?;
        let bound = |inclusive| {
            Some(Bound {
                value: value.clone(),
                inclusive,
            })
        };
        let range = match first {
            "=" => Range {
                low: bound(true),
                high: bound(true),
            },
            "<" => Range {
                low: None,
                high: bound(false),
            },
            "<=" => Range {
                low: None,
                high: bound(true),
            },
            lower => {
                let low = bound(lower == ">=");
                if items.len() == 2 {
                    Range { low, high: None }
                } else {
                    let (upper, value) = self.comparison(&items[2..], &["<", "<="])?;
                    Range {
                        low,
                        high: Some(Bound {
                            value,
                            inclusive: upper == "<=",
                        }),
                    }
                }
            }
        };
        let is_between = range.low.is_some() && range.high.is_some() && first != "=";
        if let Some(extra) = items.get(if is_between { 4 } else { 2 }) {
            let message = format!("`numeric` for `{}` has too many elements", self.field);
            return self.error_with_hint(extra.at, "numeric-range", message, HINT);
        }
        match (&range.low, &range.high) {
            (Some(low), Some(high)) if is_between && low.value >= high.value => {
                let message = format!(
                    "no number is {range_text} for `{}`",
                    self.field,
                    range_text = range.to_string().trim_start_matches("a number ")
                );
                self.error_with_hint(items[3].at, "numeric-range", message, "the lower bound must be less than the upper one; for one number use `[\"=\", n]`")
            }
            _ => Ok(range),
        }
    }

    /// A comparison and its number at the start of `items`.
    fn comparison<'n>(&self, items: &'n [Node<'_>], allowed: &[&str]) -> Read<(&'n str, Decimal)> {
        let NodeValue::String(operator) = &items[0].value else {
            let message = format!(
                "`numeric` for `{}` must have a comparison here, found {}",
                self.field,
                items[0].kind()
            );
            return self.error_with_hint(
                items[0].at,
                "numeric-operator",
                message,
                format!("allowed: {}", list(allowed.iter().copied())),
            );
        };
        if !allowed.contains(&&**operator) {
            let message = format!(
                "unknown comparison `{}` in `numeric` for `{}`",
                excerpt(operator),
                self.field
            );
            let hint = format!("allowed: {}", list(allowed.iter().copied()));
            return self.error_with_hint(items[0].at, "numeric-operator", message, hint);
        }
        match items.get(1) {
            Some(value) => Ok((
                operator,
                self.number(value, &format!("`{operator}` for `{}`", self.field))?,
            )),
            None => {
                let message = format!(
                    "`{operator}` for `{}` must be followed by a number, found nothing",
                    self.field
                );
                self.error(items[0].at, "operator-value", message)
            }
        }
    }
}
