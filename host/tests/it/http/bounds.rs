//! What a client may not ask of the host over HTTP, and what it is told.

use std::{io::Write, sync::Arc};

use expect_test::{Expect, expect};
use pointsman::{config::Config, host::Host};
use tokio::task::spawn_blocking;

use crate::{
    host::{Folders, serve_with},
    raw::{Answer, address, answer, connect, exchange, get, post, request},
};

/// A host with one probe.
pub(super) struct Probed {
    pub(super) app: Arc<Host>,
    pub(super) url: String,
    _folders: Folders,
}

/// A host with one probe and these settings.
pub(super) async fn probed(set: impl FnOnce(&mut Config)) -> Probed {
    let folders = Folders::probes(&["probe"]);
    let mut config = folders.config();
    set(&mut config);
    let (app, url) = serve_with(config).await;
    Probed {
        app,
        url,
        _folders: folders,
    }
}

pub(super) const NOTHING: &str = r#"{"to":"probe","do":"nothing"}"#;

/// The head of a command to `url`, with a body of this length.
pub(super) fn head(url: &str, length: usize, more: &str) -> String {
    let host = address(url);
    format!(
        "POST /commands/execute HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    )
}

/// Runs what blocks beside the host.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_the_hosts_are_refused() {
    let host = probed(|config| config.http.hosts = vec!["pointsman.example".into()]).await;
    let url = host.url.clone();
    blocking(move || {
        let port = address(&url).rsplit(':').next().unwrap().to_owned();
        let get = |host: &str, target: &str| {
            exchange(
                &url,
                format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            )
        };
        for ours in ["127.0.0.1", "localhost", "[::1]:80", "pointsman.example"] {
            assert_eq!(get(ours, "/plugins").status, 200, "{ours}");
        }
        // A name that an attacker makes lead here, for reading and for writing.
        let rebound = format!("attacker.example:{port}");
        for foreign in ["attacker.example", &rebound, "localhost.attacker.example"] {
            let refused = get(foreign, "/commands");
            assert_eq!((refused.status, refused.code().as_str()), (421, "unknown-host"));
        }
        let absolute = get("127.0.0.1", "http://attacker.example/commands");
        assert_eq!(absolute.status, 421);
        let hint = absolute.problem()["hint"].as_str().unwrap().to_owned();
        expect!["use the IP address or `localhost`, or add `attacker.example` to `http.hosts` in pointsman.toml"].assert_eq(&hint);

        let framed = |head: &str| exchange(&url, format!("GET /healthz HTTP/1.1\r\n{head}\r\n"));
        for ambiguous in [
            "",
            "Host: a\r\nHost: 127.0.0.1\r\n",
            "Host: u@127.0.0.1\r\n",
            "Host: 127.0.0.1:+4490\r\n",
            "Host: 127.0.0.1:65616\r\n",
            "Host: 127.0.0.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Host: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            "Host: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Type: text/plain\r\n",
            "Host: 127.0.0.1\r\nSec-Fetch-Site: none\r\nSec-Fetch-Site: same-origin\r\n",
        ] {
            let refused = framed(&format!("{ambiguous}Connection: close\r\n"));
            assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-request"));
        }
        let old = exchange(&url, "GET /healthz HTTP/1.0\r\n\r\n");
        assert_eq!(old.status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_lengths_is_refused_behind_others_too() {
    let host = probed(|_| {}).await;
    let url = host.url.clone();
    blocking(move || {
        let host = address(&url).to_owned();
        let both = format!(
            "POST /commands/execute HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{NOTHING}\r\n0\r\n\r\n",
            NOTHING.len()
        );
        let get = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let post = head(&url, NOTHING.len(), "") + NOTHING;
        let refused_last = |answer: &Answer| {
            let all = format!("{}\r\n\r\n{}", answer.head, answer.body);
            assert_eq!(answer.status, 200, "{all}");
            // The first status line is in the head, which is in lower case.
            assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{all}");
            assert!(all.contains("HTTP/1.1 400"), "{all}");
            assert!(all.contains("it has both `Content-Length`"), "{all}");
        };
        for before in [&get, &post] {
            let all = format!("{before}{both}");
            refused_last(&exchange(&url, &all));
            // In the middle of the first head, of the body, and of the second head.
            for at in [20, before.len() - 3, before.len() + 30, before.len() + 140] {
                let mut stream = connect(&url);
                stream.set_nodelay(true).unwrap();
                let (first, second) = all.as_bytes().split_at(at);
                stream.write_all(first).unwrap();
                if at > before.len() {
                    // Its answer says that all of it was read.
                    let mut byte = [0];
                    assert_eq!(stream.peek(&mut byte).unwrap(), 1);
                }
                stream.write_all(second).unwrap();
                refused_last(&answer(&mut stream));
            }
        }
        // Clear ones are answered one after the other.
        let last = get.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let clear = exchange(&url, format!("{get}{post}{last}"));
        assert_eq!(clear.body.matches("HTTP/1.1 200").count(), 2, "{clear:?}");
        // Nothing behind chunks is.
        let chunked = both.replace("Content-Length: 3\r\n", "");
        let one = exchange(&url, format!("{chunked}{both}"));
        assert!(one.status == 200 && one.head.contains("connection: close"), "{one:?}");
        assert!(!one.body.contains("HTTP/1.1"), "{one:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_reaches_nothing() {
    let host = probed(|_| {}).await;
    let url = host.url.clone();
    blocking(move || {
        let host = address(&url).to_owned();
        let code = |line: &str, headers: &str| {
            let refused = request(&url, line, headers, "");
            (refused.status, refused.code())
        };
        let refused = (403, "cross-site".to_owned());
        for line in [
            // A form sends these without asking first.
            "POST /queue/dead/discard?all=true",
            "POST /queue/dead/retry?all=true",
            "POST /commands/execute",
            "GET /commands",
            "GET /metrics",
            "DELETE /commands/x",
            "OPTIONS /commands",
        ] {
            for headers in [
                "Sec-Fetch-Site: cross-site\r\n",
                "Sec-Fetch-Site: same-site\r\n",
                "Origin: https://evil.example\r\n",
                "Origin: null\r\n",
                "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n",
                &format!("Origin: http://{host}\r\nOrigin: https://evil.example\r\n"),
                &format!("Origin: http://evil.example:80\r\nReferer: http://{host}/\r\n"),
            ] {
                assert_eq!(code(line, headers), refused, "{line} {headers}");
            }
        }
        // A page of the host's own, a bookmark, and a program.
        for headers in [
            format!("Origin: http://{host}\r\nSec-Fetch-Site: same-origin\r\n"),
            "Sec-Fetch-Site: none\r\n".into(),
            String::new(),
        ] {
            assert_eq!(request(&url, "GET /plugins", &headers, "").status, 200);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn what_the_server_refuses_is_a_problem_document_too() {
    let host = probed(|_| {}).await;
    let url = host.url.clone();
    blocking(move || {
        let check = |refused: &Answer, wanted: Expect| {
            let problem = refused.problem();
            let (detail, hint) = (problem["detail"].as_str(), problem["hint"].as_str());
            let hint = hint.map(|hint| format!(" hint: {hint}"));
            wanted.assert_eq(&format!(
                "{} {}: {}{}",
                refused.status,
                problem["code"].as_str().unwrap(),
                detail.unwrap(),
                hint.unwrap_or_default()
            ));
        };
        for path in ["/commands/%ff", "/commands/%ff/events", "/queue/deliveries/%ff", "/%c3"] {
            check(
                &get(&url, path),
                expect!["400 invalid-path: the path is not UTF-8 once its `%` escapes are decoded"],
            );
        }
        let zipped = request(
            &url,
            "POST /commands/execute",
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
            NOTHING,
        );
        assert!(zipped.head.contains("accept-encoding: identity"), "{zipped:?}");
        check(
            &zipped,
            expect!["415 unsupported-content-encoding: unsupported content encoding `gzip` hint: send the body without a content encoding"],
        );
        let plain = "Content-Type: application/json\r\nContent-Encoding: identity\r\n";
        assert_eq!(request(&url, "POST /commands/execute", plain, NOTHING).status, 200);
        let squeezed = exchange(
            &url,
            format!(
                "POST /commands/execute HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                address(&url)
            ),
        );
        check(
            &squeezed,
            expect!["501 unsupported-transfer-encoding: unsupported transfer encoding `gzip, chunked` hint: send `Content-Length`, or `Transfer-Encoding: chunked` alone"],
        );
        let twice = "/queue/dead/discard?all=false&all=true";
        check(
            &request(&url, &format!("POST {twice}"), "", ""),
            expect!["400 invalid-parameter: `all`: is given twice: keep one"],
        );
        check(
            &get(&url, "/nothing"),
            expect!["404 no-such-path: no such path hint: `GET /` lists all paths"],
        );
        for path in ["/commands/execute?wait=5s", "/rules/explain?all=true"] {
            let refused = post(&url, path, NOTHING);
            assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-parameter"));
        }
        check(
            &post(&url, "/commands/execute?wait=5s", NOTHING),
            expect!["400 invalid-parameter: `wait`: unknown parameter: there are no parameters"],
        );
        check(
            &get(&url, "/commands?limt=1"),
            expect!["400 invalid-parameter: `limt`: unknown parameter: state, handler, from, until, after, limit hint: did you mean `limit`?"],
        );
        assert_eq!(get(&url, "/healthz/").status, 200);
        assert_eq!(get(&url, "//healthz").status, 404);
        let index = get(&url, "/");
        assert!(index.body.contains("POST /commands/execute"), "{index:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_a_parameter_that_it_does_not_know() {
    let host = probed(|_| {}).await;
    let url = host.url.clone();
    blocking(move || {
        let index: serde_json::Value = serde_json::from_str(&get(&url, "/").body).unwrap();
        let paths: Vec<_> = index["paths"].as_array().unwrap().iter().collect();
        assert!(paths.len() > 15, "{paths:?}");
        for path in paths {
            let asked = path.as_str().unwrap().replace("{id}", "x") + "?vrebose=1";
            let refused = request(&url, &asked, "Content-Type: application/json\r\n", "");
            let found = (refused.status, refused.code());
            assert_eq!(found, (400, "invalid-parameter".into()), "{asked}");
            assert!(refused.body.contains("`vrebose`"), "{asked}: {refused:?}");
        }
        // What a path does not take it says first.
        assert_eq!(request(&url, "PUT /queue?x=1", "", "").status, 405);
        assert_eq!(get(&url, "/queu?x=1").status, 404);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_far_over_the_limit_hears_that_it_is_too_large() {
    let host = probed(|_| {}).await;
    let url = host.url.clone();
    blocking(move || {
        // Sent whole before anything is read, as simple clients do.
        let large = vec![b' '; 40 << 20];
        let mut stream = connect(&url);
        let declared = head(&url, large.len(), "");
        stream.write_all(declared.as_bytes()).unwrap();
        stream.write_all(&large).unwrap();
        let refused = answer(&mut stream);
        assert_eq!((refused.status, refused.code().as_str()), (413, "command-too-large"));

        // The same without a length.
        let mut stream = connect(&url);
        let host = address(&url);
        let chunked = format!("POST /commands/execute HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(chunked.as_bytes()).unwrap();
        for _ in 0..10 {
            write!(stream, "{:x}\r\n", 1 << 20).unwrap();
            stream.write_all(&large[..1 << 20]).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        assert_eq!(answer(&mut stream).code(), "command-too-large");

        // One that asks first is not told to go on.
        let asked = head(&url, 50_000_000, "Expect: 100-continue\r\n");
        let refused = exchange(&url, asked);
        assert_eq!(refused.status, 413, "{refused:?}");
        // What is refused for its head alone arrives just as well.
        let foreign = head(&url, large.len(), "Origin: http://evil.example\r\n");
        let mut stream = connect(&url);
        stream.write_all(foreign.as_bytes()).unwrap();
        stream.write_all(&large).unwrap();
        assert_eq!(answer(&mut stream).code(), "cross-site");
    })
    .await;
}
