//! Owns what is refused before anything is done for a request: ambiguous
//! framing, names that are not ours, and requests that another site makes a
//! browser send.

use std::{borrow::Cow, net::IpAddr};

use axum::http::{HeaderMap, HeaderName, Uri, Version, header, request, uri::Authority};
use percent_encoding::percent_decode_str;
use pointsman_core::integer::split_port;

use super::problem::Problem;

/// What browsers say of where a request comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whoever takes the first of two reads another request than who takes the last.
const SINGLE: [(HeaderName, &str); 4] = [
    (header::CONTENT_TYPE, "Content-Type"),
    (header::TRANSFER_ENCODING, "Transfer-Encoding"),
    (header::ORIGIN, "Origin"),
    (SEC_FETCH_SITE, "Sec-Fetch-Site"),
];

/// Refuses a request by its head.
pub(super) fn check(head: &request::Parts, hosts: &[String]) -> Result<(), Problem> {
    let host = host(head)?;
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
    let mut sites = head.headers.get_all(SEC_FETCH_SITE).iter();
    if sites.any(|site| site != "same-origin" && site != "none") {
        return Err(Problem::cross_site());
    }
    for origin in head.headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let origin = origin.split_once("://").map(|(_, authority)| authority);
        let is_own = origin.is_some_and(|origin| {
            host.as_ref()
                .is_some_and(|host| origin.eq_ignore_ascii_case(host.as_str()))
        });
        if !is_own {
            return Err(Problem::cross_site());
        }
    }
    for (name, said) in SINGLE {
        if head.headers.get_all(name).iter().nth(1).is_some() {
            let said = format!("it has two `{said}` headers");
            return Err(Problem::invalid_request(&said));
        }
    }
    encoding(&head.headers)
}

/// The one `Host` of a request; HTTP/1.0 may do without.
fn host(head: &request::Parts) -> Result<Option<Authority>, Problem> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return match head.version {
            Version::HTTP_10 | Version::HTTP_09 => Ok(None),
            _ => Err(Problem::invalid_request("it has no `Host` header")),
        };
    };
    if hosts.next().is_some() {
        return Err(Problem::invalid_request("it has two `Host` headers"));
    }
    match Authority::try_from(host.as_bytes()) {
        Ok(authority) if is_host(&authority) => Ok(Some(authority)),
        _ => Err(Problem::invalid_request("its `Host` header is no host")),
    }
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

/// Only bodies as they are: one that is compressed would be taken for something else.
fn encoding(headers: &HeaderMap) -> Result<(), Problem> {
    for encoding in headers.get_all(header::CONTENT_ENCODING) {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            let encoding = String::from_utf8_lossy(encoding.as_bytes());
            return Err(Problem::unsupported_encoding(&encoding));
        }
    }
    for coding in headers.get_all(header::TRANSFER_ENCODING) {
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Problem::unsupported_transfer(&String::from_utf8_lossy(
                coding.as_bytes(),
            )));
        }
    }
    Ok(())
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
