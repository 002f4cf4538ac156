//! Deduplication keys, the same on both engines.

use std::time::Duration;

use pointsman_queue::{
    Clock as _, CommandId, Dedup, DedupMode, Enqueued, NewCommand, QueueError, RetentionSettings,
    State,
};

use crate::engines::{Fixture, command, done, on_both_engines, state};

on_both_engines![
    a_key_answers_its_command_until_that_is_done,
    a_key_admits_one_command_in_its_time,
    a_command_that_has_not_begun_is_replaced,
    what_is_replaced_leaves_its_line(2),
    of_many_at_once_one_is_stored,
    a_key_is_of_one_command_and_bounded,
    keys_that_are_over_are_forgotten,
];

const MINUTE: Duration = Duration::from_secs(60);

fn keyed(mode: DedupMode, handlers: &[&str]) -> NewCommand {
    NewCommand {
        dedup: Some(Dedup {
            key: "k".to_owned(),
            mode,
        }),
        ..command(handlers)
    }
}

async fn add(fixture: &Fixture, command: NewCommand) -> Enqueued {
    loop {
        match fixture.store.enqueue(vec![command.clone()]).await {
            // PostgreSQL counts what has ended a moment later.
            Err(QueueError::Full { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            stored => return stored.unwrap()[0],
        }
    }
}

/// Runs one delivery to its end.
async fn run(fixture: &Fixture) -> CommandId {
    let claimed = fixture.claim_one().await;
    let command = claimed.lease.delivery.command;
    fixture.store.settle(claimed.lease, done()).await.unwrap();
    command
}

async fn a_key_answers_its_command_until_that_is_done(fixture: Fixture) {
    let until_done = || keyed(DedupMode::UntilDone, &["a", "b"]);
    let first = add(&fixture, until_done()).await;
    assert!(!first.repeated);
    for _ in 0..2 {
        let again = add(&fixture, until_done()).await;
        assert_eq!((again.id, again.repeated), (first.id, true));
        run(&fixture).await;
    }
    let next = add(&fixture, until_done()).await;
    assert!(next.id != first.id && !next.repeated);
    fixture.store.cancel(next.id).await.unwrap();
    assert!(!add(&fixture, until_done()).await.repeated);
}

async fn a_key_admits_one_command_in_its_time(fixture: Fixture) {
    let throttled = || keyed(DedupMode::Throttle(MINUTE), &["a"]);
    let first = add(&fixture, throttled()).await;
    run(&fixture).await;
    fixture.clock.advance(MINUTE - Duration::from_millis(1));
    let again = add(&fixture, throttled()).await;
    assert_eq!((again.id, again.repeated), (first.id, true));
    // The keys of another mode are others.
    assert!(
        !add(&fixture, keyed(DedupMode::UntilDone, &["a"]))
            .await
            .repeated
    );
    fixture.clock.advance(Duration::from_millis(1));
    assert!(!add(&fixture, throttled()).await.repeated);
}

async fn a_command_that_has_not_begun_is_replaced(fixture: Fixture) {
    let late = |handlers: &[&str], seconds| NewCommand {
        run_at: Some(fixture.clock.now().after(Duration::from_secs(seconds))),
        ..keyed(DedupMode::Replace, handlers)
    };
    let first = add(&fixture, late(&["a", "b"], 60)).await;
    fixture.clock.advance(Duration::from_secs(50));
    let second = NewCommand {
        attributes: r#"{"n":2}"#.to_owned(),
        rules_generation: 7,
        ..late(&["c"], 60)
    };
    let second = add(&fixture, second).await;
    assert_eq!(
        (second.id, second.repeated, second.replaced),
        (first.id, false, true)
    );
    fixture.clock.advance(Duration::from_secs(20));
    assert!(fixture.claim(9).await.is_empty(), "it was not put off");
    let view = fixture.store.get(first.id).await.unwrap();
    assert_eq!(
        (view.attributes.as_deref(), view.rules_generation),
        (Some(r#"{"n":2}"#), 7)
    );
    assert_eq!(view.deliveries.len(), 1);
    fixture.clock.advance(Duration::from_secs(40));
    let claimed = fixture.claim_one().await;
    assert_eq!(
        (
            claimed.lease.delivery.handler.as_str(),
            claimed.attributes.as_str()
        ),
        ("c", r#"{"n":2}"#)
    );
    // It has begun: from here on there is another.
    let third = add(&fixture, late(&["a"], 0)).await;
    assert!(third.id != first.id && !third.replaced);
    assert_eq!(state(&fixture, first.id).await, State::Running);
}

async fn what_is_replaced_leaves_its_line(fixture: Fixture) {
    let ordered = |key: &str| NewCommand {
        ordering_key: Some(key.to_owned()),
        ..keyed(DedupMode::Replace, &["a"])
    };
    let first = add(&fixture, ordered("x")).await;
    let behind = NewCommand {
        ordering_key: Some("x".to_owned()),
        ..command(&["a"])
    };
    let behind = add(&fixture, behind).await;
    // It goes to the end of its line.
    fixture.store.cancel(behind.id).await.unwrap();
    let behind = NewCommand {
        ordering_key: Some("x".to_owned()),
        ..command(&["a"])
    };
    let behind = add(&fixture, behind).await;
    fixture.store.cancel(behind.id).await.unwrap();
    assert!(add(&fixture, ordered("y")).await.replaced);
    assert_eq!(run(&fixture).await, first.id);
    assert!(fixture.claim(9).await.is_empty());
}

async fn of_many_at_once_one_is_stored(fixture: Fixture) {
    for mode in [
        DedupMode::UntilDone,
        DedupMode::Throttle(MINUTE),
        DedupMode::Replace,
    ] {
        let all = (0..12).map(|_| fixture.store.enqueue(vec![keyed(mode, &["a"])]));
        let all = futures_util::future::join_all(all).await;
        let all: Vec<_> = all.into_iter().map(|one| one.unwrap()[0]).collect();
        assert!(all.iter().all(|one| one.id == all[0].id), "{all:?}");
        let new = all.iter().filter(|one| !one.repeated && !one.replaced);
        assert_eq!(new.count(), 1, "{mode:?}");
        assert_eq!(run(&fixture).await, all[0].id);
        assert!(fixture.claim(9).await.is_empty());
    }
}

async fn a_key_is_of_one_command_and_bounded(fixture: Fixture) {
    let refused = async |all| match fixture.store.enqueue(all).await.unwrap_err() {
        QueueError::Invalid { field, .. } => field,
        other => panic!("{other}"),
    };
    let one = || keyed(DedupMode::UntilDone, &["a"]);
    assert_eq!(refused(vec![one(), command(&["a"])]).await, "dedup");
    let both = NewCommand {
        idempotency_key: Some("i".to_owned()),
        ..one()
    };
    assert_eq!(refused(vec![both]).await, "dedup");
    for key in [String::new(), "x".repeat(256), "a\nb".to_owned()] {
        let mut wrong = one();
        wrong.dedup.as_mut().unwrap().key = key;
        assert_eq!(refused(vec![wrong]).await, "dedup");
    }
    let of = |mode, ttl| {
        Dedup::of(Some("k".to_owned()), mode, ttl)
            .unwrap_err()
            .to_string()
    };
    assert!(of(Some("throttle"), None).starts_with("ttl: "));
    assert!(of(Some("throttle"), Some(MINUTE * 60 * 24 * 31)).starts_with("ttl: "));
    assert!(of(Some("replace"), Some(MINUTE)).starts_with("ttl: "));
    assert!(of(Some("debounce"), None).starts_with("mode: "));
    assert!(Dedup::of(None, None, Some(MINUTE)).is_err());
}

async fn keys_that_are_over_are_forgotten(fixture: Fixture) {
    let long = keyed(DedupMode::UntilDone, &["a"]);
    let short = keyed(DedupMode::Throttle(MINUTE), &["b"]);
    let waits = add(&fixture, long.clone()).await;
    add(&fixture, short).await;
    let swept = async || {
        fixture
            .store
            .sweep(RetentionSettings::default())
            .await
            .unwrap()
            .keys
    };
    assert_eq!(swept().await, 0);
    fixture.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(swept().await, 1);
    // What waits is still known.
    let again = NewCommand {
        id: CommandId::generate(),
        ..long
    };
    assert_eq!(add(&fixture, again).await.id, waits.id);
    fixture.store.cancel(waits.id).await.unwrap();
    fixture.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(swept().await, 1);
}
