//! Owns the [`Lexer`]: JSON text from left to right, with no tree and no copies
//! but of strings with escapes.

use std::borrow::Cow;

use super::SyntaxError;
use crate::command::DEPTH_MAX;

/// Walks JSON text from left to right. Strict: RFC 8259, no comments, no
/// trailing commas, no lone surrogates.
pub struct Lexer<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Lexer<'t> {
    /// At the start of `text`.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
        }
    }

    /// The next byte that is not white space, or 0 at the end (which no JSON text contains).
    #[inline]
    pub fn peek(&mut self) -> u8 {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    /// Where the lexer stands, in bytes.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Steps over the byte that [`Self::peek`] showed.
    #[inline]
    pub fn advance(&mut self) {
        self.at += 1;
    }

    /// Steps over `byte`.
    ///
    /// # Errors
    /// [`SyntaxError`], which says that it was expected at `place`, where another follows.
    pub fn expect(&mut self, byte: u8, place: &str) -> Result<(), SyntaxError> {
        if self.peek() == byte {
            self.at += 1;
            Ok(())
        } else {
            self.unexpected(&format!("`{}` {place}", byte as char))
        }
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), SyntaxError> {
        match self.peek() {
            0 if self.at == self.bytes.len() => Ok(()),
            _ => self.unexpected("the end of the text"),
        }
    }

    /// After an element of an array or object: true if another follows, false
    /// if `close` came.
    #[inline]
    pub fn more(&mut self, close: u8) -> Result<bool, SyntaxError> {
        match self.peek() {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            byte if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => self.unexpected(&format!("`,` or `{}`", close as char)),
        }
    }

    /// Fails at what follows.
    ///
    /// # Errors
    /// Always: [`SyntaxError`] with what follows and what was `wanted`.
    pub fn unexpected<T>(&self, wanted: &str) -> Result<T, SyntaxError> {
        let message = match self
            .text
            .get(self.at..)
            .and_then(|rest| rest.chars().next())
        {
            Some(found) => format!("found `{}`, expected {wanted}", found.escape_debug()),
            None => format!("the text ends where {wanted} was expected"),
        };
        Err(SyntaxError {
            at: self.at,
            code: SyntaxError::INVALID,
            message,
        })
    }

    fn fail<T>(&self, at: usize, message: &str) -> Result<T, SyntaxError> {
        Err(SyntaxError {
            at,
            code: SyntaxError::INVALID,
            message: message.into(),
        })
    }

    /// Refuses an array or object at `depth`, from 0, past the limit.
    ///
    /// # Errors
    /// [`SyntaxError`], too deep.
    pub fn check_depth(&self, depth: usize) -> Result<(), SyntaxError> {
        if depth >= DEPTH_MAX {
            return Err(SyntaxError {
                at: self.at,
                code: SyntaxError::TOO_DEEP,
                message: format!("nested deeper than {DEPTH_MAX} levels"),
            });
        }
        Ok(())
    }

    /// A string, its escapes resolved; the lexer stands on the opening quote.
    #[inline]
    pub fn string(&mut self) -> Result<Cow<'t, str>, SyntaxError> {
        let start = self.at + 1;
        let end = self.plain_run(start)?;
        if self.bytes[end] == b'"' {
            self.at = end + 1;
            return Ok(Cow::Borrowed(&self.text[start..end]));
        }
        self.escaped_string(start, end).map(Cow::Owned)
    }

    /// The end of the run of unescaped characters from `start`: the offset of
    /// a quote or a backslash.
    #[inline]
    fn plain_run(&self, start: usize) -> Result<usize, SyntaxError> {
        let mut at = start;
        while let Some(&byte) = self.bytes.get(at) {
            match byte {
                b'"' | b'\\' => return Ok(at),
                0..b' ' => {
                    return self.fail(
                        at,
                        "a control character in a string must be escaped, such as `\\n`",
                    );
                }
                _ => at += 1,
            }
        }
        self.fail(start - 1, "the string is not closed")
    }

    #[cold]
    fn escaped_string(&mut self, start: usize, first: usize) -> Result<String, SyntaxError> {
        let mut out = self.text[start..first].to_owned();
        let mut at = first;
        loop {
            if self.bytes[at] == b'"' {
                self.at = at + 1;
                return Ok(out);
            }
            at = self.escape(at, &mut out)?;
            let end = self.plain_run_in(start, at)?;
            out.push_str(&self.text[at..end]);
            at = end;
        }
    }

    fn plain_run_in(&self, start: usize, at: usize) -> Result<usize, SyntaxError> {
        self.plain_run(at).map_err(|error| {
            if error.at + 1 == at {
                SyntaxError {
                    at: start - 1,
                    ..error
                }
            } else {
                error
            }
        })
    }

    /// Resolves the escape at `at` and returns the offset after it.
    fn escape(&self, at: usize, out: &mut String) -> Result<usize, SyntaxError> {
        let plain = match self.bytes.get(at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let unit = self.hex4(at + 2)?;
                let (code, next) = match unit {
                    0xD800..0xDC00 => match self.bytes.get(at + 6..at + 8) {
                        Some(b"\\u") => {
                            let low = self.hex4(at + 8)?;
                            if !(0xDC00..0xE000).contains(&low) {
                                return self.fail(at, "half of a surrogate pair");
                            }
                            (0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00), at + 12)
                        }
                        _ => return self.fail(at, "half of a surrogate pair"),
                    },
                    _ => (unit, at + 6),
                };
                match char::from_u32(code) {
                    Some(c) => out.push(c),
                    None => return self.fail(at, "half of a surrogate pair"),
                }
                return Ok(next);
            }
            _ => return self.fail(at, "unknown escape in a string: JSON has `\\\"`, `\\\\`, `\\/`, `\\b`, `\\f`, `\\n`, `\\r`, `\\t` and `\\u0000`"),
        };
        out.push(plain);
        Ok(at + 2)
    }

    fn hex4(&self, at: usize) -> Result<u32, SyntaxError> {
        match self.bytes.get(at..at + 4) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {
                let value = |byte: u8| (byte as char).to_digit(16).unwrap_or(0);
                Ok(digits.iter().fold(0, |code, &byte| code << 4 | value(byte)))
            }
            _ => self.fail(at - 2, "`\\u` needs four hexadecimal digits"),
        }
    }

    /// A number as it was written; the lexer stands on `-` or a digit.
    #[inline]
    pub fn number(&mut self) -> Result<&'t str, SyntaxError> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let leading_zero = self.bytes.get(self.at) == Some(&b'0');
        if self.digits()? > 1 && leading_zero {
            return self.fail(start, "a number has no leading zeros");
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<usize, SyntaxError> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start {
            return self.unexpected("a digit");
        }
        Ok(self.at - start)
    }

    /// `null`, `true` or `false`.
    pub fn literal(&mut self, word: &str) -> Result<(), SyntaxError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        self.unexpected("a JSON value")
    }

    /// Steps over one value, checking it as strictly as if it were read.
    pub fn skip(&mut self, depth: usize) -> Result<(), SyntaxError> {
        match self.peek() {
            b'"' => self.skip_string(),
            b'{' => {
                self.check_depth(depth)?;
                self.at += 1;
                if self.peek() == b'}' {
                    self.at += 1;
                    return Ok(());
                }
                loop {
                    if self.peek() != b'"' {
                        return self.unexpected("a key in quotes");
                    }
                    self.skip_string()?;
                    self.expect(b':', "after the key")?;
                    self.skip(depth + 1)?;
                    if !self.more(b'}')? {
                        return Ok(());
                    }
                }
            }
            b'[' => {
                self.check_depth(depth)?;
                self.at += 1;
                if self.peek() == b']' {
                    self.at += 1;
                    return Ok(());
                }
                loop {
                    self.skip(depth + 1)?;
                    if !self.more(b']')? {
                        return Ok(());
                    }
                }
            }
            b'n' => self.literal("null"),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            _ => self.unexpected("a JSON value"),
        }
    }

    #[inline]
    fn skip_string(&mut self) -> Result<(), SyntaxError> {
        let start = self.at + 1;
        let end = self.plain_run(start)?;
        if self.bytes[end] == b'"' {
            self.at = end + 1;
            return Ok(());
        }
        self.escaped_string(start, end).map(drop)
    }
}
