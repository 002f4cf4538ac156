//! Owns the news between hosts: one connection that listens, and is made anew
//! when it breaks. News may be lost with it; whoever waits looks all the same
//! after a while.

use std::{sync::Arc, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::queue::{CommandId, Signals};

/// The wait before a broken connection is made anew.
const RECONNECT: Duration = Duration::from_millis(500);

/// What one host tells the others, in the payload of a notification.
#[derive(Clone, Copy, Debug)]
pub(super) enum News {
    Work,
    Changed(CommandId),
    Cancelled(CommandId),
}

impl News {
    pub(super) fn payload(self) -> String {
        match self {
            Self::Work => "work".to_owned(),
            Self::Changed(id) => format!("changed {id}"),
            Self::Cancelled(id) => format!("cancelled {id}"),
        }
    }

    pub(super) fn tell(self, signals: &Signals) {
        match self {
            Self::Work => signals.send_work(),
            Self::Changed(id) => signals.send_change(id),
            Self::Cancelled(id) => signals.send_cancellation(id),
        }
    }

    fn parse(payload: &str) -> Option<Self> {
        let id = |text| Uuid::parse_str(text).ok().map(CommandId);
        match payload.split_once(' ') {
            None => (payload == "work").then_some(Self::Work),
            Some(("changed", text)) => id(text).map(Self::Changed),
            Some(("cancelled", text)) => id(text).map(Self::Cancelled),
            Some(_) => None,
        }
    }
}

/// What the listener needs.
pub(super) struct Listener {
    pub(super) config: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) channel: String,
    pub(super) signals: Arc<Signals>,
    pub(super) stop: CancellationToken,
}

impl Listener {
    pub(super) async fn run(self) {
        while !self.stop.is_cancelled() {
            let listened = async {
                match self.tls.clone() {
                    Some(tls) => {
                        let (client, connection) = self.config.connect(tls).await?;
                        self.listen(client, connection).await
                    }
                    None => {
                        let (client, connection) = self.config.connect(NoTls).await?;
                        self.listen(client, connection).await
                    }
                }
            };
            let ended = tokio::select! {
                () = self.stop.cancelled() => return,
                ended = listened => ended,
            };
            match ended {
                Ok(()) => {
                    warn!("the database closed the connection that listens; connecting again")
                }
                Err(error) => {
                    warn!(error = ?error, "lost the connection that listens; connecting again")
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(RECONNECT) => {}
            }
        }
    }

    async fn listen<S, T>(
        &self,
        client: Client,
        mut connection: Connection<S, T>,
    ) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let command = format!("LISTEN {}", self.channel);
        let mut listening = std::pin::pin!(client.batch_execute(&command));
        let mut ready = false;
        loop {
            let message = std::future::poll_fn(|context| connection.poll_message(context));
            tokio::select! {
                done = &mut listening, if !ready => {
                    done?;
                    ready = true;
                    info!("listening for news of the queue");
                    // Something may have come while no one listened.
                    self.signals.send_work();
                }
                message = message => match message.transpose()? {
                    Some(AsyncMessage::Notification(told)) => {
                        if let Some(news) = News::parse(told.payload()) {
                            news.tell(&self.signals);
                        }
                    }
                    Some(_) => {}
                    None => return Ok(()),
                },
            }
        }
    }
}

/// The channel of one schema.
pub(super) fn channel(schema: &str) -> String {
    format!("pointsman_{schema}")
}

/// Tells the other hosts, when the transaction commits.
pub(super) async fn notify(
    tx: &deadpool_postgres::Transaction<'_>,
    channel: &str,
    news: &[News],
) -> Result<(), Error> {
    if news.is_empty() {
        return Ok(());
    }
    let payloads: Vec<String> = news.iter().map(|news| news.payload()).collect();
    let statement = tx
        .prepare_cached("SELECT pg_notify($1, news) FROM unnest($2::text[]) AS news")
        .await?;
    tx.execute(&statement, &[&channel, &payloads])
        .await
        .map(drop)
}
