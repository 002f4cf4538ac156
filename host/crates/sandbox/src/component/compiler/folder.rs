//! Folders that nobody else can read or write, gone with the value. One that a
//! killed host left behind is removed by the next one.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

const PREFIX: &str = "pointsman-";
/// A file in each folder that its owner holds locked.
const LOCK: &str = "lock";

/// A new folder of the owner alone.
#[derive(Debug)]
pub(crate) struct PrivateFolder {
    path: PathBuf,
    _lock: File,
}

impl PrivateFolder {
    /// Makes one in `parent`, which must be there.
    pub(crate) fn new(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("{PREFIX}{}", Uuid::now_v7().simple()));
        // Fails where something of that name is there.
        builder().create(&path)?;
        // Under its name once it is locked, or another host would take it for left behind.
        let new = path.join("lock.new");
        let lock = File::create(&new)?;
        lock.lock()?;
        fs::rename(new, path.join(LOCK))?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes the folders in `parent` whose hosts have ended.
pub(super) fn sweep(parent: &Path) {
    // A folder that cannot be read is told where one is made in it.
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_left = || {
            let lock = File::open(entry.path().join(LOCK));
            lock.is_ok_and(|lock| lock.try_lock().is_ok())
        };
        if is_ours && is_left() {
            remove(&entry.path());
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::debug!("{}: cannot be removed: {error}", path.display());
    }
}

/// Makes a folder and those above it where they are missing.
pub(super) fn create(path: &Path) -> io::Result<()> {
    builder().recursive(true).create(path)
}

fn builder() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_private_and_goes_with_its_owner_or_its_successor() {
        let parent = tempfile::tempdir().unwrap();
        let folder = PrivateFolder::new(parent.path()).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(folder.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        let left = parent.path().join("pointsman-left");
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        // Of somebody else.
        let other = parent.path().join("pointsman-other");
        fs::create_dir(&other).unwrap();
        sweep(parent.path());
        assert!(folder.path().exists() && other.exists() && !left.exists());
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }
}
