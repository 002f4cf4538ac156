//! The client for a running server: subcommands with `--url` send HTTP requests to it.

use std::{
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use pointsman_core::{integer::split_port, settings::duration};
use rustls::{ClientConfig, pki_types::ServerName};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    SERVER,
    trust::{self, Trust},
};
use crate::{
    config::TOKEN_VARIABLE,
    diagnostic::Diagnostic,
    files::{apart_blocking, read_text},
    queue::{BulkError, Faults},
    text::escaped,
};

/// Room for a response with about 100,000 entries.
const ANSWER_MAX_BYTES: usize = 256 << 20;

/// Ends the help of each subcommand that opens the queue.
macro_rules! one_process {
    () => {
        "With `queue.engine = \"sqlite\"`, one process at a time can open the queue: while
`pointsman serve` runs, use --url."
    };
}
pub(super) use one_process;

/// The flags of a subcommand that can send its request to a running server.
#[derive(Debug, clap::Args)]
pub(super) struct Server {
    /// Send the request to the server at this URL
    #[arg(long, global = true, help_heading = SERVER, value_name = "URL")]
    url: Option<Remote>,
    /// How long to wait for the response
    // A list of 100,000 entries from a store under load takes some seconds.
    #[arg(long, global = true, help_heading = SERVER, value_name = "DURATION", default_value = "30s", value_parser = parse_timeout, requires = "url")]
    timeout: Duration,
    /// File with the token to send [default: POINTSMAN_TOKEN, if it is set]
    #[arg(long, global = true, help_heading = SERVER, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

impl Server {
    /// The server to send the request to, if `--url` names one.
    ///
    /// # Errors
    /// If the token to send, or a file for TLS, cannot be read.
    pub(super) fn remote(self) -> anyhow::Result<Option<Remote>> {
        let Some(url) = self.url else {
            return Ok(None);
        };
        let token = token(self.token_file.as_deref())?;
        Ok(Some(Remote {
            token,
            ..url.within(self.timeout).trusting(&self.trust)?
        }))
    }
}

/// The largest token file: room for a token and a line break.
const TOKEN_FILE_MAX_BYTES: u64 = 4 << 10;

/// The value of `Authorization`, from the file or else from the environment.
fn token(file: Option<&Path>) -> anyhow::Result<Option<HeaderValue>> {
    let (text, origin) = match file {
        Some(path) => {
            let text = apart_blocking(path, |path| read_text(path, TOKEN_FILE_MAX_BYTES));
            let origin = path.display().to_string();
            (text.with_context(|| origin.clone())?, origin)
        }
        None => match std::env::var_os(TOKEN_VARIABLE).filter(|text| !text.is_empty()) {
            Some(text) => (text.to_string_lossy().into_owned(), TOKEN_VARIABLE.into()),
            None => return Ok(None),
        },
    };
    let token = text.trim();
    let is_token = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    let value = HeaderValue::try_from(format!("Bearer {token}")).ok();
    let Some(mut value) = value.filter(|_| is_token) else {
        // Not the text: it may be most of a secret.
        let error = Diagnostic::error("invalid-token", "is not a token").within(origin);
        return Err(error
            .hint("write what `pointsman token new` printed")
            .into());
    };
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Parses a timeout such as `5s`.
pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    duration::parse(text)
        .filter(|timeout| !timeout.is_zero())
        .ok_or_else(|| "write a number with its unit, such as `500ms`, `5s` or `1m`".into())
}

/// The address of a running server, such as `http://127.0.0.1:3000`.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    scheme: Scheme,
    // There once it is known what is trusted, where the scheme asks for it.
    tls: Option<Arc<ClientConfig>>,
    host: String,
    port: u16,
    timeout: Duration,
    // The value of `Authorization`; marked sensitive, so debug output omits it.
    token: Option<HeaderValue>,
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // It may hold a password; nothing else before an `@` is shown either.
        if text.contains('@') {
            return Err("the URL has a user name, which the server does not accept: write it as http://127.0.0.1:3000".into());
        }
        let wrong = || {
            let text = escaped(text);
            format!("`{text}` is not the URL of a server: write it as http://127.0.0.1:3000")
        };
        let uri = Uri::from_str(text).map_err(|_| wrong())?;
        let (scheme, usual) = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => (scheme.clone(), 443),
            Some(scheme) if *scheme == Scheme::HTTP => (scheme.clone(), 80),
            _ => return Err(wrong()),
        };
        if !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        let authority = uri.authority().ok_or_else(wrong)?;
        let (host, port) = split_port(authority.as_str()).ok_or_else(wrong)?;
        Ok(Self {
            scheme,
            tls: None,
            host: host.to_owned(),
            port: port.unwrap_or(usual),
            timeout: Duration::MAX,
            token: None,
        })
    }
}

/// Why no response came: the chain of `error`, and what to do if nothing listens there.
fn unreachable(error: &anyhow::Error, url: &str) -> anyhow::Error {
    let is_refused = error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
    });
    let hint = is_refused
        .then_some("no server listens there: start one with `pointsman serve`, or correct `--url`");
    Diagnostic::error("unreachable", format!("{error:#}"))
        .within(url)
        .maybe_hint(hint)
        .into()
}

/// Why the server refused a request: its problem document.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub(super) struct Problem {
    /// The stable code, such as `no-matching-handler`.
    code: String,
    detail: String,
    hint: Option<String>,
    /// What is wrong with some of many commands.
    #[serde(default)]
    lines: Vec<FaultyLine>,
}

/// What is wrong with one of many commands.
#[derive(Debug, Deserialize)]
struct FaultyLine {
    line: u64,
    detail: String,
    hint: Option<String>,
}

/// What the other host says of one thing; it may write anything.
fn told(detail: &str, hint: Option<&str>) -> Diagnostic {
    let hint = hint.map(|hint| escaped(hint).to_string());
    Diagnostic::error("refused", escaped(detail).to_string()).maybe_hint(hint)
}

impl Problem {
    /// The same, with what is wrong with each of the lines, which began at `first`.
    pub(super) fn of_lines(self, first: u64) -> anyhow::Error {
        if self.lines.is_empty() {
            return self.into();
        }
        let mut faults = Faults::default();
        for fault in &self.lines {
            let line = first.saturating_add(fault.line.saturating_sub(1));
            faults.add(line, told(&fault.detail, fault.hint.as_deref()));
        }
        BulkError::Lines(faults).into()
    }

    /// As a diagnostic, escaped: the server may have written anything.
    fn diagnostic(&self) -> Diagnostic {
        told(&self.detail, self.hint.as_deref())
    }

    /// Whether it is the problem with this stable code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code == code
    }
}

/// A request to the server.
#[derive(Debug, Default)]
struct Asked<'a> {
    method: Method,
    path: &'a str,
    headers: HeaderMap,
    body: Bytes,
}

impl Remote {
    /// The same server with another timeout.
    pub(super) fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same server, which is trusted so far.
    ///
    /// # Errors
    /// Where a file cannot be used, or is given for a server that is asked without TLS.
    pub(super) fn trusting(self, trust: &Trust) -> anyhow::Result<Self> {
        if self.scheme == Scheme::HTTPS {
            let tls = Some(trust.client()?);
            return Ok(Self { tls, ..self });
        }
        if trust.is_given() {
            let message = "certificates need TLS, but the URL starts with `http://`";
            let error = Diagnostic::error("no-tls", message);
            return Err(error.hint("write it as https://HOST:PORT").into());
        }
        Ok(self)
    }

    /// The JSON response to `GET path`.
    ///
    /// # Errors
    /// [`Problem`] if the server refused, otherwise why there is no response. The same
    /// goes for the other methods.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Asked {
            path,
            ..Asked::default()
        })
        .await
    }

    /// The JSON response to `DELETE path`.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Asked {
            method: Method::DELETE,
            path,
            ..Asked::default()
        })
        .await
    }

    /// The JSON that `POST path` answers to this JSON text.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<T> {
        self.post_as(path, headers, ("application/json", body))
            .await
    }

    /// As [`Self::post`], with a body of another type.
    pub(super) async fn post_as<T: DeserializeOwned>(
        &self,
        path: &str,
        mut headers: HeaderMap,
        (media, body): (&'static str, impl Into<Bytes>),
    ) -> anyhow::Result<T> {
        let media = HeaderValue::from_static(media);
        headers.insert(header::CONTENT_TYPE, media);
        self.ask(Asked {
            method: Method::POST,
            path,
            headers,
            body: body.into(),
        })
        .await
    }

    async fn ask<T: DeserializeOwned>(&self, asked: Asked<'_>) -> anyhow::Result<T> {
        let address = format!("{}:{}", self.host, self.port);
        let url = format!("{}://{address}{}", self.scheme, asked.path);
        let answer = tokio::time::timeout(self.timeout, self.send(asked, &address));
        let Ok(answer) = answer.await else {
            let message = format!("no response within {}", duration::text(self.timeout));
            let error = Diagnostic::error("no-answer", message).within(url);
            return Err(error.hint("`--timeout` sets the limit").into());
        };
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                return Err(match trust::explained(&error) {
                    Some(explained) => explained.within(url).into(),
                    None => unreachable(&error, &url),
                });
            }
        };
        if status.is_success() {
            return serde_json::from_slice(&body)
                .with_context(|| format!("{url}: unexpected response"));
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(problem.into()),
            Err(_) => bail!("{url}: responded with {status}"),
        }
    }

    async fn send(
        &self,
        asked: Asked<'_>,
        address: &str,
    ) -> anyhow::Result<(http::StatusCode, Bytes)> {
        let stream = TcpStream::connect(address).await?;
        let Some(tls) = &self.tls else {
            return self.exchange(stream, asked, address).await;
        };
        let name = self.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_owned())?;
        let tls = TlsConnector::from(Arc::clone(tls));
        let stream = tls.connect(name, stream).await?;
        self.exchange(stream, asked, address).await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        asked: Asked<'_>,
        address: &str,
    ) -> anyhow::Result<(http::StatusCode, Bytes)> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::builder()
            .method(asked.method)
            .uri(asked.path)
            .body(Full::<Bytes>::from(asked.body))?;
        *request.headers_mut() = asked.headers;
        let host = HeaderValue::from_str(address)?;
        request.headers_mut().insert(header::HOST, host);
        if let Some(token) = &self.token {
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, token.clone());
        }
        // It takes the sender along: its end ends the connection.
        let exchange = async move {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES);
            let body = body.collect().await.map_err(|error| anyhow!(error))?;
            Ok((status, body.to_bytes()))
        };
        // The connection makes progress only beside what is asked over it.
        let (answer, _) = tokio::join!(exchange, async {
            // What goes wrong on it, the exchange says.
            let _ = connection.await;
        });
        answer
    }
}
