//! The tree of a guard, names resolved. Built by [`parser`](super::parser)
//! alone, through [`Expr::new`], which bounds its depth: everything that walks
//! a tree, and dropping it, may recurse.

use super::{binary::Binary, functions::Function, regex::Regex};

/// The deepest tree: a chain of operators has a level for each. A walk takes
/// some 5 KiB of stack a level in a debug build.
pub(super) const DEPTH_MAX: u16 = 100;
/// The deepest brackets, calls and lists in one another. Reading takes some
/// 20 KiB of stack a level in a debug build; no guard that a person writes has
/// ten levels.
pub(super) const NESTING_MAX: u16 = 32;

/// A node and what its parts are made of.
#[derive(Debug)]
pub(super) struct Expr {
    /// Byte offset in the guard's text.
    pub(super) at: usize,
    pub(super) kind: Kind,
    depth: u16,
    uses_command: bool,
    /// The outermost variable of a macro around the node that it uses.
    outermost: Option<usize>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    /// Not negative.
    Unsigned(i64),
    Double(f64),
    Text(Box<str>),
    Command,
    /// A variable of a macro: how many macros are around the one that has it.
    Variable(usize),
    Field {
        of: Box<Expr>,
        name: Box<str>,
    },
    /// `has(of.name)`
    Has {
        of: Box<Expr>,
        name: Box<str>,
    },
    Index(Box<[Expr; 2]>),
    /// One of the terms decides: `&&` where it is false, `||` where it is true.
    Terms {
        decisive: bool,
        terms: Vec<Expr>,
    },
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(Binary, Box<[Expr; 2]>),
    /// `condition ? a : b`
    Choice(Box<[Expr; 3]>),
    List(Vec<Expr>),
    Map(Vec<[Expr; 2]>),
    Call(Function, Vec<Expr>),
    Matches(Box<Expr>, Box<Regex>),
    Each(Box<Each>),
}

/// A macro: something for each element of a list, or each key of a map.
#[derive(Debug)]
pub(super) struct Each {
    pub(super) kind: EachKind,
    pub(super) range: Expr,
    /// The number of its variable.
    pub(super) variable: usize,
    /// Which elements; none for `map` without a filter.
    pub(super) condition: Option<Expr>,
    /// What `map` makes of one.
    pub(super) makes: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EachKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// A tree would be deeper than [`DEPTH_MAX`].
#[derive(Debug)]
pub(super) struct TooDeep;

impl Expr {
    pub(super) fn new(at: usize, kind: Kind) -> Result<Self, TooDeep> {
        let (mut depth, mut uses_command, mut outermost) = (0, false, None);
        if matches!(kind, Kind::Command) {
            uses_command = true;
        }
        if let Kind::Variable(number) = kind {
            outermost = Some(number);
        }
        kind.parts(&mut |part| {
            depth = depth.max(part.depth);
            uses_command |= part.uses_command;
            outermost = match (outermost, part.outermost) {
                (Some(a), Some(b)) => Some(usize::min(a, b)),
                (a, b) => a.or(b),
            };
        });
        // Its own variable is not one of what is around it.
        if let Kind::Each(each) = &kind {
            outermost = outermost.filter(|&number| number < each.variable);
        }
        if depth >= DEPTH_MAX {
            return Err(TooDeep);
        }
        Ok(Self {
            at,
            kind,
            depth: depth + 1,
            uses_command,
            outermost,
        })
    }

    /// Whether it has one value whatever the command.
    pub(super) fn is_constant(&self) -> bool {
        !self.uses_command && self.outermost.is_none()
    }

    /// Whether it is written as the value that it is.
    pub(super) fn is_literal(&self) -> bool {
        matches!(
            self.kind,
            Kind::Null
                | Kind::Bool(_)
                | Kind::Int(_)
                | Kind::Unsigned(_)
                | Kind::Double(_)
                | Kind::Text(_)
        )
    }
}

impl Kind {
    /// Calls `each` for every part of the node.
    pub(super) fn parts<'x>(&'x self, each: &mut impl FnMut(&'x Expr)) {
        match self {
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Unsigned(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Command
            | Self::Variable(_) => {}
            Self::Field { of, .. } | Self::Has { of, .. } => each(of),
            Self::Not(part) | Self::Negate(part) | Self::Matches(part, _) => each(part),
            Self::Index(pair) | Self::Binary(_, pair) => pair.iter().for_each(each),
            Self::Choice(parts) => parts.iter().for_each(each),
            Self::Terms { terms, .. } => terms.iter().for_each(each),
            Self::List(parts) | Self::Call(_, parts) => parts.iter().for_each(each),
            Self::Map(entries) => entries.iter().flatten().for_each(each),
            Self::Each(macro_call) => {
                each(&macro_call.range);
                macro_call.condition.iter().for_each(&mut *each);
                macro_call.makes.iter().for_each(each);
            }
        }
    }
}
