//! At which rate deliveries of a handler, or of a key, start.

use std::time::Duration;

use pointsman_core::outcome::Status;
use pointsman_queue::{
    ClaimRequest, CommandId, Flow, Holds, RateOf, RetentionSettings, Settlement, State,
};

use super::{Keys, rate, with};
use crate::engines::{Fixture, command, done, error, on_both_engines, state};

on_both_engines![
    a_rate_by_key_gives_each_key_its_bucket,
    a_rate_without_a_key_is_of_the_handler,
    a_rate_is_exact_however_many_claim_at_once,
    a_changed_rate_holds_from_the_next_claim_on,
    a_key_that_was_emptied_comes_back_with_what_is_left_of_its_bucket,
];

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
