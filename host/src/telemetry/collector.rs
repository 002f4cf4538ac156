//! Owns the way to the collector: one request for each batch of spans, and a word
//! in the log, once a minute at most, where batches are lost.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter as Exporter},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Handle,
};
use tokio_rustls::TlsConnector;

use crate::{log::Seldom, tls};

/// A collector that takes longer is as good as away: the next batch waits.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What a collector says of a batch is a few bytes.
const ANSWER_MAX_BYTES: usize = 64 << 10;

/// Sends batches from the library's own thread, on the runtime of the host.
#[derive(Clone, Debug)]
pub(super) struct Client {
    runtime: Handle,
    tls: Arc<ClientConfig>,
}

impl Client {
    /// # Errors
    /// Outside of a runtime, or where this machine cannot do TLS.
    pub(super) fn new() -> Result<Self, HttpError> {
        let tls = tls::client(None)?.with_no_client_auth();
        Ok(Self {
            runtime: Handle::try_current()?,
            tls: Arc::new(tls),
        })
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri();
        let host = uri.host().ok_or("its address names no host")?.to_owned();
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let tcp = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        if !is_https {
            return exchange(tcp, request).await;
        }
        let name = ServerName::try_from(host)?;
        let tls = TlsConnector::from(self.tls).connect(name, tcp).await?;
        exchange(tls, request).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let (mut head, body) = request.into_parts();
    if let Some(authority) = head.uri.authority() {
        let host = http::HeaderValue::from_str(authority.as_str())?;
        head.headers.insert(http::header::HOST, host);
    }
    head.uri = head
        .uri
        .path_and_query()
        .map_or("/", |it| it.as_str())
        .parse()?;
    let request = Request::from_parts(head, Full::new(body));
    let answer = async move {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await?;
        Ok::<_, HttpError>(Response::from_parts(head, body.to_bytes()))
    };
    // The sender's end ends the connection.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.clone();
        let sent = self.runtime.spawn(async move {
            match tokio::time::timeout(ANSWER_MAX, client.send(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no response within {} s", ANSWER_MAX.as_secs()).into()),
            }
        });
        sent.await?
    }
}

/// An exporter whose failures are told.
#[derive(Debug)]
pub(super) struct Told {
    exporter: SpanExporter,
    lost: Seldom,
}

impl Told {
    pub(super) fn new(exporter: SpanExporter) -> Self {
        Self {
            exporter,
            lost: Seldom::default(),
        }
    }

    fn lose(&self, spans: usize, reason: &impl ToString) {
        if let Some(spans) = self.lost.count(spans as u64) {
            let reason = reason.to_string();
            tracing::warn!(
                spans,
                "traces were lost, the collector did not take them: {}",
                crate::text::escaped(&reason)
            );
        }
    }
}

impl Exporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        if let Err(error) = &sent {
            self.lose(spans, error);
        }
        sent
    }

    fn shutdown_with_timeout(&self, wait: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(wait)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
