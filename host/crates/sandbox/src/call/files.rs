//! Owns the files of a guest: what `wasi:filesystem` does is wasmtime's, but each
//! call blocks a lane of the handler and no other thread, what is neither a file
//! nor a folder is not opened, and open files count.

mod streams;

use std::{collections::BTreeMap, sync::Arc};

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemCtx, WasiFilesystemCtxView},
    p2::{
        DynInputStream, DynOutputStream, FsError, FsResult,
        bindings::filesystem::{
            preopens,
            types::{
                self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
                DirectoryEntryStream, ErrorCode, Filesize, Host, HostDescriptor,
                HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
            },
        },
    },
};

use super::logs::LogSink;
use crate::{
    grants::folders::Preopened,
    shares::{Held, Shares},
};
use pointsman_core::outcome::Level;

/// What an instance has open, beside its table.
pub(crate) struct Files {
    ctx: WasiFilesystemCtx,
    preopened: Vec<Preopened>,
    shares: Arc<Shares>,
    // By the index of the descriptor. A stream of a file holds it as well.
    open: BTreeMap<u32, Arc<Held>>,
    // By the index of the stream of a folder's entries, which is in memory whole.
    listed: BTreeMap<u32, Held>,
}

impl Files {
    pub(crate) fn new(preopened: Vec<Preopened>, shares: Arc<Shares>) -> Self {
        Self {
            ctx: WasiFilesystemCtx::default(),
            preopened,
            shares,
            open: BTreeMap::new(),
            listed: BTreeMap::new(),
        }
    }

    /// Closes what is open in `table`, which may block where a file system
    /// hangs, beside this thread.
    pub(crate) fn close(&mut self, table: &mut ResourceTable) {
        if self.open.is_empty() {
            return;
        }
        let (table, open) = (std::mem::take(table), std::mem::take(&mut self.open));
        close(&self.shares, (table, open));
    }
}

/// Drops `open` on another thread: of a lane, where one is free. Where a file
/// system hangs, all may be taken, and what was written makes closing hang too.
/// As many threads may, then, as there are descriptors, which `open` holds.
fn close(shares: &Arc<Shares>, open: impl Send + 'static) {
    let close = move || drop(open);
    if let Some(lane) = shares.free_lane() {
        return lane.leave(close);
    }
    let thread = std::thread::Builder::new().name("pointsman-close".into());
    if let Err(error) = thread.spawn(close) {
        // Closed here, then.
        tracing::debug!("no thread to close a guest's files: {error}");
    }
}

/// Links `wasi:filesystem`, over wasmtime's own, for stores with these `files`.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    files: fn(&mut T) -> FilesView<'_>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let added = types::add_to_linker::<T, GuestFiles>(linker, files)
        .and_then(|()| preopens::add_to_linker::<T, GuestFiles>(linker, files));
    linker.allow_shadowing(false);
    added
}

struct GuestFiles;

impl HasData for GuestFiles {
    type Data<'a> = FilesView<'a>;
}

/// The files of an instance, its table, and where it says what it was refused.
pub(crate) struct FilesView<'a> {
    pub(crate) files: &'a mut Files,
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) logs: &'a LogSink,
}

impl FilesView<'_> {
    /// wasmtime's implementation.
    fn wasi(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView {
            ctx: &mut self.files.ctx,
            table: self.table,
        }
    }

    fn stream<S>(&self, fd: &Resource<Descriptor>, inner: S) -> streams::OnLane<S> {
        let file = self.files.open.get(&fd.rep()).cloned();
        streams::OnLane::new(inner, Arc::clone(&self.files.shares), file)
    }
}

fn borrowed<T: 'static>(resource: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(resource.rep())
}

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let preopened = self.files.preopened.iter();
        let folders = preopened.map(|folder| {
            let descriptor = Descriptor::Dir(folder.dir.clone());
            Ok((self.table.push(descriptor)?, folder.guest.clone()))
        });
        folders.collect()
    }
}

impl Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.wasi().convert_error_code(error)
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.wasi().filesystem_error_code(error)
    }
}

/// Calls that differ in nothing but what wasmtime does on the lane.
macro_rules! on_a_lane {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => { $(
        async fn $name(&mut self, $($argument: $type),*) -> $result {
            let lane = self.files.shares.lane().await;
            let mut wasi = self.wasi();
            lane.drive(HostDescriptor::$name(&mut wasi, $($argument),*)).await
        }
    )* };
}

type Fd = Resource<Descriptor>;

impl HostDescriptor for FilesView<'_> {
    on_a_lane! {
        fn advise(fd: Fd, offset: Filesize, length: Filesize, advice: Advice) -> FsResult<()>;
        fn sync_data(fd: Fd) -> FsResult<()>;
        fn get_flags(fd: Fd) -> FsResult<DescriptorFlags>;
        fn get_type(fd: Fd) -> FsResult<DescriptorType>;
        fn set_size(fd: Fd, size: Filesize) -> FsResult<()>;
        fn set_times(fd: Fd, accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()>;
        fn read(fd: Fd, length: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)>;
        fn write(fd: Fd, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize>;
        fn sync(fd: Fd) -> FsResult<()>;
        fn create_directory_at(fd: Fd, path: String) -> FsResult<()>;
        fn stat(fd: Fd) -> FsResult<DescriptorStat>;
        fn stat_at(fd: Fd, flags: PathFlags, path: String) -> FsResult<DescriptorStat>;
        fn set_times_at(
            fd: Fd, flags: PathFlags, path: String, accessed: NewTimestamp, modified: NewTimestamp
        ) -> FsResult<()>;
        fn link_at(
            fd: Fd, flags: PathFlags, path: String, new_fd: Fd, new_path: String
        ) -> FsResult<()>;
        fn readlink_at(fd: Fd, path: String) -> FsResult<String>;
        fn remove_directory_at(fd: Fd, path: String) -> FsResult<()>;
        fn rename_at(fd: Fd, path: String, new_fd: Fd, new_path: String) -> FsResult<()>;
        fn symlink_at(fd: Fd, target: String, path: String) -> FsResult<()>;
        fn unlink_file_at(fd: Fd, path: String) -> FsResult<()>;
        fn is_same_object(fd: Fd, other: Fd) -> wasmtime::Result<bool>;
        fn metadata_hash(fd: Fd) -> FsResult<MetadataHashValue>;
        fn metadata_hash_at(fd: Fd, flags: PathFlags, path: String) -> FsResult<MetadataHashValue>;
    }

    async fn open_at(
        &mut self,
        fd: Fd,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Fd> {
        let held = self.files.shares.descriptors(1).map_err(|full| {
            let most = full.limit;
            let setting = full.setting;
            let message = format!(
                "a file is not opened: `{setting}` lets this handler hold {most} files, folders and connections at once"
            );
            self.logs.write(Level::Warn, &message);
            ErrorCode::InsufficientMemory
        })?;
        let lane = self.files.shares.lane().await;
        let mut wasi = self.wasi();
        let opened = lane.drive(async {
            // A pipe would hold the thread until someone writes to it, a device for
            // as long as it likes. What is not there may be about to be made.
            let found = wasi.stat_at(borrowed(&fd), path_flags, path.clone()).await;
            if found.is_ok_and(|found| !is_storage(found.type_)) {
                return Ok(None);
            }
            wasi.open_at(fd, path_flags, path.clone(), open_flags, flags)
                .await
                .map(Some)
        });
        let Some(opened) = opened.await? else {
            let message = format!("`{path}` is not opened: it is neither a file nor a folder");
            self.logs.write(Level::Warn, &message);
            return Err(ErrorCode::Unsupported.into());
        };
        self.files.open.insert(opened.rep(), Arc::new(held));
        Ok(opened)
    }

    async fn read_directory(&mut self, fd: Fd) -> FsResult<Resource<DirectoryEntryStream>> {
        let Descriptor::Dir(folder) = self.table.get(&fd)? else {
            return Err(ErrorCode::NotDirectory.into());
        };
        let folder = Arc::clone(&folder.dir);
        let lane = self.files.shares.lane().await;
        let bytes = lane.run(move || bytes_of_entries(&folder)).await?;
        let held = self.files.shares.memory(bytes).map_err(|full| {
            let message = format!(
                "a folder is not listed: its entries take {bytes} bytes, and `{}` lets this handler have {} for such things at once",
                full.setting, full.limit
            );
            self.logs.write(Level::Warn, &message);
            ErrorCode::InsufficientMemory
        })?;
        let lane = self.files.shares.lane().await;
        let stream = lane.drive(self.wasi().read_directory(fd)).await?;
        self.files.listed.insert(stream.rep(), held);
        Ok(stream)
    }

    fn read_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let stream = self.wasi().read_via_stream(borrowed(&fd), offset)?;
        let inner = self.table.delete(stream)?;
        let stream: DynInputStream = Box::new(self.stream(&fd, inner));
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(
        &mut self,
        fd: Fd,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        let stream = self.wasi().write_via_stream(borrowed(&fd), offset)?;
        let inner = self.table.delete(stream)?;
        let stream: DynOutputStream = Box::new(self.stream(&fd, inner));
        Ok(self.table.push(stream)?)
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        let stream = self.wasi().append_via_stream(borrowed(&fd))?;
        let inner = self.table.delete(stream)?;
        let stream: DynOutputStream = Box::new(self.stream(&fd, inner));
        Ok(self.table.push(stream)?)
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        let held = self.files.open.remove(&fd.rep());
        let descriptor = self.table.delete(fd)?;
        // A granted folder stays open.
        if let Some(held) = held {
            close(&self.files.shares, (descriptor, held));
        }
        Ok(())
    }
}

impl HostDirectoryEntryStream for FilesView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        // Read whole when it was opened.
        self.wasi().read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.files.listed.remove(&stream.rep());
        HostDirectoryEntryStream::drop(&mut self.wasi(), stream)
    }
}

/// What the entries of a folder take in memory.
#[cfg(unix)]
fn bytes_of_entries(folder: &std::fs::File) -> std::io::Result<u64> {
    // An entry, its result, and its place in an allocation.
    const ENTRY_BYTES: u64 = 64;
    let mut bytes = 0;
    for entry in rustix::fs::Dir::read_from(folder)? {
        bytes += ENTRY_BYTES + entry?.file_name().to_bytes().len() as u64;
    }
    Ok(bytes)
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
fn bytes_of_entries(_: &std::fs::File) -> std::io::Result<u64> {
    // Not known without a list of its own.
    Ok(0)
}

fn is_storage(kind: DescriptorType) -> bool {
    matches!(
        kind,
        DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink
    )
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc,
        thread::{self, ThreadId},
    };

    use super::*;
    use crate::shares::AllShares;
    use pointsman_core::name::HandlerName;
    use pointsman_machine::budget::{BudgetSettings, Budgets};

    /// Tells on which thread it is dropped.
    struct Dropped(mpsc::Sender<ThreadId>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    #[test]
    fn files_are_closed_on_another_thread_also_where_no_lane_is_free() {
        let settings = BudgetSettings {
            blocking_max: Some(4),
            ..BudgetSettings::default()
        };
        let all = AllShares::new(Budgets::here(&settings));
        let shares = all.of(&HandlerName::parse("one").unwrap());
        let closed_on = || {
            let (sender, dropped) = mpsc::channel();
            close(&shares, Dropped(sender));
            dropped.recv().unwrap()
        };
        assert_ne!(closed_on(), thread::current().id());
        // Its part, once the first has come back.
        let lane = std::iter::repeat_with(|| shares.free_lane()).find_map(|lane| lane);
        assert!(shares.free_lane().is_none());
        assert_ne!(closed_on(), thread::current().id());
        drop(lane);
    }
}
