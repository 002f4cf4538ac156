//! Requests through a proxy, where the operator allows that.

use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::copy_bidirectional;

use super::{super::proxy::Proxies, http2::Secure, *};

/// A proxy that wants the credentials `u:hunter2`, and leads every name to this machine.
struct ProxyServer {
    port: u16,
    // The heads of all requests that it read.
    heads: Arc<Mutex<Vec<String>>>,
}

impl ProxyServer {
    async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            heads: Arc::default(),
        };
        let heads = Arc::clone(&server.heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let heads = Arc::clone(&heads);
                // Either end may be gone.
                tokio::spawn(async move { pass_on(stream, &heads).await.ok() });
            }
        });
        server
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// A network in which only the name of the proxy is known, but for those in `no`.
    fn network(&self, credentials: &str, no: &str, network: Network) -> Network {
        let url = format!("http://{credentials}proxy.example:{}", self.port);
        let matcher = Matcher::builder().all(url).no(no).build();
        let resolver = Resolver::new(|host, port| match host {
            "proxy.example" | "direct.example" => {
                Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
            }
            host => Err(io::Error::other(host.to_owned())),
        });
        Network {
            resolver,
            proxies: Some(Proxies::new(matcher)),
            ..network
        }
    }

    fn handler(&self, credentials: &str, http: &str) -> Handler {
        let network = Network::new(to_loopback(), Vec::new());
        handler_through(self.network(credentials, "direct.example", network), http)
    }
}

fn handler_through(network: Network, http: &str) -> Handler {
    let budgets = Budgets::here(&BudgetSettings::default());
    let toml = format!("[http]\n{http}");
    handler_in(network, budgets, &toml, Path::new("plugins/one.toml"))
}

async fn pass_on(mut stream: TcpStream, heads: &Mutex<Vec<String>>) -> io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8(head).unwrap();
        heads.lock().unwrap().push(head.clone());
        if !head
            .to_lowercase()
            .contains("proxy-authorization: basic dtpodw50zxiy\r\n")
        {
            let refused = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(refused.as_bytes()).await?;
            continue;
        }
        let Some(to) = head.strip_prefix("CONNECT ") else {
            stream.write_all(OK.as_bytes()).await?;
            continue;
        };
        let port = to.split([':', ' ']).nth(1).unwrap();
        let mut server = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        copy_bidirectional(&mut stream, &mut server).await?;
        return Ok(());
    }
}

#[tokio::test]
async fn a_request_by_tls_goes_through_a_tunnel_and_the_proxy_looks_the_name_up() {
    for protocols in [&["h2"][..], &["http/1.1"]] {
        let (proxy, server) = (ProxyServer::new().await, Secure::ok(protocols).await);
        let network = proxy.network("u:hunter2@", "", server.network());
        let mut handler = handler_through(network, &format!("allow = ['* {}*']", server.url()));
        for _ in 0..2 {
            assert_eq!(handler.get(&server.url()).await.unwrap(), 200);
        }
        let heads = proxy.heads();
        assert_eq!(heads.len(), 1, "{heads:?}");
        let host = server.url().replace("https://", "").replace('/', "");
        assert!(
            heads[0].starts_with(&format!("CONNECT {host} HTTP/1.1\r\n")),
            "{heads:?}"
        );
        // The server sees nothing of the credentials, which the tunnel does not carry.
        assert_eq!(server.requests().len(), 2);
        assert!(server.requests().iter().all(|seen| seen.ends_with(" none")));
    }
}

#[tokio::test]
async fn a_request_without_tls_is_read_by_the_proxy() {
    let proxy = ProxyServer::new().await;
    let mut handler = proxy.handler("u:hunter2@", "allow = ['* http://a.example/*']");
    for _ in 0..2 {
        let answer = handler.text("http://a.example/b?c").await.unwrap();
        assert_eq!(answer, (200, "ok".to_owned()));
    }
    let heads = proxy.heads();
    assert_eq!(heads.len(), 2);
    for head in heads {
        assert!(
            head.starts_with("GET http://a.example/b?c HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("host: a.example\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_name_that_needs_no_proxy_is_connected_to_directly_and_gets_no_credentials() {
    let (proxy, server) = (ProxyServer::new().await, Server::ok().await);
    let url = format!("http://direct.example:{}/", server.port());
    let mut handler = proxy.handler("u:hunter2@", &format!("allow_private = ['* {url}']"));
    assert_eq!(handler.get(&url).await.unwrap(), 200);
    assert_eq!(proxy.heads().len(), 0);
    let head = server.heads.lock().unwrap()[0].to_lowercase();
    assert!(!head.contains("proxy-authorization"), "{head}");
}

#[tokio::test]
async fn a_name_that_says_where_it_leads_is_not_handed_to_the_proxy() {
    let proxy = ProxyServer::new().await;
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.0.0.1",
        "localhost",
        "localhost.",
        "a.localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
    ] {
        let mut handler = proxy.handler("u:hunter2@", "allow = ['* http://*', '* https://*']");
        for scheme in ["http", "https"] {
            let answer = handler.get(&format!("{scheme}://{host}/")).await;
            let refused = matches!(answer, Err(Error::DestinationIpProhibited));
            assert!(refused, "{scheme} {host}: {answer:?}");
        }
    }
    assert_eq!(proxy.heads().len(), 0);
}

#[tokio::test]
async fn nobody_is_told_the_credentials_of_a_proxy_that_refuses_them() {
    let proxy = ProxyServer::new().await;
    let grants = "allow = ['* http://*', '* https://*']";
    let mut handler = proxy.handler("u:hunter3@", grants);
    let answer = handler.get("https://a.example/").await.unwrap_err();
    assert!(
        matches!(answer, Error::DestinationUnavailable),
        "{answer:?}"
    );
    assert_eq!(handler.get("http://a.example/").await.unwrap(), 407);
    let shown = format!(
        "{answer:?} {answer} {:?}",
        proxy.network("u:hunter3@", "", handler_network())
    );
    assert!(
        !shown.contains("hunter") && !shown.contains("aHVudGVy"),
        "{shown}"
    );
    assert_eq!(handler.warnings(), Vec::<String>::new());
}

fn handler_network() -> Network {
    Network::new(to_loopback(), Vec::new())
}
