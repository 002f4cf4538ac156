//! Owns where the kept commands are that the command line works on: in this
//! process, which then must be the only one on the data folder, or at a host
//! that serves. Both answer the same views.

use anyhow::{Context, bail};
use form_urlencoded::Serializer;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pointsman_core::settings::duration;
use serde::{Deserialize, Serialize};

use super::{
    no_queue,
    remote::{Problem, Remote},
};
use crate::{
    cloudevents,
    command::{Command, CommandId},
    config::Config,
    dispatcher::DispatchError,
    host::{Loaded, Unloaded},
    name::HandlerName,
    queue::{
        Accepted, BulkEntry, BulkItem, Cancellation, CommandFilter, CommandView, DeadFilter,
        DedupMode, DeliveryDetail, DeliveryId, Depth, EnqueueError, EnqueueOptions, HistoryFilter,
        HistoryPoint, NewPause, Numbered, PAGE_MAX, Page, Pause, Queue, ScheduleChange,
        ScheduleView, Timestamp, key_of_line, parse_lines,
    },
    reload::Wait,
};

/// What waits, and whose deliveries are paused.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct QueueStatus {
    pub(super) pauses: Vec<Pause>,
    pub(super) depth: Vec<Depth>,
}

/// Where the queue is.
pub(super) enum Kept {
    /// In this process.
    Here(Box<Loaded>),
    /// At a host that serves.
    There(Remote),
}

impl Kept {
    /// At `url`, or else where the settings say.
    pub(super) async fn open(url: Option<Remote>, config: Config) -> anyhow::Result<Self> {
        if let Some(server) = url {
            return Ok(Self::There(server));
        }
        let listen = config.http.listen;
        let host = Unloaded::new(config)?;
        let hint = format!(
            "if it is `pointsman serve`, add `--url http://{listen}`; to use another folder, set `queue.folder`"
        );
        let host = super::open_queue(host, &hint).await?;
        // A command is routed by rules alone: no need to wait for components to compile.
        Ok(Self::Here(Box::new(host.load(Wait::WhileLoading).await)))
    }

    pub(super) async fn enqueue(
        &self,
        command: &Command,
        options: EnqueueOptions,
    ) -> anyhow::Result<Accepted> {
        let server = match self {
            Self::Here(host) => return Ok(queue(host)?.enqueue(command, options).await?),
            Self::There(server) => server,
        };
        let (path, headers) = asked(options)?;
        let attributes = command.attributes().to_owned();
        server.post(&path, headers, attributes).await
    }

    /// Enqueues a CloudEvent, which is JSON.
    pub(super) async fn enqueue_event(
        &self,
        text: Vec<u8>,
        options: EnqueueOptions,
    ) -> anyhow::Result<Accepted> {
        let server = match self {
            Self::Here(host) => {
                let event = cloudevents::structured(&text)?;
                let options = EnqueueOptions {
                    idempotency_key: Some(event.idempotency_key),
                    same_by_key: true,
                    ordering_key: options.ordering_key.or(event.ordering_key),
                    ..options
                };
                return Ok(queue(host)?.enqueue(&event.command, options).await?);
            }
            Self::There(server) => server,
        };
        let (path, headers) = asked(options)?;
        let media = "application/cloudevents+json";
        server.post_as(&path, headers, (media, text)).await
    }

    /// Enqueues the commands of these lines, all or none.
    ///
    /// # Errors
    /// [`BulkError`] where it is known what is wrong with which.
    pub(super) async fn enqueue_lines(
        &self,
        (first, text): Numbered<Vec<u8>>,
        options: EnqueueOptions,
    ) -> anyhow::Result<Vec<BulkEntry>> {
        #[derive(Deserialize)]
        struct Answer {
            commands: Vec<BulkEntry>,
        }
        // Each batch has a key, from which its commands have theirs.
        let key = options.idempotency_key.as_deref();
        let key = key.map(|key| key_of_line(key, first));
        let server = match self {
            Self::Here(host) => {
                let items = parse_lines(&text, first)?.into_iter();
                let items = items.map(|(line, command)| BulkItem {
                    line,
                    command,
                    options: EnqueueOptions {
                        idempotency_key: key.as_ref().map(|key| key_of_line(key, line - first + 1)),
                        ..options.clone()
                    },
                });
                return Ok(queue(host)?.enqueue_all(items.collect()).await?);
            }
            Self::There(server) => server,
        };
        let (path, headers) = asked(EnqueueOptions {
            idempotency_key: key,
            ..options
        })?;
        let media = "application/x-ndjson";
        let answer = server.post_as::<Answer>(&path, headers, (media, text));
        match answer.await {
            Ok(answer) => Ok(answer.commands),
            Err(error) => match error.downcast::<Problem>() {
                Ok(problem) => Err(problem.of_lines(first)),
                Err(error) => Err(error),
            },
        }
    }

    pub(super) async fn page(
        &self,
        filter: CommandFilter,
        page: Page<CommandId>,
    ) -> anyhow::Result<Vec<CommandView>> {
        #[derive(Deserialize)]
        struct Answer {
            commands: Vec<CommandView>,
        }
        let server = match self {
            Self::Here(host) => return Ok(queue(host)?.store().list(filter, page).await?),
            Self::There(server) => server,
        };
        let mut parameters = Parameters::new("/commands");
        parameters.add("state", filter.state);
        parameters.add("handler", filter.handler);
        parameters.add("from", filter.created_from.map(rfc3339).transpose()?);
        parameters.add("until", filter.created_until.map(rfc3339).transpose()?);
        parameters.add("after", page.after);
        parameters.add("limit", Some(page.limit));
        let answer: Answer = server.get(&parameters.path()).await?;
        Ok(answer.commands)
    }

    pub(super) async fn command(&self, id: CommandId) -> anyhow::Result<CommandView> {
        match self {
            Self::Here(host) => Ok(queue(host)?.store().get(id).await?),
            Self::There(server) => server.get(&format!("/commands/{id}")).await,
        }
    }

    pub(super) async fn delivery(&self, id: DeliveryId) -> anyhow::Result<DeliveryDetail> {
        match self {
            Self::Here(host) => Ok(queue(host)?.store().inspect(id).await?),
            Self::There(server) => server.get(&format!("/queue/deliveries/{id}")).await,
        }
    }

    pub(super) async fn cancel(&self, id: CommandId) -> anyhow::Result<Cancellation> {
        match self {
            Self::Here(host) => Ok(queue(host)?.store().cancel(id).await?),
            Self::There(server) => server.delete(&format!("/commands/{id}")).await,
        }
    }

    pub(super) async fn retry(&self, filter: DeadFilter) -> anyhow::Result<u64> {
        #[derive(Deserialize)]
        struct Answer {
            retried: u64,
        }
        match self {
            Self::Here(host) => Ok(queue(host)?.store().retry_dead(filter).await?),
            Self::There(host) => {
                let path = chosen("/queue/dead/retry", filter)?;
                let answer: Answer = host.post(&path, HeaderMap::new(), "").await?;
                Ok(answer.retried)
            }
        }
    }

    pub(super) async fn discard(&self, filter: DeadFilter) -> anyhow::Result<u64> {
        #[derive(Deserialize)]
        struct Answer {
            discarded: u64,
        }
        match self {
            Self::Here(host) => Ok(queue(host)?.store().discard_dead(filter).await?),
            Self::There(host) => {
                let path = chosen("/queue/dead/discard", filter)?;
                let answer: Answer = host.post(&path, HeaderMap::new(), "").await?;
                Ok(answer.discarded)
            }
        }
    }

    pub(super) async fn pause(&self, pause: NewPause) -> anyhow::Result<Pause> {
        let server = match self {
            Self::Here(host) => return Ok(queue(host)?.store().pause(pause).await?),
            Self::There(server) => server,
        };
        let mut parameters = Parameters::new("/queue/pause");
        parameters.add("all", pause.handler.is_none().then_some(true));
        parameters.add("handler", pause.handler);
        parameters.add("reason", pause.reason);
        parameters.add("by", pause.by);
        parameters.add("for", pause.lasts.map(duration::text));
        server.post(&parameters.path(), HeaderMap::new(), "").await
    }

    pub(super) async fn resume(&self, handler: Option<HandlerName>) -> anyhow::Result<Vec<Pause>> {
        #[derive(Deserialize)]
        struct Answer {
            resumed: Vec<Pause>,
        }
        let server = match self {
            Self::Here(host) => return Ok(queue(host)?.store().resume(handler).await?),
            Self::There(server) => server,
        };
        let mut parameters = Parameters::new("/queue/resume");
        parameters.add("all", handler.is_none().then_some(true));
        parameters.add("handler", handler);
        let answer: Answer = server
            .post(&parameters.path(), HeaderMap::new(), "")
            .await?;
        Ok(answer.resumed)
    }

    pub(super) async fn history(&self, filter: HistoryFilter) -> anyhow::Result<Vec<HistoryPoint>> {
        #[derive(Deserialize)]
        struct Answer {
            history: Vec<HistoryPoint>,
        }
        let server = match self {
            Self::Here(host) => return Ok(queue(host)?.store().history(filter).await?),
            Self::There(server) => server,
        };
        let mut parameters = Parameters::new("/queue/history");
        parameters.add("handler", filter.handler);
        parameters.add("from", Some(rfc3339(filter.from)?));
        parameters.add("until", Some(rfc3339(filter.until)?));
        parameters.add("step", Some(duration::text(filter.step)));
        let answer: Answer = server.get(&parameters.path()).await?;
        Ok(answer.history)
    }

    pub(super) async fn schedules(&self) -> anyhow::Result<Vec<ScheduleView>> {
        #[derive(Deserialize)]
        struct Answer {
            schedules: Vec<ScheduleView>,
            next: Option<String>,
        }
        let server = match self {
            Self::Here(host) => return Ok(queue(host)?.schedules(None, usize::MAX).await?),
            Self::There(server) => server,
        };
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let mut parameters = Parameters::new("/schedules");
            parameters.add("limit", Some(PAGE_MAX));
            parameters.add("after", after);
            let answer: Answer = server.get(&parameters.path()).await?;
            all.extend(answer.schedules);
            after = answer.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    pub(super) async fn change_schedule(
        &self,
        name: &str,
        change: ScheduleChange,
    ) -> anyhow::Result<ScheduleView> {
        let server = match self {
            Self::Here(host) => return Ok(queue(host)?.change_schedule(name, change).await?),
            Self::There(server) => server,
        };
        let verb = match change {
            ScheduleChange::Pause => "pause",
            ScheduleChange::Resume => "resume",
        };
        let path = schedule_path(name, verb);
        server.post(&path, HeaderMap::new(), "").await
    }

    pub(super) async fn run_schedule(&self, name: &str) -> anyhow::Result<Accepted> {
        match self {
            Self::Here(host) => Ok(queue(host)?.run_schedule(name).await?),
            Self::There(server) => {
                let path = schedule_path(name, "run");
                server.post(&path, HeaderMap::new(), "").await
            }
        }
    }

    pub(super) async fn status(&self) -> anyhow::Result<QueueStatus> {
        match self {
            Self::Here(host) => {
                let store = queue(host)?.store();
                Ok(QueueStatus {
                    pauses: store.pauses().await?,
                    depth: store.depth().await?,
                })
            }
            Self::There(server) => server.get("/queue").await,
        }
    }

    /// Gives up what is held in this process.
    pub(super) async fn close(&self) -> anyhow::Result<()> {
        match self {
            Self::Here(host) => Ok(queue(host)?.store().close().await?),
            Self::There(_) => Ok(()),
        }
    }
}

/// The path and the headers that ask a server for these options.
fn asked(options: EnqueueOptions) -> anyhow::Result<(String, HeaderMap)> {
    let mut headers = HeaderMap::new();
    if let Some(key) = options.idempotency_key {
        // The other side cuts off spaces at the ends.
        let value = HeaderValue::from_str(&key).ok();
        let Some(value) = value.filter(|_| key.trim() == key && key.is_ascii()) else {
            bail!("`--idempotency-key`: use visible ASCII characters with `--url`");
        };
        headers.insert("idempotency-key", value);
    }
    let mut parameters = Parameters::new("/commands");
    parameters.add("priority", Some(options.priority));
    parameters.add("runAt", options.run_at.map(rfc3339).transpose()?);
    parameters.add("orderingKey", options.ordering_key);
    parameters.add("rerunOf", options.rerun_of);
    if let Some(dedup) = options.dedup {
        parameters.add("mode", Some(dedup.mode()));
        if let DedupMode::Throttle(ttl) = dedup.mode {
            parameters.add("ttl", Some(duration::text(ttl)));
        }
        parameters.add("dedup", Some(dedup.key));
    }
    Ok((parameters.path(), headers))
}

fn queue(host: &Loaded) -> anyhow::Result<&Queue> {
    host.queue().with_context(no_queue)
}

/// Whether an enqueue failed because no rule matched.
pub(super) fn matched_nothing(error: &anyhow::Error) -> bool {
    let here = error.downcast_ref::<EnqueueError>().is_some_and(|error| {
        matches!(
            error,
            EnqueueError::Dispatch(DispatchError::NoMatchingHandler { .. })
        )
    });
    let there = error.downcast_ref::<Problem>();
    here || there.is_some_and(|problem| problem.is(DispatchError::NO_MATCHING_HANDLER))
}

/// The path that changes the dead letters of a filter; one without anything set
/// means all, which is to be said.
fn chosen(path: &str, filter: DeadFilter) -> anyhow::Result<String> {
    let mut parameters = Parameters::new(path);
    parameters.add("delivery", filter.delivery);
    parameters.add("handler", filter.handler);
    parameters.add("status", filter.status.map(|status| status.as_str()));
    parameters.add("from", filter.finished_from.map(rfc3339).transpose()?);
    parameters.add("until", filter.finished_until.map(rfc3339).transpose()?);
    let all = parameters.none.then_some(true);
    parameters.add("all", all);
    Ok(parameters.path())
}

fn schedule_path(name: &str, verb: &str) -> String {
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    format!("/schedules/{name}/{verb}")
}

fn rfc3339(time: Timestamp) -> anyhow::Result<jiff::Timestamp> {
    Ok(jiff::Timestamp::from_millisecond(time.as_millis())?)
}

/// A path with what stands behind its `?`.
struct Parameters<'p> {
    path: &'p str,
    query: Serializer<'static, String>,
    /// Nothing was added.
    none: bool,
}

impl<'p> Parameters<'p> {
    fn new(path: &'p str) -> Self {
        Self {
            path,
            query: Serializer::new(String::new()),
            none: true,
        }
    }

    fn add(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.query.append_pair(name, &value.to_string());
            self.none = false;
        }
    }

    fn path(mut self) -> String {
        format!("{}?{}", self.path, self.query.finish())
    }
}
