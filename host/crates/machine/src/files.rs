//! Reads untrusted files: only regular files, without blocking on pipes, never more
//! bytes than the limit, whatever their metadata claims, and, with [`apart`], never
//! longer than [`READ_TIMEOUT`]: a network file system that hangs blocks a thread, but
//! not the caller.

mod follow;

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use pointsman_core::text::decode;
use tokio::sync::oneshot;

pub use follow::follow;

/// How long one look at a file or folder may take. A disk that spins up and a
/// mount that is made on demand are faster; what is slower is looked at again.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks that hang at once, each of which keeps a thread until it ends, which
/// it may never do. More are refused.
const HUNG_MAX: usize = 32;

/// The paths whose looks nobody waits for any more: once for each thread.
static HUNG: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if it is not a regular file,
/// [`io::ErrorKind::FileTooLarge`] if it is larger, and errors of the system.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let too_large = || {
        let reason = format!("exceeds the limit of {max} bytes");
        io::Error::new(io::ErrorKind::FileTooLarge, reason)
    };
    let length = file.metadata()?.len();
    if length > max {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    // The file may grow meanwhile, or its length may be a lie, as in /proc.
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Like [`read`], for UTF-8 text. A byte order mark at the start is removed.
///
/// # Errors
/// Those of [`read`], and [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    let mut bytes = read(path, max)?;
    let length = match decode(&bytes) {
        Ok(text) => text.len(),
        Err(error) => return Err(error.into()),
    };
    bytes.drain(..bytes.len() - length);
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Runs `look`, which reads the file or folder at `path`, on a separate thread. For async
/// code; see [`apart_blocking`] for other threads.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] after [`READ_TIMEOUT`], or at once while an earlier
/// look at `path` hangs; otherwise the errors of `look`.
pub async fn apart<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, mut receiver) = oneshot::channel();
    begin(path, look, |result| sender.send(result).is_ok())?;
    match tokio::time::timeout(READ_TIMEOUT, &mut receiver).await {
        Ok(result) => result.unwrap_or_else(|_| Err(panicked())),
        Err(_) => {
            let others = hung();
            let result = receiver.try_recv().ok();
            drop(receiver);
            result.unwrap_or_else(|| Err(give_up(others, path)))
        }
    }
}

/// Like [`apart`], for a thread that may block.
///
/// # Errors
/// As [`apart`].
pub fn apart_blocking<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    wait_blocking(path, look, READ_TIMEOUT)
}

fn wait_blocking<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    timeout: Duration,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::channel();
    begin(path, look, move |result| sender.send(result).is_ok())?;
    match receiver.recv_timeout(timeout) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(panicked()),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let others = hung();
            let result = receiver.try_recv().ok();
            drop(receiver);
            result.unwrap_or_else(|| Err(give_up(others, path)))
        }
    }
}

/// Starts the thread. `deliver` says whether somebody still waits for the result.
fn begin<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    deliver: impl FnOnce(io::Result<T>) -> bool + Send + 'static,
) -> io::Result<()> {
    let others = hung();
    if others.iter().any(|other| other == path) {
        let reason = "an earlier look at it still hangs: does its file system respond?";
        return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
    }
    if others.len() >= HUNG_MAX {
        let reason =
            format!("{HUNG_MAX} operations on other files hang: does their file system respond?");
        return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
    }
    drop(others);
    let path = path.to_owned();
    let job = move || {
        let result = look(&path);
        // Under the lock, so that whoever gives up either has the result or is
        // known to have given up.
        let mut hung = hung();
        if !deliver(result)
            && let Some(at) = hung.iter().position(|other| *other == path)
        {
            hung.swap_remove(at);
        }
    };
    on_a_thread(Box::new(job))
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads without a look to do that are kept for the next one: the folders
/// are looked at every few seconds, and a link in them is a look of its own.
const WAITING_MAX: usize = 4;

static WAITING: Mutex<Vec<mpsc::Sender<Job>>> = Mutex::new(Vec::new());

fn on_a_thread(mut job: Job) -> io::Result<()> {
    let waiting = || WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(thread) = waiting().pop() else {
            break;
        };
        match thread.send(job) {
            Ok(()) => return Ok(()),
            Err(mpsc::SendError(unsent)) => job = unsent,
        }
    }
    let (sender, jobs) = mpsc::channel::<Job>();
    let work = move || {
        job();
        loop {
            let mut waiting = waiting();
            if waiting.len() >= WAITING_MAX {
                return;
            }
            waiting.push(sender.clone());
            drop(waiting);
            let Ok(job) = jobs.recv() else {
                return;
            };
            job();
        }
    };
    let builder = thread::Builder::new().name("pointsman-files".into());
    builder.spawn(work).map(drop)
}

fn hung() -> MutexGuard<'static, Vec<PathBuf>> {
    HUNG.lock().unwrap_or_else(PoisonError::into_inner)
}

fn give_up(mut hung: MutexGuard<'_, Vec<PathBuf>>, path: &Path) -> io::Error {
    hung.push(path.to_owned());
    let reason = format!("no response within {READ_TIMEOUT:?}: does its file system respond?");
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

fn panicked() -> io::Error {
    io::Error::other("reading it failed; the log says more")
}

/// Opens a regular file for reading, without blocking on anything else.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if it is not a regular file, and errors of the system.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A FIFO without a writer, or a device, would hold `open` for ever.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        let reason = "is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(file)
}

/// Whether others may do more with a file or folder than `mode` says.
#[cfg(unix)]
pub fn is_wider(found: &Metadata, mode: u32) -> bool {
    std::os::unix::fs::MetadataExt::mode(found) & 0o777 & !mode != 0
}

/// Whether others may do more with a file or folder than its mode should say:
/// there are no modes here.
#[cfg(not(unix))]
pub fn is_wider(_: &Metadata, _: u32) -> bool {
    false
}

/// Takes from others what they may do with a file or folder of ours beyond
/// `mode`, and says so in the log. What is not there is let be.
#[cfg(unix)]
pub fn make_private(path: &Path, mode: u32) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let Ok(found) = std::fs::metadata(path) else {
        return;
    };
    if !is_wider(&found, mode) {
        return;
    }
    let file = path.display();
    if found.uid() != rustix::process::geteuid().as_raw() {
        tracing::warn!(%file, "is open to other users and belongs to one of them");
        return;
    }
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)) {
        Ok(()) => tracing::info!(%file, "was open to other users and is private now"),
        Err(error) => {
            tracing::warn!(%file, %error, "is open to other users and could not be made private");
        }
    }
}

/// Does nothing: there are no modes here.
#[cfg(not(unix))]
pub fn make_private(_: &Path, _: u32) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_limit_is_refused_whatever_its_metadata_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(
            read(&path, 4).unwrap_err().to_string(),
            "exceeds the limit of 4 bytes"
        );
        // Its length is 0, and it has more than a byte.
        #[cfg(target_os = "linux")]
        read(Path::new("/proc/self/status"), 1).unwrap_err();
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        for path in [&fifo, folder.path(), Path::new("/dev/zero")] {
            let error = read(path, 10).unwrap_err();
            assert_eq!(error.to_string(), "is not a regular file", "{path:?}");
        }
    }

    #[test]
    fn a_look_that_hangs_holds_nobody_and_is_not_begun_again_until_it_ends() {
        let path = Path::new("/somewhere/that/hangs");
        let (end, ended) = mpsc::channel::<()>();
        let hangs = move |_: &Path| {
            ended.recv().ok();
            Ok(1)
        };
        let error = wait_blocking(path, hangs, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let again = || apart_blocking(path, |_| Ok(2));
        assert_eq!(
            again().unwrap_err().to_string(),
            "an earlier look at it still hangs: does its file system respond?"
        );
        assert_eq!(apart_blocking(Path::new("/other"), |_| Ok(3)).unwrap(), 3);
        drop(end);
        while again().is_err() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_look_that_panics_is_an_error() {
        let look = |_: &Path| -> io::Result<()> { panic!("for the test") };
        apart_blocking(Path::new("/panics"), look).unwrap_err();
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"\xef\xbb\xbf{}").unwrap();
        assert_eq!(read_text(&path, 10).unwrap(), "{}");
        std::fs::write(&path, b"ab\xff").unwrap();
        assert_eq!(
            read_text(&path, 10).unwrap_err().to_string(),
            "is not UTF-8 text: invalid byte at offset 2"
        );
    }
}
