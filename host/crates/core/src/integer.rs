//! Owns how a whole number in a text from outside is read. `str::parse` takes a
//! leading `+` too; a proxy, or whoever reads the text next, does not.

use std::str::FromStr;

/// Reads ASCII digits, behind a `-` where the type has negative numbers.
#[must_use]
pub fn parse<N: FromStr>(text: &str) -> Option<N> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Splits `host`, `host:port`, or `[::1]:port`. None where the port is not a
/// number up to 65535; an empty one, which RFC 3986 allows, is none.
#[must_use]
pub fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[after_brackets..].rfind(':') {
        None => Some((authority, None)),
        Some(at) => {
            let (host, port) = authority.split_at(after_brackets + at);
            match &port[1..] {
                "" => Some((host, None)),
                port => Some((host, Some(parse(port)?))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_alone() {
        assert_eq!(parse("0042"), Some(42_u64));
        assert_eq!(parse("-7"), Some(-7_i32));
        for text in ["", "-", "+1", " 1", "1 ", "1_0", "0x1", "--1", "-+1", "٣"] {
            assert_eq!(parse::<i64>(text), None, "{text}");
        }
        assert_eq!(parse::<u8>("256"), None);
        assert_eq!(parse::<u8>("-1"), None);
    }

    #[test]
    fn a_port_is_what_follows_the_last_colon_outside_of_brackets() {
        assert_eq!(split_port("a.example"), Some(("a.example", None)));
        assert_eq!(split_port("a.example:"), Some(("a.example", None)));
        assert_eq!(split_port("a.example:80"), Some(("a.example", Some(80))));
        assert_eq!(split_port("[::1]"), Some(("[::1]", None)));
        assert_eq!(split_port("[::1]:8080"), Some(("[::1]", Some(8080))));
        for wrong in ["a:+80", "a:-0", "a:65536", "a:65616", "a:8o", "[::1]:+1"] {
            assert_eq!(split_port(wrong), None, "{wrong}");
        }
    }
}
