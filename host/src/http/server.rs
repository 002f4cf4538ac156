//! Owns the server under the routes: it accepts connections, keeps each within
//! its bounds, and lets none of them harm the others.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, Request, Response, header, request::Parts},
    response::IntoResponse,
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::Instant,
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
    socket::Socket,
    stream::{Patience, Stream},
};
use crate::{
    access::{Access, Caller},
    diagnostic::Diagnostic,
    host::Host,
    tls::Tls,
};

/// What probes ask for: answered also where there is no room for more.
pub(super) const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// After a failed accept: what is missing may come back at any time.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
const ACCEPT_TOLD_EVERY: Duration = Duration::from_secs(60);

/// What all connections share.
struct Server {
    routes: TowerToHyperService<Router>,
    hosts: Vec<String>,
    access: Arc<Access>,
    tls: Option<Arc<Tls>>,
    patience: Patience,
    bodies: Bodies,
    builder: http1::Builder,
    // Connections, and what lingers on them.
    tasks: TaskTracker,
    // They should end.
    closing: CancellationToken,
}

/// Serves `routes` until the host has drained; then connections close.
///
/// # Errors
/// When the listener fails for good.
pub(super) async fn serve(
    host: Arc<Host>,
    listener: TcpListener,
    routes: Router,
) -> io::Result<()> {
    let (config, budgets) = (host.config(), host.budgets());
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(config.http.header_max_bytes)
        // One that came whole in the last read may be longer than the buffer.
        .max_header_size(config.http.header_max_bytes)
        // `Stream` does better: it tells an idle connection from a slow head.
        .header_read_timeout(None);
    let server = Arc::new(Server {
        routes: TowerToHyperService::new(routes),
        hosts: config.http.hosts.clone(),
        access: Arc::clone(host.access()),
        tls: host.tls().cloned(),
        patience: Patience::from(&config.http),
        bodies: Bodies::new(config, Arc::clone(&budgets.bodies)),
        builder,
        tasks: TaskTracker::new(),
        closing: CancellationToken::new(),
    });
    let connections = Arc::new(Connections::new(
        Arc::clone(&budgets.connections),
        config.http.connections_per_address_max,
    ));
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

/// Takes connections for ever. That it fails is told once a minute.
async fn accept(server: &Arc<Server>, listener: &TcpListener, connections: &Arc<Connections>) {
    let mut pause = ACCEPT_PAUSE_MIN;
    let mut told: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((tcp, address)) => {
                pause = ACCEPT_PAUSE_MIN;
                server.take(tcp, address, connections);
            }
            // Of one client: it is gone already.
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() > ACCEPT_TOLD_EVERY) {
                    told = Some(Instant::now());
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
            return self.exchange(socket, Over::Clear, connection).await;
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
                Box::pin(self.exchange(stream, Over::Tls, connection)).await;
            }
            Some(Begun::Plain(socket)) => {
                Box::pin(self.exchange(socket, Over::ClearOnTls, connection)).await;
            }
            None => {}
        }
    }

    /// Requests and answers, over a stream of which both sides know what it is.
    async fn exchange<T>(self: &Arc<Self>, stream: T, over: Over, connection: &Arc<Connection>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Stream::new(stream, Arc::clone(connection), self.patience);
        let (server, of_requests) = (Arc::clone(self), Arc::clone(connection));
        let service = service_fn(move |request| {
            let (server, connection) = (Arc::clone(&server), Arc::clone(&of_requests));
            async move { Ok::<_, Infallible>(server.answer(&connection, over, request).await) }
        });
        let exchange = self.builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(exchange);
        let ended = tokio::select! {
            ended = &mut exchange => ended,
            () = connection.evicted.notified() => {
                if connection.requests_answered().is_some() {
                    return;
                }
                // A request came at the same moment.
                exchange.as_mut().graceful_shutdown();
                exchange.await
            }
            () = self.closing.cancelled() => {
                exchange.as_mut().graceful_shutdown();
                exchange.await
            }
        };
        if let Err(error) = ended {
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
        let is_clear = connection.next_is_clear();
        // What is behind chunks is not looked at by `Framing`.
        let is_last =
            connection.is_reserve() || request.headers().contains_key(header::TRANSFER_ENCODING);
        let response = if connection.is_reserve() && !PROBES.contains(&request.uri().path()) {
            closing(Problem::too_many_connections())
        } else if !is_clear {
            closing(Problem::invalid_request(
                "it has both `Content-Length` and `Transfer-Encoding`",
            ))
        } else {
            self.route(request, over, connection).await
        };
        let mut response = response.map(|body| Answer { body, _busy: busy });
        if is_last {
            close_after(&mut response);
        }
        response
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

/// The body of an answer; its connection is busy as long as there is one.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
