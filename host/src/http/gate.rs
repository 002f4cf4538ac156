//! Owns what is refused before anything is done for a request: ambiguous
//! framing, names that are not ours, and requests that another site makes a
//! browser send.

use std::{borrow::Cow, net::IpAddr};

use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Uri, Version, header, request, uri::Authority,
};
use percent_encoding::percent_decode_str;
use pointsman_core::integer::split_port;

use super::problem::Problem;

/// What browsers say of where a request comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// As plain HTTP.
    Clear,
    Tls,
    /// As plain HTTP, to a port that speaks TLS.
    ClearOnTls,
}

/// The headers that decide here, of which a request has one each: whoever takes
/// the first of two reads another request than who takes the last.
#[derive(Default)]
struct Deciding<'a> {
    host: Option<&'a HeaderValue>,
    origin: Option<&'a HeaderValue>,
    media: Option<&'a HeaderValue>,
    transfer: Option<&'a HeaderValue>,
    // Content codings may come in several headers: the first that is one.
    coding: Option<&'a HeaderValue>,
    // Any `Sec-Fetch-Site` says that another site makes the browser ask.
    is_cross_site: bool,
    has_site: bool,
    // A header that is there twice.
    twice: Option<&'static str>,
}

impl<'a> Deciding<'a> {
    /// Finds them in one pass; most requests have few headers, and none of these twice.
    fn find(headers: &'a HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let (is_again, said) = match *name {
                header::HOST => (found.host.replace(value).is_some(), "Host"),
                header::ORIGIN => (found.origin.replace(value).is_some(), "Origin"),
                header::CONTENT_TYPE => (found.media.replace(value).is_some(), "Content-Type"),
                header::TRANSFER_ENCODING => {
                    (found.transfer.replace(value).is_some(), "Transfer-Encoding")
                }
                header::CONTENT_ENCODING => {
                    if !value.as_bytes().eq_ignore_ascii_case(b"identity") {
                        found.coding.get_or_insert(value);
                    }
                    continue;
                }
                ref other if *other == SEC_FETCH_SITE => {
                    found.is_cross_site |= value != "same-origin" && value != "none";
                    (
                        std::mem::replace(&mut found.has_site, true),
                        "Sec-Fetch-Site",
                    )
                }
                _ => continue,
            };
            if is_again {
                found.twice.get_or_insert(said);
            }
        }
        found
    }

    /// The host that is asked for; HTTP/1.0 may do without.
    fn host(&self, version: Version) -> Result<Option<Authority>, Problem> {
        let Some(host) = self.host else {
            return match version {
                Version::HTTP_10 | Version::HTTP_09 => Ok(None),
                _ => Err(Problem::invalid_request("missing `Host` header")),
            };
        };
        match Authority::try_from(host.as_bytes()) {
            Ok(authority) if is_host(&authority) => Ok(Some(authority)),
            _ => Err(Problem::invalid_request("its `Host` header is not a host")),
        }
    }

    /// Only bodies as they are: one that is compressed would be taken for something else.
    fn encoding(&self) -> Result<(), Problem> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        if let Some(coding) = self.coding {
            return Err(Problem::unsupported_encoding(&text(coding)));
        }
        match self.transfer {
            Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
                Err(Problem::unsupported_transfer(&text(coding)))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a request by its head.
pub(super) fn check(head: &request::Parts, over: Over, hosts: &[String]) -> Result<(), Problem> {
    if over == Over::ClearOnTls {
        return Err(Problem::tls_required());
    }
    let deciding = Deciding::find(&head.headers);
    let host = match head.uri.authority() {
        // `:authority`, beside which a `Host` says nothing else or is a trap.
        Some(authority) if head.version == Version::HTTP_2 => {
            let is_same = |host: &HeaderValue| {
                host.as_bytes()
                    .eq_ignore_ascii_case(authority.as_str().as_bytes())
            };
            if deciding.host.is_some_and(|host| !is_same(host)) {
                let said = "its `Host` header is not its `:authority`";
                return Err(Problem::invalid_request(said));
            }
            Some(authority.clone())
        }
        _ => deciding.host(head.version)?,
    };
    if head
        .uri
        .authority()
        .is_some_and(|authority| !is_host(authority))
    {
        return Err(Problem::invalid_request(
            "its target is not a host and port",
        ));
    }
    for authority in host.iter().chain(head.uri.authority()) {
        if !is_ours(authority, hosts) {
            return Err(Problem::unknown_host(authority.host()));
        }
    }
    if deciding.is_cross_site {
        return Err(Problem::cross_site());
    }
    if let Some(origin) = deciding.origin {
        let origin = origin.to_str().unwrap_or_default();
        let origin = origin.split_once("://");
        // Without TLS here, a proxy in front may speak it.
        let origin = origin.filter(|(scheme, _)| over != Over::Tls || *scheme == "https");
        let origin = origin.map(|(_, authority)| authority);
        let is_own = origin
            .zip(host.as_ref())
            .is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host.as_str()));
        if !is_own {
            return Err(Problem::cross_site());
        }
    }
    // Over HTTP/1.1 the parser refuses those that differ.
    let lengths = head.headers.get_all(header::CONTENT_LENGTH);
    let has_lengths = head.version == Version::HTTP_2 && lengths.iter().nth(1).is_some();
    let twice = deciding.twice.or(has_lengths.then_some("Content-Length"));
    if let Some(said) = twice {
        let said = format!("it has two `{said}` headers");
        return Err(Problem::invalid_request(&said));
    }
    deciding.encoding()
}

/// A host, and a port that is a number: the parser takes any text behind the colon.
fn is_host(authority: &Authority) -> bool {
    !authority.as_str().contains('@') && split_port(authority.as_str()).is_some()
}

/// An address cannot be made to lead elsewhere by whoever owns a name.
fn is_ours(authority: &Authority, hosts: &[String]) -> bool {
    let host = authority.host();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.strip_suffix('.').unwrap_or(host);
    literal.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|host| name.eq_ignore_ascii_case(host))
}

/// The path as the routes know it: without a slash at its end.
///
/// # Errors
/// Where it is not UTF-8 once it is decoded.
pub(super) fn path(uri: &mut Uri) -> Result<(), Problem> {
    let path = uri.path();
    if percent_decode_str(path).decode_utf8().is_err() {
        return Err(Problem::invalid_path());
    }
    let Some(short) = path.strip_suffix('/').filter(|short| !short.is_empty()) else {
        return Ok(());
    };
    let target = match uri.query() {
        Some(query) => Cow::Owned(format!("{short}?{query}")),
        None => Cow::Borrowed(short),
    };
    // What was part of a URI is one.
    if let Ok(target) = Uri::try_from(&*target) {
        *uri = target;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_localhost_or_one_of_the_settings() {
        let hosts = ["pointsman.example.com".to_owned()];
        let is_ours = |host: &'static str| is_ours(&Authority::from_static(host), &hosts);
        for ours in [
            "127.0.0.1",
            "10.1.2.3:3000",
            "[::1]:3000",
            "localhost",
            "LOCALHOST:3000",
            "localhost.",
            "Pointsman.example.com:80",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for foreign in [
            "attacker.example",
            "127.0.0.1.attacker.example",
            "localhost.attacker.example:3000",
            "x.pointsman.example.com",
            "127.1",
            "2130706433",
        ] {
            assert!(!is_ours(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_port_is_a_number() {
        for host in ["127.0.0.1:4490", "localhost:", "[::1]:65535"] {
            assert!(is_host(&Authority::from_static(host)), "{host}");
        }
        for host in [
            "127.0.0.1:+4490",
            "localhost:99999",
            "[::1]:-1",
            "a@localhost",
            "localhost:a",
        ] {
            assert!(!is_host(&Authority::from_static(host)), "{host}");
        }
    }

    #[test]
    fn a_path_is_one_slash_at_its_end_away_from_its_route() {
        let routed = |text: &str| {
            let mut uri = Uri::try_from(text).unwrap();
            path(&mut uri).ok().map(|()| uri.to_string())
        };
        for (asked, wanted) in [
            ("/healthz/", Some("/healthz")),
            ("/healthz", Some("/healthz")),
            ("/", Some("/")),
            ("/commands/?limit=1", Some("/commands?limit=1")),
            ("/a%c3%a4", Some("/a%c3%a4")),
            ("/a%ff", None),
            ("/a%c3/%a4", None),
            ("/100%", Some("/100%")),
            ("/a?key=%ff", Some("/a?key=%ff")),
        ] {
            assert_eq!(routed(asked).as_deref(), wanted, "{asked}");
        }
    }
}
