//! Owns what the command line trusts, and shows, when it asks a server over TLS.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, Error as TlsError,
    client::WantsClientCert,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use super::SERVER;
use crate::{
    config::{CA_VARIABLE, CLIENT_CERTIFICATE_VARIABLE, CLIENT_KEY_VARIABLE},
    diagnostic::Diagnostic,
    files::{apart_blocking, read},
    tls::{self, FILE_MAX_BYTES},
};

/// The TLS flags of a subcommand that can send its request to a running server.
#[derive(Debug, clap::Args)]
pub(super) struct Trust {
    /// File with the CA certificate that signed the server's certificate
    /// [default: POINTSMAN_CA, if it is set, or the CAs that this machine trusts]
    #[arg(long, global = true, help_heading = SERVER, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// File with the client certificate
    /// [default: POINTSMAN_CLIENT_CERTIFICATE, if it is set]
    #[arg(long, global = true, help_heading = SERVER, value_name = "FILE", requires = "url")]
    client_certificate: Option<PathBuf>,
    /// File with the private key of the client certificate
    /// [default: POINTSMAN_CLIENT_KEY, if it is set]
    #[arg(long, global = true, help_heading = SERVER, value_name = "FILE", requires = "url")]
    client_key: Option<PathBuf>,
}

type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Trust {
    /// Whether a flag is set that needs TLS.
    pub(super) fn is_given(&self) -> bool {
        self.ca.is_some() || self.client_certificate.is_some() || self.client_key.is_some()
    }

    /// What connections are made with.
    ///
    /// # Errors
    /// Where a file cannot be used.
    pub(super) fn client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let config = self.roots()?;
        let config = match self.shown()? {
            Some((chain, key)) => config
                .with_client_auth_cert(chain, key)
                .context("the client's certificate and key cannot be used together")?,
            None => config.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> anyhow::Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
        let roots = match file(self.ca.as_deref(), CA_VARIABLE) {
            Some(path) => Some(tls::authorities(&path, &text(&path)?)?),
            None => None,
        };
        Ok(tls::client(roots)?)
    }

    /// The certificate to show, and its key.
    fn shown(&self) -> anyhow::Result<Option<Shown>> {
        let certificate = file(
            self.client_certificate.as_deref(),
            CLIENT_CERTIFICATE_VARIABLE,
        );
        let key = file(self.client_key.as_deref(), CLIENT_KEY_VARIABLE);
        let half = |given: &str, missing: &str| {
            let error =
                Diagnostic::error("half-a-certificate", format!("{given} is of no use alone"));
            Err(error.hint(format!("give {missing} too")).into())
        };
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some((
                tls::certificates(&certificate, &text(&certificate)?)?,
                tls::key(&key, &text(&key)?)?,
            ))),
            (None, None) => Ok(None),
            (Some(_), None) => half("a client certificate", "its key with `--client-key`"),
            (None, Some(_)) => half(
                "a client key",
                "its certificate with `--client-certificate`",
            ),
        }
    }
}

/// The file that a flag names, or else a variable.
fn file(flag: Option<&Path>, variable: &str) -> Option<PathBuf> {
    let set = || std::env::var_os(variable).filter(|path| !path.is_empty());
    flag.map(Path::to_owned)
        .or_else(|| set().map(PathBuf::from))
}

fn text(path: &Path) -> anyhow::Result<Vec<u8>> {
    apart_blocking(path, |path| read(path, FILE_MAX_BYTES))
        .with_context(|| path.display().to_string())
}

/// Why TLS failed, and what to do, where it was that.
pub(super) fn explained(error: &anyhow::Error) -> Option<Diagnostic> {
    let told = |message: &str, hint: &str| {
        Some(Diagnostic::error("tls-failed", message).hint(hint.to_owned()))
    };
    match failure(error)? {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => told(
            "the server's certificate is not signed by an authority that is trusted here",
            "`--ca FILE` names the certificate of its authority",
        ),
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => told(
            "the server's certificate is for another name",
            "ask for a name or address in the certificate: `openssl x509 -in FILE -noout -ext subjectAltName` shows them",
        ),
        TlsError::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => told(
            "the server's certificate has expired",
            "renew it; the server loads new files without a restart",
        ),
        TlsError::InvalidCertificate(CertificateError::Other(_)) => told(
            "the server's certificate cannot be verified",
            "one that signs itself must say that it is no authority: `-addext basicConstraints=critical,CA:FALSE` of `openssl req`",
        ),
        TlsError::AlertReceived(rustls::AlertDescription::CertificateRequired) => told(
            "the server asks for a certificate",
            "show one with `--client-certificate FILE --client-key FILE`",
        ),
        TlsError::AlertReceived(
            rustls::AlertDescription::UnknownCA
            | rustls::AlertDescription::BadCertificate
            | rustls::AlertDescription::DecryptError
            | rustls::AlertDescription::CertificateExpired
            | rustls::AlertDescription::CertificateUnknown,
        ) => told(
            "the server does not accept the client's certificate",
            "show one that is signed by an authority in the server's `http.tls.client_ca`, and is still valid",
        ),
        TlsError::InvalidMessage(_) => told(
            "the server does not speak TLS",
            "ask for `http://` in place of `https://`",
        ),
        _ => None,
    }
}

/// What TLS says of a failure, wherever it is among the causes.
fn failure(error: &anyhow::Error) -> Option<&TlsError> {
    error.chain().find_map(|cause| {
        let inner = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
        inner.downcast_ref()
    })
}
