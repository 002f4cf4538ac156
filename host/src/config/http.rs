//! Owns the settings of the HTTP server: `[http]`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use pointsman_core::settings::{SettingsError, duration, lasting, optional};

use super::TlsConfig;
use crate::access::Token;

/// hyper's smallest buffer.
const HEADER_MIN_BYTES: usize = 8 << 10;

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// The address to listen on; port 0 takes a free one.
    #[serde(deserialize_with = "listen")]
    pub listen: SocketAddr,
    /// The names under which clients reach the host, besides IP addresses and
    /// `localhost`: what asks for another one is refused, so that a web page
    /// whose name is made to lead here reads nothing.
    pub hosts: Vec<String>,
    /// The tokens of which a request needs one, as soon as there is one.
    pub tokens: Vec<Token>,
    /// A file with more of them, which is followed while the host runs.
    #[serde(with = "optional::text")]
    pub tokens_file: Option<PathBuf>,
    /// Serves off loopback without tokens: something else decides who reaches the host.
    pub allow_unauthenticated: bool,
    /// The certificate to speak TLS with.
    pub tls: TlsConfig,
    /// Another address, for `/metrics` and the probes alone: plain HTTP, without a token.
    #[serde(
        serialize_with = "optional::text::serialize",
        deserialize_with = "optional_listen"
    )]
    pub metrics_listen: Option<SocketAddr>,
    /// Cancels a command's handlers when its client hangs up. Without it they finish.
    pub cancel_on_disconnect: bool,
    /// Connections at once. Without, half of the descriptors, at most 4,096.
    #[serde(with = "optional::auto")]
    pub connections_max: Option<u64>,
    /// Connections of one address at once. Without, half of `connections_max`.
    #[serde(with = "optional::auto")]
    pub connections_per_address_max: Option<u64>,
    /// Bytes of a request's line and headers.
    pub header_max_bytes: usize,
    /// How long they may take to arrive.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// How long a body may take, and a second more for each 8 KiB of it.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// How long a client may take to read any more of an answer.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// How long a connection may be open without a request.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Bytes of request bodies in flight. Without, a sixteenth of the memory.
    #[serde(with = "optional::auto")]
    pub bodies_max_bytes: Option<u64>,
    /// Bytes of answers in flight. Without, a sixteenth of the memory.
    #[serde(with = "optional::auto")]
    pub answers_max_bytes: Option<u64>,
    /// Clients at once that wait for the end of a command or follow it. Without,
    /// half of `connections_max`.
    #[serde(with = "optional::auto")]
    pub listeners_max: Option<u64>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            hosts: Vec::new(),
            tokens: Vec::new(),
            tokens_file: None,
            allow_unauthenticated: false,
            tls: TlsConfig::default(),
            metrics_listen: None,
            cancel_on_disconnect: false,
            connections_max: None,
            connections_per_address_max: None,
            // Browsers' cookies and traces together stay below half of it.
            header_max_bytes: 64 << 10,
            // Heads fit into a few packets: it is two retransmissions of a bad line.
            header_timeout: Duration::from_secs(10),
            // Apache's figure.
            body_timeout: Duration::from_secs(20),
            write_timeout: Duration::from_secs(30),
            // Longer than the 60 s that load balancers keep theirs, so that they
            // close first and send nothing into a closed one.
            idle_timeout: Duration::from_secs(75),
            bodies_max_bytes: None,
            answers_max_bytes: None,
            listeners_max: None,
        }
    }
}

impl HttpConfig {
    /// Refuses what lets nothing through.
    pub(super) fn check(&self, origin: &str) -> Result<(), SettingsError> {
        lasting(
            origin,
            &[
                ("http.header_timeout", self.header_timeout),
                ("http.body_timeout", self.body_timeout),
                ("http.write_timeout", self.write_timeout),
                ("http.idle_timeout", self.idle_timeout),
            ],
        )?;
        let wrong = |key: &str, found: String, expected: String| {
            Err(SettingsError::WrongValue {
                origin: origin.into(),
                key: key.into(),
                found,
                expected,
            })
        };
        if self.header_max_bytes < HEADER_MIN_BYTES {
            let expected = format!("at least {HEADER_MIN_BYTES}");
            let found = self.header_max_bytes.to_string();
            return wrong("http.header_max_bytes", found, expected);
        }
        let is_name = |name: &String| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
        };
        if let Some(name) = self.hosts.iter().find(|name| !is_name(name)) {
            let expected = "names such as `pointsman.example.com`, without scheme and port";
            return wrong("http.hosts", format!("`{name}`"), expected.into());
        }
        for (at, token) in self.tokens.iter().enumerate() {
            if self.tokens[..at]
                .iter()
                .any(|other| other.name == token.name)
            {
                let found = format!("a second token `{}`", token.name);
                return wrong(&format!("http.tokens[{at}]"), found, "another name".into());
            }
        }
        if self
            .metrics_listen
            .is_some_and(|metrics| metrics == self.listen && metrics.port() != 0)
        {
            let expected = "another address or port than `http.listen`";
            return wrong(
                "http.metrics_listen",
                format!("`{}`", self.listen),
                expected.into(),
            );
        }
        self.tls.check(origin)
    }

    /// Whether whoever reaches the host may do everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.tokens_file.is_none()
    }
}

/// An address and port; `localhost` stands for 127.0.0.1. A port alone is
/// refused, since programs do not agree on whether it opens all interfaces.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| {
        format!("`{text}` is not an IP address with a port: write `127.0.0.1:3000` for this machine alone, `0.0.0.0:3000` or `[::]:3000` for all interfaces")
    })
}

fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_listen(&text).map_err(D::Error::custom)
}

fn optional_listen<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text: Option<String> = optional::text::deserialize(deserializer)?;
    let address = text.map(|text| parse_listen(&text)).transpose();
    address.map_err(D::Error::custom)
}
