//! Owns the look at a folder: which files it has for us, and which look as if
//! they were meant for us and are not read.

use std::{
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
};

use super::file::metadata;
use crate::{diagnostic::Diagnostic, files::apart_blocking, text};

/// What a folder has, read once. Hidden files are left out: installers write
/// them before they rename.
pub(crate) struct Listing {
    entries: Vec<Entry>,
}

struct Entry {
    path: PathBuf,
    // Links followed.
    found: io::Result<Metadata>,
}

/// What a folder of this kind is for beside the files that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subfolders {
    /// The sources of handlers.
    MayBeSources,
    /// Nothing: a file in them was likely meant to be read.
    AreNotRead,
}

impl Listing {
    /// Reads the folder, within the time that a disk has.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        apart_blocking(folder, Self::here)
    }

    fn here(folder: &Path) -> io::Result<Self> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            let found = metadata(&path, entry.file_type()?);
            entries.push(Entry { path, found });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { entries })
    }

    /// The files with one of the given endings, by name.
    pub(crate) fn files(&self, endings: &[&str]) -> Vec<PathBuf> {
        let files = self.entries.iter().filter(|entry| {
            entry.ending().is_some_and(|it| endings.contains(&it))
                && match &entry.found {
                    Ok(metadata) => metadata.is_file(),
                    // Gone since, or a link to nothing. Any other error is told when it is read.
                    Err(error) => error.kind() != io::ErrorKind::NotFound,
                }
        });
        files.map(|entry| entry.path.clone()).collect()
    }

    /// Files that look like those with the given endings and are not read, each
    /// with why. Files of a subfolder are told as the subfolder.
    pub(super) fn left_out(&self, endings: &[&str], subfolders: Subfolders) -> Vec<Diagnostic> {
        let left_out = self.entries.iter();
        left_out
            .filter_map(|entry| entry.left_out(endings, subfolders))
            .collect()
    }
}

impl Entry {
    fn ending(&self) -> Option<&str> {
        self.path.extension().and_then(|ending| ending.to_str())
    }

    fn left_out(&self, endings: &[&str], subfolders: Subfolders) -> Option<Diagnostic> {
        let ending = self.ending();
        let is = |ending: &str| endings.contains(&ending);
        let looks_like = ending.is_some_and(|ending| is(&ending.to_ascii_lowercase()));
        let is_folder = self.found.as_ref().is_ok_and(Metadata::is_dir);
        if is_folder && !looks_like {
            let has_files = || {
                let inside = Listing::of(&self.path);
                inside.is_ok_and(|inside| !inside.files(endings).is_empty())
            };
            let is_left_out = subfolders == Subfolders::AreNotRead && has_files();
            return is_left_out.then(|| {
                let hint = "move them up, or name the subfolder in the settings";
                not_read(&self.path, "files in a subfolder", hint)
            });
        }
        if !looks_like {
            return None;
        }
        let (what, hint) = match &self.found {
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
            _ => return None,
        };
        Some(not_read(&self.path, what, hint))
    }
}

fn not_read(path: &Path, what: &str, hint: &str) -> Diagnostic {
    Diagnostic::warning("not-read", format!("not read: {what}"))
        .within(text::path(path).to_string())
        .hint(hint)
}
