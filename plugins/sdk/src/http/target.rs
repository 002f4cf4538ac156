//! Owns how a URL is taken apart, and put together with a query.

use std::fmt::Write as _;

/// The parts of a URL that a request names one by one.
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
    fn a_query_is_encoded_and_stands_before_the_fragment() {
        let mut url = "http://a.example/b#c".to_owned();
        add_to_query(&mut url, "q", "ä &=#");
        add_to_query(&mut url, "n", "1");
        assert_eq!(url, "http://a.example/b?q=%C3%A4%20%26%3D%23&n=1#c");
    }
}
