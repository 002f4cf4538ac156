//! Where compiled code is kept, and how it comes from a child to the host.

use wasmtime::{Cache, CacheConfig};

use super::{PrivateFolder, folder::sweep};
use crate::settings::SandboxSettings;
use pointsman_machine::files;

/// Where compiled code is kept: between runs, or only until this one ends.
pub(crate) fn cache(host: &SandboxSettings) -> (Option<Cache>, Option<PrivateFolder>) {
    let told = |error: wasmtime::Error| {
        tracing::warn!("compiled code is not kept between runs: {error:#}");
    };
    if host.compile_cache
        && let Ok(cache) = Cache::from_file(None).map_err(told)
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
        let mut config = CacheConfig::new();
        config.with_directory(folder.path().join("wasmtime"));
        Ok((Cache::new(config)?, folder))
    };
    match private() {
        Ok((cache, folder)) => (Some(cache), Some(folder)),
        Err(error) => {
            tracing::warn!("components are compiled twice, first within limits: {error:#}");
            (None, None)
        }
    }
}
