//! Which deliveries run when, the same on both engines: held to a model on random
//! histories, and to what others are told.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use pointsman_core::outcome::Status;
use pointsman_queue::{
    ClaimRequest, Clock as _, DeadFilter, HOSTS_LOST_MAX, Holds, Lease, NewCommand, NewPause,
    Settlement, State,
};

use crate::{
    engines::{
        Fixture, LEASE, Random, command, done, error, name, on_both_engines, request, state, stress,
    },
    model::Model,
};

on_both_engines![
    any_history_is_what_the_model_makes_of_it,
    the_end_of_the_first_in_a_line_is_news_of_work,
];

const HANDLERS: [&str; 2] = ["a", "b"];

/// A store beside the model of it.
struct Both {
    fixture: Fixture,
    model: Model,
    random: Random,
    /// The leases that were given out, of which some are lost: which one of the model, its claim.
    held: Vec<(usize, u32, Lease)>,
}

impl Both {
    fn now_ms(&self) -> i64 {
        self.fixture.clock.now().as_millis()
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.below(choices.len())]
    }

    /// A few commands, some to both handlers, with a key, a time or a priority.
    async fn enqueue(&mut self) {
        let mut batch = Vec::new();
        for _ in 0..self.one_of(&[1, 1, 2, 3]) {
            let handlers = self.one_of(&[&HANDLERS[..1], &HANDLERS[..1], &HANDLERS[..]]);
            let later = self.one_of(&[0, 0, 0, 10, 60]);
            let later = (later > 0).then(|| Duration::from_secs(later));
            batch.push(NewCommand {
                ordering_key: self
                    .one_of(&[None, Some("x"), Some("x"), Some("y")])
                    .map(Into::into),
                run_at: later.map(|later| self.fixture.clock.now().after(later)),
                priority: self.one_of(&[0, 0, 0, 1]),
                ..command(handlers)
            });
        }
        let now = self.now_ms();
        batch.iter().for_each(|new| self.model.enqueue(new, now));
        self.fixture.store.enqueue(batch).await.unwrap();
    }

    async fn claim(&mut self) {
        let request: ClaimRequest = request(self.one_of(&[0, 1, 9, 9]));
        let expected = self.model.claim(request.max, self.now_ms());
        let claims = self.fixture.store.claim(request).await.unwrap();
        let taken = claims.deliveries.iter().map(|one| &one.lease.delivery);
        let taken: Vec<_> = taken
            .map(|one| (one.command, one.handler.as_str()))
            .collect();
        let of_model: Vec<_> = expected
            .iter()
            .map(|at| &self.model.all[*at])
            .map(|one| (one.command, one.handler.as_str()))
            .collect();
        assert_eq!(taken, of_model);
        assert_eq!(claims.next_due, self.model.next_due(self.now_ms()));
        let leases = claims.deliveries.into_iter().map(|one| one.lease);
        for (at, lease) in expected.into_iter().zip(leases) {
            self.held.push((at, self.model.all[at].claims, lease));
        }
    }

    async fn settle(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.random.below(self.held.len());
        let (at, claim, lease) = self.held.swap_remove(at);
        let why = error(Status::Unavailable, "later");
        let settlement = match self.random.below(8) {
            0..4 => done(),
            4 => Settlement::Release,
            5 => Settlement::Discard { error: why },
            _ => Settlement::Retry {
                error: why,
                delay: Duration::from_secs(self.one_of(&[0, 5, 10])),
                holds: Holds::Delivery,
            },
        };
        let one = &self.model.all[at];
        let is_held = one.state == State::Running && one.claims == claim;
        let settled = self.fixture.store.settle(lease, settlement.clone()).await;
        if is_held {
            let now = self.now_ms();
            let expected = self.model.settle(at, &settlement, now);
            assert_eq!(settled.unwrap(), expected);
        } else {
            assert_eq!(settled.unwrap_err().code(), "lease-lost");
        }
    }

    async fn cancel(&mut self) {
        let Some(last) = self.model.all.len().checked_sub(1) else {
            return;
        };
        // One of the latest: the others have ended.
        let at = last - self.random.below(last.min(20) + 1);
        let command = self.model.all[at].command;
        let done = self.fixture.store.cancel(command).await.unwrap();
        let expected = self.model.cancel(command);
        assert_eq!((done.cancelled, done.interrupting), expected);
    }

    async fn retry_dead(&mut self) {
        let handler = self.one_of(&HANDLERS);
        let filter = DeadFilter {
            handler: Some(name(handler)),
            ..DeadFilter::default()
        };
        let retried = self.fixture.store.retry_dead(filter).await.unwrap();
        assert_eq!(retried, self.model.retry_dead(handler));
    }

    async fn pause(&mut self) {
        let handler = self.one_of(&[None, Some("a"), Some("b")]);
        if self.one_of(&[true, true, false]) {
            let handler_name = handler.map(name);
            let ended = self.fixture.store.resume(handler_name).await.unwrap();
            let now = self.now_ms();
            assert_eq!(ended.len(), self.model.resume(handler, now));
            return;
        }
        let lasts = self.one_of(&[None, Some(3), Some(20)]);
        let pause = NewPause {
            handler: handler.map(name),
            lasts: lasts.map(Duration::from_secs),
            ..NewPause::default()
        };
        let begun = self.fixture.store.pause(pause).await.unwrap();
        let until = begun.until.map(|until| until.as_millis());
        let expected = lasts.map(|lasts| self.now_ms() + 1000 * i64::try_from(lasts).unwrap());
        assert_eq!(until, expected);
        self.model.pause(handler, until);
    }

    async fn step(&mut self) {
        // Lines are short as a rule: where they begin and end is where they can go wrong.
        match self.random.below(20) {
            0..3 => self.enqueue().await,
            3..8 => self.claim().await,
            8..15 => {
                for _ in 0..self.one_of(&[1, 2, 9]) {
                    self.settle().await;
                }
            }
            15 => self.cancel().await,
            16 => self.retry_dead().await,
            17 => self.pause().await,
            _ => {
                let seconds = self.one_of(&[1, 1, 5, 10, 31]);
                self.fixture.clock.advance(Duration::from_secs(seconds));
            }
        }
    }

    /// Where every delivery stands, and how many stand where.
    async fn compare(&self) {
        let mut expected: BTreeMap<(String, &str), u64> = BTreeMap::new();
        for one in &self.model.all {
            if !matches!(one.state, State::Completed | State::Cancelled) {
                let key = (one.handler.clone(), one.state.as_str());
                *expected.entry(key).or_default() += 1;
            }
        }
        let depth = self.fixture.store.depth().await.unwrap();
        let depth: Vec<_> = depth
            .iter()
            .map(|one| ((one.handler.to_string(), one.state.as_str()), one.count))
            .collect();
        assert_eq!(depth, expected.into_iter().collect::<Vec<_>>());
        for one in &self.model.all {
            let view = self.fixture.store.get(one.command).await.unwrap();
            let stored = view
                .deliveries
                .iter()
                .find(|d| d.id.handler.as_str() == one.handler);
            assert_eq!(
                stored.unwrap().state,
                one.state,
                "{}.{}",
                one.command,
                one.handler
            );
        }
    }
}

async fn any_history_is_what_the_model_makes_of_it(fixture: Fixture) {
    let (steps, start) = if stress() {
        (5_000, std::process::id())
    } else {
        (600, 1)
    };
    let mut both = Both {
        fixture,
        model: Model::default(),
        random: Random::new(start.into()),
        held: Vec::new(),
    };
    let mut met = HashSet::new();
    for _ in 0..steps {
        both.step().await;
        if both.random.below(20) == 0 {
            both.compare().await;
        }
        met.extend(both.model.all.iter().map(|one| one.state));
    }
    both.compare().await;
    assert_eq!(met, HashSet::from(State::ALL));
}

/// A command in the line `k`.
fn in_line() -> NewCommand {
    NewCommand {
        ordering_key: Some("k".to_owned()),
        ..command(&["greet"])
    }
}

/// Behind a pooler this is strict: what a host tells the others, it hears again itself
/// where it listens.
async fn the_end_of_the_first_in_a_line_is_news_of_work(fixture: Fixture) {
    let mut work = fixture.store.signals().work();
    let mut first = fixture.add(in_line()).await;
    let mut lease = fixture.claim_one().await.lease;
    let discard = Settlement::Discard {
        error: error(Status::Rejected, "no"),
    };
    for (way, settlement) in [
        ("completed", Some(done())),
        ("dead", Some(discard)),
        ("lost", None),
    ] {
        let next = fixture.add(in_line()).await;
        work.mark_unchanged();
        if let Some(settlement) = settlement {
            fixture.store.settle(lease, settlement).await.unwrap();
        } else {
            for lost in 1..=HOSTS_LOST_MAX {
                fixture.clock.advance(LEASE);
                // Only ends the lease: it has no room for what is freed.
                fixture.claim(usize::from(lost < HOSTS_LOST_MAX)).await;
            }
        }
        assert!(state(&fixture, first).await.is_final(), "{way}");
        assert!(work.has_changed().unwrap(), "{way}: nobody is told");
        first = next;
        lease = fixture.claim_one().await.lease;
    }
    // A cancellation of the first, while it waits for its retry.
    let retry = Settlement::Retry {
        error: error(Status::Unavailable, "later"),
        delay: LEASE,
        holds: Holds::Delivery,
    };
    fixture.store.settle(lease, retry).await.unwrap();
    let next = fixture.add(in_line()).await;
    work.mark_unchanged();
    fixture.store.cancel(first).await.unwrap();
    assert!(work.has_changed().unwrap(), "cancelled: nobody is told");
    assert_eq!(fixture.claim_one().await.lease.delivery.command, next);
}
