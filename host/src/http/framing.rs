//! Owns one look at the heads in the bytes of a connection: whether one has both
//! a `Content-Length` and a `Transfer-Encoding`. The parser takes the first away
//! then, and a proxy that goes by it would see other requests than we do.

use pointsman_core::integer;

/// Long enough for both names, and for a length with some zeros before it.
const LINE_BYTES: usize = 64;

/// Follows a connection from head to head, however its bytes come in pieces.
#[derive(Debug)]
pub(super) struct Framing {
    line: [u8; LINE_BYTES],
    // Bytes of the line so far, at most those that are kept.
    length: usize,
    has_lines: bool,
    content_length: Option<u64>,
    has_encoding: bool,
    // Of a body, before the next head.
    skipped: u64,
    heads: u64,
    // No request is read behind the last head: the connection closes.
    is_over: bool,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self {
            line: [0; LINE_BYTES],
            length: 0,
            has_lines: false,
            content_length: None,
            has_encoding: false,
            skipped: 0,
            heads: 0,
            is_over: false,
        }
    }

    /// Looks at more bytes. Of a head that can be read in two ways it tells how
    /// many came before.
    pub(super) fn look(&mut self, mut bytes: &[u8]) -> Option<u64> {
        while !self.is_over && !bytes.is_empty() {
            if self.skipped > 0 {
                let length =
                    usize::try_from(self.skipped).map_or(bytes.len(), |it| it.min(bytes.len()));
                self.skipped -= length as u64;
                bytes = &bytes[length..];
                continue;
            }
            // The parser takes `\r` away too: a line ends here.
            let end = memchr::memchr(b'\n', bytes);
            self.keep(&bytes[..end.unwrap_or(bytes.len())]);
            let Some(end) = end else { break };
            bytes = &bytes[end + 1..];
            if !self.end_line() {
                self.is_over = true;
                return Some(self.heads);
            }
        }
        None
    }

    /// Keeps the beginning of a line.
    fn keep(&mut self, part: &[u8]) {
        for byte in part {
            if self.length == LINE_BYTES {
                break;
            }
            if *byte != b'\r' {
                self.line[self.length] = byte.to_ascii_lowercase();
                self.length += 1;
            }
        }
    }

    /// Says whether the head is clear so far.
    fn end_line(&mut self) -> bool {
        let line = &self.line[..std::mem::take(&mut self.length)];
        if line.is_empty() {
            // Empty lines before a head are skipped.
            if self.has_lines {
                self.end_head();
            }
            return true;
        }
        self.has_lines = true;
        self.has_encoding |= line.starts_with(b"transfer-encoding:");
        if let Some(value) = line.strip_prefix(b"content-length:") {
            let value = std::str::from_utf8(value.trim_ascii()).unwrap_or_default();
            let length = (line.len() < LINE_BYTES).then(|| integer::parse::<u64>(value));
            let length = length.flatten();
            // One that is not a number, or two: the parser refuses these too.
            if length.is_none() || self.content_length.is_some_and(|it| Some(it) != length) {
                return false;
            }
            self.content_length = length;
        }
        self.content_length.is_none() || !self.has_encoding
    }

    fn end_head(&mut self) {
        self.heads += 1;
        self.has_lines = false;
        self.skipped = self.content_length.take().unwrap_or(0);
        // Where the chunks end is known to the parser alone.
        self.is_over = self.has_encoding;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of these bytes, at once and one by one.
    fn told(bytes: &str) -> Option<u64> {
        let at_once = Framing::new().look(bytes.as_bytes());
        let mut framing = Framing::new();
        let one_by_one = bytes.bytes().find_map(|byte| framing.look(&[byte]));
        assert_eq!(at_once, one_by_one, "{bytes}");
        at_once
    }

    const BOTH: &str =
        "POST / HTTP/1.1\r\nCONTENT-Length: 3\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n";

    #[test]
    fn a_head_with_both_lengths_is_ambiguous_however_it_comes() {
        assert_eq!(told(BOTH), Some(0));
        assert_eq!(told(&format!("\r\n\n{BOTH}")), Some(0));
        for clear in [
            "POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /?content-length: HTTP/1.1\r\nX-Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\ncontent-length: 1\nContent-Length:001 \n\n.",
        ] {
            assert_eq!(told(clear), None, "{clear}");
        }
    }

    #[test]
    fn a_head_behind_others_and_their_bodies_is_looked_at() {
        for before in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\n\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n\n\n\n\n\n",
            "POST / HTTP/1.1\r\ncontent-length:\t005 \r\n\r\nGET /\r\n",
        ] {
            assert_eq!(told(&format!("{before}{BOTH}")), Some(1), "{before}");
            assert_eq!(
                told(&format!("{before}{before}{BOTH}")),
                Some(2),
                "{before}"
            );
        }
        // Nothing behind chunks is answered.
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(told(&format!("{chunked}{BOTH}")), None);
    }

    #[test]
    fn a_length_that_is_not_understood_is_ambiguous() {
        let long = format!("{:>60}", 3);
        for length in ["", "+3", "0x3", "3, 3", "99999999999999999999", &long] {
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(told(&head), Some(0), "{length}");
        }
        let two = "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(told(two), Some(0));
    }
}
