//! Owns the terminal as a screen: how wide it is, and the line at its end that says
//! what takes long and for how many seconds. There is no such line where standard
//! error is a file or a pipe.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write},
    mem,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::text;

/// What is done sooner is not worth a line.
const DELAY: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);
const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// To the start of the line, and erases it.
const ERASE: &str = "\r\x1b[2K";

/// What the program is busy with. One at a time.
static BUSY: Mutex<Option<Busy>> = Mutex::new(None);

struct Busy {
    text: String,
    since: Instant,
    ticks: usize,
    is_drawn: bool,
}

/// Shows the line until it is dropped.
pub(super) struct Progress {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Shows `text` with the elapsed time, from half a second on.
pub(super) fn progress(text: impl fmt::Display) -> Progress {
    if !is_screen() {
        let (stop, thread) = (None, None);
        return Progress { stop, thread };
    }
    *busy() = Some(Busy {
        text: text::escaped(&text.to_string()).to_string(),
        since: Instant::now(),
        ticks: 0,
        is_drawn: false,
    });
    let (stop, stopped) = mpsc::channel::<()>();
    let tick = move || {
        while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
            if let Some(busy) = &mut *busy() {
                let mut error = io::stderr().lock();
                let width = width(&error);
                busy.draw(busy.since.elapsed(), width, &mut error);
            }
        }
    };
    // Without a thread nothing is shown, and the work goes on.
    let thread = thread::Builder::new().name("progress".into()).spawn(tick);
    Progress {
        stop: Some(stop),
        thread: thread.ok(),
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Some(stop) = self.stop.take() else {
            return;
        };
        drop(stop);
        if let Some(thread) = self.thread.take() {
            // It would have nothing left to say.
            drop(thread.join());
        }
        end_progress();
    }
}

/// Removes the line, also where whoever shows it is left behind.
pub(super) fn end_progress() {
    if let Some(Busy { is_drawn: true, .. }) = busy().take() {
        erase();
    }
}

/// Writes with the line out of the way; it comes back with the next tick.
pub(super) fn above_progress<T>(write: impl FnOnce() -> T) -> T {
    let mut busy = busy();
    if let Some(busy) = &mut *busy
        && mem::take(&mut busy.is_drawn)
    {
        erase();
    }
    write()
}

/// How many columns standard output has. `None` if it is not a terminal.
pub(super) fn output_width() -> Option<usize> {
    width(&io::stdout())
}

#[cfg(unix)]
fn width(stream: &impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    // Some terminals do not know.
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// It is not asked.
#[cfg(not(unix))]
fn width<T>(_: &T) -> Option<usize> {
    None
}

fn is_screen() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stderr().is_terminal() && !is_dumb
}

fn busy() -> MutexGuard<'static, Option<Busy>> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn erase() {
    // There is nowhere left to tell of an error here.
    drop(io::stderr().lock().write_all(ERASE.as_bytes()));
}

impl Busy {
    fn draw(&mut self, elapsed: Duration, width: Option<usize>, output: &mut impl Write) {
        if elapsed < DELAY {
            return;
        }
        let frame = FRAMES[self.ticks % FRAMES.len()];
        self.ticks += 1;
        let line = format!("{frame} {} ({} s)", self.text, elapsed.as_secs());
        // One that wraps could not be erased.
        let width = width.map_or(usize::MAX, |width| width.saturating_sub(1));
        let line: String = line.chars().take(width).collect();
        let drawn = write!(output, "{ERASE}{line}").and_then(|()| output.flush());
        self.is_drawn = drawn.is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_comes_after_a_moment_counts_seconds_and_never_wraps() {
        let mut busy = Busy {
            text: "building greet".into(),
            since: Instant::now(),
            ticks: 0,
            is_drawn: false,
        };
        let mut drawn = |seconds: f64, width| {
            let mut output = Vec::new();
            busy.draw(Duration::from_secs_f64(seconds), width, &mut output);
            (String::from_utf8(output).unwrap(), busy.is_drawn)
        };
        assert_eq!(drawn(0.1, None), (String::new(), false));
        let line = format!("{ERASE}⠋ building greet (7 s)");
        assert_eq!(drawn(7.4, Some(80)), (line, true));
        let line = format!("{ERASE}⠙ buildi");
        assert_eq!(drawn(8.0, Some(9)), (line, true));
    }

    #[test]
    fn nothing_is_shown_where_standard_error_is_no_terminal() {
        if !is_screen() {
            let progress = progress("x");
            assert!(progress.stop.is_none() && progress.thread.is_none());
            assert!(busy().is_none());
        }
    }
}
