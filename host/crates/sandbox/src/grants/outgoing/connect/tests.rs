use std::{
    path::Path,
    pin::Pin,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wasmtime_wasi_http::{RequestOptions, WasiHttpHooks as _};

use super::*;
use crate::{
    Grants, HandlerDefaults, HandlerSettings,
    grants::{
        granted::Denial,
        outgoing::{Caller, Outgoing},
    },
    shares::AllShares,
};
use pointsman_core::name::HandlerName;
use pointsman_machine::budget::{BudgetSettings, Budgets};

/// A server on this machine that gives `answer` to every connection.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn new(answer: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                    if answer.is_empty() {
                        let _ = stream.read(&mut [0; 4096]).await;
                    }
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    async fn ok() -> Self {
        Self::new("HTTP/1.1 204 No Content\r\n\r\n".into()).await
    }

    /// Answers nothing and stays connected.
    async fn silent() -> Self {
        Self::new(String::new()).await
    }

    fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Leads every name to this machine.
fn to_loopback() -> Resolver {
    Resolver::new(|_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]))
}

/// A call with half a minute left.
#[derive(Default)]
struct Call(Mutex<Option<Denial>>);

impl Caller for Call {
    fn time_left(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn deny(&self, denial: Denial) {
        self.0.lock().unwrap().get_or_insert(denial);
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
        outgoing_max: 4,
        blocking_max: 8,
        ..BudgetSettings::default()
    });
    let name = HandlerName::parse("one").unwrap();
    let path = Path::new("plugins/one.toml");
    let settings = HandlerSettings::parse(
        path,
        &format!("[http]\n{http}"),
        &HandlerDefaults::default(),
    )
    .unwrap();
    let call = Arc::new(Call::default());
    let outgoing = Outgoing {
        grants: Arc::new(Grants::read(name.clone(), &settings, path).unwrap()),
        caller: call.clone(),
        shares: AllShares::new(budgets.clone()).of(&name),
        resolver,
    };
    Handler {
        call,
        outgoing,
        budgets,
    }
}

impl Handler {
    /// The status of the answer.
    async fn get(&mut self, url: &str) -> Result<u16, Error> {
        self.get_within(url, Duration::from_secs(30)).await
    }

    async fn get_within(&mut self, url: &str, timeout: Duration) -> Result<u16, Error> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = http::Request::get(url).body(body).unwrap();
        let options = RequestOptions {
            connect_timeout: Some(timeout),
            ..Default::default()
        };
        let done = Box::new(std::future::ready(Ok(())));
        let sent = self.outgoing.send_request(request, Some(options), done);
        let (response, _connection) = Pin::from(sent).await?;
        Ok(response.status().as_u16())
    }
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
        let before = server.connections.load(Ordering::SeqCst);
        let mut handler = handler(&with_port(http), to_loopback());
        let answer = handler.get(&with_port(url)).await;
        let connected = server.connections.load(Ordering::SeqCst) > before;
        match granted {
            true => assert!(matches!(answer, Ok(204)), "{http} | {url}: {answer:?}"),
            false => {
                let refused = matches!(answer, Err(Error::DestinationIpProhibited));
                assert!(refused && !connected, "{http} | {url}: {answer:?}");
                let denial = handler.call.0.lock().unwrap().clone().unwrap().message;
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
    assert!(matches!(handler.get(&url).await, Ok(204)));
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
    assert!(matches!(private.get(&url).await, Ok(204)));
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
    let mut handler = handler(&format!("allow = ['* {url}']"), to_loopback());
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = http::Request::get(&url).body(body).unwrap();
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
    drop(first);
    assert_eq!(handler.budgets.outgoing.used(), 0);
    assert_eq!(handler.budgets.descriptors.used(), 0);
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
        assert!(matches!(answer, Err(Error::DnsTimeout)), "{answer:?}");
    }
    assert_eq!(handler.budgets.blocking.used(), 2);
    assert_eq!(handler.budgets.outgoing.used(), 0);
    drop(end);
}

#[tokio::test]
async fn the_head_of_an_answer_has_a_limit() {
    for (fields, fits) in [(100, true), (2_000, false)] {
        let field = format!("x: {}\r\n", "y".repeat(60));
        let head = format!("HTTP/1.1 204 No Content\r\n{}\r\n", field.repeat(fields));
        let server = Server::new(head).await;
        let url = format!("http://{}/", server.address);
        let mut handler = handler(&format!("allow = ['* {url}']"), to_loopback());
        assert_eq!(handler.get(&url).await.is_ok(), fits, "{fields}");
    }
}

#[tokio::test]
async fn this_machine_is_known_by_its_own_address() {
    let server = Server::ok().await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    assert!(is_here(&stream).unwrap());
}
