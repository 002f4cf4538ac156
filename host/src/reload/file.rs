//! Owns the look at one file: what tells that it has changed, and reading it whole.

use std::{
    fs::{self, Metadata},
    io::{self, Read as _},
    path::Path,
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};

use crate::{
    files::{self, apart_blocking},
    snapshot::Stamp,
};

/// Two writes within one tick of the file system's clock leave the same stamp.
/// Linux ticks every 10 ms at the slowest.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// A file that was read whole.
pub(super) struct Content {
    /// None where the file is so new that another write could leave the same
    /// stamp: it is to be read again.
    pub(super) stamp: Option<Stamp>,
    /// None where it is longer than was asked for.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) len: u64,
}

/// Reads a file of at most `max` bytes. The stamp is that of the bytes, even
/// where another file takes the name meanwhile.
///
/// # Errors
/// Where it is not a regular file, cannot be read in time, or is written to meanwhile.
pub(super) fn read(path: &Path, max: u64) -> io::Result<Content> {
    apart_blocking(path, move |path| read_here(path, max))
}

fn read_here(path: &Path, max: u64) -> io::Result<Content> {
    let mut file = files::open(path)?;
    let before = stamp_of(&file.metadata()?);
    let len = before.len;
    let stamp = (!is_fresh(&before, CLOCK_TICK)).then_some(before);
    if len > max {
        return Ok(Content {
            stamp,
            bytes: None,
            len,
        });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.by_ref().take(len + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != len || stamp_of(&file.metadata()?) != before {
        return Err(io::Error::other("it is being written to"));
    }
    Ok(Content {
        stamp,
        bytes: Some(bytes),
        len,
    })
}

/// What is known of the file at `path`, links followed.
pub(super) fn stamp(path: &Path) -> io::Result<Stamp> {
    let kind = fs::symlink_metadata(path)?.file_type();
    Ok(stamp_of(&metadata(path, kind)?))
}

/// Links followed. They may lead to a file system that hangs, which the folder
/// of the link does not.
pub(super) fn metadata(path: &Path, kind: fs::FileType) -> io::Result<Metadata> {
    match kind.is_symlink() {
        true => apart_blocking(path, |path| fs::metadata(path)),
        false => fs::symlink_metadata(path),
    }
}

fn stamp_of(metadata: &Metadata) -> Stamp {
    #[cfg(unix)]
    let (changed, inode) = {
        use std::os::unix::fs::MetadataExt;
        let seconds = u64::try_from(metadata.ctime()).ok();
        let nanos = u64::try_from(metadata.ctime_nsec()).ok();
        let since_epoch = seconds
            .zip(nanos)
            .map(|(seconds, nanos)| Duration::from_secs(seconds) + Duration::from_nanos(nanos));
        (
            since_epoch.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)),
            (metadata.dev(), metadata.ino()),
        )
    };
    #[cfg(not(unix))]
    let (changed, inode) = (metadata.modified().ok(), (0, 0));
    Stamp {
        changed,
        len: metadata.len(),
        inode,
    }
}

/// Whether it changed within the last `moment`.
pub(super) fn is_fresh(stamp: &Stamp, moment: Duration) -> bool {
    let age = stamp
        .changed
        .and_then(|changed| SystemTime::now().duration_since(changed).ok());
    // A time in the future says nothing.
    age.is_some_and(|age| age < moment)
}

/// The SHA-256 in lower-case hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
