//! Keys of deliveries, the same on both engines: whose turn it is, how many run at once,
//! and at which rate.

use std::{collections::HashMap, sync::Arc, time::Duration};

use pointsman_core::outcome::Status;
use pointsman_queue::{
    Capacity, ClaimRequest, Claimed, Clock as _, CommandId, DeadFilter, Flow, Holds, NewCommand,
    NewPause, Rate, RateOf, RetentionSettings, Settlement, State,
};

use crate::engines::{
    Fixture, LEASE, command, done, error, name, on_both_engines, request, sqlite, sqlite_in, state,
};

on_both_engines![
    a_noisy_key_leaves_the_next_turns_to_quiet_ones,
    equal_keys_are_served_equally,
    a_higher_priority_goes_first_whatever_the_turn,
    an_ordering_key_keeps_its_order_within_a_key,
    other_handlers_go_on_beside_keys_in_the_order_stored,
    a_key_runs_no_more_than_its_limit,
    every_way_in_which_one_ends_gives_its_place_back,
    what_has_no_key_shares_one_turn_and_one_limit,
    a_rate_by_key_gives_each_key_its_bucket,
    a_rate_without_a_key_is_of_the_handler,
    a_rate_is_exact_however_many_claim_at_once,
    a_changed_rate_holds_from_the_next_claim_on,
    a_key_that_was_emptied_comes_back_with_what_is_left_of_its_bucket,
    keys_go_on_without_settings,
    a_handler_that_asks_for_time_may_hold_its_key,
    a_handler_that_asks_for_time_may_pause_itself,
    a_pause_that_someone_made_stays,
    a_paused_handler_holds_all_its_keys,
    nothing_is_left_behind_by_those_who_come_and_go_at_once,
    a_key_has_bounds,
];

/// A command to `a` with this key.
fn keyed(key: &str) -> NewCommand {
    let mut new = command(&["a"]);
    new.deliveries[0].key = Some(key.to_owned());
    new
}

fn of(flow: Flow) -> Capacity {
    Capacity {
        flows: Arc::new(HashMap::from([(name("a"), flow)])),
        ..Capacity::default()
    }
}

fn with(max: usize, flow: &Flow) -> ClaimRequest {
    ClaimRequest {
        capacity: of(flow.clone()),
        ..request(max)
    }
}

fn per_key(most: usize) -> Flow {
    Flow {
        per_key: Some(most),
        ..Flow::default()
    }
}

fn rate(limit: u32, per: u64, of: RateOf) -> Flow {
    Flow {
        rate: Some(Rate {
            limit,
            per: Duration::from_secs(per),
            of,
        }),
        ..Flow::default()
    }
}

/// A store and which key each command has.
struct Keys {
    fixture: Fixture,
    of: HashMap<CommandId, String>,
}

impl Keys {
    fn new(fixture: Fixture) -> Self {
        let of = HashMap::new();
        Self { fixture, of }
    }

    async fn add(&mut self, key: &str, count: usize) {
        let batch: Vec<_> = (0..count).map(|_| keyed(key)).collect();
        self.of
            .extend(batch.iter().map(|new| (new.id, key.to_owned())));
        self.fixture.store.enqueue(batch).await.unwrap();
    }

    async fn claim(&self, max: usize, flow: &Flow) -> Vec<Claimed> {
        let claims = self.fixture.store.claim(with(max, flow)).await.unwrap();
        claims.deliveries
    }

    fn names(&self, claimed: &[Claimed]) -> Vec<&str> {
        let of = claimed.iter().map(|one| one.lease.delivery.command);
        of.map(|id| self.of.get(&id).map_or("", String::as_str))
            .collect()
    }

    /// The keys of what a claim takes, which is done at once.
    async fn run(&self, max: usize, flow: &Flow) -> Vec<String> {
        let claimed = self.claim(max, flow).await;
        let names = self.names(&claimed).into_iter().map(str::to_owned);
        let names = names.collect();
        for one in claimed {
            self.fixture.store.settle(one.lease, done()).await.unwrap();
        }
        names
    }

    /// How long until there is more, with a claim that takes nothing.
    async fn due(&self, flow: &Flow) -> Option<Duration> {
        let claims = self.fixture.store.claim(with(9, flow)).await.unwrap();
        assert!(claims.deliveries.is_empty(), "{:?}", claims.deliveries);
        claims.next_due
    }
}

async fn a_noisy_key_leaves_the_next_turns_to_quiet_ones(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let free = Flow::default();
    keys.add("noisy", 2000).await;
    assert_eq!(keys.run(3, &free).await, ["noisy"; 3]);
    for quiet in ["x", "y", "z"] {
        keys.add(quiet, 1).await;
    }
    // Each gets its turn, as soon as the one had its own.
    assert_eq!(keys.run(4, &free).await, ["noisy", "x", "y", "z"]);
    assert_eq!(keys.run(2, &free).await, ["noisy", "noisy"]);
    keys.add("x", 2).await;
    assert_eq!(keys.run(1, &free).await, ["noisy"]);
    assert_eq!(keys.run(1, &free).await, ["x"]);
    assert_eq!(keys.run(1, &free).await, ["noisy"]);
    assert_eq!(keys.run(1, &free).await, ["x"]);
}

async fn equal_keys_are_served_equally(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let all: Vec<String> = (0..20).map(|number| format!("key-{number}")).collect();
    let mut served: HashMap<String, usize> = HashMap::new();
    for key in &all {
        keys.add(key, 10).await;
        served.insert(key.clone(), 0);
    }
    for max in [1, 7, 13, 3, 64, 20, 5].into_iter().cycle() {
        let ran = keys.run(max, &Flow::default()).await;
        if ran.is_empty() {
            break;
        }
        for key in ran {
            *served.get_mut(&key).unwrap() += 1;
        }
        let (least, most) = (served.values().min(), served.values().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{served:?}");
    }
    assert_eq!(served.values().sum::<usize>(), 200);
}

async fn a_higher_priority_goes_first_whatever_the_turn(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let free = Flow::default();
    keys.add("x", 3).await;
    keys.add("y", 3).await;
    let urgent = |key| NewCommand {
        priority: 5,
        ..keyed(key)
    };
    for key in ["y", "y", "z"] {
        let new = urgent(key);
        keys.of.insert(new.id, key.to_owned());
        keys.fixture.add(new).await;
    }
    assert_eq!(keys.run(1, &free).await, ["y"]);
    assert_eq!(keys.run(1, &free).await, ["z"]);
    assert_eq!(keys.run(1, &free).await, ["y"]);
    // Those that were urgent no longer are.
    assert_eq!(keys.run(1, &free).await, ["x"]);
    assert_eq!(keys.run(4, &free).await, ["y", "x", "y", "x"]);
}

async fn an_ordering_key_keeps_its_order_within_a_key(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let free = Flow::default();
    let mut line = Vec::new();
    for _ in 0..3 {
        let new = NewCommand {
            ordering_key: Some("k".to_owned()),
            ..keyed("x")
        };
        line.push(new.id);
        keys.of.insert(new.id, "x".to_owned());
        keys.fixture.add(new).await;
    }
    keys.add("x", 1).await;
    for next in line {
        let mut claimed = keys.claim(9, &free).await;
        let at = claimed
            .iter()
            .position(|one| one.lease.delivery.command == next);
        let lease = claimed.swap_remove(at.expect("its turn")).lease;
        for other in claimed {
            let settled = keys.fixture.store.settle(other.lease, done()).await;
            settled.unwrap();
        }
        // What waits for its retry holds up the line.
        let retry = Settlement::Retry {
            error: error(Status::Unavailable, "later"),
            delay: Duration::from_secs(5),
            holds: Holds::Delivery,
        };
        keys.fixture.store.settle(lease, retry).await.unwrap();
        assert_eq!(keys.due(&free).await, Some(Duration::from_secs(5)));
        keys.fixture.clock.advance(Duration::from_secs(5));
        assert_eq!(keys.run(9, &free).await, ["x"]);
    }
    assert_eq!(keys.due(&free).await, None);
}

async fn other_handlers_go_on_beside_keys_in_the_order_stored(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    keys.add("x", 2).await;
    let first = keys.fixture.add(command(&["b"])).await;
    keys.add("y", 1).await;
    let second = keys.fixture.add(command(&["b"])).await;
    let claimed = keys.claim(4, &Flow::default()).await;
    // As if `a` had been taken in the order stored: it had two before the first of `b`.
    assert_eq!(keys.names(&claimed), ["x", "y", "", "x"]);
    assert_eq!(claimed[2].lease.delivery.command, first);
    assert_eq!(
        keys.fixture.claim_one().await.lease.delivery.command,
        second
    );
}

async fn a_key_runs_no_more_than_its_limit(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let two = per_key(2);
    keys.add("x", 5).await;
    keys.add("y", 1).await;
    let mut claimed = keys.claim(9, &two).await;
    assert_eq!(keys.names(&claimed), ["x", "y", "x"]);
    assert!(keys.claim(9, &two).await.is_empty());
    let lease = claimed.swap_remove(0).lease;
    keys.fixture.store.settle(lease, done()).await.unwrap();
    let next = keys.claim(9, &two).await;
    assert_eq!(keys.names(&next), ["x"]);
    // The limit of the handler holds besides.
    let both = ClaimRequest {
        capacity: Capacity {
            limits: Arc::new(HashMap::from([(name("a"), 4)])),
            ..of(per_key(5))
        },
        ..request(9)
    };
    let claims = keys.fixture.store.claim(both).await.unwrap();
    assert_eq!(keys.names(&claims.deliveries), ["x"]);
    let deliveries = keys.fixture.store.depth().await.unwrap();
    let count = |state| deliveries.iter().find(|one| one.state == state);
    assert_eq!(count(State::Running).unwrap().count, 4);
    assert_eq!(count(State::Available).unwrap().count, 1);
}

async fn every_way_in_which_one_ends_gives_its_place_back(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let one = per_key(1);
    keys.add("x", 5).await;
    let store = Arc::clone(&keys.fixture.store);
    let claim = async |keys: &Keys| {
        let mut claimed = keys.claim(9, &one).await;
        assert_eq!(keys.names(&claimed), ["x"]);
        assert!(keys.claim(9, &one).await.is_empty());
        claimed.remove(0).lease
    };
    let discard = Settlement::Discard {
        error: error(Status::Rejected, "no"),
    };
    let lease = claim(&keys).await;
    store.settle(lease, discard).await.unwrap();
    let lease = claim(&keys).await;
    store.settle(lease, Settlement::Release).await.unwrap();
    let lease = claim(&keys).await;
    store.cancel(lease.delivery.command).await.unwrap();
    let discard = Settlement::Discard {
        error: error(Status::Cancelled, "stopped"),
    };
    store.settle(lease, discard).await.unwrap();
    // A host that is lost.
    let lost = claim(&keys).await.delivery.command;
    keys.fixture.clock.advance(LEASE);
    let lease = claim(&keys).await;
    assert_eq!(lease.delivery.command, lost);
    store.settle(lease, done()).await.unwrap();
    assert_eq!(store.retry_dead(DeadFilter::default()).await.unwrap(), 1);
    for _ in 0..3 {
        let lease = claim(&keys).await;
        store.settle(lease, done()).await.unwrap();
    }
    assert_eq!(keys.due(&one).await, None);
}

async fn what_has_no_key_shares_one_turn_and_one_limit(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    for _ in 0..4 {
        keys.fixture.add(command(&["a"])).await;
    }
    keys.add("x", 4).await;
    let ran = keys.run(4, &Flow::default()).await;
    assert_eq!(ran.iter().filter(|key| *key == "x").count(), 2, "{ran:?}");
    let claimed = keys.claim(9, &per_key(1)).await;
    let mut ran = keys.names(&claimed);
    ran.sort_unstable();
    assert_eq!(ran, ["", "x"]);
    assert!(keys.claim(9, &per_key(1)).await.is_empty());
    let by_key = rate(1, 10, RateOf::Key);
    assert_eq!(keys.run(9, &by_key).await.len(), 2);
    assert_eq!(keys.due(&by_key).await, Some(Duration::from_secs(10)));
}

async fn a_rate_by_key_gives_each_key_its_bucket(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let ten = rate(10, 1, RateOf::Key);
    keys.add("x", 30).await;
    keys.add("y", 3).await;
    let ran = keys.run(64, &ten).await;
    assert_eq!(ran.iter().filter(|key| *key == "x").count(), 10);
    assert_eq!(ran.len(), 13);
    assert_eq!(keys.due(&ten).await, Some(Duration::from_millis(100)));
    keys.fixture.clock.advance(Duration::from_millis(99));
    assert_eq!(keys.due(&ten).await, Some(Duration::from_millis(1)));
    keys.fixture.clock.advance(Duration::from_millis(1));
    assert_eq!(keys.run(64, &ten).await, ["x"]);
    keys.fixture.clock.advance(Duration::from_millis(250));
    assert_eq!(keys.run(64, &ten).await, ["x", "x"]);
    keys.fixture.clock.advance(Duration::from_secs(60));
    // No more than the bucket holds.
    assert_eq!(keys.run(64, &ten).await.len(), 10);
}

async fn a_rate_without_a_key_is_of_the_handler(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let three = rate(3, 3, RateOf::Handler);
    for _ in 0..4 {
        keys.fixture.add(command(&["a"])).await;
    }
    let other = keys.fixture.add(command(&["b"])).await;
    assert_eq!(keys.run(9, &three).await.len(), 4, "three, and the other");
    assert_eq!(state(&keys.fixture, other).await, State::Completed);
    assert_eq!(keys.due(&three).await, Some(Duration::from_secs(1)));
    // With keys, too: they take turns at the tokens.
    keys.add("x", 2).await;
    keys.add("y", 2).await;
    keys.fixture.clock.advance(Duration::from_secs(3));
    let mut ran = keys.run(9, &three).await;
    ran.sort_unstable();
    assert_eq!(ran, ["", "x", "y"]);
    assert_eq!(keys.due(&three).await, Some(Duration::from_secs(1)));
}

async fn a_rate_is_exact_however_many_claim_at_once(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    for flow in [rate(7, 1, RateOf::Handler), rate(7, 1, RateOf::Key)] {
        keys.add("x", 60).await;
        keys.fixture.clock.advance(Duration::from_secs(100));
        let mut taken = 0;
        for second in 1..=5 {
            let claims = (0..4).map(|_| keys.fixture.store.claim(with(9, &flow)));
            for claims in futures_util::future::join_all(claims).await {
                for one in claims.unwrap().deliveries {
                    taken += 1;
                    keys.fixture.store.settle(one.lease, done()).await.unwrap();
                }
            }
            assert_eq!(taken, 7 * second);
            keys.fixture.clock.advance(Duration::from_secs(1));
        }
        while !keys.run(64, &Flow::default()).await.is_empty() {}
    }
}

async fn a_changed_rate_holds_from_the_next_claim_on(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let slow = rate(1, 3600, RateOf::Key);
    keys.add("x", 9).await;
    assert_eq!(keys.run(9, &slow).await, ["x"]);
    assert_eq!(keys.due(&slow).await, Some(Duration::from_secs(3600)));
    let fast = rate(2, 1, RateOf::Key);
    let changed = ClaimRequest {
        flows_changed: true,
        ..with(9, &fast)
    };
    let claims = keys.fixture.store.claim(changed).await.unwrap();
    // It owes no more than one bucket of the new rate.
    assert!(claims.deliveries.is_empty());
    assert_eq!(claims.next_due, Some(Duration::from_millis(500)));
    keys.fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(keys.run(9, &fast).await, ["x", "x"]);
    // And without a rate nothing is held.
    let changed = ClaimRequest {
        flows_changed: true,
        ..with(9, &Flow::default())
    };
    let claims = keys.fixture.store.claim(changed).await.unwrap();
    assert_eq!(claims.deliveries.len(), 6);
}

async fn a_key_that_was_emptied_comes_back_with_what_is_left_of_its_bucket(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let two = rate(2, 10, RateOf::Key);
    keys.add("x", 3).await;
    let claimed = keys.claim(9, &two).await;
    assert_eq!(claimed.len(), 2);
    for one in claimed {
        // A retry takes a token as any attempt does.
        let retry = Settlement::Retry {
            error: error(Status::Unavailable, "later"),
            delay: Duration::ZERO,
            holds: Holds::Delivery,
        };
        keys.fixture.store.settle(one.lease, retry).await.unwrap();
    }
    let all: Vec<CommandId> = keys.of.keys().copied().collect();
    for id in &all {
        keys.fixture.store.cancel(*id).await.unwrap();
    }
    // Woken by its next token, it is found empty and no longer waited for.
    keys.fixture.clock.advance(Duration::from_secs(5));
    assert_eq!(keys.due(&two).await, None);
    keys.add("x", 3).await;
    assert_eq!(keys.run(9, &two).await, ["x"]);
    assert_eq!(keys.due(&two).await, Some(Duration::from_secs(5)));
    keys.fixture.clock.advance(Duration::from_secs(60));
    let policy = RetentionSettings::default();
    keys.fixture.store.sweep(policy).await.unwrap();
    assert_eq!(keys.run(9, &two).await, ["x", "x"]);
}

async fn keys_go_on_without_settings(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    keys.add("x", 2).await;
    keys.add("y", 1).await;
    let ids: Vec<_> = keys.fixture.claim(9).await;
    assert_eq!(keys.names(&ids), ["x", "y", "x"]);
}

async fn a_handler_that_asks_for_time_may_hold_its_key(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let free = Flow::default();
    keys.add("x", 3).await;
    keys.add("y", 1).await;
    let first = keys.claim(1, &free).await.remove(0);
    let minute = Duration::from_secs(60);
    let retry = Settlement::Retry {
        error: error(Status::Unavailable, "too many requests"),
        delay: minute,
        holds: Holds::Key,
    };
    keys.fixture.store.settle(first.lease, retry).await.unwrap();
    assert_eq!(keys.run(9, &free).await, ["y"]);
    // What comes meanwhile waits, too.
    keys.add("x", 1).await;
    assert_eq!(keys.due(&free).await, Some(minute));
    keys.fixture.clock.advance(minute);
    assert_eq!(keys.run(9, &free).await, ["x"; 4]);
}

async fn a_handler_that_asks_for_time_may_pause_itself(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let free = Flow::default();
    keys.add("x", 2).await;
    keys.add("y", 1).await;
    let first = keys.claim(1, &free).await.remove(0);
    let minute = Duration::from_secs(60);
    let retry = Settlement::Retry {
        error: error(Status::Unavailable, "too many requests"),
        delay: minute,
        holds: Holds::Handler,
    };
    keys.fixture.store.settle(first.lease, retry).await.unwrap();
    assert_eq!(keys.due(&free).await, Some(minute));
    let pauses = keys.fixture.store.pauses().await.unwrap();
    assert_eq!(pauses.len(), 1);
    assert_eq!(pauses[0].by.as_deref(), Some("retry-after"));
    let until = keys.fixture.clock.now().after(minute);
    assert_eq!(pauses[0].until, Some(until));
    keys.fixture.clock.advance(minute);
    assert_eq!(keys.run(9, &free).await.len(), 3);
}

async fn a_pause_that_someone_made_stays(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    keys.add("x", 2).await;
    let first = keys.claim(1, &Flow::default()).await.remove(0);
    let pause = NewPause {
        handler: Some(name("a")),
        by: Some("ada".to_owned()),
        ..NewPause::default()
    };
    let pause = keys.fixture.store.pause(pause).await.unwrap();
    let retry = Settlement::Retry {
        error: error(Status::Unavailable, "too many requests"),
        delay: Duration::from_secs(60),
        holds: Holds::Handler,
    };
    keys.fixture.store.settle(first.lease, retry).await.unwrap();
    assert_eq!(keys.fixture.store.pauses().await.unwrap(), [pause]);
}

async fn a_paused_handler_holds_all_its_keys(fixture: Fixture) {
    let mut keys = Keys::new(fixture);
    let ten = rate(1, 10, RateOf::Key);
    keys.add("x", 2).await;
    keys.add("y", 1).await;
    assert_eq!(keys.run(1, &ten).await, ["x"]);
    keys.fixture.store.pause(NewPause::default()).await.unwrap();
    keys.fixture.clock.advance(Duration::from_secs(10));
    assert_eq!(keys.due(&ten).await, None, "nothing is to be done");
    keys.fixture.store.resume(None).await.unwrap();
    let mut ran = keys.run(9, &ten).await;
    ran.sort_unstable();
    assert_eq!(ran, ["x", "y"]);
}

async fn nothing_is_left_behind_by_those_who_come_and_go_at_once(fixture: Fixture) {
    const EACH: usize = 60;
    let store = Arc::clone(&fixture.store);
    let came = (0..3).map(|number: usize| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for at in 0..EACH {
                let key = format!("key-{}", (at * 7 + number) % 3);
                let other = format!("key-{}", (at + number) % 3);
                let batch = vec![keyed(&key), keyed(&other)];
                store.enqueue(batch).await.unwrap();
            }
        })
    });
    let came: Vec<_> = came.collect();
    let left = Arc::new(std::sync::atomic::AtomicUsize::new(3 * 2 * EACH));
    let went = (0..2).map(|_| {
        let (store, left) = (Arc::clone(&store), Arc::clone(&left));
        tokio::spawn(async move {
            while left.load(std::sync::atomic::Ordering::SeqCst) > 0 {
                let claims = store.claim(with(4, &per_key(2))).await.unwrap();
                for one in claims.deliveries {
                    store.settle(one.lease, done()).await.unwrap();
                    left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                }
            }
        })
    });
    let went: Vec<_> = went.collect();
    for task in came {
        task.await.unwrap();
    }
    let all = futures_util::future::join_all(went);
    let ended = tokio::time::timeout(Duration::from_secs(60), all).await;
    for task in ended.expect("a delivery stays where it is") {
        task.unwrap();
    }
}

async fn a_key_has_bounds(fixture: Fixture) {
    for key in [String::new(), "a\nb".to_owned(), "x".repeat(256)] {
        let refused = fixture.store.enqueue(vec![keyed(&key)]).await.unwrap_err();
        let expected = "key: use 1 to 255 bytes without control characters";
        assert_eq!(refused.to_string(), expected);
    }
    fixture.add(keyed(&"x".repeat(255))).await;
    assert_eq!(fixture.claim(9).await.len(), 1);
}

#[tokio::test]
async fn turns_and_buckets_outlast_a_restart() {
    let mut keys = Keys::new(sqlite(1000).await.unwrap());
    let two = rate(2, 10, RateOf::Key);
    keys.add("x", 5).await;
    keys.add("y", 5).await;
    assert_eq!(keys.run(3, &two).await, ["x", "y", "x"]);
    keys.fixture.store.close().await.unwrap();
    let fixture = sqlite_in(keys.fixture.into_folder(), 1000).unwrap();
    let keys = Keys {
        fixture,
        of: keys.of,
    };
    assert_eq!(keys.run(9, &two).await, ["y"]);
    assert_eq!(keys.due(&two).await, Some(Duration::from_secs(5)));
    keys.fixture.clock.advance(Duration::from_secs(10));
    assert_eq!(keys.run(9, &two).await, ["x", "y", "x", "y"]);
}

/// How long a claim of 64 takes at the median, with so many waiting over so many keys.
async fn median_claim(fixture: &Fixture, handler: &str, flow: &Flow) -> Duration {
    let mut took = Vec::new();
    for _ in 0..51 {
        let request = ClaimRequest {
            capacity: Capacity {
                handlers: Some(Arc::from([name(handler)])),
                flows: Arc::new(HashMap::from([(name(handler), flow.clone())])),
                ..Capacity::default()
            },
            ..request(64)
        };
        let request = match *flow == Flow::default() {
            true => ClaimRequest {
                capacity: Capacity {
                    flows: Arc::default(),
                    ..request.capacity
                },
                ..request
            },
            false => request,
        };
        let started = std::time::Instant::now();
        let claims = fixture.store.claim(request).await.unwrap();
        took.push(started.elapsed());
        assert_eq!(claims.deliveries.len(), 64);
    }
    took.sort_unstable();
    took[took.len() / 2]
}

async fn claims_with_keys_beside_claims_without(fixture: Fixture) {
    let waiting: usize = std::env::var("WAITING").map_or(100_000, |text| text.parse().unwrap());
    let keys = 10_000.min(waiting / 10);
    for step in 0..waiting / 5000 {
        for handler in ["a", "b"] {
            let batch = (0..5000).map(|at| {
                let mut new = command(&[handler]);
                if handler == "a" {
                    let key = format!("key-{}", (step * 5000 + at) % keys);
                    new.deliveries[0].key = Some(key);
                }
                new
            });
            fixture.store.enqueue(batch.collect()).await.unwrap();
        }
    }
    let rate = rate(1000, 1, RateOf::Key);
    let flow = Flow {
        per_key: Some(50),
        ..rate
    };
    for _ in 0..2 {
        let without = median_claim(&fixture, "b", &Flow::default()).await;
        let with = median_claim(&fixture, "a", &flow).await;
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("{waiting} waiting, {keys} keys: {without:?} without, {with:?} with, {ratio:.2}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn measure_claims_on_sqlite() {
    claims_with_keys_beside_claims_without(sqlite(10_000_000).await.unwrap()).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn measure_claims_on_postgres() {
    if let Some(fixture) = crate::engines::postgres(10_000_000).await {
        claims_with_keys_beside_claims_without(fixture).await;
    }
}
