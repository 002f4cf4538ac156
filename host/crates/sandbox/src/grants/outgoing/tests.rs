//! What the tests of outgoing requests have in common, and those of where they lead.

mod hostile;
mod http2;
mod kept;
mod proxied;

use std::{
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks as _};

use super::{Caller, Clients, Network, Outgoing, Recorder, StandIn, connect::Resolver};
use crate::{Grants, HandlerDefaults, HandlerSettings, grants::granted::Denial, shares::AllShares};
use pointsman_core::name::HandlerName;
use pointsman_machine::budget::{BudgetSettings, Budgets};

/// A server on this machine.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    // The heads of all requests.
    heads: Arc<Mutex<Vec<String>>>,
}

/// What a server does after it has read the head of a request.
#[derive(Clone)]
enum Reply {
    /// Sends this and reads the next one.
    Keep(&'static str),
    /// Sends this and closes the connection.
    Close(String),
    /// Sends the first, then the second without end, with this pause between.
    Endless(&'static str, &'static str, Duration),
    /// Sends nothing and stays connected.
    Hang,
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Server {
    async fn new(reply: Reply) -> Self {
        Self::by(move |_| reply.clone()).await
    }

    /// Replies to each request by its number over all connections.
    async fn by(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            heads: Arc::default(),
        };
        let (connections, heads) = (Arc::clone(&server.connections), Arc::clone(&server.heads));
        let reply = Arc::new(reply);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (heads, reply) = (Arc::clone(&heads), Arc::clone(&reply));
                let reply = move |head: String| {
                    let mut heads = heads.lock().unwrap();
                    heads.push(head);
                    reply(heads.len())
                };
                tokio::spawn(async move { converse(stream, reply).await.ok() });
            }
        });
        server
    }

    async fn ok() -> Self {
        Self::new(Reply::Keep(OK)).await
    }

    /// Sends nothing and stays connected.
    async fn silent() -> Self {
        Self::new(Reply::Hang).await
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn converse(mut stream: TcpStream, reply: impl Fn(String) -> Reply) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|it| it == b"\r\n\r\n");
        let Some(end) = end else {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = bytes.drain(..end + 4).collect();
        match reply(String::from_utf8(head).unwrap()) {
            Reply::Keep(text) => stream.write_all(text.as_bytes()).await?,
            Reply::Close(text) => return stream.write_all(text.as_bytes()).await,
            Reply::Endless(first, rest, pause) => {
                stream.write_all(first.as_bytes()).await?;
                loop {
                    stream.write_all(rest.as_bytes()).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Reply::Hang => std::future::pending().await,
        }
    }
}

/// Leads every name to this machine.
fn to_loopback() -> Resolver {
    Resolver::new(|_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]))
}

/// A call with half a minute left.
#[derive(Default)]
struct Call {
    denied: Mutex<Option<Denial>>,
    warnings: Mutex<Vec<String>>,
}

impl Caller for Call {
    fn time_left(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn traceparent(&self) -> Option<&str> {
        Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    }

    fn deny(&self, denial: Denial) {
        self.denied.lock().unwrap().get_or_insert(denial);
    }

    fn stand_in(&self) -> Option<Arc<dyn StandIn>> {
        None
    }

    fn recorder(&self) -> Option<Recorder> {
        None
    }

    fn warn(&self, message: &str) {
        self.warnings.lock().unwrap().push(message.to_owned());
    }
}

struct Handler {
    call: Arc<Call>,
    outgoing: Outgoing,
    budgets: Budgets,
}

/// A handler with this `[http]`.
fn handler(http: &str, resolver: Resolver) -> Handler {
    let budgets = Budgets::here(&BudgetSettings {
        outgoing_max: Some(400),
        blocking_max: Some(8),
        ..BudgetSettings::default()
    });
    handler_within(budgets, http, resolver)
}

fn handler_within(budgets: Budgets, http: &str, resolver: Resolver) -> Handler {
    let path = Path::new("plugins/one.toml");
    handler_of(budgets, &format!("[http]\n{http}"), path, resolver)
}

/// A handler with the settings `toml`, which stand in the file `path`.
fn handler_of(budgets: Budgets, toml: &str, path: &Path, resolver: Resolver) -> Handler {
    let network = Network::new(resolver, Vec::new());
    handler_in(network, budgets, toml, path)
}

/// As [`handler_of`], with another network.
fn handler_in(network: Network, budgets: Budgets, toml: &str, path: &Path) -> Handler {
    let name = HandlerName::parse("one").unwrap();
    let settings = HandlerSettings::parse(path, toml, &HandlerDefaults::default()).unwrap();
    let call = Arc::new(Call::default());
    let grants = Arc::new(Grants::read(name.clone(), &settings, path).unwrap());
    let shares = AllShares::new(budgets.clone()).of(&name);
    let clients = Clients::new(shares, network, grants.http());
    let place = "plugins/one.toml".into();
    let outgoing = Outgoing::new(&grants, &clients, &place, call.clone());
    Handler {
        call,
        outgoing,
        budgets,
    }
}

impl Handler {
    /// The status of the response, once all of it is there.
    async fn get(&mut self, url: &str) -> Result<u16, Error> {
        self.text(url).await.map(|(status, _)| status)
    }

    /// The status and the body of the response.
    async fn text(&mut self, url: &str) -> Result<(u16, String), Error> {
        let request = http::Request::get(url).body(empty()).unwrap();
        self.send(request, Duration::from_secs(30)).await
    }

    async fn get_within(&mut self, url: &str, timeout: Duration) -> Result<u16, Error> {
        let request = http::Request::get(url).body(empty()).unwrap();
        self.send(request, timeout).await.map(|(status, _)| status)
    }

    /// Sends it, with so much time for the connection.
    async fn send(
        &mut self,
        request: http::Request<WasiBody>,
        timeout: Duration,
    ) -> Result<(u16, String), Error> {
        let options = RequestOptions {
            connect_timeout: Some(timeout),
            ..Default::default()
        };
        let done = Box::new(std::future::ready(Ok(())));
        let sent = self.outgoing.send_request(request, Some(options), done);
        let (response, _) = Pin::from(sent).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    fn warnings(&self) -> Vec<String> {
        self.call.warnings.lock().unwrap().clone()
    }
}

fn empty() -> WasiBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused_unless_that_was_granted() {
    let server = Server::ok().await;
    let port = server.port();
    for (granted, http, url) in [
        (
            false,
            "allow = ['* http://*:PORT']",
            "http://a.example:PORT/",
        ),
        (
            false,
            "allow = ['* http://*:PORT']",
            "http://127.0.0.1:PORT/",
        ),
        (
            false,
            "allow = ['* http://*:PORT']",
            "http://[::ffff:127.0.0.1]:PORT/",
        ),
        (
            false,
            "allow = ['* http://*.example:PORT']",
            "http://a.example:PORT/",
        ),
        (
            false,
            "allow = ['* http://a.example:PORT']",
            "http://a.example:PORT/",
        ),
        (
            true,
            "allow = ['* http://localhost:PORT']",
            "http://localhost:PORT/",
        ),
        (
            true,
            "allow = ['* http://127.0.0.1:PORT']",
            "http://127.0.0.1:PORT/",
        ),
        (
            true,
            "allow_private = ['* http://*:PORT']",
            "http://a.example:PORT/",
        ),
    ] {
        let with_port = |text: &str| text.replace("PORT", &port.to_string());
        let before = server.connections();
        let mut handler = handler(&with_port(http), to_loopback());
        let answer = handler.get(&with_port(url)).await;
        let connected = server.connections() > before;
        match granted {
            true => assert!(matches!(answer, Ok(200)), "{http} | {url}: {answer:?}"),
            false => {
                let refused = matches!(answer, Err(Error::DestinationIpProhibited));
                assert!(refused && !connected, "{http} | {url}: {answer:?}");
                let denial = handler.call.denied.lock().unwrap().clone().unwrap().message;
                assert!(denial.contains("leads to a loopback address"), "{denial}");
            }
        }
    }
}

#[tokio::test]
async fn a_name_is_looked_up_once_so_that_it_cannot_lead_elsewhere_when_connected_to() {
    let server = Server::ok().await;
    let lookups = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lookups);
    let rebinding = Resolver::new(move |_, port| {
        let last = if count.fetch_add(1, Ordering::SeqCst) == 0 {
            1
        } else {
            9
        };
        Ok(vec![SocketAddr::from(([127, 0, 0, last], port))])
    });
    let url = format!("http://a.example:{}/", server.port());
    let mut handler = handler(&format!("allow_private = ['* {url}']"), rebinding);
    assert!(matches!(handler.get(&url).await, Ok(200)));
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn of_several_addresses_only_those_within_reach_are_tried() {
    let server = Server::ok().await;
    let several = Resolver::new(|_, port| {
        let link_local = SocketAddr::from(([169, 254, 169, 254], port));
        Ok(vec![link_local, SocketAddr::from(([127, 0, 0, 1], port))])
    });
    let url = format!("http://a.example:{}/", server.port());
    let mut private = handler(&format!("allow_private = ['* {url}']"), several.clone());
    assert!(matches!(private.get(&url).await, Ok(200)));
    let mut public = handler(&format!("allow = ['* {url}']"), several);
    let answer = public.get(&url).await;
    assert!(
        matches!(answer, Err(Error::DestinationIpProhibited)),
        "{answer:?}"
    );
}

#[tokio::test]
async fn requests_over_the_handlers_part_wait_and_then_say_so() {
    let server = Server::silent().await;
    let url = format!("http://{}/", server.address);
    let mut handler = handler(
        &format!("allow = ['* {url}']\nrequests_max = 1"),
        to_loopback(),
    );
    let request = http::Request::get(&url).body(empty()).unwrap();
    let done = Box::new(std::future::ready(Ok(())));
    let mut first = Pin::from(handler.outgoing.send_request(request, None, done));
    while handler.budgets.outgoing.used() == 0 {
        assert!(futures_util::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
    }
    let second = handler.get_within(&url, Duration::from_millis(1)).await;
    assert!(
        matches!(second, Err(Error::ConnectionLimitReached)),
        "{second:?}"
    );
    assert!(handler.warnings()[0].contains("`http.requests_max` in plugins/one.toml"));
    drop(first);
    assert_eq!(handler.budgets.outgoing.used(), 0);
    // The connection is closed by a task of its own.
    while handler.budgets.descriptors.used() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn look_ups_that_hang_are_given_up_and_hold_the_handlers_part_of_threads() {
    let (end, ended) = mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    let hanging = Resolver::new(move |_, _| {
        let _ = ended.lock().unwrap().recv();
        Ok(Vec::new())
    });
    let mut handler = handler("allow = ['* http://*']", hanging);
    for _ in 0..10 {
        let timeout = Duration::from_millis(1);
        let answer = handler.get_within("http://a.example/", timeout).await;
        assert!(
            matches!(answer, Err(Error::ConnectionTimeout)),
            "{answer:?}"
        );
    }
    assert_eq!(handler.budgets.blocking.used(), 2);
    assert_eq!(handler.budgets.outgoing.used(), 0);
    drop(end);
}

#[tokio::test]
async fn the_head_of_an_answer_has_a_limit() {
    for (fields, fits) in [(90, true), (2_000, false)] {
        let field = format!("x: {}\r\n", "y".repeat(60));
        let head = format!("HTTP/1.1 204 No Content\r\n{}\r\n", field.repeat(fields));
        let server = Server::new(Reply::Close(head)).await;
        let url = server.url();
        let mut handler = handler(&format!("allow = ['* {url}']"), to_loopback());
        assert_eq!(handler.get(&url).await.is_ok(), fits, "{fields}");
    }
}
