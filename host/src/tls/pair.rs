//! Owns what the texts of the TLS files become: what a server speaks TLS with, or what is
//! wrong with which file and how to get it right.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use x509_cert::{
    Certificate,
    der::{DateTime, Decode as _},
};

use crate::{config::TlsFiles, diagnostic::Diagnostic};

/// What the TLS files hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) client_ca: Option<Vec<u8>>,
}

/// What a server speaks TLS with.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) server: Arc<ServerConfig>,
    /// When the certificate stops being valid, and when it starts to be.
    pub(super) valid_until: Timestamp,
    valid_from: Timestamp,
}

/// What TLS calls HTTP/2.
pub(crate) const HTTP2: &[u8] = b"h2";
/// The versions of HTTP that are offered, the best first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];

const KINDS: &str =
    "RSA keys of 2048 to 8192 bits, ECDSA keys on P-256 or P-384 and Ed25519 keys are supported";

impl Pair {
    /// # Errors
    /// What is wrong with which file.
    pub(super) fn new(files: TlsFiles<'_>, texts: &Texts) -> Result<Self, Diagnostic> {
        let chain = certificates(files.certificate, &texts.certificate)?;
        let (valid_from, valid_until) = validity(files.certificate, &chain[0])?;
        let key = key(files.key, &texts.key)?;
        let provider = Arc::new(ring::default_provider());
        let certified = certified(files, chain, key, &provider)?;
        let clients = match (files.client_ca, &texts.client_ca) {
            (Some(path), Some(text)) => clients(path, text, &provider)?,
            _ => WebPkiClientVerifier::no_client_auth(),
        };
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(TLS, files.certificate, format!("TLS: {error}")))?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        server.alpn_protocols = PROTOCOLS.iter().map(|it| it.to_vec()).collect();
        Ok(Self {
            server: Arc::new(server),
            valid_until,
            valid_from,
        })
    }

    /// That clients will refuse the certificate now.
    pub(super) fn warning(&self, path: &Path, now: Timestamp) -> Option<Diagnostic> {
        let message = if self.valid_until < now {
            format!("the certificate expired at {}", self.valid_until)
        } else if self.valid_from > now {
            format!("the certificate is not valid before {}", self.valid_from)
        } else {
            return None;
        };
        let warning = Diagnostic::warning("tls-not-valid", message);
        Some(warning.within(path.display().to_string()).hint(
            "clients refuse it: renew it, or check the clock; a new file is loaded without a restart",
        ))
    }
}

/// The stable codes of what is wrong.
const TLS: &str = "tls-unsupported";
const CERTIFICATE: &str = "tls-certificate";
const KEY: &str = "tls-key";
const CLIENT_CA: &str = "tls-client-ca";

fn wrong(code: &'static str, path: &Path, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code, message).within(path.display().to_string())
}

/// The certificates of a file; at least one.
///
/// # Errors
/// Where there is none, or one that is cut short.
pub(crate) fn certificates(
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Diagnostic> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let all = all.map_err(|error| {
        wrong(CERTIFICATE, path, format!("is not valid PEM: {}", reason(&error)))
            .hint("write the file again, whole: it has lines from `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`")
    })?;
    if !all.is_empty() {
        return Ok(all);
    }
    let error = wrong(CERTIFICATE, path, "contains no certificate in PEM form");
    Err(if is_der(text) {
        error.hint(
            "it looks like DER: `openssl x509 -inform der -in FILE -out FILE.pem` converts it",
        )
    } else if contains(text, "PRIVATE KEY") {
        error.hint("it contains a private key: are `certificate` and `key` mixed up?")
    } else {
        error.hint("a PEM file has a line `-----BEGIN CERTIFICATE-----`")
    })
}

fn reason(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it ends in the middle of a section",
        pem::Error::IllegalSectionStart { .. } => "a line `-----BEGIN …` is malformed",
        _ => "a section is not Base64",
    }
}

/// The private key of a file.
///
/// # Errors
/// Where there is none that can be read.
pub(crate) fn key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, Diagnostic> {
    let error = match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => return Ok(key),
        Err(error) => error,
    };
    if contains(text, "ENCRYPTED") {
        return Err(wrong(KEY, path, "the private key is encrypted")
            .hint("a server starts without anybody who types a password: decrypt it with `openssl pkey -in FILE -out KEY`, and let only the server read the result"));
    }
    Err(match error {
        pem::Error::NoItemsFound => {
            let error = wrong(KEY, path, "contains no private key in PEM form");
            if is_der(text) {
                error.hint(
                    "it looks like DER: `openssl pkey -inform der -in FILE -out KEY` converts it",
                )
            } else if contains(text, "BEGIN CERTIFICATE") {
                error.hint("it contains a certificate: are `certificate` and `key` mixed up?")
            } else {
                error.hint("a PEM file has a line `-----BEGIN PRIVATE KEY-----`")
            }
        }
        error => wrong(KEY, path, format!("is not valid PEM: {}", reason(&error)))
            .hint("write the file again, whole"),
    })
}

/// The authorities of a file.
///
/// # Errors
/// Where there is none that can be read.
pub(crate) fn authorities(path: &Path, text: &[u8]) -> Result<RootCertStore, Diagnostic> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, text)? {
        roots.add(certificate).map_err(|error| {
            wrong(CERTIFICATE, path, format!("has a certificate that cannot be read: {error}"))
                .hint("name the certificates of authorities, as `openssl x509 -in FILE -noout -text` shows them")
        })?;
    }
    Ok(roots)
}

fn certified(
    files: TlsFiles<'_>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Diagnostic> {
    let signing = provider.key_provider.load_private_key(key);
    let signing = signing.map_err(|error| {
        wrong(
            KEY,
            files.key,
            format!("the private key cannot be used: {error}"),
        )
        .hint(KINDS)
    })?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(certified)
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            let message = format!(
                "the private key does not belong to the first certificate in {}",
                files.certificate.display()
            );
            Err(wrong("tls-key-mismatch", files.key, message).hint(
                "name the files of one issue; the server's own certificate comes first, those of its authorities behind it",
            ))
        }
        Err(error) => {
            let message = format!("the first certificate cannot be used: {error}");
            Err(wrong(CERTIFICATE, files.certificate, message)
                .hint("the server needs an X.509 certificate of version 3"))
        }
    }
}

fn clients(
    path: &Path,
    text: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Diagnostic> {
    let roots = Arc::new(authorities(path, text)?);
    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|error| {
            wrong(CLIENT_CA, path, format!("{error}"))
                .hint("name the certificate of the authority that signs those of clients")
        })
}

fn validity(
    path: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<(Timestamp, Timestamp), Diagnostic> {
    let read = Certificate::from_der(certificate).map_err(|error| {
        wrong(
            CERTIFICATE,
            path,
            format!("the first certificate cannot be read: {error}"),
        )
        .hint("`openssl x509 -in FILE -noout -text` shows what is in it")
    })?;
    let validity = read.tbs_certificate.validity;
    let at = |time: DateTime| {
        let seconds = i64::try_from(time.unix_duration().as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    };
    Ok((
        at(validity.not_before.to_date_time()),
        at(validity.not_after.to_date_time()),
    ))
}

fn contains(text: &[u8], part: &str) -> bool {
    memchr::memmem::find(text, part.as_bytes()).is_some()
}

/// A sequence of some hundred bytes or more: what DER files begin with.
fn is_der(text: &[u8]) -> bool {
    text.starts_with(&[0x30, 0x82]) || text.starts_with(&[0x30, 0x81])
}
