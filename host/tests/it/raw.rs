//! HTTP as bytes, for what no client library would send.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// What a host answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body, which must be a problem document with this status.
    pub(crate) fn problem(&self) -> Value {
        assert!(
            self.head.contains("content-type: application/problem+json"),
            "{self:?}"
        );
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        problem
    }

    /// The code of the problem.
    pub(crate) fn code(&self) -> String {
        self.problem()["code"].as_str().unwrap().to_owned()
    }
}

/// The address in `http://127.0.0.1:3000`.
pub(crate) fn address(url: &str) -> &str {
    url.trim_start_matches("http://")
}

/// A connection to `url` that gives up after half a minute.
pub(crate) fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(address(url)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

/// Sends these bytes, and reads until the host closes the connection.
pub(crate) fn exchange(url: &str, bytes: impl AsRef<[u8]>) -> Answer {
    let mut stream = connect(url);
    // What a host that answers early does not read is lost.
    let _ = stream.write_all(bytes.as_ref());
    answer(&mut stream)
}

/// Reads what comes until the host closes the connection.
pub(crate) fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        panic!("{error}, after {:?}", String::from_utf8_lossy(&bytes));
    }
    parsed(&bytes)
}

/// The answer in these bytes.
pub(crate) fn parsed(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

/// One request on a connection of its own, with these header lines besides `Host`.
pub(crate) fn request(url: &str, line: &str, headers: &str, body: &str) -> Answer {
    let host = address(url);
    let length = body.len();
    exchange(
        url,
        format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ),
    )
}

/// A command to `path`.
pub(crate) fn post(url: &str, path: &str, body: &str) -> Answer {
    request(
        url,
        &format!("POST {path}"),
        "Content-Type: application/json\r\n",
        body,
    )
}

/// What is at `path`.
pub(crate) fn get(url: &str, path: &str) -> Answer {
    request(url, &format!("GET {path}"), "", "")
}
