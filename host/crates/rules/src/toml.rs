//! Owns rule files in TOML: the document becomes the same tree as JSON does, so
//! that everything after it is one code path. Each value keeps the place where
//! its span starts.

use std::borrow::Cow;

use pointsman_core::{source::Source, toml};

use ::toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Diagnostic,
    json::{Member, Node, NodeValue},
};

/// Reads a TOML document.
///
/// # Errors
/// [`Diagnostic`] if it is no TOML, or holds what JSON cannot say: a date, `inf`, `nan`.
pub(crate) fn parse<'t>(source: &Source<'t>) -> Result<Node<'t>, Diagnostic> {
    let document = DeTable::parse(source.text).map_err(|error| toml::error(source, &error))?;
    let span = document.span();
    let members = table(source, document.into_inner())?;
    Ok(Node {
        at: span.start,
        end: span.end,
        value: NodeValue::Object(members),
    })
}

fn table<'t>(source: &Source<'t>, table: DeTable<'t>) -> Result<Vec<Member<'t>>, Diagnostic> {
    let mut members = Vec::with_capacity(table.len());
    for (key, value) in table {
        let key_at = key.span().start;
        members.push(Member {
            key_at,
            key: key.into_inner(),
            value: node(source, value)?,
        });
    }
    // The table is sorted by key; messages and `$or` go by the order of the text.
    members.sort_by_key(|member| member.key_at);
    Ok(members)
}

fn node<'t>(source: &Source<'t>, value: Spanned<DeValue<'t>>) -> Result<Node<'t>, Diagnostic> {
    let span = value.span();
    let refuse = |what: &str, hint: &str| {
        Err(source.error_with_hint(span.start, "invalid-toml", what, hint))
    };
    let value = match value.into_inner() {
        DeValue::String(text) => NodeValue::String(text),
        DeValue::Boolean(value) => NodeValue::Bool(value),
        DeValue::Integer(integer) => {
            match i128::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(value) => NodeValue::Number(Cow::Owned(value.to_string())),
                Err(_) => {
                    return refuse(
                        "the number is too large for an integer",
                        "write it as a float, such as `1e40`",
                    );
                }
            }
        }
        DeValue::Float(float) => {
            let text = float.as_str().trim_start_matches('+');
            if text.contains(['i', 'n']) {
                return refuse(
                    "`inf` and `nan` are no JSON numbers",
                    "leave the bound out: `[\">\", 0]` has no upper bound",
                );
            }
            NodeValue::Number(Cow::Owned(text.replace('_', "")))
        }
        DeValue::Datetime(_) => return refuse("a date is no JSON value", "put it in quotes"),
        DeValue::Array(items) => NodeValue::Array(
            items
                .into_iter()
                .map(|item| node(source, item))
                .collect::<Result<_, _>>()?,
        ),
        DeValue::Table(inner) => NodeValue::Object(table(source, inner)?),
    };
    Ok(Node {
        at: span.start,
        end: span.end,
        value,
    })
}
