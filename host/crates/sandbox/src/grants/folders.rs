//! Owns the granted folders: each is open once for all instances of the handler,
//! and anew where another folder has taken its path.

use std::{
    fmt,
    fs::{File, Metadata, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use wasmtime_wasi::{FsPerms, OpenMode, filesystem::Dir};

use super::settings::Folder;
use crate::shares::{Held, Shares};

/// A folder that was granted, found when its settings were read.
pub(super) struct GrantedFolder {
    host: PathBuf,
    guest: String,
    perms: FsPerms,
    open: Mutex<Option<(Option<Identity>, Preopened)>>,
}

/// A granted folder, open.
#[derive(Clone)]
pub(crate) struct Preopened {
    pub(crate) dir: Dir,
    pub(crate) guest: String,
    pub(crate) _held: Arc<Held>,
}

/// Device and inode.
type Identity = (u64, u64);

/// A folder that was there at load and cannot be opened for a call.
#[derive(Debug, thiserror::Error)]
#[error("the folder `{}` cannot be opened: {cause}", path.display())]
pub(crate) struct FolderGone {
    path: PathBuf,
    cause: io::Error,
}

impl GrantedFolder {
    /// The folder of a settings file in the folder `base`.
    pub(super) fn new(folder: &Folder, base: &Path) -> Self {
        Self {
            host: base.join(&folder.host),
            guest: folder.guest.clone(),
            perms: match folder.write {
                true => FsPerms::ReadWrite,
                false => FsPerms::ReadOnly,
            },
            open: Mutex::default(),
        }
    }

    pub(super) fn host(&self) -> &Path {
        &self.host
    }

    /// Opens it, or takes the one that is open. Blocks.
    pub(super) fn open(&self, shares: &Arc<Shares>) -> Result<Preopened, FolderGone> {
        self.try_open(shares).map_err(|cause| FolderGone {
            path: self.host.clone(),
            cause,
        })
    }

    fn try_open(&self, shares: &Arc<Shares>) -> io::Result<Preopened> {
        let now = identity(&std::fs::metadata(&self.host)?);
        if let Some((was, open)) = &*self.lock()
            && now.is_some()
            && *was == now
        {
            return Ok(open.clone());
        }
        let held = shares.descriptors(1).map_err(io::Error::other)?;
        let folder = open(&self.host)?;
        let identity = identity(&folder.metadata()?);
        let mode = match self.perms {
            FsPerms::ReadOnly => OpenMode::READ,
            FsPerms::ReadWrite => OpenMode::READ | OpenMode::WRITE,
        };
        let preopened = Preopened {
            dir: Dir::new(folder, self.perms, mode, false),
            guest: self.guest.clone(),
            _held: Arc::new(held),
        };
        *self.lock() = Some((identity, preopened.clone()));
        Ok(preopened)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Option<Identity>, Preopened)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for GrantedFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantedFolder")
            .field("host", &self.host)
            .field("guest", &self.guest)
            .field("perms", &self.perms)
            .finish_non_exhaustive()
    }
}

/// Two grants are the same, whether their folders are open or not.
impl PartialEq for GrantedFolder {
    fn eq(&self, other: &Self) -> bool {
        (&self.host, &self.guest, self.perms) == (&other.host, &other.guest, other.perms)
    }
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::DIRECTORY.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[cfg(windows)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;
    // FILE_FLAG_BACKUP_SEMANTICS, without which no folder opens there.
    OpenOptions::new()
        .read(true)
        .custom_flags(0x0200_0000)
        .open(path)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "not every system tells")]
fn identity(metadata: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<Identity> {
    None
}
