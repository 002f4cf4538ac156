//! Whether a server may take the path of a URL for one above it. Servers differ
//! in what they decode, how often, and what they cut off: what any of them might
//! climb with counts, in one pass over the path.

/// Whether a path has a segment that some server takes for `.` or `..`, or
/// bytes that some server takes for other ones.
pub(super) fn climbs(path: &str) -> bool {
    // What no UTF-8 text has are the overlong forms of `.` and `/`, such as `%c0%ae`.
    let Ok(plain) = String::from_utf8(decoded(path)) else {
        return true;
    };
    let mut segment = Segment::Empty;
    for c in plain.chars() {
        segment = match c {
            // Ends the path where it is a C string.
            c if c.is_control() => return true,
            // With the forms that normalisation makes these of.
            '/' | '\\' | '\u{2044}' | '\u{2215}' | '\u{ff0f}' | '\u{ff3c}' | '\u{fe68}' => {
                if segment == Segment::Dots {
                    return true;
                }
                Segment::Empty
            }
            // Parameters, a query or a fragment, which are cut off.
            ';' | '?' | '#' | '\u{37e}' | '\u{ff1b}' | '\u{ff1f}' | '\u{ff03}' => match segment {
                Segment::Dots => return true,
                _ => Segment::Name,
            },
            '.' | '\u{2024}' | '\u{2025}' | '\u{2026}' | '\u{3002}' | '\u{fe52}' | '\u{ff0e}'
            | '\u{ff61}' => match segment {
                Segment::Name => Segment::Name,
                _ => Segment::Dots,
            },
            // Cut off at either end of a file's name by some systems.
            c if c.is_whitespace() => segment,
            _ => Segment::Name,
        };
    }
    segment == Segment::Dots
}

/// What a segment has been so far, white space aside.
#[derive(Clone, Copy, PartialEq)]
enum Segment {
    Empty,
    Dots,
    Name,
}

/// The bytes of `path` without any escape, however often it was escaped. What
/// one gives may end another one (`%2%65`), and only at the end of what is there.
fn decoded(path: &str) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        plain.push(byte);
        while let Some((escape, byte)) = escape_at_end(&plain) {
            plain.truncate(plain.len() - escape);
            plain.push(byte);
        }
    }
    plain
}

/// The length of `%2e` or `%u002e` at the end, and what it stands for.
fn escape_at_end(plain: &[u8]) -> Option<(usize, u8)> {
    if let Some(&[b'%', high, low]) = plain.last_chunk() {
        return Some((3, hex(high)? << 4 | hex(low)?));
    }
    if let Some(&[b'%', b'u' | b'U', b'0', b'0', high, low]) = plain.last_chunk() {
        return Some((6, hex(high)? << 4 | hex(low)?));
    }
    None
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: what is escaped is replaced until nothing changes.
    fn by_definition(path: &str) -> bool {
        let mut plain = path.to_ascii_lowercase();
        loop {
            let next = plain
                .replace("%25", "%")
                .replace("%2e", ".")
                .replace("%2f", "/")
                .replace("%5c", "/")
                .replace('\\', "/");
            if next == plain {
                break;
            }
            plain = next;
        }
        let mut segments = plain.split('/').map(|segment| segment.split(';').next());
        segments.any(|segment| matches!(segment, Some("." | "..")))
    }

    /// Escapes replaced one at a time, anywhere, until none is left.
    fn decoded_by_definition(path: &str) -> Vec<u8> {
        let mut plain = path.as_bytes().to_vec();
        while let Some((at, (escape, byte))) =
            (0..=plain.len()).find_map(|end| Some((end, escape_at_end(&plain[..end])?)))
        {
            plain.splice(at - escape..at, [byte]);
        }
        plain
    }

    const PARTS: [&str; 30] = [
        "%", "2", "5", "e", "E", "f", "F", "c", "C", "/", "\\", ".", "..", ";", "a", "%25", "%2e",
        "%2F", "%5c", "%2525", "%252e", "%65", "%c0", "%ae", "%00", "%20", "u", "0", "%3b", "%u00",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn one_pass_decodes_what_many_would(
            parts in proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..14),
        ) {
            let path = format!("/{}", parts.concat());
            prop_assert_eq!(decoded(&path), decoded_by_definition(&path));
        }

        #[test]
        fn what_climbs_by_definition_climbs(
            parts in proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..14),
        ) {
            let path = format!("/{}", parts.concat());
            prop_assert!(climbs(&path) || !by_definition(&path), "{path}");
        }

        #[test]
        fn names_without_dots_alone_do_not_climb(path in "(/[a-z0-9 ._~é-]*[a-z0-9é])*/?") {
            prop_assert!(!climbs(&path), "{path}");
        }
    }

    /// Where servers of several kinds take `path` to lead: each decodes so often,
    /// takes a backslash for a slash or not, cuts parameters off or not, ends a
    /// path at a NUL or not, and trims the ends of names or not.
    fn served(path: &str) -> impl Iterator<Item = Vec<String>> {
        (0..48).map(move |kind: u32| {
            let mut plain = path.as_bytes().to_vec();
            for _ in 0..kind / 16 {
                let mut next = Vec::new();
                for byte in plain {
                    next.push(byte);
                    if let Some(&[b'%', high, low]) = next.last_chunk()
                        && let (Some(high), Some(low)) = (hex(high), hex(low))
                    {
                        next.truncate(next.len() - 3);
                        // Not looked at again in this round.
                        next.push(high << 4 | low);
                    }
                }
                plain = next;
            }
            let mut text = String::from_utf8_lossy(&plain).into_owned();
            if kind & 1 > 0 {
                text = text.replace('\\', "/");
            }
            if kind & 2 > 0 {
                text.truncate(text.find('\0').unwrap_or(text.len()));
            }
            let mut segments = Vec::new();
            for mut segment in text.split('/').skip(1) {
                if kind & 4 > 0 {
                    segment = segment.split(';').next().unwrap_or_default();
                }
                if kind & 8 > 0 {
                    segment = segment.trim();
                }
                match segment {
                    "." => {}
                    ".." => drop(segments.pop()),
                    name => segments.push(name.to_owned()),
                }
            }
            segments
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn no_server_leaves_the_folder_with_a_path_that_does_not_climb(
            parts in proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..10),
        ) {
            let path = format!("/v1/{}", parts.concat());
            if !climbs(&path) {
                for segments in served(&path) {
                    prop_assert_eq!(segments.first().map(String::as_str), Some("v1"), "{}", path);
                }
            }
        }
    }

    #[test]
    fn what_some_server_climbs_with_climbs() {
        for path in [
            "/v1/..",
            "/v1/../x",
            "/v1/./x",
            "/v1/%2E%2e/x",
            "/v1/..%2fx",
            "/v1/..%5Cx",
            "/v1/..\\x",
            "/v1/%252e%252e/x",
            "/v1/..;x/y",
            "/v1/..%3b/x",
            "/v1/..%3Bjsessionid=1/x",
            "/v1/..%00/x",
            "/v1/x%00/y",
            "/v1/..%20/x",
            "/v1/%20../x",
            "/v1/.%20./x",
            "/v1/%2%65%2%65/x",
            "/v1/%c0%ae%c0%ae/x",
            "/v1/..%c0%afx",
            "/v1/%e0%80%ae./x",
            "/v1/%f0%80%80%ae./x",
            "/v1/%u002e%u002e/x",
            "/v1/..%09/x",
            "/v1/..%0d%0a/x",
            "/v1/..%7f/x",
            "/v1/.../x",
            "/v1/..%3fx",
            "/v1/..%23x",
            "/v1/%ef%bc%8e%ef%bc%8e/x",
            "/v1/..%ef%bc%8fx",
            "/v1/%ff/x",
        ] {
            assert!(climbs(path), "{path}");
        }
        for path in [
            "",
            "/",
            "/v1/a",
            "/v1/a.b",
            "/v1/.well-known/x",
            "/v1/a..b",
            "/v1/..a",
            "/v1/a../x",
            "/v1/my%20file.txt",
            "/v1/100%25",
            "/v1/caf%C3%A9",
            "/v1//x",
            "/v1/a;b=../c",
            "/v1/%zz",
        ] {
            assert!(!climbs(path), "{path}");
        }
    }

    #[test]
    fn the_longest_url_takes_one_pass() {
        // By the definition this takes 2,000,000,000 steps: minutes in this build.
        let path = format!("/%{}", "25".repeat(32_000));
        assert!(!climbs(&path));
        assert!(climbs(&format!("{path}2e/x")));
    }
}
