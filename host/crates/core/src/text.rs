//! Foreign text (from guests, files, clients, other hosts) made safe to print
//! and bounded: control characters cannot reach a terminal, one event stays one
//! line, and no text grows past its limit while it is made.

use std::{
    borrow::Cow,
    fmt::{self, Display, Write},
    io,
    path::Path,
};

use crate::source::position;

/// Bytes of a message, a backtrace or an error that came from a guest or a
/// file. Enough for every honest message; a log line and a row of the queue
/// stay small whatever a guest says.
pub const MESSAGE_MAX_BYTES: usize = 16 << 10;

/// Shows `text` on one line: control characters (C0, DEL, C1), line and
/// paragraph separators, and characters that reorder or hide what is around
/// them appear as `\n`, `\t` or `\u{1b}`.
#[must_use]
pub fn escaped(text: &str) -> Escaped<'_> {
    Escaped { text, lines: false }
}

/// As [`escaped`], but line feeds and tabs stay: for messages of several lines on
/// a terminal, whose printer indents what follows the first line.
#[must_use]
pub fn escaped_lines(text: &str) -> Escaped<'_> {
    Escaped { text, lines: true }
}

/// Shows a path on one line, as [`escaped`] does: whoever may create a file chooses
/// its name.
#[must_use]
pub fn path(path: &Path) -> impl Display {
    bounded(Escaping(path.display()), MESSAGE_MAX_BYTES)
}

/// Escapes what `T` displays, on one line.
pub struct Escaping<T>(pub T);

impl<T: Display> Display for Escaping<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(EscapingWriter(f), "{}", self.0)
    }
}

/// Escapes what is written to it, piece by piece, on one line.
pub struct EscapingWriter<W>(pub W);

impl<W: Write> Write for EscapingWriter<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write!(self.0, "{}", escaped(text))
    }
}

/// Foreign text that prints safely; see [`escaped`].
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a> {
    text: &'a str,
    lines: bool,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut safe_from = 0;
        for (at, c) in self.text.char_indices() {
            if !is_unsafe(c) || self.lines && matches!(c, '\n' | '\t') {
                continue;
            }
            f.write_str(&self.text[safe_from..at])?;
            match c {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                _ => write!(f, "{}", c.escape_unicode())?,
            }
            safe_from = at + c.len_utf8();
        }
        f.write_str(&self.text[safe_from..])
    }
}

/// Writes the unsafe characters inside the strings of a JSON text as JSON escapes:
/// the same document, safe to show on a terminal. What stands outside of strings
/// is valid JSON and has no other unsafe characters than white space.
#[must_use]
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| is_unsafe(c) && !c.is_ascii_whitespace();
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if !is_unsafe(c) {
            safe.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a `String` cannot fail.
            let _ = write!(safe, "\\u{unit:04x}");
        }
    }
    Cow::Owned(safe)
}

/// Whether a terminal or a reader of a log may take `c` for something other
/// than a visible character in its place.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Cuts `text` to at most about `max` bytes, at a character, and says how many
/// bytes were cut.
#[must_use]
pub fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let kept = text.floor_char_boundary(max);
        let dropped = text.len() - kept;
        text.truncate(kept);
        text.shrink_to_fit();
        // Writing to a `String` cannot fail.
        let _ = write!(text, "… ({dropped} more bytes)");
    }
    text
}

/// Formats `value` into at most about `max` bytes. Formatting stops at the limit,
/// so a value whose text is enormous costs no more than the limit.
#[must_use]
pub fn bounded(value: impl Display, max: usize) -> String {
    let mut writer = Bounded {
        text: String::new(),
        max,
    };
    if write!(writer, "{value}").is_err() {
        writer.text.push('…');
    }
    writer.text
}

/// Takes text up to a limit, then fails, which ends the formatting.
struct Bounded {
    text: String,
    max: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.max - self.text.len();
        if more.len() <= room {
            self.text.push_str(more);
            return Ok(());
        }
        self.text.push_str(&more[..more.floor_char_boundary(room)]);
        self.max = self.text.len();
        Err(fmt::Error)
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The text of a file, a body or standard input, the same for all of them: UTF-8.
/// A byte order mark at the start, as some editors write it, is left out.
///
/// # Errors
/// [`NotText`], which names the other encoding where it shows.
pub fn decode(bytes: &[u8]) -> Result<&str, NotText> {
    if let Some(encoding) = Encoding::of(bytes) {
        return Err(NotText::Encoded(encoding));
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| NotText::NotUtf8 {
        offset: error.valid_up_to(),
    })
}

/// An encoding of text other than UTF-8 that the first bytes give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// In either byte order.
    Utf16,
    /// In either byte order.
    Utf32,
}

impl Encoding {
    /// By the byte order mark, or by the zeros around the first character, which is
    /// ASCII in everything that is read here.
    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // The mark of UTF-16 followed by a NUL, which no text begins with.
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some(Self::Utf32),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(Self::Utf16),
            [first, 0, 0, 0, ..] | [0, 0, 0, first, ..] if *first != 0 => Some(Self::Utf32),
            [first, 0, ..] | [0, first, ..] if *first != 0 => Some(Self::Utf16),
            _ => None,
        }
    }

    /// As people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utf16 => "UTF-16",
            Self::Utf32 => "UTF-32",
        }
    }
}

/// Why bytes are not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    /// Text in another encoding.
    #[error("is {} text: save it as UTF-8", .0.as_str())]
    Encoded(Encoding),
    /// In no encoding that shows.
    #[error("is not UTF-8 text: invalid byte at offset {offset}")]
    NotUtf8 {
        /// Bytes before the first wrong one, after a byte order mark.
        offset: usize,
    },
}

impl NotText {
    /// Line and column in characters, both from 1, of the first wrong byte of
    /// `bytes`, which are those that were not text.
    #[must_use]
    pub fn position(self, bytes: &[u8]) -> (u32, u32) {
        match self {
            Self::Encoded(_) => (1, 1),
            Self::NotUtf8 { offset } => {
                let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
                let before = String::from_utf8_lossy(&bytes[..offset]);
                position(&before, before.len())
            }
        }
    }
}

impl From<NotText> for io::Error {
    fn from(error: NotText) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_or_ends_the_line_is_printed_as_it_is() {
        let text = "a\x1b[2J\u{9b}2J\r\nb\u{2028}c\u{202e}d\x7f\té";
        assert_eq!(
            escaped(text).to_string(),
            r"a\u{1b}[2J\u{9b}2J\r\nb\u{2028}c\u{202e}d\u{7f}\té"
        );
        assert_eq!(escaped_lines("a\nb\x07").to_string(), "a\nb\\u{7}");
    }

    #[test]
    fn escaped_json_is_the_same_document() {
        let json = "{\"a\": \"\u{9b}2J\u{7f}\u{202e}\u{e0041}é\",\r\n\t\"b\":1}";
        let safe = escaped_json(json);
        assert_eq!(
            safe,
            "{\"a\": \"\\u009b2J\\u007f\\u202e\\udb40\\udc41é\",\r\n\t\"b\":1}"
        );
        let parse = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(parse(&safe), parse(json));
        assert!(matches!(escaped_json("{}"), Cow::Borrowed("{}")));
    }

    #[test]
    fn a_cut_text_says_how_much_is_missing() {
        assert_eq!(cut("é".repeat(10), 5), "éé… (16 more bytes)");
        assert_eq!(cut("short".into(), 5), "short");
    }

    #[test]
    fn formatting_ends_at_the_limit() {
        /// Would take all memory if it were formatted to its end.
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("é and so on, ")?;
                }
            }
        }
        let text = bounded(Endless, 1_000);
        assert!(text.ends_with('…') && text.len() <= 1_003, "{}", text.len());
        assert_eq!(bounded("all", 3), "all");
    }

    #[test]
    fn a_byte_order_mark_takes_no_column() {
        for text in [&b"{\n a\xff"[..], b"\xef\xbb\xbf{\n a\xff"] {
            let error = decode(text).unwrap_err();
            assert_eq!(error.position(text), (2, 3), "{text:?}");
        }
    }

    #[test]
    fn text_is_utf_8_and_other_encodings_are_named() {
        for (text, encoding) in [
            (&b"\xff\xfe{\0}\0"[..], Encoding::Utf16),
            (b"\xfe\xff\0{\0}", Encoding::Utf16),
            (b"{\0}\0", Encoding::Utf16),
            (b"\0{\0}", Encoding::Utf16),
            (b"\xff\xfe\0\0{\0\0\0", Encoding::Utf32),
            (b"\0\0\xfe\xff\0\0\0{", Encoding::Utf32),
            (b"{\0\0\0}\0\0\0", Encoding::Utf32),
            (b"\0\0\0{\0\0\0}", Encoding::Utf32),
        ] {
            assert_eq!(decode(text), Err(NotText::Encoded(encoding)), "{text:?}");
        }
        assert_eq!(decode(b""), Ok(""));
        assert_eq!(decode(b"{"), Ok("{"));
    }
}
