//! Owns the settings of TLS: `[http.tls]`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use pointsman_core::settings::{SettingsError, optional};

/// The files that the HTTP server speaks TLS with; none, and it speaks plain HTTP.
/// All are PEM, and are followed while the host runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The server's certificate, and behind it those between it and its authority.
    #[serde(with = "optional::text")]
    pub certificate: Option<PathBuf>,
    /// The private key of the certificate, not encrypted.
    #[serde(with = "optional::text")]
    pub key: Option<PathBuf>,
    /// The authorities of which a client needs a certificate. Without, it needs none.
    #[serde(with = "optional::text")]
    pub client_ca: Option<PathBuf>,
}

/// The files of a server that speaks TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TlsFiles<'a> {
    pub(crate) certificate: &'a Path,
    pub(crate) key: &'a Path,
    pub(crate) client_ca: Option<&'a Path>,
}

impl TlsConfig {
    /// The files, where the server is to speak TLS.
    pub(crate) fn files(&self) -> Option<TlsFiles<'_>> {
        Some(TlsFiles {
            certificate: self.certificate.as_deref()?,
            key: self.key.as_deref()?,
            client_ca: self.client_ca.as_deref(),
        })
    }

    /// Refuses half of what TLS needs: it would be plain HTTP.
    pub(super) fn check(&self, origin: &str) -> Result<(), SettingsError> {
        let (certificate, key) = ("http.tls.certificate", "http.tls.key");
        let (missing, given) = match (&self.certificate, &self.key, &self.client_ca) {
            (Some(_), None, _) => (key, certificate),
            (None, Some(_), _) => (certificate, key),
            (None, None, Some(_)) => (certificate, "http.tls.client_ca"),
            (Some(_), Some(_), _) | (None, None, None) => return Ok(()),
        };
        Err(SettingsError::WrongValue {
            origin: origin.into(),
            key: missing.into(),
            found: format!("`none` although `{given}` is set"),
            expected: "the path of a PEM file".into(),
        })
    }
}
