//! Owns the log lines of one call: takes them from the contract's `log` and
//! from WASI's standard streams, keeps them within the handler's limits, and
//! shows each to whoever watches as it comes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::settings::HandlerLimits;
use pointsman_core::outcome::{Level, LogLine, Logs};

/// What the text of a panic has in its first line.
const PANIC: &str = "panicked at ";
/// The most of it that is kept.
const PANIC_MAX_BYTES: usize = 4 << 10;
/// How far into a message it is looked for: it comes as a message of its own, and
/// one can be as large as the guest's memory.
const PANIC_WITHIN_BYTES: usize = 64 << 10;

/// Sees each line that is kept, as it is written.
pub type OnLine = Arc<dyn Fn(&LogLine) + Send + Sync>;

/// Where the lines of one call end up.
pub(crate) struct LogSink {
    started: Instant,
    lines_max: usize,
    bytes_max: usize,
    on_line: Option<OnLine>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    logs: Logs,
    bytes: usize,
    // A line was over the limits.
    full: bool,
    // From the line on that names the last panic; kept whatever the limits.
    panic: String,
}

impl LogSink {
    pub(crate) fn new(started: Instant, limits: &HandlerLimits, on_line: Option<OnLine>) -> Self {
        Self {
            started,
            lines_max: limits.log_lines_max,
            bytes_max: limits.log_max_bytes,
            on_line,
            kept: Mutex::default(),
        }
    }

    /// Takes a message; a line break in it begins another line.
    pub(crate) fn write(&self, level: Level, message: &str) {
        self.keep_panic(message);
        self.write_lines(level, message);
    }

    /// Takes a line of a standard stream, of which the beginning may be within
    /// the limits.
    pub(crate) fn write_cut(&self, level: Level, line: &str) {
        self.keep_panic(line);
        self.write_lines(level, &line[..line.floor_char_boundary(self.bytes_max)]);
    }

    fn write_lines(&self, level: Level, message: &str) {
        let mut rest = message;
        while !rest.is_empty() {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            let line = line.strip_suffix('\r').unwrap_or(line);
            if !self.write_line(level, line) {
                self.drop_lines(rest);
                return;
            }
            rest = after;
        }
    }

    fn keep_panic(&self, message: &str) {
        let message = &message[..message.floor_char_boundary(PANIC_WITHIN_BYTES)];
        let at = memchr::memmem::rfind(message.as_bytes(), PANIC.as_bytes());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match at {
            Some(at) => {
                kept.panic.clear();
                &message[message[..at].rfind('\n').map_or(0, |end| end + 1)..]
            }
            None if kept.panic.is_empty() => return,
            None => message,
        };
        let Some(room) = PANIC_MAX_BYTES.checked_sub(kept.panic.len() + 1) else {
            return;
        };
        kept.panic.push_str(&text[..text.floor_char_boundary(room)]);
        kept.panic.push('\n');
    }

    /// The text of a panic, which Rust guests write before they trap.
    pub(crate) fn panic(&self) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = kept.panic.lines().map(str::trim);
        let text = lines.take_while(|line| !line.starts_with("note: "));
        let text = text.filter(|line| !line.is_empty());
        let text = text.collect::<Vec<_>>().join(" ");
        Some(text).filter(|text| !text.is_empty())
    }

    /// Counts what is over the limits. A message can be as large as the guest's
    /// memory, and nothing interrupts the host at it: hence no step for each line.
    fn drop_lines(&self, text: &str) {
        let breaks = memchr::memchr_iter(b'\n', text.as_bytes()).count();
        let lines = breaks + usize::from(!text.ends_with('\n'));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.logs.dropped += lines as u64;
    }

    /// Whether the line is within the limits. After the first that is not, none is.
    fn write_line(&self, level: Level, message: &str) -> bool {
        let line = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = kept.bytes.saturating_add(message.len());
            if kept.full || kept.logs.lines.len() >= self.lines_max || bytes > self.bytes_max {
                kept.full = true;
                return false;
            }
            kept.bytes = bytes;
            let line = LogLine {
                after: self.started.elapsed(),
                level,
                message: message.into(),
            };
            if self.on_line.is_none() {
                kept.logs.lines.push(line);
                return true;
            }
            kept.logs.lines.push(line.clone());
            line
        };
        if let Some(on_line) = &self.on_line {
            on_line(&line);
        }
        true
    }

    /// The lines so far; leaves none behind.
    pub(crate) fn take(&self) -> Logs {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut kept.logs)
    }

    /// The most bytes of one line that are looked at.
    pub(crate) fn line_max(&self) -> usize {
        self.bytes_max.max(PANIC_MAX_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(bytes_max: usize) -> LogSink {
        let limits = HandlerLimits {
            log_max_bytes: bytes_max,
            ..HandlerLimits::default()
        };
        LogSink::new(Instant::now(), &limits, None)
    }

    #[test]
    fn the_text_of_a_panic_is_kept_past_the_limits_and_has_one() {
        let logs = sink(0);
        logs.write(Level::Info, "before");
        logs.write(Level::Error, "panicked at a.rs:1:\nthe first");
        logs.write(Level::Error, "panicked at a.rs:2:\n\nthe second");
        for _ in 0..10_000 {
            logs.write(Level::Info, "");
        }
        assert_eq!(logs.panic().unwrap(), "panicked at a.rs:2: the second");
        assert!(logs.kept.lock().unwrap().panic.len() <= PANIC_MAX_BYTES);
        assert_eq!(logs.take().dropped, 6);
    }

    #[test]
    fn a_long_message_is_cut_before_it_is_searched_and_its_lines_are_counted() {
        let logs = sink(9);
        let long = format!(
            "{}\npanicked at a.rs:1:\n",
            "x\n".repeat(PANIC_WITHIN_BYTES)
        );
        logs.write(Level::Info, &long);
        assert_eq!(logs.panic(), None);
        let kept = logs.take();
        let lines = PANIC_WITHIN_BYTES + 2;
        assert_eq!(kept.lines.len() as u64 + kept.dropped, lines as u64);
    }

    #[test]
    fn a_line_of_a_stream_is_cut_and_its_panic_is_not() {
        let logs = sink(9);
        logs.write_cut(Level::Error, "thread 'a' panicked at a.rs:1:");
        logs.write_cut(Level::Error, "why");
        logs.write_cut(Level::Error, "note: run with a backtrace");
        assert_eq!(logs.panic().unwrap(), "thread 'a' panicked at a.rs:1: why");
        let logs = logs.take();
        assert_eq!(logs.lines[0].message, "thread 'a");
        assert_eq!((logs.lines.len(), logs.dropped), (1, 2));
    }
}
