//! What a queue means, the same on both engines: storing, claiming, leases and retries.

use std::{collections::HashMap, sync::Arc, time::Duration};

use pointsman_core::outcome::Status;
use pointsman_queue::{
    Clock, CommandId, DeadFilter, Ending, Holds, IDEMPOTENCY_KEPT, NewCommand, QueueError, Renewal,
    RetentionSettings, Settlement, State,
};

use crate::engines::{Fixture, LEASE, command, done, error, name, on_both_engines, request, state};

on_both_engines![
    a_delivery_lives_from_available_to_completed,
    the_same_key_and_body_answers_the_first_id_for_a_day,
    a_key_outlives_its_command,
    what_may_only_repeat_another_is_never_stored,
    a_batch_is_stored_whole_or_not_at_all,
    a_full_queue_refuses(3),
    priority_first_then_the_order_stored,
    a_delayed_command_waits_for_its_time,
    a_handler_runs_no_more_than_its_limit,
    a_host_claims_only_what_it_can_run,
    an_ordering_key_runs_one_after_the_other,
    what_is_scheduled_holds_its_ordering_key_only_once_due,
    a_stale_settlement_is_refused,
    a_renewed_lease_does_not_run_out,
    three_lost_hosts_end_in_the_dead_letter,
    a_retry_waits_and_counts,
    a_release_is_not_charged,
    what_a_delivery_emits_is_stored_with_its_end_or_not_at_all,
];

async fn a_delivery_lives_from_available_to_completed(fixture: Fixture) {
    let id = fixture.add(command(&["greet"])).await;
    assert_eq!(state(&fixture, id).await, State::Available);
    let claimed = fixture.claim_one().await;
    assert_eq!((claimed.attempt, claimed.lease.delivery.command), (1, id));
    assert_eq!(claimed.attributes, r#"{"requestType":"CreatePolicy"}"#);
    assert_eq!(state(&fixture, id).await, State::Running);
    assert!(fixture.claim(1).await.is_empty());
    assert_eq!(
        fixture.store.settle(claimed.lease, done()).await.unwrap(),
        State::Completed
    );
    let view = fixture.store.get(id).await.unwrap();
    assert_eq!(view.deliveries[0].rules, ["all"]);
    assert_eq!(
        (view.state(), view.deliveries[0].output.as_deref()),
        (State::Completed, Some("{}"))
    );
    assert!(fixture.claim(1).await.is_empty());
}

/// A command with attributes and an idempotency key.
fn keyed(attributes: &str) -> NewCommand {
    let mut command = command(&["greet"]);
    command.idempotency_key = Some("key-1".to_owned());
    command.attributes = attributes.to_owned();
    command
}

async fn the_same_key_and_body_answers_the_first_id_for_a_day(fixture: Fixture) {
    let first = fixture.add(keyed("{}")).await;
    let again = fixture.store.enqueue(vec![keyed("{}")]).await.unwrap();
    assert_eq!((again[0].id, again[0].repeated), (first, true));
    let other = fixture.store.enqueue(vec![keyed("[]")]).await.unwrap_err();
    assert!(
        matches!(other, QueueError::Conflict { first: id, .. } if id == first),
        "{other}"
    );
    assert_eq!(fixture.claim(9).await.len(), 1);
    fixture.clock.advance(IDEMPOTENCY_KEPT);
    assert_ne!(fixture.add(keyed("[]")).await, first);
}

async fn what_may_only_repeat_another_is_never_stored(fixture: Fixture) {
    let repeat = |attributes| NewCommand {
        may_be_new: false,
        ..keyed(attributes)
    };
    let refused = fixture.store.enqueue(vec![repeat("{}")]).await.unwrap_err();
    assert_eq!(refused.code(), "not-repeated");
    let first = fixture.add(keyed("{}")).await;
    let again = fixture.store.enqueue(vec![repeat("{}")]).await.unwrap();
    assert_eq!((again[0].id, again[0].repeated), (first, true));
    let other = fixture.store.enqueue(vec![repeat("[]")]).await.unwrap_err();
    assert_eq!(other.code(), "idempotency-conflict");
    assert_eq!(fixture.claim(9).await.len(), 1);
}

async fn a_key_outlives_its_command(fixture: Fixture) {
    let first = fixture.add(keyed("{}")).await;
    let claimed = fixture.claim_one().await;
    fixture.store.settle(claimed.lease, done()).await.unwrap();
    let short = RetentionSettings {
        age: Duration::ZERO,
        ..RetentionSettings::default()
    };
    assert_eq!(fixture.store.sweep(short).await.unwrap().commands, 1);
    let gone = fixture.store.glance(first).await.unwrap_err();
    assert_eq!(gone.code(), "unknown-command");
    let again = fixture.store.enqueue(vec![keyed("{}")]).await.unwrap();
    assert_eq!((again[0].id, again[0].repeated), (first, true));
    let other = fixture.store.enqueue(vec![keyed("[]")]).await.unwrap_err();
    assert_eq!(other.code(), "idempotency-conflict");
    assert!(fixture.claim(9).await.is_empty(), "it was stored again");
}

async fn a_batch_is_stored_whole_or_not_at_all(fixture: Fixture) {
    let mut keyed = command(&["greet"]);
    keyed.idempotency_key = Some("key-1".to_owned());
    let mut other = keyed.clone();
    (other.id, other.attributes) = (CommandId::generate(), "[]".to_owned());
    let free = command(&["greet"]);
    let free_id = free.id;
    let refused = fixture
        .store
        .enqueue(vec![free, keyed, other])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "idempotency-conflict");
    assert!(matches!(
        fixture.store.get(free_id).await,
        Err(QueueError::UnknownCommand(_))
    ));
    assert!(fixture.claim(9).await.is_empty());
}

async fn a_full_queue_refuses(fixture: Fixture) {
    let id = fixture.add(command(&["a", "b", "c"])).await;
    let refused = fixture
        .store
        .enqueue(vec![command(&["a"])])
        .await
        .unwrap_err();
    assert!(matches!(refused, QueueError::Full { max: 3 }), "{refused}");
    fixture.store.cancel(id).await.unwrap();
    // PostgreSQL counts no more often than it has to.
    let mut tries = 0;
    while fixture.store.enqueue(vec![command(&["a"])]).await.is_err() {
        tries += 1;
        assert!(tries < 100, "still full");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn priority_first_then_the_order_stored(fixture: Fixture) {
    let mut ids = Vec::new();
    for (handler, priority) in [("a", 0), ("b", 0), ("a", 5), ("b", -1), ("b", 5)] {
        let mut command = command(&[handler]);
        command.priority = priority;
        ids.push(fixture.add(command).await);
    }
    let mut claimed = fixture.claim(2).await;
    claimed.extend(fixture.claim(9).await);
    let order: Vec<_> = claimed
        .iter()
        .map(|claimed| claimed.lease.delivery.command)
        .collect();
    assert_eq!(order, [ids[2], ids[4], ids[0], ids[1], ids[3]]);
}

async fn a_delayed_command_waits_for_its_time(fixture: Fixture) {
    let mut late = command(&["greet"]);
    late.run_at = Some(fixture.clock.now().after(Duration::from_secs(60)));
    let id = fixture.add(late).await;
    assert_eq!(state(&fixture, id).await, State::Scheduled);
    let claims = fixture.store.claim(request(1)).await.unwrap();
    assert!(claims.deliveries.is_empty());
    assert_eq!(claims.next_due, Some(Duration::from_secs(60)));
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.claim_one().await.lease.delivery.command, id);
}

async fn a_handler_runs_no_more_than_its_limit(fixture: Fixture) {
    for _ in 0..4 {
        fixture.add(command(&["slow", "quick"])).await;
    }
    let mut limited = request(9);
    limited.capacity.limits = Arc::new(HashMap::from([(name("slow"), 2)]));
    let first = fixture
        .store
        .claim(limited.clone())
        .await
        .unwrap()
        .deliveries;
    let slow: Vec<_> = first
        .iter()
        .filter(|c| c.lease.delivery.handler == name("slow"))
        .collect();
    assert_eq!((first.len(), slow.len()), (6, 2));
    assert!(
        fixture
            .store
            .claim(limited.clone())
            .await
            .unwrap()
            .deliveries
            .is_empty()
    );
    fixture
        .store
        .settle(slow[0].lease.clone(), done())
        .await
        .unwrap();
    assert_eq!(
        fixture.store.claim(limited).await.unwrap().deliveries.len(),
        1
    );
}

async fn a_host_claims_only_what_it_can_run(fixture: Fixture) {
    fixture.add(command(&["here", "elsewhere"])).await;
    let mut only = request(9);
    only.capacity.handlers = Some(Arc::from([name("here")]));
    let claimed = fixture.store.claim(only).await.unwrap().deliveries;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].lease.delivery.handler, name("here"));
}

async fn an_ordering_key_runs_one_after_the_other(fixture: Fixture) {
    let ordered = |key: &str| {
        let mut command = command(&["greet"]);
        command.ordering_key = Some(key.to_owned());
        command
    };
    let mut ids = Vec::new();
    for key in ["x", "x", "y", "x"] {
        ids.push(fixture.add(ordered(key)).await);
    }
    let claimed = fixture.claim(9).await;
    let order: Vec<_> = claimed.iter().map(|c| c.lease.delivery.command).collect();
    assert_eq!(order, [ids[0], ids[2]]);
    // A retry holds up those behind it.
    let retry = Settlement::Retry {
        error: error(Status::Unavailable, "later"),
        delay: Duration::from_secs(5),
        holds: Holds::Delivery,
    };
    fixture
        .store
        .settle(claimed[0].lease.clone(), retry)
        .await
        .unwrap();
    assert!(fixture.claim(9).await.is_empty());
    fixture.clock.advance(Duration::from_secs(5));
    let again = fixture.claim_one().await;
    assert_eq!(again.lease.delivery.command, ids[0]);
    // The dead letter lets them go on; what comes back from it goes to the end.
    let discard = Settlement::Discard {
        error: error(Status::Rejected, "no"),
    };
    fixture.store.settle(again.lease, discard).await.unwrap();
    let second = fixture.claim_one().await;
    assert_eq!(second.lease.delivery.command, ids[1]);
    assert_eq!(
        fixture
            .store
            .retry_dead(DeadFilter::default())
            .await
            .unwrap(),
        1
    );
    assert!(fixture.claim(9).await.is_empty());
    fixture.store.settle(second.lease, done()).await.unwrap();
    let third = fixture.claim_one().await;
    assert_eq!(third.lease.delivery.command, ids[3]);
    fixture.store.settle(third.lease, done()).await.unwrap();
    assert_eq!(fixture.claim_one().await.lease.delivery.command, ids[0]);
}

async fn what_is_scheduled_holds_its_ordering_key_only_once_due(fixture: Fixture) {
    let ordered = |late: u64| {
        let mut command = command(&["greet"]);
        command.ordering_key = Some("k".to_owned());
        let late = (late > 0).then(|| Duration::from_secs(late));
        command.run_at = late.map(|late| fixture.clock.now().after(late));
        command
    };
    let (last, first) = (ordered(20), ordered(10));
    let far = fixture.add(ordered(1_000_000_000)).await;
    // A batch too: neither blocks the other, nor what comes after.
    let batch = fixture.store.enqueue(vec![last, first]).await.unwrap();
    let now = fixture.add(ordered(0)).await;
    let running = fixture.claim_one().await;
    assert_eq!(running.lease.delivery.command, now);
    let behind = fixture.add(ordered(0)).await;
    // Both are due: behind those that came before that, in the order of their times.
    fixture.clock.advance(LEASE - Duration::from_secs(1));
    assert!(fixture.claim(9).await.is_empty());
    let mut order = Vec::new();
    let mut lease = running.lease;
    for _ in 0..3 {
        fixture.store.settle(lease, done()).await.unwrap();
        lease = fixture.claim_one().await.lease;
        order.push(lease.delivery.command);
    }
    assert_eq!(order, [behind, batch[1].id, batch[0].id]);
    assert_eq!(state(&fixture, far).await, State::Scheduled);
}

async fn a_stale_settlement_is_refused(fixture: Fixture) {
    let id = fixture.add(command(&["greet"])).await;
    let stale = fixture.claim_one().await;
    fixture.clock.advance(LEASE * 2);
    let fresh = fixture.claim_one().await;
    assert_eq!(fresh.attempt, 2);
    for settlement in [
        done(),
        Settlement::Release,
        Settlement::Discard {
            error: error(Status::Rejected, ""),
        },
    ] {
        let refused = fixture
            .store
            .settle(stale.lease.clone(), settlement)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), "lease-lost");
    }
    let renewals = fixture
        .store
        .renew(vec![stale.lease, fresh.lease.clone()], LEASE)
        .await
        .unwrap();
    assert_eq!(renewals, [Renewal::Lost, Renewal::Renewed]);
    fixture
        .store
        .settle(fresh.lease.clone(), done())
        .await
        .unwrap();
    assert_eq!(state(&fixture, id).await, State::Completed);
    assert_eq!(
        fixture
            .store
            .settle(fresh.lease, done())
            .await
            .unwrap_err()
            .code(),
        "lease-lost"
    );
}

async fn a_renewed_lease_does_not_run_out(fixture: Fixture) {
    fixture.add(command(&["greet"])).await;
    let claimed = fixture.claim_one().await;
    for _ in 0..5 {
        fixture.clock.advance(LEASE / 2);
        assert_eq!(
            fixture
                .store
                .renew(vec![claimed.lease.clone()], LEASE)
                .await
                .unwrap(),
            [Renewal::Renewed]
        );
        assert!(fixture.claim(1).await.is_empty());
    }
}

async fn three_lost_hosts_end_in_the_dead_letter(fixture: Fixture) {
    let id = fixture.add(command(&["greet"])).await;
    for attempt in 1..=3 {
        assert_eq!(fixture.claim_one().await.attempt, attempt);
        fixture.clock.advance(LEASE);
    }
    assert!(fixture.claim(1).await.is_empty());
    assert_eq!(state(&fixture, id).await, State::Discarded);
    let delivery = fixture.store.get(id).await.unwrap().deliveries[0]
        .id
        .clone();
    let detail = fixture.store.inspect(delivery).await.unwrap();
    assert_eq!(detail.failures.len(), 3);
    assert!(
        detail
            .failures
            .iter()
            .all(|failure| failure.error.status == Ending::HostLost)
    );
}

async fn a_retry_waits_and_counts(fixture: Fixture) {
    fixture.add(command(&["greet"])).await;
    let claimed = fixture.claim_one().await;
    let retry = Settlement::Retry {
        error: error(Status::Trapped, "trap"),
        delay: Duration::from_secs(10),
        holds: Holds::Delivery,
    };
    assert_eq!(
        fixture.store.settle(claimed.lease, retry).await.unwrap(),
        State::Retryable
    );
    fixture.clock.advance(Duration::from_secs(9));
    assert!(fixture.claim(1).await.is_empty());
    fixture.clock.advance(Duration::from_secs(1));
    let again = fixture.claim_one().await;
    assert_eq!(
        (again.attempt, again.failures.trap, again.failures.total()),
        (2, 1, 1)
    );
}

async fn a_release_is_not_charged(fixture: Fixture) {
    fixture.add(command(&["greet"])).await;
    let claimed = fixture.claim_one().await;
    assert_eq!(
        fixture
            .store
            .settle(claimed.lease, Settlement::Release)
            .await
            .unwrap(),
        State::Available
    );
    let again = fixture.claim_one().await;
    assert_eq!((again.attempt, again.failures.total()), (1, 0));
}

async fn what_a_delivery_emits_is_stored_with_its_end_or_not_at_all(fixture: Fixture) {
    let emitted = |by: &pointsman_queue::Claimed, key: Option<&str>| {
        let mut emitted = command(&["notify"]);
        emitted.causation = Some(by.lease.delivery.clone());
        emitted.depth = by.depth + 1;
        emitted.ordering_key = key.map(str::to_owned);
        emitted
    };
    let complete = |follow_ups| Settlement::Complete {
        output: None,
        follow_ups,
    };
    let id = fixture.add(command(&["greet"])).await;
    let claimed = fixture.claim_one().await;
    assert_eq!(claimed.depth, 0);
    let (first, second) = (emitted(&claimed, Some("k")), emitted(&claimed, Some("k")));
    let ids = [first.id, second.id];
    let lease = claimed.lease.clone();
    let ended = fixture
        .store
        .settle(lease, complete(vec![first, second]))
        .await;
    assert_eq!(ended.unwrap(), State::Completed);
    assert_eq!(state(&fixture, id).await, State::Completed);
    let view = fixture.store.get(ids[1]).await.unwrap();
    assert_eq!(view.causation, Some(claimed.lease.delivery.to_string()));
    // In their order, one after the other.
    let next = fixture.claim_one().await;
    assert_eq!((next.lease.delivery.command, next.depth), (ids[0], 1));
    assert!(fixture.claim(9).await.is_empty());
    // Whoever lost the lease emits nothing.
    let late = emitted(&claimed, None);
    let late_id = late.id;
    let lost = fixture
        .store
        .settle(claimed.lease, complete(vec![late]))
        .await;
    assert!(matches!(lost, Err(QueueError::LeaseLost(_))), "{lost:?}");
    let unknown = fixture.store.get(late_id).await;
    assert!(matches!(unknown, Err(QueueError::UnknownCommand(_))));
    let twice = emitted(&next, None);
    let lease = next.lease.clone();
    let ended = fixture
        .store
        .settle(lease, complete(vec![twice.clone()]))
        .await;
    assert_eq!(ended.unwrap(), State::Completed);
    let depth = fixture.store.depth().await.unwrap();
    let waiting: u64 = depth
        .iter()
        .filter(|one| !one.state.is_final())
        .map(|one| one.count)
        .sum();
    assert_eq!(waiting, 2);
}
