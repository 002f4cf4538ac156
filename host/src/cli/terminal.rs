//! Owns what reaches standard output and standard error. Every text is escaped
//! but the styles of [`Styled`](super::print::Styled), so nothing that a guest, a
//! file, a client or another host says can move the cursor, set a title or look
//! like a line of the program. A stream that cannot be written loses its text;
//! it never ends the program.

use std::{
    cell::Cell,
    fmt::{self, Write as _},
    io::{self, Write as _},
    sync::OnceLock,
};

use serde::Serialize;

use super::screen::above_progress;
use crate::text;

/// Prints one line on standard output.
macro_rules! out {
    ($($text:tt)*) => {
        $crate::cli::terminal::line($crate::cli::terminal::Stream::Output, format_args!($($text)*))
    };
}

/// Prints a message of several lines on standard output, those after the first
/// indented by at least this many spaces.
macro_rules! out_lines {
    ($indent:expr, $($text:tt)*) => {
        $crate::cli::terminal::lines(
            $crate::cli::terminal::Stream::Output,
            $indent,
            format_args!($($text)*),
        )
    };
}

/// Prints one line on standard error.
macro_rules! err {
    ($($text:tt)*) => {
        $crate::cli::terminal::line($crate::cli::terminal::Stream::Error, format_args!($($text)*))
    };
}

/// Prints a message of several lines on standard error, as [`out_lines`].
macro_rules! err_lines {
    ($indent:expr, $($text:tt)*) => {
        $crate::cli::terminal::lines(
            $crate::cli::terminal::Stream::Error,
            $indent,
            format_args!($($text)*),
        )
    };
}

pub(super) use {err, err_lines, out, out_lines};

/// Where text goes.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Why standard output could not be written, since the first time. Text after
/// that is lost.
static OUTPUT_FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Why standard output could not be written.
pub(super) fn output_failure() -> Option<&'static io::Error> {
    OUTPUT_FAILURE.get()
}

/// Writes out what others have printed to standard output.
pub(super) fn flush() -> io::Result<()> {
    io::stdout().flush()
}

/// Prints one line: line breaks in it are escaped like other control characters.
pub(super) fn line(stream: Stream, text: fmt::Arguments<'_>) {
    print(stream, &safe(text, Lines::One));
}

/// Prints a message that may have several lines. Those after the first are
/// indented by at least `indent` spaces, so that none looks like a line of its own.
pub(super) fn lines(stream: Stream, indent: usize, text: fmt::Arguments<'_>) {
    let text = safe(text, Lines::Several);
    let shallow =
        |line: &str| !line.is_empty() && line.len() - line.trim_start_matches(' ').len() < indent;
    let text = text.trim_end_matches('\n');
    if !text.lines().skip(1).any(shallow) {
        return print(stream, text);
    }
    let mut indented = String::new();
    for (at, line) in text.lines().enumerate() {
        if at > 0 {
            indented.push('\n');
            let width = if line.is_empty() { 0 } else { indent };
            indented.extend(std::iter::repeat_n(' ', width));
        }
        indented.push_str(line);
    }
    print(stream, &indented);
}

/// Prints a JSON document on standard output, for programs: whole, without
/// colours, and safe to look at, too.
pub(super) fn json(document: &impl Serialize) -> serde_json::Result<()> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    raw(text::escaped_json(&text).as_bytes());
    Ok(())
}

/// Prints the program's own bytes on standard output as they are.
pub(super) fn raw(bytes: &[u8]) {
    write_output(&mut io::stdout().lock(), bytes);
}

fn print(stream: Stream, text: &str) {
    let text = format!("{text}\n");
    match stream {
        Stream::Output => write_output(&mut anstream::stdout().lock(), text.as_bytes()),
        // There is nowhere left to tell of an error here.
        Stream::Error => {
            let write = || anstream::stderr().lock().write_all(text.as_bytes());
            drop(above_progress(write));
        }
    }
}

fn write_output(output: &mut impl io::Write, bytes: &[u8]) {
    if OUTPUT_FAILURE.get().is_some() {
        return;
    }
    let mut write = || output.write_all(bytes).and_then(|()| output.flush());
    if let Err(error) = above_progress(&mut write) {
        // Another thread may have met the same failure.
        let _ = OUTPUT_FAILURE.set(error);
    }
}

thread_local! {
    /// Whether what is being written is a style of the program's own.
    static STYLE: Cell<bool> = const { Cell::new(false) };
}

/// Writes `style`, an escape sequence of the program's own, through the escaping.
/// In a text that is made first and printed later it shows as escaped.
pub(super) fn style(f: &mut fmt::Formatter<'_>, style: impl fmt::Display) -> fmt::Result {
    STYLE.set(true);
    let written = write!(f, "{style}");
    STYLE.set(false);
    written
}

#[derive(Clone, Copy)]
enum Lines {
    One,
    Several,
}

/// Escapes all that is written to it but styles.
struct Safe {
    text: String,
    lines: Lines,
}

impl fmt::Write for Safe {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if STYLE.get() {
            self.text.push_str(text);
            return Ok(());
        }
        match self.lines {
            Lines::One => write!(self.text, "{}", text::escaped(text)),
            Lines::Several => write!(self.text, "{}", text::escaped_lines(text)),
        }
    }
}

fn safe(text: fmt::Arguments<'_>, lines: Lines) -> String {
    let mut safe = Safe {
        text: String::new(),
        lines,
    };
    // Only a `Display` that fails by itself ends here; what it wrote is shown.
    let _ = safe.write_fmt(text);
    safe.text
}

#[cfg(test)]
mod tests {
    use super::{
        super::print::{self, Styled},
        *,
    };

    #[test]
    fn only_the_programs_own_styles_pass() {
        let hostile = "a\x1b[2Jb\u{9b}31mc\r\n\u{202e}d";
        let shown = safe(
            format_args!("{} {hostile}", Styled(print::BOLD, hostile)),
            Lines::One,
        );
        let escaped = r"a\u{1b}[2Jb\u{9b}31mc\r\n\u{202e}d";
        assert_eq!(shown, format!("\x1b[1m{escaped}\x1b[0m {escaped}"));
        // One that was made to a text first is a text like any other.
        let made = Styled(print::BOLD, "x").to_string();
        assert!(!safe(format_args!("{made}"), Lines::One).contains('\x1b'));
    }

    #[test]
    fn several_lines_keep_their_breaks_and_nothing_else() {
        let shown = safe(format_args!("a\n\tb\r\x07"), Lines::Several);
        assert_eq!(shown, "a\n\tb\\r\\u{7}");
    }
}
