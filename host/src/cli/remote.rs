//! Asks a host that serves: the command line over HTTP.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, anyhow, bail};
use http::{Method, Request, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::net::TcpStream;

/// A host answers within milliseconds; one that hangs is told of.
const TIMEOUT: Duration = Duration::from_secs(60);
/// An answer of some 100,000 entries.
const ANSWER_MAX_BYTES: usize = 256 << 20;

/// Where a host serves, such as `http://127.0.0.1:3000`.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    host: String,
    port: u16,
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no address of a host: write it as http://127.0.0.1:3000");
        let uri = Uri::from_str(text).map_err(|_| wrong())?;
        if uri.scheme() != Some(&Scheme::HTTP) || !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        Ok(Self {
            host: uri.host().ok_or_else(wrong)?.to_owned(),
            port: uri.port_u16().unwrap_or(80),
        })
    }
}

/// What matters here of a problem document.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    hint: Option<String>,
}

impl Remote {
    /// The JSON that `GET path` answers.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> anyhow::Result<T> {
        let address = format!("{}:{}", self.host, self.port);
        let answer = tokio::time::timeout(TIMEOUT, self.send(method, path, &address));
        let answer = answer
            .await
            .map_err(|_| anyhow!("no answer after {TIMEOUT:?}"))
            .and_then(|answer| answer)
            .with_context(|| format!("http://{address}{path}"))?;
        let (status, body) = answer;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .with_context(|| format!("http://{address}{path} is not what a host answers"));
        }
        match serde_json::from_slice(&body) {
            Ok(Problem { detail, hint: None }) => bail!("{detail}"),
            Ok(Problem {
                detail,
                hint: Some(hint),
            }) => bail!("{detail}\n  hint: {hint}"),
            Err(_) => bail!("http://{address}{path} answers {status}"),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        address: &str,
    ) -> anyhow::Result<(http::StatusCode, Bytes)> {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address)
            .body(Full::<Bytes>::default())?;
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
