//! HTTP/2 as clients speak it: every check of a request holds there too.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode, Version,
    body::Bytes,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::access::Role;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{access::token, bounds::NOTHING, tls::secure};
use crate::{certificates::client, host::until};

/// A connection to a host.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
}

/// What was answered.
#[derive(Debug)]
struct Answered {
    status: StatusCode,
    body: String,
}

impl Answered {
    fn code(&self) -> String {
        let problem: Value = serde_json::from_str(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    fn is(&self, status: u16, code: &str) -> bool {
        self.status == status && self.code() == code
    }
}

impl Client {
    async fn connect(url: &str) -> Self {
        let authority = url.trim_start_matches("https://").to_owned();
        let tcp = TcpStream::connect(&authority).await.unwrap();
        let tls = TlsConnector::from(client(&["h2", "http/1.1"], None));
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = tls.connect(name, tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self { sender, authority }
    }

    /// A request as `POST /path`, to this authority or to the host's own.
    fn ask(
        &self,
        line: &str,
        authority: Option<&str>,
        headers: &[(&str, &str)],
        body: &str,
    ) -> impl Future<Output = Result<Answered, hyper::Error>> + use<> {
        let (method, path) = line.split_once(' ').unwrap();
        let authority = authority.unwrap_or(&self.authority);
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("https://{authority}{path}"))
            .version(Version::HTTP_2)
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from(body.to_owned()));
        let mut sender = self.sender.clone();
        let request = request.body(body).unwrap();
        async move {
            let response = sender.send_request(request).await?;
            assert_eq!(response.version(), Version::HTTP_2);
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            Ok(Answered { status, body })
        }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answered {
        let asked = self.ask(&format!("GET {path}"), None, headers, "");
        asked.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_at_once_share_a_connection_of_http_2() {
    let (host, _folder) = secure(|_| {}).await;
    let client = Client::connect(&host.url).await;
    // Each waits, so all of them are there together.
    let sleep = r#"{"to":"probe","do":"sleep","amount":300}"#;
    let asked = (0..50).map(|_| client.ask("POST /commands/execute", None, &[], sleep));
    for answered in join_all(asked).await {
        let answered = answered.unwrap();
        assert_eq!(answered.status, 200, "{answered:?}");
    }
    assert_eq!(host.app.budgets().connections.used(), 1);
    // More than a frame, and more than the client's window.
    let long = r#"{"to":"probe","do":"output-flood","amount":200000}"#;
    let answered = client.ask("POST /commands/execute", None, &[], long).await;
    let answered = answered.unwrap();
    assert!(answered.body.len() > 200_000 && answered.status == 200);
    serde_json::from_str::<Value>(&answered.body).unwrap();
    until("all answers were given back", || {
        host.app.budgets().answers.used() == 0
    })
    .await;
    let body = format!(
        r#"{{"to":"probe","do":"nothing","x":"{}"}}"#,
        "x".repeat(900_000)
    );
    let answered = client.ask("POST /commands/execute", None, &[], &body).await;
    assert_eq!(answered.unwrap().status, 200);
    for path in ["/plugins", "/nothing"] {
        let head = client.ask(&format!("HEAD {path}"), None, &[], "").await;
        assert_eq!(head.unwrap().body, "");
    }
    assert_eq!(client.get("/plugins/", &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_origins_are_checked_over_http_2_by_the_authority() {
    let (host, _folder) = secure(|config| config.http.hosts = vec!["ours.example".into()]).await;
    let client = Client::connect(&host.url).await;
    let own = client.authority.clone();
    let port = own.rsplit(':').next().unwrap();
    let ask = async |authority: &str, headers: &[(&str, &str)]| {
        let asked = client.ask("GET /plugins", Some(authority), headers, "");
        asked.await.unwrap()
    };
    for ours in ["localhost", "ours.example", &own] {
        assert_eq!(ask(ours, &[]).await.status, 200, "{ours}");
        assert_eq!(ask(ours, &[("host", ours)]).await.status, 200, "{ours}");
    }
    let rebound = format!("evil.example:{port}");
    for foreign in ["evil.example", &rebound] {
        let refused = ask(foreign, &[]).await;
        assert!(refused.is(421, "unknown-host"), "{refused:?}");
    }
    // Two names are never read as one of them.
    for (authority, host) in [
        (&*own, "evil.example"),
        ("evil.example", &own),
        (&own, "localhost"),
    ] {
        let refused = ask(authority, &[("host", host)]).await;
        assert!(refused.is(400, "invalid-request"), "{refused:?}");
    }
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", &format!("http://{own}")),
        ("sec-fetch-site", "cross-site"),
    ] {
        let refused = ask(&own, &[(name, value)]).await;
        assert!(refused.is(403, "cross-site"), "{value} {refused:?}");
    }
    let page = [
        ("origin", &*format!("https://{own}")),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_eq!(ask(&own, &page).await.status, 200);
    for twice in [
        [("content-type", "text/plain"), ("x", "")],
        [
            ("origin", &*format!("https://{own}")),
            ("origin", &*format!("https://{own}")),
        ],
        [("content-length", "0"), ("content-length", "0")],
    ] {
        let refused = ask(&own, &twice).await;
        assert!(refused.is(400, "invalid-request"), "{twice:?} {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_over_http_2_gets_past_the_tokens() {
    let (reads, runs) = (
        token("reader", &[Role::Read]),
        token("ci", &[Role::Execute]),
    );
    let secrets = [reads.secret.clone(), runs.secret.clone()];
    let tokens = vec![reads.token, runs.token];
    let (host, _folder) = secure(|config| config.http.tokens = tokens).await;
    let client = Client::connect(&host.url).await;
    let [read, run] = secrets.map(|secret| format!("Bearer {secret}"));
    assert_eq!(client.get("/healthz", &[]).await.status, 200);
    let plugins = |headers: &'static [(&str, &str)]| client.get("/plugins", headers);
    assert!(plugins(&[]).await.is(401, "no-token"));
    assert!(
        plugins(&[("authorization", "Bearer x")])
            .await
            .is(401, "invalid-token")
    );
    let both = [("authorization", &*read), ("authorization", "Bearer x")];
    assert!(
        client
            .get("/plugins", &both)
            .await
            .is(400, "invalid-request")
    );
    let reading = [("authorization", &*read)];
    assert_eq!(client.get("/plugins", &reading).await.status, 200);
    // One stream says nothing for another of its connection.
    for line in [
        "GET /plugins",
        "GET //plugins",
        "GET /healthz/../plugins",
        "GET /plugins/",
        "GET /plugins?/healthz",
        "OPTIONS /plugins",
        "PUT /plugins",
        "TRACE /plugins",
        "HEAD /plugins",
        "GET /nothing",
    ] {
        let refused = client.ask(line, None, &[], "").await.unwrap();
        assert_eq!(refused.status, 401, "{line} {refused:?}");
        assert!(!refused.body.contains("probe"), "{line}");
    }
    let execute = "POST /commands/execute";
    let refused = client.ask(execute, None, &reading, NOTHING).await.unwrap();
    assert!(refused.is(403, "forbidden"), "{refused:?}");
    let running = [("authorization", &*run)];
    let done = client.ask(execute, None, &running, NOTHING).await.unwrap();
    assert_eq!(done.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_heads_over_http_2_have_the_same_limits() {
    let (host, _folder) = secure(|config| {
        config.http.bodies_max_bytes = Some(100_000);
        config.host.command_max_bytes = 200_000;
        config.http.header_max_bytes = 16 << 10;
    })
    .await;
    let client = Client::connect(&host.url).await;
    let post = async |headers: &[(&str, &str)], length: usize| {
        let body = format!(
            r#"{{"to":"probe","do":"nothing","x":"{}"}}"#,
            "x".repeat(length)
        );
        let asked = client.ask("POST /commands/execute", None, headers, &body);
        asked.await.unwrap()
    };
    for _ in 0..3 {
        assert_eq!(post(&[], 10).await.status, 200);
        assert!(post(&[], 150_000).await.is(503, "bodies-full"));
        assert!(post(&[], 250_000).await.is(413, "command-too-large"));
    }
    let packed = [("content-encoding", "gzip")];
    assert!(
        post(&packed, 10)
            .await
            .is(415, "unsupported-content-encoding")
    );
    let long = "x".repeat(20 << 10);
    assert_eq!(post(&[("x", &long)], 10).await.status, 431);
    // The connection has lived through all of it.
    assert_eq!(post(&[("x", &long[..10 << 10])], 10).await.status, 200);
    assert_eq!(host.app.budgets().connections.used(), 1);
    until("all is given back", || {
        host.app.budgets().bodies.used() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_answers_what_came_over_http_2_and_says_goodbye() {
    let (host, _folder) = secure(|config| {
        config.host.shutdown_grace = Duration::from_secs(20);
    })
    .await;
    let (busy, idle) = (
        Client::connect(&host.url).await,
        Client::connect(&host.url).await,
    );
    assert_eq!(idle.get("/healthz", &[]).await.status, 200);
    let sleep = r#"{"to":"probe","do":"sleep","amount":700}"#;
    let app = Arc::clone(&host.app);
    let before = app.shutdown().tasks.len();
    let asked = tokio::spawn(busy.ask("POST /commands/execute", None, &[], sleep));
    until("it runs", || app.shutdown().tasks.len() > before).await;
    let stopping = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.stop().await }
    });
    let answered = asked.await.unwrap().unwrap();
    assert_eq!(answered.status, 200, "{answered:?}");
    assert!(stopping.await.unwrap());
    // Clients that go on pinging and asking do not hold it.
    until("all are closed", || app.budgets().connections.used() == 0).await;
    assert!(idle.ask("GET /healthz", None, &[], "").await.is_err());
}
