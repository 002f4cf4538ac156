//! Owns what the server speaks TLS with: the certificate, its key and the authority of
//! clients that are in use, taken from files that are followed while the host runs. All
//! are loaded together; if the new files cannot be used, the previous ones stay in use.

mod pair;

use std::{
    io,
    net::IpAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, client::WantsClientCert, crypto::ring,
};
use tokio_util::sync::CancellationToken;

pub(crate) use pair::{HTTP2, authorities, certificates, key};
use pair::{Pair, Texts};

use crate::{
    config::{TlsConfig, TlsFiles},
    diagnostic::Diagnostic,
    files::{apart, follow, read},
    log::Seldom,
};

/// The certificates of all authorities that browsers trust are a quarter of it.
pub(crate) const FILE_MAX_BYTES: u64 = 1 << 20;
/// A pair that is replaced while the server starts is looked at again after that time.
const REPLACED_WITHIN: Duration = Duration::from_millis(100);
/// The code of what may be there in a moment.
const UNREADABLE: &str = "tls-unreadable";

/// The TLS of one server.
#[derive(Debug)]
pub struct Tls {
    config: TlsConfig,
    // None until it is loaded.
    in_use: ArcSwapOption<Pair>,
    // What was read last, and whether it was refused.
    last: Mutex<Option<(Texts, bool)>>,
    is_failing: AtomicBool,
    failures: AtomicU64,
    told: Seldom,
}

impl Tls {
    /// The TLS of these settings, if they name a certificate. [`Tls::load`] reads it.
    #[must_use]
    pub fn new(config: &TlsConfig) -> Option<Self> {
        config.files()?;
        Some(Self {
            config: config.clone(),
            in_use: ArcSwapOption::empty(),
            last: Mutex::default(),
            is_failing: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            told: Seldom::default(),
        })
    }

    /// Reads the files, once; they are followed from then on.
    ///
    /// # Errors
    /// What is wrong with which file, and how to get it right.
    pub async fn load(&self) -> Result<(), Diagnostic> {
        let Some(files) = self.config.files() else {
            return Ok(());
        };
        let mut found = texts(files).await?;
        while let Err(error) = self.take(files, found.clone()) {
            // They may be about to be replaced, one after the other.
            tokio::time::sleep(REPLACED_WITHIN).await;
            let again = texts(files).await?;
            if again == found {
                return Err(error);
            }
            found = again;
        }
        Ok(())
    }

    /// What the next handshake is made with; none before it is loaded.
    pub(crate) fn server(&self) -> Option<Arc<ServerConfig>> {
        let pair = self.in_use.load();
        pair.as_ref().map(|pair| Arc::clone(&pair.server))
    }

    /// When the certificate in use stops being valid.
    #[must_use]
    pub fn valid_until(&self) -> Option<Timestamp> {
        self.in_use.load().as_ref().map(|pair| pair.valid_until)
    }

    /// Whether the files as they are now could not be loaded.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Handshakes that failed, but for clients that went away.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// A handshake failed; the log has it once a minute.
    pub(crate) fn failed(&self, address: IpAddr, reason: &str) {
        tracing::debug!("a TLS handshake with {address} failed: {reason}");
        self.failures.fetch_add(1, Ordering::Relaxed);
        if let Some(failures) = self.told.count(1) {
            tracing::warn!(
                failures,
                "TLS handshakes failed, the last one with {address}: {reason}"
            );
        }
    }

    /// Follows the files until `stop`. They are looked at `every` so often, and loaded
    /// once nothing has changed for `quiet`: a pair is written in two steps.
    pub(crate) async fn follow(&self, every: Duration, quiet: Duration, stop: CancellationToken) {
        let reload = || async {
            let reloaded = self.reload(quiet).await;
            reloaded
                .inspect_err(|_| self.is_failing.store(true, Ordering::Relaxed))
                .map_err(|error| error.note("the certificate before stays in use"))
        };
        let news = |()| {
            let valid_until = self.valid_until().map(tracing::field::display);
            tracing::info!(valid_until, "reloaded the certificate of `http.tls`");
        };
        follow(every, &stop, UNREADABLE, reload, news).await;
    }

    /// Loads the files if they have changed; none where they have not.
    async fn reload(&self, quiet: Duration) -> Result<Option<()>, Diagnostic> {
        let Some(files) = self.config.files() else {
            return Ok(None);
        };
        let mut found = texts(files).await?;
        while !self.is_known(&found) {
            tokio::time::sleep(quiet).await;
            let again = texts(files).await?;
            if again == found {
                self.take(files, found)?;
                return Ok(Some(()));
            }
            found = again;
        }
        // Readable again, and as good as it was.
        let is_refused = self.last().as_ref().is_some_and(|(_, refused)| *refused);
        self.is_failing.store(is_refused, Ordering::Relaxed);
        Ok(None)
    }

    fn take(&self, files: TlsFiles<'_>, texts: Texts) -> Result<(), Diagnostic> {
        let pair = Pair::new(files, &texts);
        // What was refused is told of once.
        *self.last() = Some((texts, pair.is_err()));
        let pair = pair?;
        if let Some(warning) = pair.warning(files.certificate, Timestamp::now()) {
            tracing::warn!("{warning}");
        }
        self.in_use.store(Some(Arc::new(pair)));
        self.is_failing.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn is_known(&self, texts: &Texts) -> bool {
        let last = self.last();
        last.as_ref().is_some_and(|(last, _)| last == texts)
    }

    fn last(&self) -> MutexGuard<'_, Option<(Texts, bool)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that trusts these authorities, or else those of this machine.
pub(crate) fn client(
    roots: Option<RootCertStore>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let roots = roots.unwrap_or_else(|| {
        let mut roots = RootCertStore::empty();
        // What cannot be read authenticates no server.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots))
}

async fn texts(files: TlsFiles<'_>) -> Result<Texts, Diagnostic> {
    Ok(Texts {
        certificate: text(files.certificate, "certificate").await?,
        key: text(files.key, "key").await?,
        client_ca: match files.client_ca {
            Some(path) => Some(text(path, "client_ca").await?),
            None => None,
        },
    })
}

async fn text(path: &Path, setting: &str) -> Result<Vec<u8>, Diagnostic> {
    let text = apart(path, |path| read(path, FILE_MAX_BYTES)).await;
    text.map_err(|error| unreadable(path, setting, &error))
}

fn unreadable(path: &Path, setting: &str, error: &io::Error) -> Diagnostic {
    Diagnostic::error(UNREADABLE, format!("cannot be read: {error}"))
        .within(path.display().to_string())
        .hint(format!(
            "`http.tls.{setting}` names it: create the file, and let the user of the server read it"
        ))
}
