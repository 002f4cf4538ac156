//! Owns the [`Lexer`]: JSON text from left to right, with no tree and no copies
//! but of strings with escapes.

use std::borrow::Cow;

use super::{DEPTH_MAX, Reason, SyntaxError};

/// Walks JSON text from left to right. Strict: RFC 8259, no comments, no
/// trailing commas, no lone surrogates.
pub(super) struct Lexer<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

/// What the lexer's own methods fail with: in a box, since every step of a walk
/// returns it or nothing, in a register.
pub(super) type Fault = Box<SyntaxError>;

/// A string and whether it has escapes, which are valid.
#[derive(Clone, Copy)]
pub(super) enum Spelling {
    Plain,
    Escaped,
}

/// Whether a number has an exponent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    Positional,
    Scientific,
}

impl<'t> Lexer<'t> {
    /// At the start of `text`.
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
        }
    }

    /// The next byte that is not white space, or 0 at the end (which no JSON text contains).
    #[inline]
    pub(super) fn peek(&mut self) -> u8 {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    /// Where the lexer stands, in bytes.
    #[inline]
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// What was read from `start` on.
    #[inline]
    pub(super) fn since(&self, start: usize) -> &'t str {
        &self.text[start..self.at]
    }

    /// Steps over the byte that [`Self::peek`] showed.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    /// Steps over the colon after a key.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), Fault> {
        match self.peek() {
            b':' => {
                self.at += 1;
                Ok(())
            }
            _ => self.unexpected("`:` after the key"),
        }
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            0 if self.at == self.bytes.len() => Ok(()),
            _ => self.unexpected("the end of the input"),
        }
    }

    /// After an element of an array or object: true if another follows, false
    /// if `close` came.
    #[inline]
    pub(super) fn more(&mut self, close: u8) -> Result<bool, Fault> {
        match self.peek() {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            byte if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ if close == b'}' => self.unexpected("`,` or `}`"),
            _ => self.unexpected("`,` or `]`"),
        }
    }

    /// Fails at what follows.
    #[cold]
    pub(super) fn unexpected<T>(&self, expected: &'static str) -> Result<T, Fault> {
        let rest = self.text.get(self.at..);
        let found = rest.and_then(|rest| rest.chars().next());
        let reason = Reason::Unexpected { found, expected };
        Err(Box::new(SyntaxError {
            at: self.at,
            reason,
        }))
    }

    /// Refuses an array or object at `depth`, from 0, past the limit.
    #[inline]
    pub(super) fn check_depth(&self, depth: usize) -> Result<(), Fault> {
        if depth >= DEPTH_MAX {
            let reason = Reason::TooDeep;
            return Err(Box::new(SyntaxError {
                at: self.at,
                reason,
            }));
        }
        Ok(())
    }

    /// A string, its escapes resolved; the lexer stands on the opening quote.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'t, str>, Fault> {
        let start = self.at;
        let spelling = self.skip_string()?;
        Ok(content(self.since(start), spelling))
    }

    /// Steps over a string; the lexer stands on the opening quote.
    #[inline]
    pub(super) fn skip_string(&mut self) -> Result<Spelling, Fault> {
        let start = self.at;
        let end = self.plain_run(start, start + 1)?;
        if self.bytes[end] == b'"' {
            self.at = end + 1;
            return Ok(Spelling::Plain);
        }
        self.skip_escaped_string(start, end)
    }

    #[cold]
    fn skip_escaped_string(&mut self, start: usize, escape: usize) -> Result<Spelling, Fault> {
        let mut at = escape;
        while self.bytes[at] != b'"' {
            let (_, next) = escape_at(self.bytes, at)?;
            at = self.plain_run(start, next)?;
        }
        self.at = at + 1;
        Ok(Spelling::Escaped)
    }

    /// The end of the run of unescaped characters from `from`: the offset of a
    /// quote or a backslash. The string begins at `start`.
    #[inline]
    fn plain_run(&self, start: usize, from: usize) -> Result<usize, Fault> {
        let at = plain_run(self.bytes, from);
        match self.bytes.get(at) {
            Some(b'"' | b'\\') => Ok(at),
            Some(_) => Err(SyntaxError::malformed(
                at,
                "a control character in a string must be escaped, such as `\\n`",
            )),
            None => Err(SyntaxError::malformed(start, "the string is not closed")),
        }
    }

    /// A number as it was written; the lexer stands on `-` or a digit.
    #[inline]
    pub(super) fn number(&mut self) -> Result<&'t str, Fault> {
        let start = self.at;
        self.skip_number()?;
        Ok(self.since(start))
    }

    /// Steps over a number; the lexer stands on `-` or a digit.
    #[inline]
    pub(super) fn skip_number(&mut self) -> Result<Notation, Fault> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let leading_zero = self.bytes.get(self.at) == Some(&b'0');
        if self.digits()? > 1 && leading_zero {
            return Err(SyntaxError::malformed(
                start,
                "a number has no leading zeros",
            ));
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if !matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            return Ok(Notation::Positional);
        }
        self.at += 1;
        if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
            self.at += 1;
        }
        self.digits()?;
        Ok(Notation::Scientific)
    }

    #[inline]
    fn digits(&mut self) -> Result<usize, Fault> {
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
    #[inline]
    pub(super) fn literal(&mut self, word: &str) -> Result<(), Fault> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        self.unexpected("a JSON value")
    }
}

/// What a valid string with its quotes says.
#[inline]
pub(super) fn content(quoted: &str, spelling: Spelling) -> Cow<'_, str> {
    let inside = &quoted[1..quoted.len() - 1];
    match spelling {
        Spelling::Plain => Cow::Borrowed(inside),
        Spelling::Escaped => Cow::Owned(unescaped(inside)),
    }
}

/// A valid string without its quotes, its escapes resolved.
#[cold]
fn unescaped(inside: &str) -> String {
    let mut out = String::with_capacity(inside.len());
    let mut from = 0;
    while let Some(plain) = memchr::memchr(b'\\', &inside.as_bytes()[from..]) {
        out.push_str(&inside[from..from + plain]);
        from += plain;
        let Ok((character, next)) = escape_at(inside.as_bytes(), from) else {
            break;
        };
        out.push(character);
        from = next;
    }
    out.push_str(&inside[from..]);
    out
}

/// The offset of the first quote, backslash or control character from `at` on,
/// or the length.
#[inline]
fn plain_run(bytes: &[u8], mut at: usize) -> usize {
    // Eight bytes at once: subtracting borrows out of each byte that is below
    // what is subtracted. A borrow can make the bytes above it look the same,
    // but the lowest is right.
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*word);
        let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
        let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
        let control = word.wrapping_sub(ONES * b' ' as u64);
        let found = (quote | backslash | control) & !word & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

/// The character that the escape at `at` stands for, and the offset after it.
fn escape_at(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let character = match bytes.get(at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape_at(bytes, at),
        _ => {
            return Err(SyntaxError::malformed(
                at,
                "unknown escape in a string: JSON has `\\\"`, `\\\\`, `\\/`, `\\b`, `\\f`, `\\n`, `\\r`, `\\t` and `\\u0000`",
            ));
        }
    };
    Ok((character, at + 2))
}

/// As [`escape_at`], for `\u0000` and pairs of them.
fn unicode_escape_at(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let half = || SyntaxError::malformed(at, "half of a surrogate pair");
    let unit = hex4(bytes, at + 2)?;
    let (code, next) = match unit {
        0xD800..0xDC00 => {
            if bytes.get(at + 6..at + 8) != Some(b"\\u") {
                return Err(half());
            }
            let low = hex4(bytes, at + 8)?;
            if !(0xDC00..0xE000).contains(&low) {
                return Err(half());
            }
            (0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00), at + 12)
        }
        _ => (unit, at + 6),
    };
    let character = char::from_u32(code).ok_or_else(half)?;
    Ok((character, next))
}

fn hex4(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let digits = bytes.get(at..at + 4).unwrap_or_default();
    let code = digits
        .iter()
        .try_fold(0, |code, byte| Some(code << 4 | digit(byte)?));
    code.filter(|_| digits.len() == 4)
        .ok_or_else(|| SyntaxError::malformed(at - 2, "`\\u` needs four hexadecimal digits"))
}
