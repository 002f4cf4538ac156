//! Keys of deliveries, the same on both engines: whose turn it is, how many run at once,
//! and at which rate.

mod measure;
mod rates;

use std::{collections::HashMap, sync::Arc, time::Duration};

use pointsman_core::outcome::Status;
use pointsman_queue::{
    Capacity, ClaimRequest, Claimed, Clock as _, CommandId, DeadFilter, Flow, Holds, NewCommand,
    NewPause, Rate, RateOf, Settlement, State,
};

use crate::engines::{
    Fixture, LEASE, command, done, error, name, on_both_engines, request, sqlite, sqlite_in,
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

    /// Adds so many of `x` and one of `y`, of which the first asks for a minute.
    async fn ask_for_a_minute(&mut self, of_x: usize, holds: Holds) -> Duration {
        self.add("x", of_x).await;
        self.add("y", 1).await;
        let first = self.claim(1, &Flow::default()).await.remove(0);
        let delay = Duration::from_secs(60);
        let retry = Settlement::Retry {
            error: error(Status::Unavailable, "too many requests"),
            delay,
            holds,
        };
        self.fixture.store.settle(first.lease, retry).await.unwrap();
        delay
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
    let minute = keys.ask_for_a_minute(3, Holds::Key).await;
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
    let minute = keys.ask_for_a_minute(2, Holds::Handler).await;
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
