//! HTTP/2 as nobody should speak it: frames by hand, against a host with short limits.

use std::{
    io::{ErrorKind, Read, Write},
    sync::Arc,
    time::Duration,
};

use pointsman::host::Host;

use super::{
    bounds::{NOTHING, blocking},
    tls::secure,
};
use crate::{
    certificates::{Tls, client, connect},
    host::until,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as they are, without compression.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            // Longer ones have a length of several bytes.
            assert!(text.len() < 127, "{text}");
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

fn head(line: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let (method, path) = line.split_once(' ').unwrap();
    let mut all = vec![
        (":method", method),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/json"),
    ];
    all.extend(more);
    fields(&all)
}

/// A frame that the host sent.
#[derive(Debug)]
struct Sent {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Sent {
    /// The code of a stream or connection that ended early.
    fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

struct Raw(Tls);

impl Raw {
    /// A connection on which the preface and these settings were sent.
    fn open(url: &str, settings: &[u8]) -> Self {
        let mut raw = Self(connect(url, &client(&["h2"], None)));
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.send(&frame(SETTINGS, 0, 0, settings));
        raw
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    fn ask(&mut self, stream: u32, line: &str, body: &str) {
        let flags = END_HEADERS | if body.is_empty() { END_STREAM } else { 0 };
        let mut bytes = frame(HEADERS, flags, stream, &head(line, &[]));
        if !body.is_empty() {
            bytes.extend(frame(DATA, END_STREAM, stream, body.as_bytes()));
        }
        self.send(&bytes);
    }

    /// The next frame; none once the host has closed the connection.
    fn next(&mut self) -> Option<Sent> {
        let mut header = [0; 9];
        let mut read = |bytes: &mut [u8]| match self.0.read_exact(bytes) {
            Ok(()) => true,
            Err(error) => {
                let is_timeout =
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!is_timeout, "it hangs: {error}");
                false
            }
        };
        if !read(&mut header) {
            return None;
        }
        let [a, b, c, kind, flags, stream @ ..] = header;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; length as usize];
        read(&mut payload).then(|| Sent {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }

    /// The first frame of this kind on this stream.
    fn until(&mut self, kind: u8, stream: u32) -> Option<Sent> {
        std::iter::from_fn(|| self.next()).find(|sent| sent.kind == kind && sent.stream == stream)
    }

    /// Reads to the end, and returns the code that the host gave for it, if any.
    fn end(&mut self) -> Option<u32> {
        std::iter::from_fn(|| self.next())
            .filter(|sent| sent.kind == GOAWAY)
            .last()
            .map(|sent| sent.code())
    }

    /// Writes for as long as the host takes it.
    fn flood(&mut self, mut bytes: impl FnMut(u32) -> Vec<u8>) {
        for turn in 0..2_000_000 {
            if self.0.write_all(&bytes(turn)).is_err() {
                return;
            }
        }
        panic!("it takes everything");
    }
}

/// A host with short limits.
async fn strict() -> (super::bounds::Probed, tempfile::TempDir) {
    secure(|config| {
        config.http.header_timeout = Duration::from_millis(700);
        config.http.idle_timeout = Duration::from_millis(700);
        config.http.body_timeout = Duration::from_millis(500);
        config.http.write_timeout = Duration::from_millis(700);
        config.limits.output_max_bytes = 64 << 20;
        config.limits.memory_max_bytes = 512 << 20;
    })
    .await
}

async fn all_closed(app: &Host) {
    until("all are closed", || app.budgets().connections.used() == 0).await;
    until("all is given back", || {
        app.budgets().answers.used() == 0 && app.budgets().bodies.used() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_keeps_http_2_waiting_loses_its_stream_or_connection() {
    let (host, _folder) = strict().await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    blocking(move || {
        let sleep = r#"{"to":"probe","do":"sleep","amount":3000}"#;
        // Nothing at all, and a head that never ends beside a request that goes on.
        let mut silent = Raw::open(&url, &[]);
        let mut half_head = Raw::open(&url, &[]);
        half_head.ask(1, "POST /commands/execute", sleep);
        half_head.send(&frame(HEADERS, END_STREAM, 3, &head("GET /healthz", &[])));
        // It keeps the connection busy with what is no request.
        let mut pinging = Raw::open(&url, &[]);
        pinging.ask(1, "GET /healthz", "");
        // A body that stops, beside requests that do not.
        let mut half_body = Raw::open(&url, &[]);
        let long = head("POST /commands/execute", &[("content-length", "100")]);
        half_body.send(&frame(HEADERS, END_HEADERS, 1, &long));
        half_body.send(&frame(DATA, 0, 1, b"{"));
        half_body.ask(3, "POST /commands/execute", NOTHING);
        assert!(half_body.until(DATA, 3).is_some());
        let late = half_body.until(DATA, 1).expect("it is told");
        let late = String::from_utf8(late.payload).unwrap();
        assert!(late.contains("request-timeout"), "{late}");
        half_body.ask(5, "POST /commands/execute", NOTHING);
        assert!(half_body.until(DATA, 5).is_some());
        assert_eq!(half_body.end(), Some(0));
        assert_eq!(silent.end(), Some(0));
        assert!(half_head.until(DATA, 1).is_none());
        pinging.flood(|_| {
            std::thread::sleep(Duration::from_millis(20));
            frame(PING, 0, 0, &[0; 8])
        });
    })
    .await;
    all_closed(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_http_2_that_nobody_reads_is_dropped_and_no_other() {
    let (host, _folder) = strict().await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    let answers = Arc::clone(&app.budgets().answers);
    blocking(move || {
        // A window of nothing: the host may send no byte of a body.
        let mut raw = Raw::open(&url, &[0, 4, 0, 0, 0, 0]);
        let flood = r#"{"to":"probe","do":"output-flood","amount":30000000}"#;
        raw.ask(1, "POST /commands/execute", flood);
        assert!(raw.until(HEADERS, 1).is_some());
        assert!(answers.used() > 0, "it counts for as long as it waits");
        let reset = raw.until(RESET, 1).expect("the stream ends");
        assert_eq!(reset.code(), 8, "cancelled");
        // The connection lives, and so do requests on it.
        let mut window = frame(8, 0, 3, &100_000_u32.to_be_bytes());
        raw.ask(3, "GET /healthz", "");
        window.extend(frame(PING, 0, 0, &[1; 8]));
        raw.send(&window);
        assert!(raw.until(DATA, 3).is_some());
    })
    .await;
    all_closed(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_over_http_2_end_their_connection_and_harm_no_other() {
    let (host, _folder) = strict().await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    blocking(move || {
        // A head without end.
        let mut raw = Raw::open(&url, &[]);
        raw.send(&frame(HEADERS, END_STREAM, 1, &head("GET /healthz", &[])));
        let more = fields(&[("x", &"y".repeat(120))]).repeat(100);
        raw.flood(|_| frame(CONTINUATION, 0, 1, &more));
        // One that goes on without a byte.
        let mut raw = Raw::open(&url, &[]);
        raw.send(&frame(HEADERS, END_STREAM, 1, &head("GET /healthz", &[])));
        raw.flood(|_| frame(CONTINUATION, 0, 1, &[]));
        // Requests that are taken back at once.
        let mut raw = Raw::open(&url, &[]);
        let asked = head("GET /plugins", &[]);
        raw.flood(|turn| {
            let stream = turn * 2 + 1;
            let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, &asked);
            both.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
            both
        });
        // What has to be answered, of which nothing is read.
        for kind in [PING, SETTINGS] {
            let payload: &[u8] = if kind == PING { &[0; 8] } else { &[] };
            let many = frame(kind, 0, 0, payload).repeat(1_000);
            Raw::open(&url, &[]).flood(|_| many.clone());
        }
        let mut other = Raw::open(&url, &[]);
        other.ask(1, "POST /commands/execute", NOTHING);
        assert!(other.until(DATA, 1).is_some());
    })
    .await;
    all_closed(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_no_clear_request_are_refused() {
    let (host, _folder) = strict().await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    blocking(move || {
        let post = "POST /commands/execute";
        // Lengths that do not hold, and fields of HTTP/1.1 that frame a body.
        for (more, body) in [
            (&[("content-length", "3")][..], NOTHING),
            (&[("content-length", "300")], NOTHING),
            (&[("content-length", "+29")], NOTHING),
            (&[("transfer-encoding", "chunked")], NOTHING),
            (&[("connection", "close")], NOTHING),
            (&[("X-Upper", "a")], NOTHING),
            (&[(":path", "/plugins")], NOTHING),
            (&[("x", "a\r\nb")], NOTHING),
        ] {
            let mut raw = Raw::open(&url, &[]);
            let mut bytes = frame(HEADERS, END_HEADERS, 1, &head(post, more));
            bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
            raw.send(&bytes);
            let ended = std::iter::from_fn(|| raw.next())
                .find(|sent| matches!(sent.kind, RESET | GOAWAY | DATA));
            let ended = ended.expect("it is refused");
            if ended.kind == DATA {
                let told = String::from_utf8(ended.payload).unwrap();
                assert!(told.contains("unreadable-body"), "{more:?} {told}");
            } else {
                assert_eq!(ended.code(), PROTOCOL_ERROR, "{more:?}");
            }
        }
        // No name at all, and a tunnel.
        for head in [
            fields(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/plugins"),
            ]),
            fields(&[(":method", "CONNECT"), (":authority", "localhost")]),
        ] {
            let mut raw = Raw::open(&url, &[]);
            raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head));
            let told = raw.until(DATA, 1).expect("it is refused").payload;
            let told = String::from_utf8(told).unwrap();
            let is_told = told.contains("missing `Host`") || told.contains("no-such-path");
            assert!(is_told, "{told}");
        }
        // More requests at once than were allowed.
        let mut raw = Raw::open(&url, &[]);
        let sleep = r#"{"to":"probe","do":"sleep","amount":500}"#;
        for number in 0..101 {
            raw.ask(number * 2 + 1, post, sleep);
        }
        let refused = raw.until(RESET, 201).expect("one too many");
        assert_eq!(refused.code(), REFUSED_STREAM);
        assert!(
            raw.until(DATA, 1)
                .is_some_and(|sent| sent.flags <= END_STREAM)
        );
        // What was not agreed on.
        let mut stream = connect(&url, &client(&["h2"], None));
        let told = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        told.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/"), "{rest:?}");
    })
    .await;
    all_closed(&app).await;
}
