//! Owns the progress of one command as server-sent events.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Error,
    extract::{Path, State},
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::{parameters::parse, problem::Problem, queue_of};
use crate::{
    budget::Share,
    command::CommandId,
    host::Host,
    name::HandlerName,
    queue::{Changes, CommandView, State as DeliveryState},
};

/// The longest silence: proxies cut silent connections at a minute, and a
/// client that is gone is noticed.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Sends a `delivery` for each delivery, as `GET /commands` shows it, and
/// another one whenever it moved on; at last `end` with the command. What is
/// long is left out: thousands may follow, and who wants it asks for it.
/// What changed and changed again in one moment is sent once. A client that
/// connects again begins with how things stand.
pub(super) async fn events(
    State(host): State<Arc<Host>>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let command: CommandId = parse("id", &id)?;
    let store = queue_of(&host)?.store();
    let listener = host.budgets().listeners.take(1)?;
    let changes = store.signals().changes(command);
    let first = store.glance(command).await?;
    let follow = Follow {
        _listener: listener,
        host,
        changes,
        command,
        next: Some(first),
        seen: HashMap::new(),
        ended: false,
    };
    let events = stream::unfold(follow, |mut follow| async {
        let (events, share) = follow.events().await?;
        // The share is held until the last of them is taken to be sent.
        let sent = stream::iter(events).map(move |event| {
            let _ = &share;
            event
        });
        Some((sent, follow))
    });
    let alive = KeepAlive::new().interval(SILENCE_MAX);
    Ok(Sse::new(events.flatten()).keep_alive(alive))
}

/// What a client that follows a command has seen of it.
struct Follow {
    _listener: Share,
    host: Arc<Host>,
    changes: Changes,
    command: CommandId,
    // How it stands, where that is read and not sent yet.
    next: Option<CommandView>,
    seen: HashMap<HandlerName, (DeliveryState, u32, bool)>,
    ended: bool,
}

impl Follow {
    /// What happened since the last call, at least one event, with its share of
    /// the bytes in flight; none after the end.
    async fn events(&mut self) -> Option<(Vec<Result<Event, Error>>, Option<Share>)> {
        while !self.ended {
            let view = match self.next.take() {
                Some(view) => view,
                None => self.changed().await?,
            };
            let weight = view.weight() as u64 * 2;
            let share = match self.host.budgets().answers.take(weight) {
                Ok(share) => share,
                Err(refused) => {
                    self.ended = true;
                    let refused = json!({ "code": "busy", "detail": refused.to_string() });
                    let event = Event::default().event("error").json_data(refused);
                    return Some((vec![event], None));
                }
            };
            let mut events = Vec::new();
            for delivery in &view.deliveries {
                let now = (delivery.state, delivery.attempt, delivery.cancel_requested);
                if self.seen.insert(delivery.id.handler.clone(), now) != Some(now) {
                    events.push(Event::default().event("delivery").json_data(delivery));
                }
            }
            self.ended = view.is_final();
            if self.ended {
                events.push(Event::default().event("end").json_data(&view));
            }
            if !events.is_empty() {
                return Some((events, Some(share)));
            }
        }
        None
    }

    /// The command after news of it; none where there is no more to come: the
    /// host stops, or the command was removed.
    async fn changed(&mut self) -> Option<CommandView> {
        loop {
            // A client that follows does not hold up the end of the host.
            let draining = &self.host.shutdown().draining;
            draining.run_until_cancelled(self.changes.next()).await?;
            match self.host.queue()?.store().glance(self.command).await {
                Ok(view) => return Some(view),
                Err(error) if error.is_engine() => {
                    tracing::warn!(code = error.code(), error = ?error, "could not read a followed command; retrying");
                }
                Err(_) => return None,
            }
        }
    }
}
