//! Owns the comparison of one value of a command with one alternative of a
//! pattern: [`Matcher`] against [`Scalar`]. Pure and allocation-free but for
//! numbers longer than 16 digits.

use pointsman_core::source::excerpt;
use std::{borrow::Cow, fmt};

use smol_str::SmolStr;

use super::{
    Dialect,
    decimal::Decimal,
    fold,
    network::{Address, Network},
    wildcard::Wildcard,
};

/// A value of a command that is neither array nor object. Numbers stay as they
/// were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scalar<'e> {
    Null,
    Bool(bool),
    Number(&'e str),
    String(Cow<'e, str>),
}

/// One alternative of a clause: what a value must be. Short texts stand in place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Matcher {
    Null,
    Bool(bool),
    /// The text matters only to the `eventbridge` dialect.
    Number(Box<(Decimal, Box<str>)>),
    Exact(SmolStr),
    /// A string that spells an IP address: any spelling of it matches.
    Address(Box<(Network, Box<str>)>),
    Prefix(SmolStr),
    Suffix(SmolStr),
    /// Folded, as are the two that follow.
    EqualsIgnoreCase(SmolStr),
    PrefixIgnoreCase(SmolStr),
    SuffixIgnoreCase(SmolStr),
    Wildcard(Box<Wildcard>),
    Numeric(Box<Range>),
    Cidr(Box<(Network, Box<str>)>),
    Exists,
    /// `exists: false`: holds where the field has no value at all.
    Absent,
    /// Holds for every value that none of these match.
    AnythingBut(Box<[Matcher]>),
}

/// The numbers between two bounds; without a bound, all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) low: Option<Bound>,
    pub(crate) high: Option<Bound>,
}

/// One end of a [`Range`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) value: Decimal,
    /// Whether `value` itself belongs to the range.
    pub(crate) inclusive: bool,
}

impl Range {
    pub(crate) fn contains(&self, number: &Decimal) -> bool {
        let above =
            |bound: &Bound| *number > bound.value || bound.inclusive && *number == bound.value;
        let below =
            |bound: &Bound| *number < bound.value || bound.inclusive && *number == bound.value;
        self.low.as_ref().is_none_or(above) && self.high.as_ref().is_none_or(below)
    }
}

impl Matcher {
    /// Whether `value` is what this alternative asks for. [`Matcher::Absent`]
    /// never matches a value.
    pub(crate) fn matches(&self, value: &Scalar<'_>, dialect: Dialect) -> bool {
        match (self, value) {
            (Self::AnythingBut(not), value) => {
                !not.iter().any(|matcher| matcher.matches(value, dialect))
            }
            (Self::Exists, _) | (Self::Null, Scalar::Null) => true,
            (Self::Bool(wanted), Scalar::Bool(seen)) => wanted == seen,
            (Self::Number(number), Scalar::Number(seen)) => match dialect {
                Dialect::Pointsman => number.0 == Decimal::parse(seen),
                Dialect::EventBridge => {
                    *number.1 == **seen
                        || number.0 == Decimal::parse(seen)
                            && Decimal::is_double(seen)
                            && Decimal::is_double(&number.1)
                }
            },
            (Self::Numeric(range), Scalar::Number(seen)) => {
                (dialect == Dialect::Pointsman || Decimal::is_double(seen))
                    && range.contains(&Decimal::parse(seen))
            }
            (matcher, Scalar::String(seen)) => matcher.matches_text(seen, dialect),
            // Each by name: a new kind is asked for here.
            (
                Self::Null
                | Self::Bool(_)
                | Self::Number(_)
                | Self::Numeric(_)
                | Self::Exact(_)
                | Self::Prefix(_)
                | Self::Suffix(_)
                | Self::EqualsIgnoreCase(_)
                | Self::PrefixIgnoreCase(_)
                | Self::SuffixIgnoreCase(_)
                | Self::Wildcard(_)
                | Self::Address(_)
                | Self::Cidr(_)
                | Self::Absent,
                Scalar::Null | Scalar::Bool(_) | Scalar::Number(_),
            ) => false,
        }
    }

    /// The steps that [`Self::matches`] takes.
    #[inline]
    pub(crate) fn steps(&self, value: &Scalar<'_>) -> u64 {
        let length = match value {
            Scalar::String(text) => text.len() as u64,
            Scalar::Number(text) => text.len() as u64,
            Scalar::Null | Scalar::Bool(_) => return self.alternatives(),
        };
        match self {
            // The number is parsed.
            Self::Number(_) | Self::Numeric(_) => 3 + length / 8,
            Self::EqualsIgnoreCase(_) | Self::PrefixIgnoreCase(_) | Self::SuffixIgnoreCase(_) => {
                1 + length / 8
            }
            Self::Wildcard(_) => 1 + length / 4,
            Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text) => {
                1 + length.min(text.len() as u64) / 64
            }
            // More bytes than an address has are none.
            Self::Address(_) | Self::Cidr(_) => 4 + length.min(64) / 8,
            // All of one kind.
            Self::AnythingBut(not) => {
                let each = not.first().map_or(1, |matcher| matcher.steps(value));
                each.saturating_mul(not.len() as u64)
            }
            Self::Null | Self::Bool(_) | Self::Exists | Self::Absent => 1,
        }
    }

    fn alternatives(&self) -> u64 {
        match self {
            Self::AnythingBut(not) => not.len() as u64,
            _ => 1,
        }
    }

    fn matches_text(&self, seen: &str, dialect: Dialect) -> bool {
        match self {
            Self::Exact(wanted) => **wanted == *seen,
            Self::Prefix(prefix) => seen.starts_with(&**prefix),
            Self::Suffix(suffix) => seen.ends_with(&**suffix),
            Self::EqualsIgnoreCase(folded) => fold::equals(seen, folded),
            Self::PrefixIgnoreCase(folded) => fold::starts_with(seen, folded),
            Self::SuffixIgnoreCase(folded) => fold::ends_with(seen, folded),
            Self::Wildcard(wildcard) => wildcard.matches(seen),
            Self::Address(network) | Self::Cidr(network) => Address::parse(seen, dialect)
                .is_some_and(|address| network.0.contains(address, dialect)),
            Self::Null
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Numeric(_)
            | Self::Exists
            | Self::Absent
            | Self::AnythingBut(_) => false,
        }
    }
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(text) => f.write_str(&excerpt(text)),
            Self::String(text) => write!(f, "{}", quoted(text)),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(excerpt(text)).to_string()
}

/// What is wanted, in words: `"HighRisk"`, `a string starting with "us-"`.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => f.write_str(&excerpt(&number.1)),
            Self::Exact(text) => f.write_str(&quoted(text)),
            Self::Address(network) => f.write_str(&quoted(&network.1)),
            Self::Prefix(text) => write!(f, "a string starting with {}", quoted(text)),
            Self::Suffix(text) => write!(f, "a string ending with {}", quoted(text)),
            Self::EqualsIgnoreCase(text) => write!(f, "{} in any case", quoted(text)),
            Self::PrefixIgnoreCase(text) => {
                write!(f, "a string starting with {} in any case", quoted(text))
            }
            Self::SuffixIgnoreCase(text) => {
                write!(f, "a string ending with {} in any case", quoted(text))
            }
            Self::Wildcard(wildcard) => write!(f, "a string like {}", quoted(&wildcard.text)),
            Self::Numeric(range) => range.fmt(f),
            Self::Cidr(network) => write!(f, "an address in {}", network.1),
            Self::Exists => f.write_str("any value"),
            Self::Absent => f.write_str("no value"),
            Self::AnythingBut(not) => {
                f.write_str("anything but ")?;
                join(not, f)
            }
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number ")?;
        match (&self.low, &self.high) {
            (Some(low), Some(high)) if low == high && low.inclusive => {
                write!(f, "equal to {}", low.value)
            }
            (low, high) => {
                if let Some(low) = low {
                    write!(
                        f,
                        "{} {}",
                        if low.inclusive { ">=" } else { ">" },
                        low.value
                    )?;
                }
                if low.is_some() && high.is_some() {
                    f.write_str(" and ")?;
                }
                if let Some(high) = high {
                    write!(
                        f,
                        "{} {}",
                        if high.inclusive { "<=" } else { "<" },
                        high.value
                    )?;
                }
                Ok(())
            }
        }
    }
}

/// Writes the alternatives as `A, B or C`, the first few of many.
pub(crate) fn join(matchers: &[Matcher], f: &mut impl fmt::Write) -> fmt::Result {
    const MAX_SHOWN: usize = 5;
    for (index, matcher) in matchers.iter().take(MAX_SHOWN).enumerate() {
        match index {
            0 => {}
            _ if index + 1 == matchers.len() => f.write_str(" or ")?,
            _ => f.write_str(", ")?,
        }
        write!(f, "{matcher}")?;
    }
    match matchers.len().saturating_sub(MAX_SHOWN) {
        0 => Ok(()),
        more => write!(f, " or {more} more"),
    }
}
