//! Owns one look at the bytes of a head: whether it has both a `Content-Length`
//! and a `Transfer-Encoding`. The parser takes the first away then, and a proxy
//! that goes by it would see other requests on the connection than we do.

/// Long enough for both names and the colon behind them.
const PREFIX_BYTES: usize = 18;

/// What is known of a head whose bytes come in pieces.
#[derive(Debug, Default)]
pub(super) struct Framing {
    prefix: [u8; PREFIX_BYTES],
    // Bytes of the line so far, at most those of the prefix.
    length: usize,
    has_lines: bool,
    has_length: bool,
    has_encoding: bool,
    is_complete: bool,
}

impl Framing {
    /// Looks at more bytes. Says whether the head is ambiguous.
    pub(super) fn look(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if self.is_complete {
                break;
            }
            match byte {
                b'\n' => self.end_line(),
                b'\r' => {}
                _ if self.length < PREFIX_BYTES => {
                    self.prefix[self.length] = byte.to_ascii_lowercase();
                    self.length += 1;
                }
                _ => {}
            }
        }
        self.has_length && self.has_encoding
    }

    fn end_line(&mut self) {
        let line = &self.prefix[..self.length];
        self.has_length |= line.starts_with(b"content-length:");
        self.has_encoding |= line.starts_with(b"transfer-encoding:");
        // Empty lines before a head are skipped.
        self.is_complete = self.length == 0 && self.has_lines;
        self.has_lines |= self.length > 0;
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_with_both_lengths_is_ambiguous_however_it_comes() {
        let both = b"\r\nPOST / HTTP/1.1\r\nCONTENT-Length: 3\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(Framing::default().look(both));
        let mut framing = Framing::default();
        let pieces: Vec<_> = both.iter().map(|byte| framing.look(&[*byte])).collect();
        assert!(pieces.last().unwrap());
        for clear in [
            &b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            b"GET /?content-length: HTTP/1.1\r\nX-Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\n\ncontent-length: 1\ntransfer-encoding: chunked\n\n",
        ] {
            assert!(!Framing::default().look(clear));
        }
    }
}
