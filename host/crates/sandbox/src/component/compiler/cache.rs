//! Where compiled code is kept, and how it comes from a child to the host.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use wasmtime::{Cache, CacheConfig};

use super::{PrivateFolder, folder::sweep};
use crate::settings::SandboxSettings;
use pointsman_machine::files;

/// Where compiled code is kept: between runs, or only until this one ends.
pub(crate) fn cache(host: &SandboxSettings) -> (Option<Cache>, Option<PrivateFolder>) {
    let told = |error: wasmtime::Error| {
        tracing::warn!(
            "compiled code is not cached between runs; set `XDG_CACHE_HOME` to a folder that only this user can write to: {error:#}"
        );
    };
    if host.compile_cache
        && let Ok(cache) = between_runs().map_err(told)
    {
        // Whoever can write there has their code run.
        files::make_private(cache.directory(), 0o700);
        return (Some(cache), None);
    }
    if host.compile_program.is_none() {
        return (None, None);
    }
    // What a child has compiled comes to the host through a cache.
    let private = || -> wasmtime::Result<_> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let folder = PrivateFolder::new(&parent)?;
        Ok((within(folder.path())?, folder))
    };
    match private() {
        Ok((cache, folder)) => (Some(cache), Some(folder)),
        Err(error) => {
            tracing::warn!("components are compiled twice, first within limits: {error:#}");
            (None, None)
        }
    }
}

/// The cache that outlives the process. wasmtime finds no folder for it where the
/// user has no home, as in a container or under systemd's `DynamicUser`.
fn between_runs() -> wasmtime::Result<Cache> {
    Cache::from_file(None).or_else(|error| {
        let folders = cache_folders();
        let mut caches = folders.iter().filter_map(|folder| within(folder).ok());
        caches.next().ok_or(error)
    })
}

fn within(folder: &Path) -> wasmtime::Result<Cache> {
    let mut config = CacheConfig::new();
    config.with_directory(folder.join("wasmtime"));
    Cache::new(config)
}

/// The folders in which compiled code may be cached, the preferred one first:
/// `$XDG_CACHE_HOME` or `.cache` in the home folder, and then `$CACHE_DIRECTORY`,
/// which systemd sets.
#[must_use]
pub fn cache_folders() -> Vec<PathBuf> {
    folders(|name| std::env::var_os(name), std::env::home_dir())
}

fn folders(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let is_absolute = |folder: &PathBuf| folder.is_absolute();
    let named = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let user = named
        .filter(is_absolute)
        .or_else(|| Some(home?.join(".cache")));
    // It may list several.
    let service = variable("CACHE_DIRECTORY").and_then(|list| std::env::split_paths(&list).next());
    user.into_iter()
        .chain(service)
        .filter(is_absolute)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_home_the_environment_names_the_folder() {
        let with = |variables: &[(&str, &str)], home: Option<&str>| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(value))
            };
            folders(variable, home.map(PathBuf::from))
        };
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(with(&[], Some("/home/a")), paths(&["/home/a/.cache"]));
        assert_eq!(with(&[("XDG_CACHE_HOME", "/c")], None), paths(&["/c"]));
        let relative = [("XDG_CACHE_HOME", "c")];
        assert_eq!(with(&relative, Some("/h")), paths(&["/h/.cache"]));
        let service = [("CACHE_DIRECTORY", "/var/cache/a:/var/cache/b")];
        assert_eq!(with(&service, None), paths(&["/var/cache/a"]));
        let both = paths(&["/h/.cache", "/var/cache/a"]);
        assert_eq!(with(&service, Some("/h")), both);
        assert_eq!(with(&[], None), paths(&[]));
    }
}
