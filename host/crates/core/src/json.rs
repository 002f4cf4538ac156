//! Owns the reading of JSON text: the [`Lexer`] that rule files and commands
//! share, and the [`Node`] tree of a rule file, which remembers where every
//! value stands so that an error can point at it.
//!
//! Commands are never built into a tree: routing walks them with the
//! lexer and keeps only the fields that rules use.

mod lexer;

use std::borrow::Cow;

pub use lexer::Lexer;

/// Text that is not JSON, or JSON nested deeper than [`DEPTH_MAX`](crate::command::DEPTH_MAX).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset in the text.
    pub at: usize,
    /// [`Self::INVALID`] or [`Self::TOO_DEEP`].
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
}

impl SyntaxError {
    /// Not JSON.
    pub const INVALID: &'static str = "invalid-json";
    /// Nested too deep.
    pub const TOO_DEEP: &'static str = "too-deep";
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
    let node = lexer.node(0)?;
    lexer.end()?;
    Ok(node)
}

/// The tree is built by the lexer's own methods, one for each kind of value.
impl<'t> Lexer<'t> {
    fn node(&mut self, depth: usize) -> Result<Node<'t>, SyntaxError> {
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

    fn items(&mut self, depth: usize) -> Result<Vec<Node<'t>>, SyntaxError> {
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

    fn members(&mut self, depth: usize) -> Result<Vec<Member<'t>>, SyntaxError> {
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
            self.expect(b':', "after the key")?;
            let value = self.node(depth + 1)?;
            members.push(Member { key_at, key, value });
            if !self.more(b'}')? {
                return Ok(members);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_as_strictly_as_serde_json_reads_it() {
        let texts = [
            "null",
            "true",
            "-0",
            "1e5",
            "01",
            "1.",
            ".5",
            "[1,]",
            "[1 2]",
            r#"{"a":1,}"#,
            r#"{"a" 1}"#,
            r#""\u00e9""#,
            r#""\ud83d\ude00""#,
            r#""\ud83d""#,
            r#""\x""#,
            "\"a\nb\"",
            "\"open",
            "",
            " ",
            "nul",
            "[[[]]]",
            r#"{"a":{"b":[{}]}}"#,
            "1 1",
            "-",
            "1e",
            "\"\\",
            r#""\ud83d\u0041""#,
            r#""\u12""#,
        ];
        for text in texts {
            let ours = parse(text);
            let theirs = serde_json::from_str::<serde_json::Value>(text);
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{text}: {ours:?}");
            let mut lexer = Lexer::new(text);
            assert_eq!(
                lexer.skip(0).and_then(|()| lexer.end()).is_ok(),
                theirs.is_ok(),
                "skip {text}"
            );
            if let (Ok(node), Ok(value)) = (ours, theirs) {
                let mut written = String::new();
                node.write(&mut written);
                let again: serde_json::Value = serde_json::from_str(&written).unwrap();
                assert_eq!(again, value, "{text}");
            }
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let deep = "[".repeat(100_000);
        assert_eq!(
            parse(&deep).unwrap_err().message,
            "nested deeper than 127 levels"
        );
        assert!(parse(&format!("{}{}", "[".repeat(127), "]".repeat(127))).is_ok());
    }
}
