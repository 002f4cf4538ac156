//! Owns how the fields of a log event look. One event is one line, whatever a
//! guest, a file or a client put into it: line breaks and control characters are
//! escaped, and each field is cut at [`MESSAGE_MAX_BYTES`].

use std::fmt;

use anstyle::Style;
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

use crate::text::{MESSAGE_MAX_BYTES, bounded, escaped};

/// Writes fields as `message name=value name=value`, on one line.
pub(super) struct OneLine;

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line {
            writer,
            empty: true,
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    empty: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn field(&mut self, name: &str, value: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.empty) {
            self.writer.write_char(' ')?;
        }
        // What is kept before it is escaped may grow to six times its length by it.
        let value = bounded(value, MESSAGE_MAX_BYTES);
        let value = escaped(&value);
        if name == "message" {
            return write!(self.writer, "{value}");
        }
        let (name_style, dimmed) = match self.writer.has_ansi_escapes() {
            true => (Style::new().italic(), Style::new().dimmed()),
            false => (Style::new(), Style::new()),
        };
        write!(
            self.writer,
            "{name_style}{name}{name_style:#}{dimmed}={dimmed:#}{value}"
        )
    }
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Fields `log.*` are where a record of the `log` crate comes from.
        if self.result.is_ok() && !field.name().starts_with("log.") {
            self.result = self.field(field.name(), format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(ansi)
            .with_target(false)
            .without_time()
            .fmt_fields(OneLine)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn one_event_is_one_line_without_control_characters() {
        let hostile = "no\n2026-11-25T18:00:00Z  INFO forged\r\x1b[2J\u{9b}2J\u{202e}\u{2028}x";
        let shown = r"no\n2026-11-25T18:00:00Z  INFO forged\r\u{1b}[2J\u{9b}2J\u{202e}\u{2028}x";
        for ansi in [false, true] {
            let text = logged(ansi, || {
                tracing::warn!(display = %hostile, debug = ?hostile, text = hostile, "{hostile}");
            });
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            assert!(
                !text.contains(['\r', '\u{9b}', '\u{202e}', '\u{2028}']),
                "{text:?}"
            );
            assert!(
                !text.contains("\x1b[2J") && text.contains(shown),
                "{text:?}"
            );
        }
        let plain = logged(false, || tracing::info!(count = 3, name = "a", "done"));
        assert_eq!(plain, " INFO done count=3 name=\"a\"\n");
    }

    #[test]
    fn a_field_is_cut() {
        let long = "x".repeat(10 << 20);
        let text = logged(false, || tracing::warn!(long, "{long}"));
        assert!(text.len() < 3 * MESSAGE_MAX_BYTES, "{}", text.len());
    }
}
