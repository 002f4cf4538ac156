//! Owns one look at the frames of an HTTP/2 connection: whether the head of a request has
//! begun and is not complete yet. The parser reads frames whole and says nothing of halves.

/// What a client begins a connection with: `PRI * HTTP/2.0`, and what belongs to it.
const PREFACE_BYTES: u64 = 24;
const FRAME_HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows a connection from frame to frame, however its bytes come in pieces.
#[derive(Debug)]
pub(super) struct Frames {
    header: [u8; FRAME_HEADER_BYTES],
    // Bytes of the header so far.
    length: usize,
    // Of the preface or of a frame, before the next frame.
    skipped: u64,
    is_in_head: bool,
    // The frame that is skipped is the last one of a head.
    ends_head: bool,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            header: [0; FRAME_HEADER_BYTES],
            length: 0,
            skipped: PREFACE_BYTES,
            is_in_head: false,
            ends_head: false,
        }
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn is_in_head(&self) -> bool {
        self.is_in_head
    }

    /// Looks at more bytes.
    pub(super) fn look(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skipped > 0 {
                let length =
                    usize::try_from(self.skipped).map_or(bytes.len(), |it| it.min(bytes.len()));
                self.skipped -= length as u64;
                bytes = &bytes[length..];
                self.end_frame();
                continue;
            }
            let length = bytes.len().min(FRAME_HEADER_BYTES - self.length);
            let (part, rest) = bytes.split_at(length);
            self.header[self.length..self.length + length].copy_from_slice(part);
            self.length += length;
            bytes = rest;
            if self.length == FRAME_HEADER_BYTES {
                self.begin_frame();
            }
        }
    }

    fn begin_frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.length = 0;
        self.skipped = u64::from(u32::from_be_bytes([0, a, b, c]));
        if kind == HEADERS || kind == CONTINUATION {
            self.is_in_head = true;
            self.ends_head = flags & END_HEADERS != 0;
        }
        self.end_frame();
    }

    fn end_frame(&mut self) {
        if self.skipped == 0 && std::mem::take(&mut self.ends_head) {
            self.is_in_head = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![size[1], size[2], size[3], kind, flags, 0, 0, 0, 1];
        bytes.resize(FRAME_HEADER_BYTES + length, 7);
        bytes
    }

    /// Whether a head is open behind these bytes, which come at once and one by one.
    fn is_open(frames: &[Vec<u8>], missing: usize) -> bool {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frames.concat());
        bytes.truncate(bytes.len() - missing);
        let (mut at_once, mut one_by_one) = (Frames::new(), Frames::new());
        at_once.look(&bytes);
        bytes.iter().for_each(|byte| one_by_one.look(&[*byte]));
        assert_eq!(at_once.is_in_head(), one_by_one.is_in_head());
        at_once.is_in_head()
    }

    #[test]
    fn a_head_is_open_from_its_first_frame_to_the_end_of_its_last() {
        let settings = frame(4, 0, 18);
        let whole = frame(HEADERS, END_HEADERS | 1, 30);
        assert!(!is_open(std::slice::from_ref(&settings), 0));
        assert!(!is_open(&[settings.clone(), whole.clone()], 0));
        assert!(is_open(&[settings.clone(), whole.clone()], 1));
        assert!(is_open(&[settings.clone(), whole.clone()], 30));
        assert!(!is_open(&[settings, whole], 31));
        let begun = frame(HEADERS, 1, 0);
        let more = frame(CONTINUATION, 0, 5);
        let last = frame(CONTINUATION, END_HEADERS, 0);
        assert!(is_open(std::slice::from_ref(&begun), 0));
        assert!(is_open(&[begun.clone(), more.clone()], 0));
        assert!(!is_open(&[begun, more, last, frame(0, 1, 9)], 3));
    }
}
