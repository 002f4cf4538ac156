//! Owns the secrets of a handler: where their values come from, and that nothing
//! shows them.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use pointsman_machine::files::{apart_blocking, read_text};

/// Where the value of a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The environment variable of the host with this name.
    Env(String),
    /// The text of this file, without a line break at its end. A relative
    /// path begins at the folder of the settings file.
    File(PathBuf),
}

/// Bytes of one secret: a certificate chain fits, a wrong path to a disk image does not.
const SECRET_MAX_BYTES: u64 = 64 << 10;

/// The value of a secret. Neither `Debug` nor any other trait shows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Arc<str>);

impl Secret {
    /// The value, for the handler alone.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Reads a secret of a settings file in the folder `base`.
///
/// # Errors
/// What is wrong, and what to do about it.
pub(crate) fn read(source: &SecretSource, base: &Path) -> Result<Secret, (String, String)> {
    match source {
        SecretSource::Env(variable) => match std::env::var(variable) {
            Ok(value) => Ok(Secret(value.into())),
            Err(std::env::VarError::NotPresent) => Err((
                format!("the environment variable `{variable}` is not set"),
                format!(
                    "set `{variable}` in the server's environment and restart it, or remove the secret"
                ),
            )),
            Err(std::env::VarError::NotUnicode(_)) => Err((
                format!("the environment variable `{variable}` is not UTF-8"),
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
                    "create the file with the secret as its text, readable for the host; a relative path starts at this file's folder".into(),
                )),
            }
        }
    }
}
