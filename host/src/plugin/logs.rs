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

    /// Looks at the lines so far.
    pub(super) fn with_lines<T>(&self, look: impl FnOnce(&[LogLine]) -> T) -> T {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        look(&kept.logs.lines)
    }

    /// The most bytes that are kept.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}
