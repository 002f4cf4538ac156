//! Owns the log lines of one call: takes them from the contract's `log` and
//! from WASI's standard streams, keeps them within the handler's limits, and
//! shows each to whoever watches as it comes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::{
    config::HandlerLimits,
    outcome::{Level, LogLine, Logs},
};

/// What the text of a panic has in its first line.
const PANIC: &str = "panicked at ";
/// The most of it that is kept.
const PANIC_MAX_BYTES: usize = 4 << 10;

/// Sees each line that is kept, as it is written.
pub type OnLine = Arc<dyn Fn(&LogLine) + Send + Sync>;

/// Where the lines of one call end up.
pub(super) struct LogSink {
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
    pub(super) fn new(started: Instant, limits: &HandlerLimits, on_line: Option<OnLine>) -> Self {
        Self {
            started,
            lines_max: limits.log_lines_max,
            bytes_max: limits.log_max_bytes,
            on_line,
            kept: Mutex::default(),
        }
    }

    /// Takes a message; a line break in it begins another line.
    pub(super) fn write(&self, level: Level, message: &str) {
        self.keep_panic(message);
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
        let room = PANIC_MAX_BYTES.saturating_sub(kept.panic.len());
        kept.panic.push_str(&text[..text.floor_char_boundary(room)]);
        kept.panic.push('\n');
    }

    /// The text of a panic, which Rust guests write before they trap.
    pub(super) fn panic(&self) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = kept.panic.lines().map(str::trim);
        let text = lines.take_while(|line| !line.starts_with("note: "));
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
    pub(super) fn take(&self) -> Logs {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut kept.logs)
    }

    /// The most bytes that are kept.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}
