//! Owns the news between hosts: one connection that listens, and is made anew
//! when it breaks. News may be lost with it; whoever waits looks all the same
//! after a while.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use deadpool_postgres::Pool;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::pool::{no_connection, to};
use crate::queue::{CommandId, QueueError, Signals};

/// The wait before a broken connection is made anew.
const RECONNECT: Duration = Duration::from_millis(500);

/// The pause between two tellings: what comes meanwhile is told together.
const TELL_EVERY: Duration = Duration::from_millis(10);
/// News that waits to be told. Beyond it the others find out by looking.
const OUTBOX_MAX: usize = 256;

/// What one host tells the others, in the payload of a notification. That a
/// command changed is not among it: every run would have to be told to all, for
/// the few who wait for one, and these look again by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Work,
    Cancelled(CommandId),
}

impl News {
    fn payload(self) -> String {
        match self {
            Self::Work => "work".to_owned(),
            Self::Cancelled(id) => format!("cancelled {id}"),
        }
    }

    fn tell(self, signals: &Signals) {
        match self {
            Self::Work => signals.send_work(),
            Self::Cancelled(id) => signals.send_cancellation(id),
        }
    }

    fn parse(payload: &str) -> Option<Self> {
        match payload.split_once(' ') {
            None => (payload == "work").then_some(Self::Work),
            Some(("cancelled", id)) => Uuid::parse_str(id).ok().map(CommandId).map(Self::Cancelled),
            Some(_) => None,
        }
    }
}

/// News on its way to the other hosts. It goes out after the commit, not with
/// it: PostgreSQL lets commits that notify go one at a time.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) pool: Pool,
    pub(super) channel: String,
    pub(super) signals: Arc<Signals>,
    pub(super) news: Mutex<Vec<News>>,
    pub(super) filled: Notify,
}

impl Outbox {
    /// Tells this host at once, and the others soon.
    pub(super) fn put(&self, told: News) {
        told.tell(&self.signals);
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        if news.len() < OUTBOX_MAX && !news.contains(&told) {
            news.push(told);
            self.filled.notify_one();
        }
    }

    pub(super) async fn run(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.filled.notified() => {}
            }
            let news =
                std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner));
            if let Err(error) = self.tell(&news).await {
                warn!(code = error.code(), error = ?error, "could not tell the other hosts: they look by themselves");
            }
            tokio::time::sleep(TELL_EVERY).await;
        }
    }

    async fn tell(&self, news: &[News]) -> Result<(), QueueError> {
        const DOING: &str = "tell the other hosts";
        let payloads: Vec<String> = news.iter().map(|news| news.payload()).collect();
        let client = self.pool.get().await.map_err(no_connection)?;
        let statement = client
            .prepare_cached("SELECT pg_notify($1, news) FROM unnest($2::text[]) AS news")
            .await
            .map_err(to(DOING))?;
        let told = client
            .execute(&statement, &[&self.channel, &payloads])
            .await;
        told.map(drop).map_err(to(DOING))
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
