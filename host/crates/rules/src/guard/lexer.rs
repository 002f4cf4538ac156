//! Cuts a guard's text into tokens.

use pointsman_core::text::escaped;

use super::GuardError;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'t> {
    Name(&'t str),
    Int(&'t str),
    /// Without the `u` at its end.
    Unsigned(&'t str),
    Double(&'t str),
    Text(String),
    /// An operator or bracket.
    Symbol(&'static str),
    End,
}

/// The longer ones first.
const SYMBOLS: [&str; 27] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}", "=", "&", "|",
];

pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The next token and its byte offset.
    pub(super) fn next(&mut self) -> Result<(usize, Token<'t>), GuardError> {
        loop {
            self.at = self.text.len() - self.rest().trim_start().len();
            if !self.rest().starts_with("//") {
                break;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
        let (at, rest) = (self.at, self.rest());
        let Some(first) = rest.chars().next() else {
            return Ok((at, Token::End));
        };
        if let Some(quoted) = self.quoted(at)? {
            return Ok((at, Token::Text(quoted)));
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            return Ok((at, Token::Name(name)));
        }
        // As bytes: `first` may be more than one.
        let starts_fraction = rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        if first.is_ascii_digit() || first == '.' && starts_fraction {
            return self.number(at).map(|token| (at, token));
        }
        match SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            Some(symbol) => {
                self.at += symbol.len();
                Ok((at, Token::Symbol(symbol)))
            }
            None => Err(GuardError::at(
                at,
                format!("unexpected `{}`", escaped(first.encode_utf8(&mut [0; 4]))),
            )),
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn number(&mut self, at: usize) -> Result<Token<'t>, GuardError> {
        let rest = self.rest();
        if rest.starts_with("0x") || rest.starts_with("0X") {
            self.at += 2;
            self.take_while(|c| c.is_ascii_hexdigit());
        } else {
            self.take_while(|c| c.is_ascii_digit());
        }
        let mut is_double = false;
        let digit_at =
            |text: &str, at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
        if self.rest().starts_with('.') && digit_at(self.rest(), 1) {
            is_double = true;
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        let signed = usize::from(matches!(self.rest().as_bytes().get(1), Some(b'+' | b'-')));
        if self.rest().starts_with(['e', 'E']) && digit_at(self.rest(), 1 + signed) {
            is_double = true;
            self.at += 1 + signed;
            self.take_while(|c| c.is_ascii_digit());
        }
        let text = &self.text[at..self.at];
        let is_unsigned = !is_double && self.rest().starts_with(['u', 'U']);
        if is_unsigned {
            self.at += 1;
        }
        if self
            .rest()
            .starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        {
            return Err(GuardError::at(at, "a number runs into a name".to_owned()));
        }
        Ok(match (is_double, is_unsigned) {
            (true, _) => Token::Double(text),
            (false, true) => Token::Unsigned(text),
            (false, false) => Token::Int(text),
        })
    }

    /// A string in any of CEL's quotes; none where something else begins.
    fn quoted(&mut self, at: usize) -> Result<Option<String>, GuardError> {
        let rest = self.rest();
        let prefix = rest.find(['"', '\'']).unwrap_or(rest.len());
        let raw = match &rest[..prefix] {
            "" => false,
            "r" | "R" => true,
            "b" | "B" | "br" | "bR" | "Br" | "BR" if prefix < rest.len() => {
                let message = "bytes are not supported: JSON has none";
                return Err(GuardError::at(at, message.to_owned()));
            }
            _ => return Ok(None),
        };
        let body = &rest[prefix..];
        let quote = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|quote| body.starts_with(quote));
        let Some(quote) = quote else {
            return Ok(None);
        };
        self.at += prefix + quote.len();
        let mut text = String::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(quote) {
                self.at += quote.len();
                return Ok(Some(text));
            }
            let Some(c) = rest.chars().next() else {
                return Err(GuardError::at(at, "the string is not closed".to_owned()));
            };
            if quote.len() == 1 && matches!(c, '\n' | '\r') {
                let message = "a string in single quotes ends on its line";
                return Err(GuardError::at(at, message.to_owned()));
            }
            self.at += c.len_utf8();
            match c {
                '\\' if !raw => text.push(self.escape()?),
                c => text.push(c),
            }
        }
    }

    /// The character that an escape stands for; the backslash is behind.
    fn escape(&mut self) -> Result<char, GuardError> {
        let at = self.at - 1;
        let kind = self.rest().chars().next();
        self.at += kind.map_or(0, char::len_utf8);
        let (digits, radix, skip) = match kind {
            Some(c @ ('\\' | '\'' | '"' | '`' | '?')) => return Ok(c),
            Some('a') => return Ok('\u{7}'),
            Some('b') => return Ok('\u{8}'),
            Some('f') => return Ok('\u{c}'),
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('v') => return Ok('\u{b}'),
            Some('x' | 'X') => (2, 16, 0),
            Some('u') => (4, 16, 0),
            Some('U') => (8, 16, 0),
            Some('0'..='3') => (3, 8, 1),
            _ => return Err(GuardError::at(at, "unknown escape in a string".to_owned())),
        };
        self.at -= skip;
        let code = self.rest().get(..digits);
        let code = code.filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let c = code.and_then(|code| char::from_u32(u32::from_str_radix(code, radix).ok()?));
        self.at += digits;
        c.ok_or_else(|| GuardError::at(at, "the escape is not a character".to_owned()))
    }
}
