//! Owns [`Value`]: one value of a text that was indexed, borrowed from it.

use std::borrow::Cow;

use super::{
    index::{Entry, Index},
    lexer::content,
};

/// A value of a text that was indexed. Cheap to copy; nothing is read before it
/// is asked for.
#[derive(Clone, Copy)]
pub struct Value<'t> {
    text: &'t str,
    entries: &'t [Entry],
    at: usize,
}

/// What a [`Value`] is.
pub enum Kind<'t> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is spelled.
    Number(&'t str),
    /// A string: see [`Value::string`].
    String,
    /// An array: its elements.
    Array(Elements<'t>),
    /// An object: its keys, in the order of the text, and their values.
    Object(Entries<'t>),
}

impl<'t> Value<'t> {
    /// `{}`.
    pub(crate) const EMPTY_OBJECT: Value<'static> = Value {
        text: "{}",
        entries: &[Entry::EMPTY],
        at: 0,
    };

    /// The value that is all of `text`, which is what `index` was made of.
    pub(crate) fn new(text: &'t str, index: &'t Index) -> Self {
        Self {
            text,
            entries: index.entries(),
            at: 0,
        }
    }

    #[inline]
    fn entry(&self) -> Entry {
        self.entries[self.at]
    }

    /// What it is.
    #[inline]
    #[must_use]
    pub fn kind(self) -> Kind<'t> {
        let entry = self.entry();
        match self.text.as_bytes()[entry.start as usize] {
            b'"' => Kind::String,
            b'{' => Kind::Object(Entries(self.inside(entry))),
            b'[' => Kind::Array(Elements(self.inside(entry))),
            b'n' => Kind::Null,
            b't' => Kind::Bool(true),
            b'f' => Kind::Bool(false),
            _ => Kind::Number(self.raw()),
        }
    }

    /// The string, its escapes resolved; as it is spelled, where it is none.
    #[inline]
    #[must_use]
    pub fn string(self) -> Cow<'t, str> {
        let spelled = self.raw();
        match spelled.starts_with('"') {
            true => content(spelled, self.entry().spelling()),
            false => Cow::Borrowed(spelled),
        }
    }

    /// A key or a value without parts, as it is spelled.
    #[inline]
    fn raw(self) -> &'t str {
        let entry = self.entry();
        &self.text[entry.start as usize..entry.end()]
    }

    fn inside(self, entry: Entry) -> Inside<'t> {
        Inside {
            next: Self {
                at: self.at + 1,
                ..self
            },
            end: entry.after(),
        }
    }
}

/// What is left of an array or object.
#[derive(Clone, Copy)]
struct Inside<'t> {
    next: Value<'t>,
    end: usize,
}

impl<'t> Inside<'t> {
    /// Takes the next value with all its parts.
    #[inline]
    fn take(&mut self) -> Option<Value<'t>> {
        let value = self.next;
        if value.at >= self.end {
            return None;
        }
        let entry = value.entry();
        self.next.at = match value.text.as_bytes()[entry.start as usize] {
            b'{' | b'[' => entry.after(),
            _ => value.at + 1,
        };
        Some(value)
    }
}

/// The elements of an array.
#[derive(Clone, Copy)]
pub struct Elements<'t>(Inside<'t>);

impl<'t> Iterator for Elements<'t> {
    type Item = Value<'t>;

    #[inline]
    fn next(&mut self) -> Option<Value<'t>> {
        self.0.take()
    }
}

/// The keys of an object, their escapes resolved, and their values.
#[derive(Clone, Copy)]
pub struct Entries<'t>(Inside<'t>);

impl<'t> Iterator for Entries<'t> {
    type Item = (Cow<'t, str>, Value<'t>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let inside = &mut self.0;
        if inside.next.at >= inside.end {
            return None;
        }
        let key = inside.next.string();
        inside.next.at += 1;
        Some((key, inside.take()?))
    }
}
