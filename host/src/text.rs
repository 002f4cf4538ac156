//! Foreign text (from guests, files, clients, other hosts) made safe to print
//! and bounded: control characters cannot reach a terminal, one event stays one
//! line, and no text grows past its limit while it is made.

use std::fmt::{self, Display, Write};

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

/// As [`escaped`], but line feeds stay: for messages of several lines on a terminal.
#[must_use]
pub fn escaped_lines(text: &str) -> Escaped<'_> {
    Escaped { text, lines: true }
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
            if !is_unsafe(c) || self.lines && c == '\n' {
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
}
