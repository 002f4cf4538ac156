//! Reads the URL of a PostgreSQL server: the options that every provider hands out,
//! told by name where one cannot be taken, and TLS wherever a password could be
//! overheard. Nothing here repeats the URL: it may hold a password.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use pointsman_core::name::nearest;
use pointsman_machine::files;

/// The options that are passed on as they are.
const OPTIONS: [&str; 17] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "channel_binding",
    "load_balance_hosts",
];
/// Those that are read here.
const READ: [&str; 3] = ["sslmode", "sslrootcert", "target_session_attrs"];
/// Options that say nothing that matters here.
const IGNORED: [&str; 3] = ["gssencmode", "sslcompression", "sslsni"];
/// A file of authorities: the bundles of whole systems have 250 KB.
const ROOTS_MAX_BYTES: u64 = 4 << 20;

/// How long making a connection may take: the network, TLS and the password.
/// A server far away takes one second; a host that does not answer is given up
/// before a caller is.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A server, as a URL names it.
#[derive(Clone)]
pub struct Target {
    /// Where it is and how to log in.
    pub config: Config,
    /// TLS with its certificate and name verified, unless there is none.
    pub tls: Option<MakeRustlsConnect>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest holds a password.
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

/// What the settings say of a server, besides its URL.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// `postgres://…`, or a list of `key=value`.
    pub url: &'a str,
    /// Authorities to trust instead of the machine's: a PEM file.
    pub root_certificates: Option<&'a PathBuf>,
    /// How long a call may take.
    pub timeout: Duration,
    /// Whether a server that takes no writes will do.
    pub read_only: bool,
}

/// Why a URL names no server that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlError {
    /// What is wrong with it.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
    /// The option that is not known, if that is what is wrong.
    pub unknown: Option<String>,
}

/// What the URL says of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    /// Nothing.
    Unsaid,
    Disable,
    /// `allow` and `prefer`.
    Prefer,
    Require,
}

fn refused(reason: impl Into<String>, hint: impl Into<String>) -> UrlError {
    UrlError {
        reason: reason.into(),
        hint: hint.into(),
        unknown: None,
    }
}

/// How a URL is written.
const FORM: &str = "postgres://user:password@host:port/database; special characters in a password are percent-encoded";

/// # Errors
/// [`UrlError`]: the option that is wrong, and what to do.
pub fn target(wanted: &Wanted<'_>) -> Result<Target, UrlError> {
    let options = Options::read(wanted.url)?;
    let tls = options.tls()?;
    let roots = options.roots(wanted)?;
    options.check(wanted)?;
    let mut config: Config = options.text.parse().map_err(|error| {
        let mut reason = format!("{error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            reason.push_str(&format!(": {error}"));
            cause = error.source();
        }
        refused(reason, FORM)
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(refused(
            "it names no host",
            "postgres://user:password@host:port/database, or ?host=/run/postgresql for a socket",
        ));
    }
    config.ssl_mode(mode(&config, tls));
    bound(&mut config, wanted);
    let tls = match config.get_ssl_mode() {
        SslMode::Disable => None,
        _ => Some(verified(roots)?),
    };
    Ok(Target { config, tls })
}

/// TLS is required where what is sent leaves the machine, unless the URL says
/// `disable`: to prefer it is to send the password in clear to whoever says that
/// there is none. A socket has none.
fn mode(config: &Config, said: Tls) -> SslMode {
    let hosts = config.get_hosts();
    let sockets = !hosts.is_empty()
        && hosts.iter().all(|host| !matches!(host, Host::Tcp(_)))
        && config.get_hostaddrs().is_empty();
    let here = hosts.iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse()
                    .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }) && config
        .get_hostaddrs()
        .iter()
        .all(|address| address.is_loopback());
    match said {
        _ if sockets => SslMode::Disable,
        Tls::Disable => SslMode::Disable,
        Tls::Unsaid | Tls::Prefer if here => SslMode::Prefer,
        Tls::Unsaid | Tls::Prefer | Tls::Require => SslMode::Require,
    }
}

/// Fills in what the URL leaves open: a connection that is dead without a word
/// is noticed by the system within half a minute.
fn bound(config: &mut Config, wanted: &Wanted<'_>) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_MAX);
    }
    if config.get_application_name().is_none() {
        config.application_name("pointsman");
    }
    // The driver's default is the system's, of two hours.
    if config.get_keepalives_idle() >= Duration::from_secs(7200) {
        config.keepalives_idle(Duration::from_secs(10));
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(Duration::from_secs(5));
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(3);
    }
    if config.get_tcp_user_timeout().is_none() {
        // Milliseconds in 32 bits: past them the system refuses the connection.
        config.tcp_user_timeout(wanted.timeout.min(Duration::from_millis(i32::MAX as u64)));
    }
    // With one server its refusal says more; of several, the one that takes writes is looked for.
    let several = config.get_hosts().len().max(config.get_hostaddrs().len()) > 1;
    if several && !wanted.read_only {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
}

/// TLS with the server's certificate and name verified.
fn verified(roots: Option<PathBuf>) -> Result<MakeRustlsConnect, UrlError> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(path) => {
            let failed = |reason: String| {
                refused(
                    format!(
                        "`{}`: no certificates in PEM form: {reason}",
                        path.display()
                    ),
                    "name a file with the certificate of the authority that signed the server's",
                )
            };
            let text = files::read(&path, ROOTS_MAX_BYTES).map_err(|e| failed(e.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|e| failed(e.to_string()))?;
                store.add(certificate).map_err(|e| failed(e.to_string()))?;
            }
            if store.is_empty() {
                return Err(failed("the file contains none".to_owned()));
            }
        }
        // Certificates of the machine that cannot be read authenticate no server; that is all.
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(format!("TLS: {error}"), "report it"))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// The options of a URL, or of a text `key=value …`, and the rest of it.
struct Options {
    /// What the driver gets: all but the options taken out.
    text: String,
    /// Decoded, in their order: of those left in `text`, only the names matter.
    options: Vec<(String, String)>,
}

impl Options {
    fn read(url: &str) -> Result<Self, UrlError> {
        let url = url.trim();
        let scheme = ["postgres://", "postgresql://"];
        if scheme.iter().any(|scheme| url.starts_with(scheme)) {
            return Ok(Self::of_url(url));
        }
        if url.contains("://") {
            return Err(refused(
                "a URL of PostgreSQL begins with `postgres://`",
                FORM,
            ));
        }
        Self::of_words(url)
    }

    fn of_url(url: &str) -> Self {
        // Credentials end at the first `@`, as for the driver.
        let after = url.find('@').map_or(0, |at| at + 1);
        let Some(query) = url[after..].find('?').map(|at| after + at) else {
            return Self {
                text: url.to_owned(),
                options: Vec::new(),
            };
        };
        let mut text = url[..query].to_owned();
        let mut options = Vec::new();
        for pair in url[query + 1..].split('&').filter(|pair| !pair.is_empty()) {
            // In a query of PostgreSQL's, `+` is itself.
            let plain = pair.replace('+', "%2B");
            let (key, value) = form_urlencoded::parse(plain.as_bytes())
                .next()
                .unwrap_or_default();
            if passed_on(&key) {
                text.push(if text.len() == query { '?' } else { '&' });
                text.push_str(pair);
            }
            options.push((key.into_owned(), value.into_owned()));
        }
        Self { text, options }
    }

    /// libpq's other form: `key=value` or `key='value'`, with `\` before a quote.
    fn of_words(words: &str) -> Result<Self, UrlError> {
        let (mut text, mut options) = (String::new(), Vec::new());
        let mut rest = words.chars().peekable();
        loop {
            while rest.next_if(|c| c.is_whitespace()).is_some() {}
            if rest.peek().is_none() {
                return Ok(Self { text, options });
            }
            let mut key = String::new();
            while let Some(c) = rest.next_if(|c| *c != '=' && !c.is_whitespace()) {
                key.push(c);
            }
            while rest.next_if(|c| c.is_whitespace()).is_some() {}
            if rest.next() != Some('=') {
                return Err(refused(
                    "it is neither a URL `postgres://…` nor a list of `key=value`",
                    FORM,
                ));
            }
            while rest.next_if(|c| c.is_whitespace()).is_some() {}
            let quote = rest.next_if_eq(&'\'').is_some();
            let mut value = String::new();
            loop {
                match rest.next() {
                    Some('\'') if quote => break,
                    None if quote => {
                        return Err(refused("a quote is not closed", "put `'` at its end"));
                    }
                    None => break,
                    Some(c) if !quote && c.is_whitespace() => break,
                    Some('\\') => value.extend(rest.next()),
                    Some(c) => value.push(c),
                }
            }
            if passed_on(&key) {
                let value = value.replace('\\', "\\\\").replace('\'', "\\'");
                text.push_str(&format!("{key}='{value}' "));
            }
            options.push((key, value));
        }
    }

    /// The last value of an option.
    fn value(&self, key: &str) -> Option<&str> {
        let found = self.options.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    fn tls(&self) -> Result<Tls, UrlError> {
        Ok(match self.value("sslmode") {
            None => Tls::Unsaid,
            Some("disable") => Tls::Disable,
            Some("allow" | "prefer") => Tls::Prefer,
            // The certificate and its name are verified in each of them.
            Some("require" | "verify-ca" | "verify-full") => Tls::Require,
            Some(_) => {
                return Err(refused(
                    "unknown value of `sslmode`",
                    "`disable`, `prefer`, `require` or `verify-full`",
                ));
            }
        })
    }

    /// The file of authorities to trust.
    fn roots(&self, wanted: &Wanted<'_>) -> Result<Option<PathBuf>, UrlError> {
        let said = match self.value("sslrootcert") {
            None | Some("system" | "") => None,
            Some(path) => Some(PathBuf::from(path)),
        };
        match (said, wanted.root_certificates) {
            (Some(said), Some(set)) if said != *set => Err(refused(
                "`sslrootcert` and the setting `root_certificates` name two files",
                "leave one out",
            )),
            (said, set) => Ok(said.or_else(|| set.cloned())),
        }
    }

    fn check(&self, wanted: &Wanted<'_>) -> Result<(), UrlError> {
        let known = |key: &str| passed_on(key) || READ.contains(&key) || IGNORED.contains(&key);
        if let Some((key, _)) = self.options.iter().find(|(key, _)| !known(key)) {
            return Err(unknown(key));
        }
        match self.value("target_session_attrs") {
            None | Some("any" | "read-write" | "primary") => Ok(()),
            Some(_) if wanted.read_only => Ok(()),
            Some(_) => Err(refused(
                "`target_session_attrs`: a server that takes writes is needed",
                "leave it out, or use `read-write`",
            )),
        }
    }
}

/// Whether the driver gets the option.
fn passed_on(key: &str) -> bool {
    OPTIONS.contains(&key)
}

/// An option that no one here knows, with the setting that it likely means.
fn unknown(key: &str) -> UrlError {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if key.is_empty() || key.len() > 40 || !key.chars().all(plain) {
        // What stands there may be a part of a password.
        return refused(
            "expected a list of options after `?`",
            "`?`, `#`, `/`, `@` and `%` in a password are percent-encoded: `?` is `%3F`",
        );
    }
    let hint = match key {
        "ssl" | "tls" => "`sslmode=require`".to_owned(),
        "sslcert" | "sslkey" | "sslpassword" => {
            "the host proves itself with a password, not with a certificate".to_owned()
        }
        key => match nearest(key, OPTIONS.into_iter().chain(READ)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "leave it out".to_owned(),
        },
    };
    UrlError {
        unknown: Some(key.to_owned()),
        ..refused(format!("unknown option `{key}`"), hint)
    }
}

#[cfg(test)]
mod tests;
