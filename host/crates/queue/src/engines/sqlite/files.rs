//! Owns the files of the data folder: they are this user's alone, one process
//! works on them at a time, and it is noticed when they are removed or replaced
//! under it. Otherwise the host would go on acknowledging into a file that
//! nobody finds again.

use std::{
    fs::{self, File, Metadata, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tracing::warn;

use crate::QueueError;
use pointsman_machine::files::{is_wider, make_private};

/// The name of the database in the data folder.
const DATABASE: &str = "queue.sqlite";
/// Its log, beside it.
const LOG: &str = "queue.sqlite-wal";
/// Every file of the queue; the last is the one whose lock keeps a second process out.
const ALL: [&str; 4] = [DATABASE, LOG, "queue.sqlite-shm", "queue.lock"];

/// The files of one open queue.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    // None once closed.
    lock: Mutex<Option<File>>,
    // In the order of `ALL`.
    paths: [PathBuf; ALL.len()],
    open: Mutex<Open>,
}

impl Drop for Files {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the connections have open.
#[derive(Debug, Default)]
struct Open {
    // Of `ALL`; none before `remember`.
    files: [Option<Identity>; ALL.len()],
    /// The folder as it was when it last had just these files, and when that was.
    settled: Option<(Settled, Instant)>,
}

impl Files {
    /// Makes the folder where it is missing and takes its lock. What is there is
    /// made private where it is not.
    ///
    /// # Errors
    /// [`QueueError::Locked`], or the disk's.
    pub(super) fn open(folder: &Path) -> Result<Self, QueueError> {
        let failed = |cause: io::Error| QueueError::Storage {
            doing: "open its data folder",
            source: format!("`{}`: {cause}", folder.display()).into(),
        };
        make_folder(folder).map_err(failed)?;
        let [database, .., lock] = ALL.map(|name| folder.join(name));
        let lock = private_file(&lock).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(QueueError::Locked(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Before SQLite opens it: the log gets the database's permissions, and to
        // close another descriptor of it later would give up SQLite's locks.
        drop(private_file(&database).map_err(failed)?);
        ALL.iter()
            .for_each(|name| make_private(&folder.join(name), 0o600));
        Ok(Self {
            folder: folder.to_owned(),
            lock: Mutex::new(Some(lock)),
            paths: ALL.map(|name| folder.join(name)),
            open: Mutex::default(),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn database(&self) -> PathBuf {
        self.folder.join(DATABASE)
    }

    /// Takes what the folder has now for what is open. To be called after a
    /// connection was opened, which makes the log anew where it was gone.
    ///
    /// # Errors
    /// [`QueueError::Replaced`] where the database or the lock is another than before.
    pub(super) fn remember(&self) -> Result<(), QueueError> {
        let mut open = self.identities();
        open.settled = None;
        for (name, (path, known)) in ALL.iter().zip(self.paths.iter().zip(&mut open.files)) {
            let found = fs::metadata(path).ok().map(|found| Identity::of(&found));
            let is_kept = [DATABASE, "queue.lock"].contains(name);
            if is_kept && (found.is_none() || known.is_some_and(|known| found != Some(known))) {
                return Err(QueueError::Replaced(path.clone()));
            }
            *known = found;
        }
        Ok(())
    }

    /// Whether the files in the folder are those that are open: for every commit.
    /// As a rule that is one question, for the folder's own entry.
    ///
    /// # Errors
    /// [`QueueError::Replaced`].
    pub(super) fn check(&self) -> Result<(), QueueError> {
        let folder = fs::metadata(&self.folder).ok();
        let folder = folder.as_ref().and_then(Settled::of);
        let mut known = self.identities();
        if let Some((settled, looked)) = known.settled
            && folder == Some(settled)
            && looked.elapsed() < LOOKED_EVERY
        {
            return Ok(());
        }
        // Looked at before the files: what changes from here on changes it once more.
        known.settled = None;
        for (identity, path) in known.files.iter().zip(&self.paths) {
            let Some(identity) = identity else { continue };
            match fs::metadata(path) {
                Ok(found) if Identity::of(&found) == *identity => {}
                _ => return Err(QueueError::Replaced(path.clone())),
            }
        }
        known.settled = folder.map(|folder| (folder, Instant::now()));
        Ok(())
    }

    /// The length of the log; none is 0.
    pub(super) fn log_bytes(&self) -> u64 {
        let [_, log, ..] = &self.paths;
        fs::metadata(log).map_or(0, |log| log.len())
    }

    /// Gives up the lock. Outright, as a process that was started at this moment
    /// may still have the file open.
    pub(super) fn close(&self) {
        let lock = self
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(lock) = lock
            && let Err(error) = lock.unlock()
        {
            warn!(%error, "could not release the lock of the queue's folder");
        }
    }

    fn identities(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells a file from another of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    #[cfg(unix)]
    fn of(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(found.dev(), found.ino())
    }

    /// An open file cannot be replaced on the systems that lack such numbers.
    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Self {
        Self(0, 0)
    }
}

/// The files are looked at that often also where nothing happened in the folder:
/// a mount over one of them leaves its time. Four questions of some microseconds.
const LOOKED_EVERY: Duration = Duration::from_secs(1);

/// A folder in which nothing was made, removed or renamed for a while. Whatever
/// of that happens to one of its files changes the folder's time, so as long as
/// this is the same, so are the files; but see [`LOOKED_EVERY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settled {
    folder: Identity,
    changed: SystemTime,
}

/// How long a folder must have been at rest: longer than the step in which file
/// systems count time (some milliseconds; two seconds on FAT), as a change within
/// one step of another leaves the same time.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

impl Settled {
    /// None where the folder changed a moment ago, or is said to change in the
    /// future, as after a clock was set back.
    fn of(folder: &Metadata) -> Option<Self> {
        let changed = folder.modified().ok().filter(|_| cfg!(unix))?;
        let at_rest = SystemTime::now().duration_since(changed).ok()?;
        (at_rest >= SETTLED_AFTER).then(|| Self {
            folder: Identity::of(folder),
            changed,
        })
    }
}

/// Makes the folder, for this user alone; those above it as usual.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        if is_ours_alone(folder)? {
            make_private(folder, 0o700);
        } else if is_wider(&fs::metadata(folder)?, 0o700) {
            warn!(folder = %folder.display(), "other users can access the queue's data folder, which also contains other files; the files of the queue are private");
        }
        return Ok(());
    }
    if let Some(above) = folder
        .parent()
        .filter(|above| !above.as_os_str().is_empty())
    {
        fs::create_dir_all(above)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Whether the folder has nothing but the queue's files: one that it shares with
/// others, as `/tmp`, must stay as it is.
fn is_ours_alone(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if !entry?.file_name().to_string_lossy().starts_with("queue.") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Opens a file, or makes it for this user alone.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A FIFO in its place must not hold the start for ever.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        let reason = format!("`{}` is not a regular file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(file)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_made_is_private_and_what_was_wider_becomes_so() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("new/data");
        drop(Files::open(&folder).unwrap());
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(DATABASE)), 0o600);
        set_mode(&folder, 0o755);
        for name in ALL {
            fs::write(folder.join(name), "").unwrap();
            set_mode(&folder.join(name), 0o644);
        }
        drop(Files::open(&folder).unwrap());
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(ALL.map(|name| mode(&folder.join(name))), [0o600; 4]);
    }

    #[test]
    fn a_folder_that_others_use_too_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        fs::write(folder.path().join("other"), "").unwrap();
        drop(Files::open(folder.path()).unwrap());
        assert_eq!(mode(folder.path()), 0o755);
        assert_eq!(mode(&folder.path().join(DATABASE)), 0o600);
    }

    /// Files as a store has them, open.
    fn opened(folder: &Path) -> Files {
        let files = Files::open(folder).unwrap();
        fs::write(folder.join(LOG), "12345").unwrap();
        fs::write(folder.join("queue.sqlite-shm"), "").unwrap();
        files.remember().unwrap();
        assert_eq!(files.log_bytes(), 5);
        files
    }

    /// Lets the folder look as if nothing had happened in it for so long.
    fn rest(folder: &Path, length: Duration) {
        let then = SystemTime::now() - length;
        File::open(folder).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn a_file_that_is_replaced_removed_or_moved_away_is_noticed_until_it_is_back() {
        for length in [Duration::ZERO, SETTLED_AFTER * 2] {
            for name in ALL {
                let folder = tempfile::tempdir().unwrap();
                let files = opened(folder.path());
                let (path, aside) = (folder.path().join(name), folder.path().join("queue.aside"));
                rest(folder.path(), length);
                files.check().unwrap();
                assert_eq!(files.identities().settled.is_some(), length > SETTLED_AFTER);
                fs::rename(&path, &aside).unwrap();
                assert_eq!(files.check().unwrap_err().code(), "queue-replaced");
                fs::write(&path, "another").unwrap();
                assert_eq!(files.check().unwrap_err().code(), "queue-replaced");
                fs::rename(&aside, &path).unwrap();
                files.check().unwrap();
            }
        }
    }

    #[test]
    fn a_folder_that_is_moved_away_is_noticed_however_long_it_was_at_rest() {
        let above = tempfile::tempdir().unwrap();
        let (folder, aside) = (above.path().join("data"), above.path().join("aside"));
        let files = opened(&folder);
        rest(&folder, SETTLED_AFTER * 2);
        files.check().unwrap();
        fs::rename(&folder, &aside).unwrap();
        assert_eq!(files.check().unwrap_err().code(), "queue-replaced");
        drop(opened(&folder));
        rest(&folder, SETTLED_AFTER * 2);
        assert_eq!(files.check().unwrap_err().code(), "queue-replaced");
        fs::remove_dir_all(&folder).unwrap();
        fs::rename(&aside, &folder).unwrap();
        files.check().unwrap();
    }

    #[test]
    fn a_change_within_the_same_step_of_time_as_another_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let files = opened(folder.path());
        let time = folder.path().metadata().unwrap().modified().unwrap();
        files.check().unwrap();
        fs::remove_file(folder.path().join(LOG)).unwrap();
        File::open(folder.path())
            .unwrap()
            .set_modified(time)
            .unwrap();
        assert_eq!(files.check().unwrap_err().code(), "queue-replaced");
    }

    #[test]
    fn a_file_that_is_covered_without_a_change_of_the_folder_is_noticed_within_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let files = opened(folder.path());
        rest(folder.path(), SETTLED_AFTER * 2);
        let time = folder.path().metadata().unwrap().modified().unwrap();
        files.check().unwrap();
        // As a mount over it.
        let (path, aside) = (
            folder.path().join(DATABASE),
            folder.path().join("queue.aside"),
        );
        fs::rename(&path, aside).unwrap();
        fs::write(path, "another").unwrap();
        File::open(folder.path())
            .unwrap()
            .set_modified(time)
            .unwrap();
        let began = Instant::now();
        while files.check().is_ok() {
            assert!(began.elapsed() < LOOKED_EVERY * 30, "not noticed");
            std::thread::sleep(LOOKED_EVERY / 20);
        }
    }

    #[test]
    fn a_pipe_in_place_of_a_file_does_not_hold_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let pipe = folder.path().join(DATABASE);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(
            Files::open(folder.path()).unwrap_err().code(),
            "queue-failed"
        );
    }
}
