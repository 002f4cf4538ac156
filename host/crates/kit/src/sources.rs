//! Waits for changes in source folders. It polls them: file system notifications
//! would have to be filtered, since build tools and package managers write many
//! files into such a folder.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How often the files are polled. Walking a hundred takes less than 1 ms.
const POLL: Duration = Duration::from_millis(200);
/// A change is reported once nothing has changed for this long: editors and
/// formatters write several files, and several times, in one go.
const QUIET: Duration = Duration::from_millis(100);

/// Folders with build output or downloads. Hidden folders are skipped as well.
const MADE: [&str; 4] = ["target", "build", "node_modules", "__pycache__"];
/// Files that a build may write next to the sources.
const LOCKS: [&str; 2] = ["Cargo.lock", "package-lock.json"];

type Files = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

/// Watched files and folders.
#[derive(Debug)]
pub struct Sources {
    roots: Vec<PathBuf>,
    seen: Files,
}

impl Sources {
    /// Starts from the current state of these files and of the files in these folders.
    #[must_use]
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            seen: files(&roots),
            roots,
        }
    }

    /// Watches another file, which need not exist yet.
    pub fn add(&mut self, path: PathBuf) {
        if !self.roots.contains(&path) {
            self.seen.extend(files(std::slice::from_ref(&path)));
            self.roots.push(path);
        }
    }

    /// Ignores the lock files that a build has just written among the sources.
    pub fn built(&mut self) {
        let is_lock = |path: &Path| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| LOCKS.contains(&name))
        };
        self.seen.retain(|path, _| !is_lock(path));
        let now = files(&self.roots).into_iter();
        self.seen.extend(now.filter(|(path, _)| is_lock(path)));
    }

    /// Waits until the files have changed since the last call and then stayed
    /// unchanged for a moment. A change before the call counts.
    pub async fn changed(&mut self) {
        while self.look().await == self.seen {
            tokio::time::sleep(POLL).await;
        }
        loop {
            let before = self.look().await;
            tokio::time::sleep(QUIET).await;
            let after = self.look().await;
            if before == after {
                self.seen = after;
                return;
            }
        }
    }

    async fn look(&self) -> Files {
        let roots = self.roots.clone();
        let look = tokio::task::spawn_blocking(move || files(&roots));
        match look.await {
            Ok(files) => files,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_cancelled) => self.seen.clone(),
            },
        }
    }
}

/// The file of a handler's source folder that changed last, and when. Test cases, unit
/// tests and the rule do not count: the component is not built from them.
#[must_use]
pub fn newest(folder: &Path) -> Option<(PathBuf, SystemTime)> {
    const NOT_BUILT: [&str; 5] = ["cases", "test", "tests", "rule.json", "README.md"];
    let is_built_from = |path: &Path| {
        let inside = path.strip_prefix(folder).unwrap_or(path);
        !NOT_BUILT.iter().any(|name| inside.starts_with(name))
    };
    let files = files(&[folder.to_owned()]).into_iter();
    let changed = files.filter(|(path, _)| is_built_from(path));
    let changed = changed.filter_map(|(path, stamp)| Some((path, stamp?.0)));
    changed.max_by_key(|(_, changed)| *changed)
}

fn files(roots: &[PathBuf]) -> Files {
    let mut files = Files::new();
    for root in roots {
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => walk(root, &mut files),
            Ok(metadata) => drop(files.insert(root.clone(), stamp(&metadata))),
            // If it reappears, that is a change.
            Err(_) => {}
        }
    }
    files
}

fn walk(folder: &Path, files: &mut Files) {
    // Whatever cannot be read now is tried again at the next poll.
    let entries = fs::read_dir(folder).into_iter().flatten();
    for entry in entries.filter_map(io::Result::ok) {
        let (name, path) = (entry.file_name(), entry.path());
        if name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().ends_with(b"~") {
            continue;
        }
        // Symbolic links to folders are not followed: they may form a cycle.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if !name.to_str().is_some_and(|name| MADE.contains(&name)) {
                walk(&path, files);
            }
        } else {
            let metadata = fs::metadata(&path).ok();
            files.insert(path, metadata.as_ref().and_then(stamp));
        }
    }
}

fn stamp(metadata: &fs::Metadata) -> Option<(SystemTime, u64)> {
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_of_saves_is_one_change_and_what_tools_make_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for made in ["target", "node_modules", ".git", "src"] {
            fs::create_dir(path(made)).unwrap();
        }
        let mut sources = Sources::new(vec![folder.path().into()]);
        for made in [
            "target/a.rs",
            "node_modules/a.js",
            ".git/HEAD",
            "src/.a.swp",
        ] {
            fs::write(path(made), "made").unwrap();
        }
        fs::write(path("Cargo.lock"), "by the build").unwrap();
        sources.built();
        assert_eq!(files(&sources.roots), sources.seen);
        for round in 0..3 {
            fs::write(path("src/a.rs"), format!("round {round}")).unwrap();
        }
        sources.changed().await;
        assert_eq!(files(&sources.roots), sources.seen);
        fs::remove_file(path("src/a.rs")).unwrap();
        sources.changed().await;
        assert!(!sources.seen.contains_key(&path("src/a.rs")));
    }
}
