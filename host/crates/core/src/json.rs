//! Owns the reading of JSON text. One lexer, and two things made with it:
//!
//! * the index of a command: one walk checks all of the text and leaves
//!   behind where each [`Value`] stands;
//! * the [`Node`] tree of a rule file, which remembers where every value stands
//!   so that an error can point at it, and leaves keys that come twice to its reader.

mod error;
mod index;
mod keys;
mod lexer;
mod value;

use std::borrow::Cow;

use serde_json::value::RawValue;

pub(crate) use self::index::Index;
pub use self::{
    error::{JsonError, Reason, SyntaxError},
    value::{Elements, Entries, Kind, Value},
};
use self::{
    index::check,
    lexer::{Fault, Lexer},
};

/// The deepest nesting of arrays and objects in JSON that comes from outside:
/// commands, outputs, rule files, cases. Strict readers such as serde_json follow
/// 127 levels, and a report or a list puts some of its own around each value.
/// Whoever walks a tree, or drops it, may recurse.
pub const DEPTH_MAX: usize = 120;

/// Takes a text that is one JSON value which every reader takes, and takes in
/// the same way: of at most 120 levels, no key twice in one object, no half of a
/// surrogate pair, no number beyond the largest double.
///
/// # Errors
/// [`JsonError`] at the first offending character.
pub fn raw(text: String) -> Result<Box<RawValue>, JsonError> {
    check(&text).map_err(|error| error.locate(&text))?;
    // serde_json takes all that has been taken.
    RawValue::from_string(text).map_err(|_| SyntaxError::malformed(0, "not JSON").locate(""))
}

/// A value of a rule file and where it stands.
#[derive(Clone, Debug)]
pub struct Node<'t> {
    /// Byte offset of the first character.
    pub at: usize,
    /// Byte offset after the last character.
    pub end: usize,
    /// What it holds.
    pub value: NodeValue<'t>,
}

/// What a [`Node`] holds. Numbers stay as they were written.
#[derive(Clone, Debug)]
pub enum NodeValue<'t> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is spelled.
    Number(Cow<'t, str>),
    /// A string, its escapes resolved.
    String(Cow<'t, str>),
    /// An array.
    Array(Vec<Node<'t>>),
    /// An object; see [`Member`].
    Object(Vec<Member<'t>>),
}

/// One `"key": value` of an object, in the order of the text; a key may come twice.
#[derive(Clone, Debug)]
pub struct Member<'t> {
    /// Byte offset of the key.
    pub key_at: usize,
    /// The key, its escapes resolved.
    pub key: Cow<'t, str>,
    /// The value.
    pub value: Node<'t>,
}

impl Node<'_> {
    /// The value as an error message names it: `a string`, `null`, …
    pub fn kind(&self) -> &'static str {
        match self.value {
            NodeValue::Null => "null",
            NodeValue::Bool(true) => "true",
            NodeValue::Bool(false) => "false",
            NodeValue::Number(_) => "a number",
            NodeValue::String(_) => "a string",
            NodeValue::Array(_) => "an array",
            NodeValue::Object(_) => "an object",
        }
    }

    /// Writes the value as JSON text, for a file that was not JSON.
    pub fn write(&self, out: &mut String) {
        match &self.value {
            NodeValue::Null => out.push_str("null"),
            NodeValue::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            NodeValue::Number(text) => out.push_str(text),
            NodeValue::String(text) => write_string(text, out),
            NodeValue::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            NodeValue::Object(members) => {
                out.push('{');
                for (index, member) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_string(&member.key, out);
                    out.push(':');
                    member.value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// Reads one JSON value that is the whole of `text`.
///
/// # Errors
/// [`SyntaxError`] at the first offending byte.
pub fn parse(text: &str) -> Result<Node<'_>, SyntaxError> {
    let mut lexer = Lexer::new(text);
    let node = lexer.node(0).and_then(|node| {
        lexer.end()?;
        Ok(node)
    });
    node.map_err(|fault| *fault)
}

/// The tree is built by the lexer's own methods, one for each kind of value.
impl<'t> Lexer<'t> {
    fn node(&mut self, depth: usize) -> Result<Node<'t>, Fault> {
        let first = self.peek();
        let at = self.offset();
        let value = match first {
            b'"' => NodeValue::String(self.string()?),
            b'-' | b'0'..=b'9' => NodeValue::Number(Cow::Borrowed(self.number()?)),
            b'{' => NodeValue::Object(self.members(depth)?),
            b'[' => NodeValue::Array(self.items(depth)?),
            b'n' => self.literal("null").map(|()| NodeValue::Null)?,
            b't' => self.literal("true").map(|()| NodeValue::Bool(true))?,
            b'f' => self.literal("false").map(|()| NodeValue::Bool(false))?,
            _ => return self.unexpected("a JSON value"),
        };
        Ok(Node {
            at,
            end: self.offset(),
            value,
        })
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node<'t>>, Fault> {
        self.check_depth(depth)?;
        self.advance();
        let mut items = Vec::new();
        if self.peek() == b']' {
            self.advance();
            return Ok(items);
        }
        loop {
            items.push(self.node(depth + 1)?);
            if !self.more(b']')? {
                return Ok(items);
            }
        }
    }

    fn members(&mut self, depth: usize) -> Result<Vec<Member<'t>>, Fault> {
        self.check_depth(depth)?;
        self.advance();
        let mut members = Vec::new();
        if self.peek() == b'}' {
            self.advance();
            return Ok(members);
        }
        loop {
            if self.peek() != b'"' {
                return self.unexpected("a key in quotes");
            }
            let key_at = self.offset();
            let key = self.string()?;
            self.colon()?;
            let value = self.node(depth + 1)?;
            members.push(Member { key_at, key, value });
            if !self.more(b'}')? {
                return Ok(members);
            }
        }
    }
}

#[cfg(test)]
mod tests;
