//! HTTP/2, with servers that offer it over TLS.

use std::process::Command;

use http_body_util::{Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, pem::PemObject as _},
};
use tempfile::TempDir;
use tokio::sync::Barrier;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A certificate for `a.example` that signs itself.
const CERTIFICATE: &str = r#"
cd "$0" && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out certificate \
  -days 2 -subj /CN=a.example -addext subjectAltName=DNS:a.example -addext basicConstraints=critical,CA:FALSE
"#;

/// A server over TLS.
pub(super) struct Secure {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    // Versions and `authorization` of all requests.
    requests: Arc<Mutex<Vec<String>>>,
    // Bytes of the bodies of all requests.
    bodies: Arc<AtomicUsize>,
    folder: TempDir,
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

impl Secure {
    /// Offers `protocols`, and replies to each request by its path.
    async fn new<F>(
        protocols: &[&str],
        reply: impl Fn(String) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = http::Response<Body>> + Send + 'static,
    {
        let (folder, tls) = tls(protocols);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
            bodies: Arc::default(),
            folder,
        };
        let (connections, requests) = (
            Arc::clone(&server.connections),
            Arc::clone(&server.requests),
        );
        let bodies = Arc::clone(&server.bodies);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, reply) = (tls.clone(), reply.clone());
                let (connections, requests) = (Arc::clone(&connections), Arc::clone(&requests));
                let bodies = Arc::clone(&bodies);
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    connections.fetch_add(1, Ordering::SeqCst);
                    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let service =
                        hyper::service::service_fn(move |request: http::Request<Incoming>| {
                            let secret = request.headers().get("authorization");
                            let secret = secret.map_or("none", |it| it.to_str().unwrap());
                            let seen = format!("{:?} {secret}", request.version());
                            requests.lock().unwrap().push(seen);
                            let reply = reply(request.uri().path().to_owned());
                            let bodies = Arc::clone(&bodies);
                            async move {
                                // The client may have given it up.
                                if let Ok(body) = request.into_body().collect().await {
                                    bodies.fetch_add(body.to_bytes().len(), Ordering::SeqCst);
                                }
                                Ok::<_, std::convert::Infallible>(reply.await)
                            }
                        });
                    let stream = TokioIo::new(stream);
                    // The client may be gone.
                    let _ = match is_h2 {
                        true => {
                            let server =
                                hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                            server.serve_connection(stream, service).await
                        }
                        false => {
                            let server = hyper::server::conn::http1::Builder::new();
                            server.serve_connection(stream, service).await
                        }
                    };
                });
            }
        });
        server
    }

    pub(super) async fn ok(protocols: &[&str]) -> Self {
        Self::new(protocols, async |_| ok("ok")).await
    }

    pub(super) fn url(&self) -> String {
        format!("https://a.example:{}/", self.address.port())
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// A handler that trusts this server.
    fn handler(&self, http: &str) -> Handler {
        let budgets = Budgets::here(&BudgetSettings::default());
        let settings = self.folder.path().join("one.toml");
        let port = self.address.port();
        let toml = format!("[http]\nallow_private = ['* https://a.example:{port}/*']\n{http}");
        handler_in(self.network(), budgets, &toml, &settings)
    }

    pub(super) fn network(&self) -> Network {
        let certificate = certificate(&self.folder);
        let anchor = webpki_anchor(&certificate);
        Network::new(to_loopback(), vec![anchor])
    }
}

/// A certificate of its own, in a folder, for a server that offers `protocols`.
fn tls(protocols: &[&str]) -> (TempDir, TlsAcceptor) {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("sh")
        .args(["-c", CERTIFICATE])
        .arg(folder.path())
        .output();
    let made = made.expect("install openssl: apt-get install openssl");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let key = PrivateKeyDer::from_pem_file(folder.path().join("key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate(&folder)], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    (folder, TlsAcceptor::from(Arc::new(config)))
}

fn certificate(folder: &TempDir) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(folder.path().join("certificate")).unwrap()
}

/// The certificate as one that is trusted.
fn webpki_anchor(certificate: &CertificateDer<'static>) -> TrustAnchor<'static> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    roots.roots.pop().unwrap()
}

fn ok(text: &'static str) -> http::Response<Body> {
    http::Response::new(Full::new(Bytes::from(text)).boxed_unsync())
}

impl Handler {
    /// A request on its way, beside others.
    fn start(&mut self, url: &str) -> impl Future<Output = Result<(u16, String), Error>> + use<> {
        let request = http::Request::get(url).body(empty()).unwrap();
        let done = Box::new(std::future::ready(Ok(())));
        let sent = self.outgoing.send_request(request, None, done);
        async {
            let (response, _) = Pin::from(sent).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            Ok((status, String::from_utf8(body.to_vec()).unwrap()))
        }
    }
}

#[tokio::test]
async fn requests_at_once_share_a_connection_where_the_server_speaks_http_2() {
    let all_there = Arc::new(Barrier::new(10));
    let server = Secure::new(&["h2", "http/1.1"], move |path| {
        let all_there = Arc::clone(&all_there);
        async move {
            if path == "/together" {
                all_there.wait().await;
            }
            ok("ok")
        }
    })
    .await;
    let mut handler = server.handler("");
    handler.get(&server.url()).await.unwrap();
    let url = format!("{}together", server.url());
    let requests: Vec<_> = (0..10).map(|_| handler.start(&url)).collect();
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.unwrap(), (200, "ok".to_owned()));
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(server.requests(), vec!["HTTP/2.0 none"; 11]);
    assert_eq!(handler.budgets.descriptors.used(), 1);
}

#[tokio::test]
async fn a_server_without_http_2_is_spoken_to_as_before() {
    for protocols in [&["http/1.1"][..], &[]] {
        let server = Secure::ok(protocols).await;
        let mut handler = server.handler("");
        for _ in 0..2 {
            assert_eq!(handler.get(&server.url()).await.unwrap(), 200);
        }
        assert_eq!(server.connections(), 1);
        assert_eq!(server.requests(), vec!["HTTP/1.1 none"; 2]);
    }
}

#[tokio::test]
async fn a_server_with_an_unknown_certificate_is_refused() {
    let server = Secure::ok(&["h2"]).await;
    let other = Secure::ok(&["h2"]).await;
    let budgets = Budgets::here(&BudgetSettings::default());
    let toml = format!("[http]\nallow_private = ['* {}']", server.url());
    let mut handler = handler_in(
        other.network(),
        budgets,
        &toml,
        Path::new("plugins/one.toml"),
    );
    let answer = handler.get(&server.url()).await;
    assert!(matches!(answer, Err(Error::Tls(_))), "{answer:?}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn requests_with_different_secrets_share_no_http_2_connection() {
    let server = Secure::ok(&["h2"]).await;
    std::fs::write(server.folder.path().join("one"), "hunter1").unwrap();
    std::fs::write(server.folder.path().join("two"), "hunter2").unwrap();
    let url = server.url();
    let mut handler = server.handler(&format!(
        "[secrets]\n\
         a = {{ file = 'one', inject = '{url}a', header = 'authorization: {{}}' }}\n\
         b = {{ file = 'two', inject = '{url}b', header = 'authorization: {{}}' }}"
    ));
    for path in ["a", "b", "", "a", "b", ""] {
        handler.get(&format!("{url}{path}")).await.unwrap();
    }
    let secrets = ["hunter1", "hunter2", "none"].map(|secret| format!("HTTP/2.0 {secret}"));
    assert_eq!(server.requests(), [&secrets[..], &secrets].concat());
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_request_that_is_given_up_leaves_the_connection_to_others() {
    let server = Secure::new(&["h2"], async |path| match path.as_str() {
        "/never" => std::future::pending().await,
        _ => ok("ok"),
    })
    .await;
    let mut handler = server.handler("");
    handler.get(&server.url()).await.unwrap();
    for _ in 0..20 {
        let mut never = Box::pin(handler.start(&format!("{}never", server.url())));
        let sent = server.requests().len();
        while server.requests().len() == sent {
            assert!(futures_util::poll!(&mut never).is_pending());
            tokio::task::yield_now().await;
        }
        drop(never);
        assert_eq!(handler.get(&server.url()).await.unwrap(), 200);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_body_goes_out_whole_by_http_2_whatever_its_size() {
    let server = Secure::ok(&["h2"]).await;
    let mut handler = server.handler("");
    let mut all = 0;
    for bytes in [0, 1, 3 << 20] {
        let body = Full::new(Bytes::from(vec![b'a'; bytes])).map_err(|never| match never {});
        let request = http::Request::post(server.url()).header("content-length", bytes);
        let request = request.body(body.boxed_unsync()).unwrap();
        let answer = handler.send(request, Duration::from_secs(5)).await;
        assert_eq!(answer.unwrap().0, 200);
        all += bytes;
        assert_eq!(server.bodies.load(Ordering::SeqCst), all);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_http_2_response_has_the_same_limits() {
    let server = Secure::new(&["h2"], async |path| match path.as_str() {
        "/head" => {
            let mut response = ok("ok");
            for at in 0..2_000 {
                let name = http::HeaderName::try_from(format!("x-{at}")).unwrap();
                let value = http::HeaderValue::from_static(
                    "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
                );
                response.headers_mut().append(name, value);
            }
            response
        }
        _ => {
            let frame = || Ok(Frame::data(Bytes::from(vec![0; 16 << 10])));
            let endless = futures_util::stream::repeat_with(frame);
            http::Response::new(StreamBody::new(endless).boxed_unsync())
        }
    })
    .await;
    let mut handler = server.handler("response_max_bytes = 100000");
    let answer = handler.get(&format!("{}head", server.url())).await;
    let large = matches!(answer, Err(Error::HttpResponseHeaderSectionSize(_)));
    assert!(large, "{answer:?}");
    let answer = handler.get(&format!("{}endless", server.url())).await;
    let cut = matches!(answer, Err(Error::HttpResponseBodySize(Some(100_000))));
    assert!(cut, "{answer:?}");
}
