//! Owns the look at files: which ones a folder has, what tells that one has
//! changed, and reading one whole.

use std::{
    fs::{self, Metadata},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};

use crate::{
    files::{self, apart_blocking},
    snapshot::{Problem, Severity, Stamp},
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
/// Where it is no regular file, cannot be read in time, or is written to meanwhile.
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

/// The files of a folder with one of the given endings, by name. Hidden ones
/// are left out: installers write them before they rename.
pub(crate) fn files(folder: &Path, endings: &'static [&str]) -> io::Result<Vec<PathBuf>> {
    apart_blocking(folder, |folder| files_here(folder, endings))
}

fn files_here(folder: &Path, endings: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let ending = path.extension().and_then(|ending| ending.to_str());
        if hidden || !ending.is_some_and(|ending| endings.contains(&ending)) {
            continue;
        }
        let kind = entry.file_type()?;
        let is_file = match metadata(&path, kind) {
            Ok(metadata) => metadata.is_file(),
            // Gone since, or a link to nothing. Any other error is told when it is read.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        if is_file {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// What a folder of this kind is for beside the files that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subfolders {
    /// The sources of handlers.
    MayBeSources,
    /// Nothing: a file in them was likely meant to be read.
    AreNotRead,
}

/// Files that look like those of the folder and are not read, each with why.
/// Files of a subfolder are told as the subfolder.
pub(super) fn left_out(
    folder: &Path,
    endings: &'static [&str],
    subfolders: Subfolders,
) -> Vec<Problem> {
    // A folder that cannot be read is told elsewhere.
    apart_blocking(folder, move |folder| {
        left_out_here(folder, endings, subfolders)
    })
    .unwrap_or_default()
}

fn left_out_here(
    folder: &Path,
    endings: &[&str],
    subfolders: Subfolders,
) -> io::Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let ending = path.extension().and_then(|ending| ending.to_str());
        let is = |ending: &str| endings.contains(&ending);
        let looks_like = ending.is_some_and(|ending| is(&ending.to_ascii_lowercase()));
        let kind = entry.file_type()?;
        let found = match metadata(&path, kind) {
            _ if hidden => continue,
            Ok(found) if found.is_dir() && !looks_like => {
                let has_files = || files_here(&path, endings).is_ok_and(|files| !files.is_empty());
                if subfolders == Subfolders::AreNotRead && has_files() {
                    problems.push(not_read(&path, "files in a subfolder", MOVE_UP));
                }
                continue;
            }
            found => found,
        };
        let (what, hint) = match found {
            _ if !looks_like => continue,
            Ok(found) if !found.is_file() => (
                "it is not a regular file",
                "put the file itself there, or rename what is not one",
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (
                "it is a link to a file that does not exist",
                "point it at the file, or remove it",
            ),
            _ if !ending.is_some_and(is) => (
                "its ending is not in lower case",
                "rename it: endings are read as they are written",
            ),
            _ => continue,
        };
        problems.push(not_read(&path, what, hint));
    }
    Ok(problems)
}

const MOVE_UP: &str = "move them up, or name the subfolder in the settings";

fn not_read(path: &Path, what: &str, hint: &str) -> Problem {
    Problem {
        severity: Severity::Warning,
        message: format!("{}: not read: {what}\n  hint: {hint}", path.display()),
    }
}

/// What is known of the file at `path`, links followed.
pub(super) fn stamp(path: &Path) -> io::Result<Stamp> {
    let kind = fs::symlink_metadata(path)?.file_type();
    Ok(stamp_of(&metadata(path, kind)?))
}

/// Links followed. They may lead to a file system that hangs, which the folder
/// of the link does not.
fn metadata(path: &Path, kind: fs::FileType) -> io::Result<Metadata> {
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
