//! Owns the news between hosts: one connection that listens, and is made anew
//! when it breaks. Message may be lost with it; whoever waits looks all the same
//! after a while.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    connect::Connector,
    fault::{Fault, to},
    pool::Sessions,
    schema::quoted,
    session::Ownership,
};
use crate::{CommandId, QueueError, Signals, signals::News};

/// The wait before a broken connection is made anew.
const RECONNECT: Duration = Duration::from_millis(500);
/// How often the connection that listens is asked whether it is still there: it
/// would wait for ever for news from one that went silent.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long the answer may take.
const HEARTBEAT_MAX: Duration = Duration::from_secs(5);

/// The pause between two tellings: what comes meanwhile is told together.
const TELL_EVERY: Duration = Duration::from_millis(10);
/// Message that waits to be told. Beyond it the others find out by looking.
const OUTBOX_MAX: usize = 256;

/// What one host tells the others, in the payload of a notification. That a
/// command changed is not among it: every run would have to be told to all, for
/// the few who wait for one, and these look again by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Work,
    Cancelled(CommandId),
}

impl Message {
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

/// Message on its way to the other hosts. It goes out after the commit, not with
/// it: PostgreSQL lets commits that notify go one at a time.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) sessions: Sessions,
    pub(super) channel: String,
    pub(super) signals: Arc<Signals>,
    pub(super) news: Mutex<Vec<Message>>,
    pub(super) filled: Notify,
}

impl Outbox {
    /// Tells this host at once, and the others soon.
    pub(super) fn tell(&self, news: News) {
        let cancelled = news.cancelled.iter().copied().map(Message::Cancelled);
        let work = news.work.then_some(Message::Work);
        let mut waiting = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        for message in work.into_iter().chain(cancelled) {
            if waiting.len() < OUTBOX_MAX && !waiting.contains(&message) {
                waiting.push(message);
                self.filled.notify_one();
            }
        }
        drop(waiting);
        self.signals.tell(news);
    }

    pub(super) async fn run(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.filled.notified() => {}
            }
            let news =
                std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner));
            let sent = tokio::select! {
                () = stop.cancelled() => return,
                sent = self.send(&news) => sent,
            };
            if let Err(error) = sent {
                warn!(code = error.code(), error = ?error, "could not notify the other hosts: they will poll");
            }
            sleep(TELL_EVERY).await;
        }
    }

    async fn send(&self, news: &[Message]) -> Result<(), QueueError> {
        const DOING: &str = "tell the other hosts";
        let payloads: Vec<String> = news.iter().map(|news| news.payload()).collect();
        let mut lent = self.sessions.get().await?;
        let scope = lent.single().await?;
        scope
            .query(
                "SELECT pg_notify($1, news) FROM unnest($2::text[]) AS news",
                &[&self.channel, &payloads],
            )
            .await
            .map_err(to(DOING))?;
        scope.commit().await.map_err(to(DOING))
    }
}

/// Hears the news of the other hosts.
pub(super) struct Listener {
    pub(super) connector: Connector,
    pub(super) channel: String,
    pub(super) signals: Arc<Signals>,
    pub(super) stop: CancellationToken,
}

impl Listener {
    pub(super) async fn run(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let ended = tokio::select! {
                () = self.stop.cancelled() => return,
                ended = self.listen() => ended,
            };
            match ended {
                Ok(Unheard) => return self.stop.cancelled().await,
                // Once for each loss, not for each try to restore it.
                Err(fault) => {
                    if self.signals.set_listening(false) {
                        warn!(error = %fault_line(&fault), "lost the connection for notifications: polling every `queue.poll` until it is restored");
                    }
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(RECONNECT) => {}
            }
        }
    }

    /// Listens until the connection breaks.
    async fn listen(&self) -> Result<Unheard, Fault> {
        let signals = Arc::clone(&self.signals);
        let hear = move |payload: &str| {
            if let Some(news) = Message::parse(payload) {
                news.tell(&signals);
            }
        };
        let (mut session, ownership) = self.connector.connect(hear).await?;
        if ownership == Ownership::Shared {
            warn!(
                "a connection pooler stands before the database: news of other hosts cannot be heard, and work is looked for every `queue.poll`; \
                 `queue.pooler = \"session\"` where it keeps sessions apart"
            );
            self.signals.set_listening(false);
            return Ok(Unheard);
        }
        let command = format!("LISTEN {}", quoted(&self.channel));
        session
            .single(Instant::now() + HEARTBEAT_MAX)
            .await?
            .batch(&command)
            .await?;
        info!("listening for notifications of the queue");
        self.signals.set_listening(true);
        // Something may have come while no one listened.
        self.signals.send_work();
        loop {
            tokio::select! {
                () = sleep(HEARTBEAT) => session.ping(Instant::now() + HEARTBEAT_MAX).await?,
                () = session.closed() => session.ping(Instant::now() + HEARTBEAT_MAX).await?,
            }
        }
    }
}

/// There is no session to listen in.
struct Unheard;

/// The fault on one line.
fn fault_line(fault: &Fault) -> String {
    pointsman_core::text::escaped(&fault.to_string()).to_string()
}
