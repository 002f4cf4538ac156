//! What came of each component, by its digest, in files beside wasmtime's
//! cache: which entry of the cache has its code, or why it is not tried again.
//! A file that is locked belongs to a compilation that goes on; one that says
//! `compiling` and is not locked, to a host that died meanwhile.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wasmtime::Engine;

use super::{
    Limits, beside,
    folder::{self, PrivateFolder},
};

/// Beyond that many all are forgotten; each is a file of some hundred bytes.
const RECORDS_MAX: usize = 10_000;

/// The longest record: a reason has some hundred bytes.
const RECORD_MAX_BYTES: u64 = 64 << 10;

/// So many hosts in a row may die while they compile a component; then it is not
/// tried again. One or two may have been killed for another reason.
const DEATHS_MAX: u32 = 3;

/// The notes of compilations that go on in this process.
static NOTES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Takes back the notes of compilations that go on: the process ends because it
/// was told to, and not for what it compiles.
pub fn forget_unfinished() {
    for path in notes().drain(..) {
        // It may have ended in this moment, and be gone.
        let _ = fs::remove_file(path);
    }
}

fn notes() -> MutexGuard<'static, Vec<PathBuf>> {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Records {
    folder: PathBuf,
    cache: PathBuf,
    /// Tells this host from those before it.
    run: Uuid,
}

/// A component's file, locked.
pub(super) struct Record {
    file: File,
    path: PathBuf,
    run: Uuid,
    /// Hosts that died while they compiled it.
    deaths: u32,
    done: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Known {
    Compiling {
        /// Of hosts before this one.
        deaths: u32,
    },
    /// The entry, below the folder of the cache.
    Compiled(PathBuf),
    Failed {
        reason: String,
        limits: Limits,
        /// Set where it counts only for the host of that name.
        run: Option<Uuid>,
    },
}

/// What is known before a compilation.
pub(super) enum Start {
    Compiled,
    Refused {
        reason: String,
        hint: String,
    },
    /// Nothing; none where another process finds out, or no file can be written.
    Unknown(Option<Record>),
}

impl Records {
    /// Those of components that were compiled as `engine` would.
    pub(super) fn open(cache: &Path, engine: &Engine) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let name = format!("components-{:016x}", hasher.finish());
        let folder = beside(cache).join(name);
        folder::create(&folder)?;
        // Into which children of killed hosts compiled.
        folder::sweep(&beside(cache));
        if fs::read_dir(&folder)?.count() > RECORDS_MAX {
            fs::remove_dir_all(&folder)?;
            folder::create(&folder)?;
        }
        Ok(Self {
            folder,
            cache: cache.into(),
            run: Uuid::now_v7(),
        })
    }

    pub(super) fn start(&self, digest: &str, limits: Limits) -> Start {
        let path = self.folder.join(digest);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                tracing::debug!("{}: cannot be opened: {error}", path.display());
                return Start::Unknown(None);
            }
        };
        if file.try_lock().is_err() {
            return Start::Unknown(None);
        }
        let mut text = String::new();
        let read = (&file).take(RECORD_MAX_BYTES).read_to_string(&mut text);
        let known = read.ok().and_then(|_| serde_json::from_str(&text).ok());
        let deaths = match known {
            Some(Known::Compiling { deaths }) => deaths.saturating_add(1),
            _ => 0,
        };
        let record = Record {
            file,
            path,
            run: self.run,
            deaths,
            done: false,
        };
        match known {
            Some(Known::Compiled(entry)) if self.cache.join(&entry).is_file() => {
                record.keep();
                Start::Compiled
            }
            Some(Known::Compiling { .. }) if deaths >= DEATHS_MAX => Start::Refused {
                reason: format!(
                    "the host died {deaths} times while it compiled this file: it is not tried again"
                ),
                hint: record.keep_with_hint("build it smaller"),
            },
            Some(Known::Failed {
                reason,
                limits: tried,
                run,
            }) if run.is_none_or(|run| run == self.run) && tried.cover(limits) => Start::Refused {
                reason: format!("{reason}; it is not tried again with the same limits"),
                hint: record.keep_with_hint("raise the limit, build it smaller"),
            },
            _ => Start::Unknown(Some(record)),
        }
    }

    /// An empty folder for a child to compile into.
    pub(super) fn output(&self) -> Option<PrivateFolder> {
        PrivateFolder::new(&beside(&self.cache)).ok()
    }

    /// Moves the entry that a child made in `output` into the cache.
    pub(super) fn keep(&self, output: &Path) -> Option<PathBuf> {
        // modules/<compiler>/<hash>, and <hash>.stats where it came to that.
        let compiler = fs::read_dir(output.join("modules")).ok()?.next()?.ok()?;
        let mut entries = fs::read_dir(compiler.path()).ok()?.flatten();
        let made = entries.find(|entry| Path::new(&entry.file_name()).extension().is_none())?;
        let entry = made.path().strip_prefix(output).ok()?.to_owned();
        let kept = self.cache.join(&entry);
        fs::create_dir_all(kept.parent()?).ok()?;
        fs::rename(made.path(), kept).ok()?;
        Some(entry)
    }
}

impl Limits {
    /// Whether what failed under these fails under `now`, too.
    fn cover(self, now: Self) -> bool {
        now.memory_max_bytes <= self.memory_max_bytes && now.timeout_ms <= self.timeout_ms
    }
}

impl Record {
    pub(super) fn begun(&mut self) {
        notes().push(self.path.clone());
        self.write(&Known::Compiling {
            deaths: self.deaths,
        });
    }

    pub(super) fn compiled(mut self, entry: PathBuf) {
        self.write(&Known::Compiled(entry));
        self.keep();
    }

    pub(super) fn failed(mut self, reason: &str, limits: Limits, this_run: bool) {
        self.write(&Known::Failed {
            reason: reason.into(),
            limits,
            run: this_run.then_some(self.run),
        });
        self.keep();
    }

    fn keep(mut self) {
        self.done = true;
    }

    fn keep_with_hint(self, first: &str) -> String {
        let hint = format!("{first}, or remove {} to try again", self.path.display());
        self.keep();
        hint
    }

    fn write(&mut self, known: &Known) {
        let written = serde_json::to_vec(known)
            .map_err(io::Error::from)
            .and_then(|text| {
                self.file.set_len(0)?;
                self.file.rewind()?;
                self.file.write_all(&text)
            });
        if let Err(error) = written {
            tracing::debug!("{}: cannot be written: {error}", self.path.display());
        }
    }
}

impl Drop for Record {
    /// A compilation that came to nothing, such as one that was stopped, is tried again.
    fn drop(&mut self) {
        notes().retain(|path| *path != self.path);
        if !self.done {
            // It may not have been written; then there is nothing to be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}
