//! Owns what one handler was granted, as its calls meet it: secrets read,
//! folders found, requests judged. Deny is the default; what is denied names
//! the line of `plugins/<name>.toml` that would grant it.

mod outgoing;
mod pattern;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

pub(super) use outgoing::Outgoing;
pub use pattern::{HttpPattern, PatternError};

use super::{
    loader::LoadError,
    settings::{HandlerSettings, SecretSource},
};
use crate::{
    files::{apart_blocking, read_text},
    name::HandlerName,
};

/// Bytes of one secret: a certificate chain fits, a wrong path to a disk image does not.
const SECRET_MAX_BYTES: u64 = 64 << 10;

/// Denials of one handler that are reported; the URLs are the guest's choice,
/// and each is remembered.
const DENIALS_MAX: usize = 32;

/// Characters of a path that a denial repeats.
const PATH_MAX_CHARS: usize = 200;

/// The value of a secret. Neither `Debug` nor any other trait shows it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Arc<str>);

impl Secret {
    /// The value, for the handler alone.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// What one handler was granted.
#[derive(Debug)]
pub struct Grants {
    name: HandlerName,
    secrets: BTreeMap<String, Secret>,
    folders: Vec<OpenFolder>,
    http: Vec<HttpPattern>,
    // The patterns that would have allowed what was denied.
    reported: Mutex<BTreeSet<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct OpenFolder {
    host: PathBuf,
    guest: String,
    perms: FsPerms,
}

/// A folder that was there at load and cannot be opened for a call.
#[derive(Debug, thiserror::Error)]
#[error("the folder `{}` cannot be opened: {source}", path.display())]
pub(super) struct FolderGone {
    path: PathBuf,
    source: wasmtime::Error,
}

/// A use that was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    /// The use and the line that grants it.
    pub(super) message: String,
    pattern: String,
}

impl Grants {
    /// Reads the secrets and finds the folders of `settings`, which stand in
    /// the file `settings_path`.
    ///
    /// # Errors
    /// [`LoadError`], which names the handler, the key and the fix.
    pub fn read(
        name: HandlerName,
        settings: &HandlerSettings,
        settings_path: &Path,
    ) -> Result<Self, LoadError> {
        let base = settings_path.parent().unwrap_or(Path::new(""));
        let mut secrets = BTreeMap::new();
        for (key, source) in &settings.secrets {
            let secret = read_secret(source, base).map_err(|(reason, hint)| {
                LoadError::new(
                    settings_path,
                    format!("handler `{name}`: secret `{key}`: {reason}"),
                    hint,
                )
            })?;
            secrets.insert(key.clone(), secret);
        }
        let mut folders = Vec::new();
        for folder in &settings.folders {
            let host = base.join(&folder.host);
            let found = apart_blocking(&host, |host| fs::read_dir(host).map(drop));
            if let Err(cause) = found {
                return Err(LoadError::new(
                    settings_path,
                    format!(
                        "handler `{name}`: folder `{}` for `{}`: {cause}",
                        host.display(),
                        folder.guest
                    ),
                    "create the folder, make it readable for the host, or mend `host` in `[[folders]]`; a relative path begins beside this file",
                ));
            }
            folders.push(OpenFolder {
                host,
                guest: folder.guest.clone(),
                perms: if folder.write {
                    FsPerms::ReadWrite
                } else {
                    FsPerms::ReadOnly
                },
            });
        }
        Ok(Self {
            name,
            secrets,
            folders,
            http: settings.http.allow.clone(),
            reported: Mutex::default(),
        })
    }

    /// Whether the other one grants the same, to the values of its secrets.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.secrets == other.secrets && self.folders == other.folders && self.http == other.http
    }

    /// The secret with this key.
    pub(super) fn secret(&self, key: &str) -> Option<&Secret> {
        self.secrets.get(key)
    }

    /// Whether a call needs its folders opened.
    pub(super) fn has_folders(&self) -> bool {
        !self.folders.is_empty()
    }

    /// Whether any HTTP request may go out.
    pub(super) fn has_http(&self) -> bool {
        !self.http.is_empty()
    }

    /// Opens the folders for one instance.
    pub(super) fn open_folders(&self, ctx: &mut WasiCtxBuilder) -> Result<(), FolderGone> {
        for folder in &self.folders {
            ctx.preopened_dir(&folder.host, &folder.guest, folder.perms)
                .map_err(|source| FolderGone {
                    path: folder.host.clone(),
                    source,
                })?;
        }
        Ok(())
    }

    /// Whether a request may go out.
    fn judge(&self, method: &http::Method, uri: &http::Uri) -> Result<(), Denial> {
        if self.http.iter().any(|pattern| pattern.allows(method, uri)) {
            return Ok(());
        }
        let scheme = uri.scheme_str().unwrap_or("https");
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        // The query stays out: it may hold what should not be in a log.
        let path = uri.path();
        let granted_by_path = !pattern::climbs(path) && path.len() <= PATH_MAX_CHARS;
        let path = if granted_by_path { path } else { "" };
        let pattern = format!("{method} {scheme}://{authority}{path}");
        let mut allow: Vec<_> = self.http.iter().map(ToString::to_string).collect();
        allow.push(pattern.clone());
        let allow: Vec<_> = allow.iter().map(|one| format!("{one:?}")).collect();
        Err(Denial {
            message: format!(
                "HTTP request `{pattern}` is not granted; to grant it, write below `[http]` in plugins/{}.toml: allow = [{}]",
                self.name,
                allow.join(", ")
            ),
            pattern,
        })
    }

    /// Tells the operator of a denial, once for each line that would grant it.
    fn report(&self, denial: &Denial) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < DENIALS_MAX && reported.insert(denial.pattern.clone()) {
            tracing::warn!("`{}`: {}", self.name, denial.message);
        }
    }
}

fn read_secret(source: &SecretSource, base: &Path) -> Result<Secret, (String, String)> {
    match source {
        SecretSource::Env(variable) => match std::env::var(variable) {
            Ok(value) => Ok(Secret(value.into())),
            Err(std::env::VarError::NotPresent) => Err((
                format!("the environment variable `{variable}` is not set"),
                format!("set `{variable}` for the host and start it again, or remove the secret"),
            )),
            Err(std::env::VarError::NotUnicode(_)) => Err((
                format!("the environment variable `{variable}` is no UTF-8"),
                "a secret is text: encode it, in base64 for instance".into(),
            )),
        },
        SecretSource::File(path) => {
            let path = base.join(path);
            let text = apart_blocking(&path, |path| read_text(path, SECRET_MAX_BYTES));
            match text {
                // Editors and `echo` end a file with a line break, which no secret has.
                Ok(text) => Ok(Secret(text.trim_end_matches(['\r', '\n']).into())),
                Err(cause) => Err((
                    format!("the file `{}` cannot be read: {cause}", path.display()),
                    "create the file with the secret as its text, readable for the host; a relative path begins beside this file".into(),
                )),
            }
        }
    }
}
