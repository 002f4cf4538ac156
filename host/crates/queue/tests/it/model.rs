//! A model of which deliveries run when: the rules of ordering keys, delays and leases
//! in as few words as they need, without a database.

use std::{collections::BTreeMap, time::Duration};

use pointsman_queue::{CommandId, HOSTS_LOST_MAX, NewCommand, Settlement, State};

use crate::engines::LEASE;

/// A delivery.
pub(crate) struct One {
    pub(crate) command: CommandId,
    pub(crate) handler: String,
    pub(crate) state: State,
    /// How often it was claimed: a lease of an earlier time is lost.
    pub(crate) claims: u32,
    key: Option<String>,
    priority: i32,
    position: usize,
    run_at_ms: i64,
    lease_ends_ms: i64,
    hosts_lost: u32,
    cancel_requested: bool,
}

/// All deliveries, in the order stored.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) all: Vec<One>,
    last_position: usize,
    /// Paused handlers, with the end where there is one; none for all.
    pauses: BTreeMap<Option<String>, Option<i64>>,
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap()
}

impl Model {
    fn end_of_queue(&mut self) -> usize {
        self.last_position += 1;
        self.last_position
    }

    pub(crate) fn enqueue(&mut self, command: &NewCommand, now_ms: i64) {
        let run_at_ms = command.run_at.map_or(now_ms, |at| at.as_millis());
        for delivery in &command.deliveries {
            let position = self.end_of_queue();
            self.all.push(One {
                command: command.id,
                handler: delivery.handler.to_string(),
                state: match run_at_ms > now_ms {
                    true => State::Scheduled,
                    false => State::Available,
                },
                claims: 0,
                key: command.ordering_key.clone(),
                priority: command.priority,
                position,
                run_at_ms,
                lease_ends_ms: 0,
                hosts_lost: 0,
                cancel_requested: false,
            });
        }
    }

    /// Whether one of the same handler and key comes before it.
    fn is_blocked(&self, one: &One) -> bool {
        let in_line = [State::Available, State::Running, State::Retryable];
        one.key.is_some()
            && self.all.iter().any(|other| {
                (&other.handler, &other.key) == (&one.handler, &one.key)
                    && in_line.contains(&other.state)
                    && other.position < one.position
            })
    }

    fn is_paused(&self, one: &One, now_ms: i64) -> bool {
        [None, Some(one.handler.clone())].iter().any(|paused| {
            let pause = self.pauses.get(paused);
            pause.is_some_and(|until| until.is_none_or(|until| until > now_ms))
        })
    }

    pub(crate) fn pause(&mut self, handler: Option<&str>, until_ms: Option<i64>) {
        self.pauses.insert(handler.map(Into::into), until_ms);
    }

    /// How many pauses in force it ends.
    pub(crate) fn resume(&mut self, handler: Option<&str>, now_ms: i64) -> usize {
        let before = self.pauses.clone();
        match handler {
            Some(handler) => drop(self.pauses.remove(&Some(handler.into()))),
            None => self.pauses.clear(),
        }
        let ended = before.iter().filter(|(key, until)| {
            !self.pauses.contains_key(*key) && until.is_none_or(|until| until > now_ms)
        });
        ended.count()
    }

    /// What a claim of so many takes, most urgent first.
    pub(crate) fn claim(&mut self, max: usize, now_ms: i64) -> Vec<usize> {
        for one in &mut self.all {
            if one.state == State::Running && one.lease_ends_ms <= now_ms {
                one.hosts_lost += 1;
                one.state = match one.cancel_requested {
                    true => State::Cancelled,
                    false if one.hosts_lost >= HOSTS_LOST_MAX => State::Discarded,
                    false => State::Available,
                };
            }
        }
        let mut due: Vec<usize> = (0..self.all.len())
            .filter(|at| {
                let one = &self.all[*at];
                let waits = matches!(one.state, State::Scheduled | State::Retryable);
                waits && one.run_at_ms <= now_ms
            })
            .collect();
        due.sort_by_key(|at| (self.all[*at].run_at_ms, self.all[*at].position));
        for at in due {
            if self.all[at].state == State::Scheduled && self.all[at].key.is_some() {
                self.all[at].position = self.end_of_queue();
            }
            self.all[at].state = State::Available;
        }
        let mut free: Vec<usize> = (0..self.all.len())
            .filter(|at| {
                let one = &self.all[*at];
                let waits = self.is_blocked(one) || self.is_paused(one, now_ms);
                one.state == State::Available && !waits
            })
            .collect();
        free.sort_by_key(|at| (-self.all[*at].priority, self.all[*at].position));
        free.truncate(max);
        for at in &free {
            let one = &mut self.all[*at];
            one.state = State::Running;
            one.claims += 1;
            one.lease_ends_ms = now_ms + millis(LEASE);
        }
        free
    }

    /// When something falls due after a claim.
    pub(crate) fn next_due(&self, now_ms: i64) -> Option<Duration> {
        let due = self.all.iter().filter_map(|one| match one.state {
            State::Scheduled | State::Retryable => Some(one.run_at_ms),
            State::Running => Some(one.lease_ends_ms),
            _ => None,
        });
        let wait = |due: i64| Duration::from_millis((due - now_ms).try_into().unwrap_or(0));
        let pauses = self.pauses.values().flatten().copied();
        let pauses = pauses.filter(|until| *until > now_ms);
        due.chain(pauses).map(wait).min()
    }

    pub(crate) fn settle(&mut self, at: usize, settlement: &Settlement, now_ms: i64) -> State {
        let one = &mut self.all[at];
        one.state = match settlement {
            Settlement::Complete { .. } => State::Completed,
            _ if one.cancel_requested => State::Cancelled,
            Settlement::Discard { .. } => State::Discarded,
            Settlement::Release => State::Available,
            Settlement::Route(_) => unreachable!("not among the steps"),
            Settlement::Retry { delay, .. } => {
                one.run_at_ms = now_ms + millis(*delay);
                State::Retryable
            }
        };
        one.state
    }

    /// How many are called off at once, and how many are asked to stop.
    pub(crate) fn cancel(&mut self, command: CommandId) -> (u64, u64) {
        let (mut cancelled, mut interrupting) = (0, 0);
        for one in self.all.iter_mut().filter(|one| one.command == command) {
            if one.state == State::Running {
                one.cancel_requested = true;
                interrupting += 1;
            } else if !one.state.is_final() {
                one.state = State::Cancelled;
                cancelled += 1;
            }
        }
        (cancelled, interrupting)
    }

    /// Retries the dead letters of a handler; how many.
    pub(crate) fn retry_dead(&mut self, handler: &str) -> u64 {
        let mut count = 0;
        for at in 0..self.all.len() {
            if self.all[at].handler == handler && self.all[at].state == State::Discarded {
                let position = self.end_of_queue();
                let one = &mut self.all[at];
                (one.state, one.position, one.hosts_lost) = (State::Available, position, 0);
                count += 1;
            }
        }
        count
    }
}
