//! Owns the waiting for changes in source folders. It looks at them from time
//! to time: a system's notifications would have to be kept away from the many
//! files that build tools and package managers put into such a folder.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How often the files are looked at. A walk over a hundred takes under 1 ms.
const POLL: Duration = Duration::from_millis(200);
/// Files are taken as they are once nothing changed for that long: editors and
/// formatters write several times, and several files, in one go.
const QUIET: Duration = Duration::from_millis(100);

/// Folders that are made from the sources, or fetched. Hidden ones are left out too.
const MADE: [&str; 4] = ["target", "build", "node_modules", "__pycache__"];
/// Files that a build may write beside the sources.
const LOCKS: [&str; 2] = ["Cargo.lock", "package-lock.json"];

type Files = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

/// Files and folders that someone works on.
#[derive(Debug)]
pub struct Sources {
    roots: Vec<PathBuf>,
    seen: Files,
}

impl Sources {
    /// The files in these folders, and these files, as they are now.
    #[must_use]
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            seen: files(&roots),
            roots,
        }
    }

    /// Looks at one more file from now on, which need not be there yet.
    pub fn add(&mut self, path: PathBuf) {
        if !self.roots.contains(&path) {
            self.seen.extend(files(std::slice::from_ref(&path)));
            self.roots.push(path);
        }
    }

    /// Takes what a build wrote among the sources for seen: its lock file.
    pub fn built(&mut self) {
        let is_lock = |path: &Path| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| LOCKS.contains(&name))
        };
        self.seen.retain(|path, _| !is_lock(path));
        let now = files(&self.roots).into_iter();
        self.seen.extend(now.filter(|(path, _)| is_lock(path)));
    }

    /// Waits until the files are not as they were seen last and are left
    /// alone; then that is how they are seen. A change that came before the
    /// call counts.
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
                // The async runtime ends: nothing changes any more.
                Err(_cancelled) => self.seen.clone(),
            },
        }
    }
}

fn files(roots: &[PathBuf]) -> Files {
    let mut files = Files::new();
    for root in roots {
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => walk(root, &mut files),
            Ok(metadata) => drop(files.insert(root.clone(), stamp(&metadata))),
            // It may come back, and that is a change.
            Err(_) => {}
        }
    }
    files
}

fn walk(folder: &Path, files: &mut Files) {
    // What cannot be read now is looked at again in a moment.
    let entries = fs::read_dir(folder).into_iter().flatten();
    for entry in entries.filter_map(io::Result::ok) {
        let (name, path) = (entry.file_name(), entry.path());
        if name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().ends_with(b"~") {
            continue;
        }
        // A link to a folder is not followed: it may lead back.
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
