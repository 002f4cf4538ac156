//! Splits URLs into their parts and adds to their query.

use std::fmt::Write as _;

/// The parts of a URL that a request sets separately.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) secure: bool,
    pub(super) authority: &'a str,
    pub(super) path_with_query: String,
}

impl<'a> Target<'a> {
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(url: &'a str) -> Result<Self, &'static str> {
        const WRONG: &str = "is not a valid http or https URL";
        let (scheme, rest) = url.split_once("://").ok_or(WRONG)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(WRONG),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(
                "a name or password in the URL is not sent: use the header `authorization`",
            );
        }
        let unfit = |b: u8| b <= b' ' || b == 0x7f || b == b'\\';
        if authority.is_empty() || url.bytes().any(unfit) {
            return Err(WRONG);
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            secure,
            authority,
            path_with_query: format!("{slash}{path}"),
        })
    }
}

impl Target<'_> {
    /// Scheme, host and port.
    pub(super) fn origin(&self) -> (bool, String, u16) {
        let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
        let (host, port) = match self.authority.rsplit_once(':') {
            Some((host, port)) if is_port(port) => (host, port),
            _ => (self.authority, ""),
        };
        let default = if self.secure { 443 } else { 80 };
        let port = port.parse().unwrap_or(default);
        (self.secure, host.to_ascii_lowercase(), port)
    }

    /// Resolves `reference` against this URL (RFC 3986, 5.2). The result need not be valid.
    pub(super) fn join(&self, reference: &str) -> String {
        let reference = reference.split('#').next().unwrap_or_default();
        let scheme = if self.secure { "https" } else { "http" };
        if has_scheme(reference) {
            return reference.to_owned();
        }
        if reference.starts_with("//") {
            return format!("{scheme}:{reference}");
        }
        let path = self.path_with_query.split('?').next().unwrap_or_default();
        let (to, query) = match reference.find('?') {
            Some(at) => reference.split_at(at),
            None => (reference, ""),
        };
        let path = match to {
            "" => path.to_owned(),
            to if to.starts_with('/') => without_dots(to),
            to => {
                let folder = &path[..=path.rfind('/').unwrap_or(0)];
                without_dots(&format!("{folder}{to}"))
            }
        };
        let query = match reference {
            "" => &self.path_with_query[path.len()..],
            _ => query,
        };
        format!("{scheme}://{}{path}{query}", self.authority)
    }
}

/// Whether it starts with a scheme such as `https:`.
fn has_scheme(reference: &str) -> bool {
    let end = reference.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    end.is_some_and(|end| end > 0 && reference[end..].starts_with(':'))
}

/// The path with `.` and `..` resolved.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<_> = path.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    kept.pop();
                }
                if at + 1 == segments.len() {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// Appends `name=value` to the query of `url`, percent-encoded.
pub(super) fn add_to_query(url: &mut String, name: &str, value: &str) {
    let fragment = url.find('#').map(|at| url.split_off(at));
    url.push(if url.contains('?') { '&' } else { '?' });
    encode(url, name);
    url.push('=');
    encode(url, value);
    url.push_str(&fragment.unwrap_or_default());
}

fn encode(into: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                into.push(char::from(byte));
            }
            _ => write!(into, "%{byte:02X}").expect("a string takes all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, secure, authority, path_with_query) in [
            ("https://a.example", true, "a.example", "/"),
            (
                "HTTP://a.example:8080?x=1",
                false,
                "a.example:8080",
                "/?x=1",
            ),
            ("http://[::1]:80/a/b?c=/d#e", false, "[::1]:80", "/a/b?c=/d"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!(
                (
                    target.secure,
                    target.authority,
                    target.path_with_query.as_str()
                ),
                (secure, authority, path_with_query)
            );
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in [
            "",
            "a.example",
            "ftp://a.example",
            "http://",
            "http:///path",
            "http://user:pw@a.example",
            "http://a.example/\r\nx: y",
            "http://a.example/a b",
            "http://a.example\\b",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_reference_means_the_url_that_browsers_take_it_for() {
        let target = Target::parse("http://a.example:8080/b/c/d?q").unwrap();
        for (reference, url) in [
            ("https://b.example", "https://b.example"),
            ("//b.example/x", "http://b.example/x"),
            ("/x/./y/../z", "http://a.example:8080/x/z"),
            ("x", "http://a.example:8080/b/c/x"),
            ("./x?y#z", "http://a.example:8080/b/c/x?y"),
            ("../x/..", "http://a.example:8080/b/"),
            ("../../../../x", "http://a.example:8080/x"),
            (".", "http://a.example:8080/b/c/"),
            ("?y", "http://a.example:8080/b/c/d?y"),
            ("", "http://a.example:8080/b/c/d?q"),
            ("#z", "http://a.example:8080/b/c/d?q"),
            ("x:1", "x:1"),
            ("?a:b", "http://a.example:8080/b/c/d?a:b"),
        ] {
            assert_eq!(target.join(reference), url, "{reference}");
        }
    }

    #[test]
    fn a_query_is_encoded_and_stands_before_the_fragment() {
        let mut url = "http://a.example/b#c".to_owned();
        add_to_query(&mut url, "q", "ä &=#");
        add_to_query(&mut url, "n", "1");
        assert_eq!(url, "http://a.example/b?q=%C3%A4%20%26%3D%23&n=1#c");
    }
}
