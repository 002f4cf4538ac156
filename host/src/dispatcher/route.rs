//! Owns where routing runs: in the task of the command where that takes well
//! under a millisecond, else on a thread for what computes. What a command
//! makes of the rules is its sender's choice; that nobody else waits for it is
//! ours.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::Semaphore;

use super::{DispatchError, Dispatcher};
use crate::{
    command::{Command, CommandError},
    name::HandlerName,
    rules::{self, Explanation, Key, KeyFault, Match, RoutingError},
    snapshot::Snapshot,
};

/// A larger command is parsed beside the async threads: 1 MiB takes up to 10 ms.
const PARSED_IN_PLACE_MAX_BYTES: usize = 64 << 10;
/// The largest command that is routed in its task: reading it takes some 50 µs.
const IN_PLACE_MAX_BYTES: usize = 16 << 10;
/// The steps that routing may take there, some 0.5 ms. A command that takes
/// more begins again elsewhere.
const IN_PLACE_STEPS_MAX: u64 = 50_000;
/// How many faults of guards one command logs.
const FAULTS_LOGGED_MAX: usize = 10;

/// Where a command goes.
pub struct Routed {
    /// What it was routed with.
    pub snapshot: Arc<Snapshot>,
    /// The handlers and the rules that chose them, by handler name.
    pub matches: Vec<Match>,
    // Where nothing matched: the rule that came nearest.
    hint: Option<String>,
}

impl Routed {
    /// The same, of at least one handler.
    ///
    /// # Errors
    /// [`DispatchError::NoMatchingHandler`], with the rule that came nearest.
    pub fn matched(self) -> Result<Self, DispatchError> {
        if self.matches.is_empty() {
            return Err(DispatchError::NoMatchingHandler { hint: self.hint });
        }
        Ok(self)
    }
}

/// How commands are routed on one host.
pub(super) struct Routing {
    steps_max: u64,
    // One permit a core: more at once would only take turns, with the async
    // threads too, and each takes memory for what it has read.
    aside: Arc<Semaphore>,
}

/// What the rules make of a command.
struct Answer {
    routing: rules::Routing,
    hint: Option<String>,
}

impl Routing {
    pub(super) fn new(steps_max: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            steps_max,
            aside: Arc::new(Semaphore::new(cores)),
        }
    }

    /// Runs what may compute for long beside the async threads.
    async fn aside<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DispatchError> {
        let aside = Arc::clone(&self.aside);
        let permit = aside.acquire_owned().await.expect("never closed");
        let job = move || {
            // Until the job ends, also where its client is gone before.
            let _permit = permit;
            job()
        };
        match tokio::task::spawn_blocking(job).await {
            Ok(result) => Ok(result),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The async runtime ends.
                Err(_cancelled) => Err(DispatchError::Draining),
            },
        }
    }
}

impl Dispatcher {
    /// Parses a command: a large one where routing may compute for long too, beside
    /// the async threads, as many at once as cores.
    ///
    /// # Errors
    /// [`DispatchError::Draining`] if the async runtime ends.
    pub(crate) async fn parse(
        &self,
        text: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Result<Command, CommandError>, DispatchError> {
        let length = text.as_ref().len();
        self.read(length, move || Command::parse(text)).await
    }

    /// Reads a text of so many bytes, as [`Self::parse`] does.
    ///
    /// # Errors
    /// [`DispatchError::Draining`] if the async runtime ends.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        length: usize,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DispatchError> {
        if length <= PARSED_IN_PLACE_MAX_BYTES {
            return Ok(read());
        }
        self.routing.aside(read).await
    }

    /// The handlers that a command goes to now; none where no rule matched.
    ///
    /// # Errors
    /// [`DispatchError::Starting`], [`DispatchError::Draining`], [`DispatchError::Attributes`].
    pub async fn route(&self, command: &Command) -> Result<Routed, DispatchError> {
        if self.shutdown.draining.is_cancelled() {
            return Err(DispatchError::Draining);
        }
        self.route_follow_up(command).await
    }

    /// The handlers that a follow-up command goes to now. Also while the host drains: what
    /// runs to its end emits as ever.
    ///
    /// # Errors
    /// [`DispatchError::Starting`], [`DispatchError::Attributes`]; [`DispatchError::Draining`] if
    /// the async runtime ends.
    pub(crate) async fn route_follow_up(&self, command: &Command) -> Result<Routed, DispatchError> {
        // One load per command: a reload in mid-dispatch must not mix two generations.
        let snapshot = self.snapshots.current();
        if snapshot.generation == 0 {
            return Err(DispatchError::Starting);
        }
        let Answer { routing, hint } = self.answer(&snapshot, command).await?;
        if !routing.faults.is_empty() {
            self.metrics.guard_faults(routing.faults.len());
            for fault in routing.faults.iter().take(FAULTS_LOGGED_MAX) {
                tracing::debug!(
                    command = %command.id, rule = %fault.rule, file = fault.file, line = fault.line,
                    reason = fault.reason, "a guard could not be evaluated, so its rule did not fire"
                );
            }
        }
        Ok(Routed {
            snapshot,
            matches: routing.matches,
            hint,
        })
    }

    async fn answer(
        &self,
        snapshot: &Arc<Snapshot>,
        command: &Command,
    ) -> Result<Answer, DispatchError> {
        let steps_max = self.routing.steps_max;
        if command.attributes().len() <= IN_PLACE_MAX_BYTES {
            // What takes more steps may take them beside the async threads.
            let in_place = ask(snapshot, command, steps_max.min(IN_PLACE_STEPS_MAX));
            if let Ok(answer) = in_place {
                return Ok(answer);
            }
        }
        self.metrics.routed_aside();
        let (snapshot, command) = (Arc::clone(snapshot), command.clone());
        let answered = self
            .routing
            .aside(move || ask(&snapshot, &command, steps_max));
        Ok(answered.await??)
    }

    /// Whose each delivery of a command is, by handler, where its settings say so. What has no
    /// such value, or one that does not fit, goes without a key.
    pub(crate) async fn keys(
        &self,
        routed: &Routed,
        command: &Command,
        fits: fn(&str) -> bool,
    ) -> Result<BTreeMap<HandlerName, String>, DispatchError> {
        let with_key = routed.matches.iter().filter_map(|matched| {
            let key = routed.snapshot.keys.get(&matched.handler)?;
            Some((matched.handler.clone(), Arc::clone(key)))
        });
        let (handlers, keys): (Vec<_>, Vec<_>) = with_key.unzip();
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let steps_max = self.routing.steps_max;
        let mut found = Vec::new();
        if command.attributes().len() <= IN_PLACE_MAX_BYTES {
            found = Key::all(&keys, command, steps_max.min(IN_PLACE_STEPS_MAX));
        }
        let is_cut = found
            .iter()
            .any(|one| matches!(one, Err(KeyFault::Limit(_))));
        if found.is_empty() || is_cut {
            let command = command.clone();
            let evaluate = move || Key::all(&keys, &command, steps_max);
            found = self.routing.aside(evaluate).await?;
        }
        let mut of = BTreeMap::new();
        for (handler, key) in handlers.into_iter().zip(found) {
            let reason = match key {
                Ok(key) if fits(&key) => {
                    of.insert(handler, key);
                    continue;
                }
                Ok(_) => "it is empty, too long or has control characters".to_owned(),
                Err(fault) => fault.to_string(),
            };
            self.metrics.guard_faults(1);
            tracing::debug!(command = %command.id, %handler, reason, "the delivery has no key");
        }
        Ok(of)
    }

    /// Explains where a command would go now.
    ///
    /// # Errors
    /// [`DispatchError::Attributes`], [`DispatchError::Draining`].
    pub async fn explain(&self, command: Command) -> Result<Explanation, DispatchError> {
        let (snapshot, steps_max) = (self.snapshots.current(), self.routing.steps_max);
        let explain = move || snapshot.rules.explain_within(&command, steps_max);
        Ok(self.routing.aside(explain).await??)
    }
}

fn ask(snapshot: &Snapshot, command: &Command, steps_max: u64) -> Result<Answer, RoutingError> {
    let routing = snapshot.rules.routing(command, steps_max)?;
    let hint = match routing.matches.is_empty() {
        false => None,
        true if snapshot.rules.is_empty() => {
            Some("no rules are loaded: write one in the rules folder".to_owned())
        }
        true => {
            let miss = snapshot.rules.nearest_miss(command);
            miss.map(|miss| format!("the nearest is {miss}"))
        }
    };
    Ok(Answer { routing, hint })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_any_more_keeps_its_place_until_it_ends() {
        let routing = Routing::new(1);
        let places = routing.aside.available_permits();
        let (end, ended) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        let mut job = Box::pin(routing.aside(move || {
            begin.send(()).unwrap();
            ended.recv().unwrap_err();
        }));
        assert!(futures_util::poll!(&mut job).is_pending());
        begun.recv().unwrap();
        drop(job);
        assert_eq!(routing.aside.available_permits(), places - 1);
        drop(end);
        while routing.aside.available_permits() < places {
            tokio::task::yield_now().await;
        }
    }
}
