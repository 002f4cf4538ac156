//! How things look on a terminal: colors, columns and durations.

use std::{fmt, io, path::Path, time::Duration};

use anstyle::{AnsiColor, Style};

use super::terminal::{self, err_lines};
use crate::{
    diagnostic::{Diagnostic, Severity},
    outcome::{Level, Status},
    queue::Timestamp,
    snapshot::{FileState, HandlerView},
};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const GREEN: Style = AnsiColor::Green.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const PLAIN: Style = Style::new();

/// Text in a style, for the macros of `terminal` only: formatted to a string first,
/// it would show its escape sequences.
pub(super) struct Styled<T>(pub(super) Style, pub(super) T);

impl<T: fmt::Display> fmt::Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padding counts the text, not the escapes around it.
        terminal::style(f, self.0.render())?;
        self.1.fmt(f)?;
        terminal::style(f, self.0.render_reset())
    }
}

pub(super) fn error(error: &anyhow::Error) {
    let error = Diagnostic::error("failed", format!("{error:#}")).maybe_hint(hint(error));
    err_lines!(2, "{} {error}", Styled(RED, "error:"));
}

/// A hint for system errors whose own text does not say what to do.
fn hint(error: &anyhow::Error) -> Option<&'static str> {
    let is_out_of_files = error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        // EMFILE has this number on every Unix.
        cause.is_some_and(|cause| cfg!(unix) && cause.raw_os_error() == Some(24))
    });
    is_out_of_files.then_some("raise the limit of open files (`ulimit -n`) to 256 or more")
}

pub(super) fn severity(severity: Severity) -> Styled<&'static str> {
    match severity {
        Severity::Error => Styled(RED, "error:"),
        Severity::Warning => Styled(YELLOW, "warning:"),
    }
}

pub(super) fn status(status: Status) -> Styled<String> {
    match status {
        Status::Succeeded => Styled(GREEN, "✓ succeeded".into()),
        status => Styled(RED, format!("✗ {}", status.as_str())),
    }
}

pub(super) fn state(handler: &HandlerView) -> Styled<&'static str> {
    let style = match handler.state {
        _ if handler.quarantined_ms.is_some() => return Styled(YELLOW, "quarantined"),
        FileState::Loaded => GREEN,
        FileState::Compiling | FileState::Stale => YELLOW,
        FileState::Failed => RED,
    };
    Styled(style, handler.state.as_str())
}

pub(super) fn good<T: fmt::Display>(text: T) -> Styled<T> {
    Styled(GREEN, text)
}

pub(super) fn soso<T: fmt::Display>(text: T) -> Styled<T> {
    Styled(YELLOW, text)
}

pub(super) fn bad<T: fmt::Display>(text: T) -> Styled<T> {
    Styled(RED, text)
}

pub(super) fn handler<T: fmt::Display>(name: T) -> Styled<T> {
    Styled(CYAN, name)
}

/// RFC 3339 in UTC; milliseconds since 1970 past the year 9999.
pub(super) fn time(time: Timestamp) -> String {
    let millis = time.as_millis();
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| millis.to_string(), |time| time.to_string())
}

pub(super) fn level(level: Level) -> Style {
    match level {
        Level::Error => RED,
        Level::Warn => YELLOW,
        Level::Info => PLAIN,
        Level::Debug | Level::Trace => DIM,
    }
}

/// Three significant digits: `1.002 s`, `12.3 ms`, `45 µs`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.3} s")
    } else if seconds >= 1e-3 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{:.0} µs", seconds * 1e6)
    }
}

/// `71.2 KiB`.
pub(super) fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let kib = bytes as f64 / 1024.0;
    if kib >= 1024.0 * 1024.0 {
        format!("{:.1} GiB", kib / 1024.0 / 1024.0)
    } else if kib >= 1024.0 {
        format!("{:.1} MiB", kib / 1024.0)
    } else {
        format!("{kib:.1} KiB")
    }
}

/// A path as one word of a shell command, quoted if it needs to be.
pub(super) fn argument(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "_-./+:@%,~\\".contains(c);
    let starts_plainly = !path.starts_with(['-', '~']);
    if !path.is_empty() && starts_plainly && path.chars().all(is_plain) {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

/// `1 rule`, `2 rules`.
pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
