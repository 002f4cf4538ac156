//! Owns the server under the routes: it accepts connections, keeps each within
//! its bounds, and lets none of them harm the others.

use std::{convert::Infallible, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody},
    http::{HeaderValue, Method, Request, Response, Version, header, request::Parts},
    response::IntoResponse,
};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    access,
    body::{self, Bodies, Refused},
    connections::{Admitted, Busy, Connection, Connections},
    gate::{self, Over},
    handshake::{self, Begun},
    problem::Problem,
    routes,
    sending::{Answer, PIECE_BYTES, Streams},
    socket::Socket,
    stream::{Patience, Protocol, Stream},
};
use crate::{
    access::{Access, Caller},
    diagnostic::Diagnostic,
    host::Host,
    log::Seldom,
    tls::Tls,
};

/// What probes ask for: answered also where there is no room for more.
pub(super) const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// After a failed accept: what is missing may come back at any time.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Requests at once on a connection of HTTP/2; what browsers and libraries expect.
const STREAMS_MAX: u32 = 100;
/// Bytes of bodies that a client may send before they are read, of one request and of all
/// on its connection: 5 MB/s over a line of 50 ms.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
/// An HTTP/2 connection that was told to end, and has no request, has that long to hear it.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// What all connections share.
struct Server {
    routes: TowerToHyperService<Router>,
    hosts: Vec<String>,
    access: Arc<Access>,
    tls: Option<Arc<Tls>>,
    patience: Patience,
    bodies: Bodies,
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    // Connections, and what lingers on them.
    tasks: TaskTracker,
    // They should end.
    closing: CancellationToken,
}

/// What is served on one address, and to whom.
pub(super) struct Served {
    pub(super) listener: TcpListener,
    pub(super) routes: Router,
    pub(super) access: Arc<Access>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) connections: Connections,
}

/// Serves until the host has drained; then connections close.
///
/// # Errors
/// When the listener fails for good.
pub(super) async fn serve(host: &Host, served: Served) -> io::Result<()> {
    let (config, budgets) = (host.config(), host.budgets());
    let (tasks, patience) = (TaskTracker::new(), Patience::from(&config.http));
    let streams = Streams {
        tasks: tasks.clone(),
        patience: patience.write,
    };
    let server = Arc::new(Server {
        routes: TowerToHyperService::new(served.routes),
        hosts: config.http.hosts.clone(),
        access: served.access,
        tls: served.tls,
        patience,
        bodies: Bodies::new(config, Arc::clone(&budgets.bodies)),
        http1: http1(config.http.header_max_bytes),
        http2: http2(config.http.header_max_bytes, streams),
        tasks,
        closing: CancellationToken::new(),
    });
    let (connections, listener) = (Arc::new(served.connections), served.listener);
    let shutdown = host.shutdown().clone();
    let drained = async move {
        shutdown.draining.cancelled().await;
        shutdown.tasks.wait().await;
    };
    tokio::select! {
        () = drained => {}
        () = accept(&server, &listener, &connections) => {}
    }
    drop(listener);
    server.closing.cancel();
    server.tasks.close();
    server.tasks.wait().await;
    Ok(())
}

fn http1(header_max_bytes: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(header_max_bytes)
        // One that came whole in the last read may be longer than the buffer.
        .max_header_size(header_max_bytes)
        // `Stream` does better: it tells an idle connection from a slow head.
        .header_read_timeout(None);
    builder
}

/// Its bounds on streams that are reset, and on frames that ask for an answer, are the library's.
fn http2(header_max_bytes: usize, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(header_max_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(PIECE_BYTES);
    builder
}

/// Takes connections for ever. That it fails is told once a minute.
async fn accept(server: &Arc<Server>, listener: &TcpListener, connections: &Arc<Connections>) {
    let mut pause = ACCEPT_PAUSE_MIN;
    let failures = Seldom::default();
    loop {
        match listener.accept().await {
            Ok((tcp, address)) => {
                pause = ACCEPT_PAUSE_MIN;
                server.take(tcp, address, connections);
            }
            // Of one client: it is gone already.
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                if failures.count(1).is_some() {
                    let message = format!(
                        "a connection could not be accepted: {error}; an idle connection is closed"
                    );
                    let error = Diagnostic::error("accept-failed", message).hint(
                        "raise the limit of open files (`ulimit -n`), or lower `http.connections_max`",
                    );
                    tracing::error!("{error}");
                }
                connections.make_room();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

impl Server {
    fn take(self: &Arc<Self>, tcp: TcpStream, address: SocketAddr, all: &Arc<Connections>) {
        let Some(admitted) = all.admit(address.ip().to_canonical()) else {
            return;
        };
        let server = Arc::clone(self);
        self.tasks.spawn(server.connection(tcp, admitted));
    }

    /// One connection, to its end.
    async fn connection(self: Arc<Self>, tcp: TcpStream, admitted: Admitted) {
        let connection = &admitted.connection;
        let socket = Socket::new(tcp, self.patience.write);
        let Some(tls) = &self.tls else {
            let http1 = Protocol::http1();
            return self
                .exchange(socket, (Over::Clear, http1), connection)
                .await;
        };
        // On the heap: without TLS a connection is smaller.
        let begun = Box::pin(handshake::begin(
            tls,
            (socket, connection.address()),
            self.patience.head,
        ));
        let begun = tokio::select! {
            begun = begun => begun,
            () = connection.evicted.notified() => None,
            () = self.closing.cancelled() => None,
        };
        match begun {
            Some(Begun::Tls(stream)) => {
                let protocol = match handshake::is_http2(&stream) {
                    true => Protocol::http2(),
                    false => Protocol::http1(),
                };
                Box::pin(self.exchange(stream, (Over::Tls, protocol), connection)).await;
            }
            Some(Begun::Plain(socket)) => {
                let over = (Over::ClearOnTls, Protocol::http1());
                Box::pin(self.exchange(socket, over, connection)).await;
            }
            None => {}
        }
    }

    /// Requests and answers, over a stream of which both sides know what it is.
    async fn exchange<T>(
        self: &Arc<Self>,
        stream: T,
        (over, protocol): (Over, Protocol),
        connection: &Arc<Connection>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (server, of_requests) = (Arc::clone(self), Arc::clone(connection));
        let service = service_fn(move |request| {
            let (server, connection) = (Arc::clone(&server), Arc::clone(&of_requests));
            async move { Ok::<_, Infallible>(server.answer(&connection, over, request).await) }
        });
        let is_http2 = matches!(protocol, Protocol::Http2 { .. });
        let stream = Stream::new(stream, protocol, Arc::clone(connection), self.patience);
        let io = TokioIo::new(stream);
        if is_http2 {
            let exchange = self.http2.serve_connection(io, service);
            self.conclude(
                connection,
                exchange,
                |it| it.graceful_shutdown(),
                GOODBYE_MAX,
            )
            .await;
        } else {
            let exchange = self.http1.serve_connection(io, service);
            // It ends by itself where nothing is asked, or once that is answered.
            self.conclude(
                connection,
                exchange,
                |it| it.graceful_shutdown(),
                Duration::MAX,
            )
            .await;
        }
    }

    /// A connection from its first request on. Told to end, it has `goodbye` to do so
    /// while nothing is asked.
    async fn conclude<C>(
        &self,
        connection: &Connection,
        exchange: C,
        wind_down: impl Fn(Pin<&mut C>),
        goodbye: Duration,
    ) where
        C: Future<Output = hyper::Result<()>>,
    {
        tokio::pin!(exchange);
        let (mut ended, is_evicted) = tokio::select! {
            ended = &mut exchange => (Some(ended), false),
            () = connection.evicted.notified() => (None, true),
            () = self.closing.cancelled() => (None, false),
        };
        if ended.is_none() {
            wind_down(exchange.as_mut());
        }
        // Its place is another's already. A request may have come at the same moment.
        if is_evicted && connection.requests_answered().is_some() {
            let _ = timeout(Duration::ZERO, &mut exchange).await;
            return;
        }
        while ended.is_none() {
            ended = timeout(goodbye, &mut exchange).await.ok();
            if ended.is_none() && connection.requests_answered().is_some() {
                return;
            }
        }
        if let Some(Err(error)) = ended {
            // Clients vanish and are late; that is theirs.
            tracing::debug!("a connection ended early: {error}");
        }
    }

    async fn answer(
        &self,
        connection: &Arc<Connection>,
        over: Over,
        request: Request<Incoming>,
    ) -> Response<Answer> {
        let busy = connection.busy();
        if request.version() == Version::HTTP_2 {
            return self.answer_stream(connection, over, request, busy).await;
        }
        let is_clear = connection.next_is_clear();
        // What is behind chunks is not looked at by `Framing`.
        let is_last =
            connection.is_reserve() || request.headers().contains_key(header::TRANSFER_ENCODING);
        let response = if is_for_others(connection, &request) {
            closing(Problem::too_many_connections())
        } else if !is_clear {
            closing(Problem::invalid_request(
                "it has both `Content-Length` and `Transfer-Encoding`",
            ))
        } else {
            self.route(request, over, connection).await
        };
        let mut response = response.map(|body| Answer::new(body, busy));
        if is_last {
            close_after(&mut response);
        }
        response
    }

    /// The same over HTTP/2, where frames say what belongs to which request.
    async fn answer_stream(
        &self,
        connection: &Arc<Connection>,
        over: Over,
        request: Request<Incoming>,
        busy: Busy,
    ) -> Response<Answer> {
        let is_head = request.method() == Method::HEAD;
        if connection.is_reserve() {
            // It ends once this is answered.
            connection.evicted.notify_one();
        }
        let mut response = match is_for_others(connection, &request) {
            true => Problem::too_many_connections().into_response(),
            false => self.route(request, over, connection).await,
        };
        // The connection goes on: a request that is not read to its end harms no other.
        response.headers_mut().remove(header::CONNECTION);
        if is_head {
            response = response.map(|_| Body::empty());
        }
        response.map(|body| Answer::new(body, busy))
    }

    /// Says who asks, before anything of the body is read. Those who need not say are
    /// asked behind this, where their route is known.
    fn identify(&self, head: &mut Parts, connection: &Connection) -> Result<(), Problem> {
        if !self.access.is_required() || routes::is_open(head.uri.path()) {
            return Ok(());
        }
        let caller = access::caller(&self.access, (&head.method, &head.uri, &head.headers))?;
        head.extensions.insert(Caller {
            address: Some(connection.address()),
            ..caller
        });
        Ok(())
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        over: Over,
        connection: &Connection,
    ) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let checked = gate::check(&head, over, &self.hosts)
            .and_then(|()| gate::path(&mut head.uri))
            .and_then(|()| self.identify(&mut head, connection));
        let read = match checked {
            Ok(()) => self.bodies.read(body).await,
            Err(problem) => Err(Refused {
                problem,
                rest: Some(body),
            }),
        };
        match read {
            Ok((body, _in_flight)) => {
                let request = Request::from_parts(head, Body::from(body));
                match self.routes.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
            // Over HTTP/2 the client hears that nobody reads the rest.
            Err(Refused { problem, .. }) if head.version == Version::HTTP_2 => {
                problem.into_response()
            }
            Err(Refused { problem, rest }) => {
                let Some(rest) = rest else {
                    return closing(problem);
                };
                if rest.is_end_stream() {
                    return problem.into_response();
                }
                body::linger(rest, &head.headers, &self.tasks, self.closing.clone());
                closing(problem)
            }
        }
    }
}

/// Whether it was taken past the limit, and asks for more than its probes.
fn is_for_others(connection: &Connection, request: &Request<Incoming>) -> bool {
    connection.is_reserve() && !PROBES.contains(&request.uri().path())
}

/// A problem, and the end of the connection: its requests cannot be told apart any more.
fn closing(problem: Problem) -> Response<Body> {
    let mut response = problem.into_response();
    close_after(&mut response);
    response
}

fn close_after<B>(response: &mut Response<B>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
}
