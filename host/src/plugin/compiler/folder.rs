//! Folders that nobody else can read or write, gone with the value.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// A new folder of the owner alone.
#[derive(Debug)]
pub(in crate::plugin) struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// Makes one in `parent`, which must be there.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("pointsman-{}", Uuid::now_v7().simple()));
        // Fails where something of that name is there.
        builder().create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!("{}: cannot be removed: {error}", self.0.display());
        }
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
