//! Owns [`HttpPattern`]: which outgoing requests one line of `[http] allow`
//! lets through. Pure: it knows methods and URLs, not how they are sent.

use std::{fmt, net::IpAddr, str::FromStr};

use pointsman_core::integer::split_port;
use serde::{Deserialize, Serialize};

use super::{address::Reach, path::climbs};

/// `METHOD SCHEME://HOST[:PORT][/PATH]`, such as `GET https://api.example.com/v1/*`.
///
/// - The method is `*` for any.
/// - The scheme is `http` or `https`; without a port, its own is meant.
/// - The host is exact, `*.example.com` for any name below `example.com` (not
///   itself), or `*` for any.
/// - In the path, `*` stands for any characters, `/` too. Without a path, all
///   are meant. The query is not looked at.
///
/// A name is not all: where it leads counts too. `*` and `*.example.com` reach
/// public addresses, an exact name private ones as well, `localhost` this machine,
/// and an address itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpPattern {
    text: String,
    // Upper case; none is any.
    method: Option<String>,
    scheme: String,
    host: Host,
    port: u16,
    // None is any.
    path: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    Exact(String),
    // With the dot: `.example.com`.
    Below(String),
}

/// Why a text is no pattern. Does not repeat it: URLs hold passwords and tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pattern {reason}; expected `METHOD URL`, such as `GET https://api.example.com/v1/*` or `* https://*.example.com`"
)]
pub struct PatternError {
    reason: &'static str,
}

/// What a request asks for, as patterns look at it.
pub(super) struct Target<'a> {
    method: &'a str,
    scheme: &'a str,
    // Lower case.
    host: String,
    port: u16,
    // None where it climbs.
    path: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// None for a URL without scheme or host, for one whose port is not a number,
    /// and for one with a user name: it is not the host, and nothing that we
    /// grant needs one.
    pub(super) fn of(method: &'a http::Method, uri: &'a http::Uri) -> Option<Self> {
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        if authority.as_str().contains('@') {
            return None;
        }
        let (_, port) = split_port(authority.as_str())?;
        Some(Self {
            method: method.as_str(),
            scheme,
            host: authority.host().to_ascii_lowercase(),
            port: port.unwrap_or(default_port(scheme)),
            path: Some(uri.path()).filter(|path| !climbs(path)),
        })
    }

    /// The host: an address of version 6 without its brackets.
    fn host(&self) -> &str {
        let inner = self.host.strip_prefix('[');
        inner
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
    }

    /// Whether the path alone can be granted.
    pub(super) fn has_plain_path(&self) -> bool {
        self.path.is_some()
    }
}

impl FromStr for HttpPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        parse(text).map_err(|reason| PatternError { reason })
    }
}

fn parse(text: &str) -> Result<HttpPattern, &'static str> {
    let (method, url) = text
        .trim()
        .split_once(char::is_whitespace)
        .ok_or("has no method before the URL")?;
    let is_method = |method: &str| method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    if method != "*" && !is_method(method) {
        return Err("begins with no method in upper case");
    }
    let (scheme, rest) = url.trim_start().split_once("://").ok_or("has no scheme")?;
    if !["http", "https"].contains(&scheme) {
        return Err("has a scheme other than `http` and `https`");
    }
    let (authority, path) = match rest.find('/') {
        Some(at) => (&rest[..at], Some(&rest[at..])),
        None => (rest, None),
    };
    if rest.contains(['?', '#', '@']) || rest.contains(char::is_whitespace) {
        return Err("contains a query, a fragment, a user name or a space");
    }
    // A request holds none of these, so that the pattern would never allow any.
    if rest.contains(char::is_control) {
        return Err("contains a control character");
    }
    let (host, port) = split_port(authority).ok_or("has a port that is not a number")?;
    let is_of_hosts = |b: u8| b.is_ascii_alphanumeric() || b"-._*:[]".contains(&b);
    if !host.bytes().all(is_of_hosts) {
        return Err(
            "has a host with other characters than letters, digits, `-`, `_` and dots; names in other scripts are written as `xn--…`",
        );
    }
    let host = match host.to_ascii_lowercase() {
        any if any == "*" => Host::Any,
        host => match host.strip_prefix('*') {
            Some(below) if below.starts_with('.') && below.len() > 1 && !below.contains('*') => {
                Host::Below(below.to_owned())
            }
            None if !host.is_empty() && !host.contains('*') => Host::Exact(host),
            _ => return Err("has `*` in the host other than alone or before the first dot"),
        },
    };
    Ok(HttpPattern {
        text: text.to_owned(),
        method: (method != "*").then(|| method.to_owned()),
        port: port.unwrap_or(default_port(scheme)),
        scheme: scheme.to_owned(),
        host,
        path: path.map(str::to_owned),
    })
}

impl HttpPattern {
    /// Itself, where it names a host.
    pub(super) fn of_a_host(self) -> Result<Self, PatternError> {
        match self.host {
            Host::Any => Err(PatternError {
                reason: "names no host, and a secret is not for all of them",
            }),
            _ => Ok(self),
        }
    }

    /// How far inside the request may go; none where it may not go out.
    pub(super) fn allows(&self, target: &Target<'_>) -> Option<Reach> {
        let host = target.host.as_str();
        let reach = match &self.host {
            Host::Any => Reach::Public,
            Host::Below(below) if host.len() > below.len() && host.ends_with(below) => {
                Reach::Public
            }
            Host::Exact(exact) if *exact == host => match exact.as_str() {
                "localhost" => Reach::Loopback,
                _ if target.host().parse::<IpAddr>().is_ok() => Reach::Any,
                _ => Reach::Private,
            },
            Host::Below(_) | Host::Exact(_) => return None,
        };
        let path = match (&self.path, target.path) {
            (None, _) => true,
            // A server would take `/v1/../admin` for `/admin`.
            (Some(pattern), Some(path)) => glob(pattern, path),
            (Some(_), None) => false,
        };
        let method = self.method.as_deref();
        let allowed = method.is_none_or(|own| own == target.method)
            && self.scheme == target.scheme
            && self.port == target.port
            && path;
        allowed.then_some(reach)
    }
}

impl fmt::Display for HttpPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for HttpPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<HttpPattern> for String {
    fn from(pattern: HttpPattern) -> Self {
        pattern.text
    }
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

/// Whether `text` fits `pattern`, where `*` is any characters. Takes the first
/// place for each part, which is enough without other wildcards.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<_> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests;
