//! What is known of attempts after they ended, the same on both engines.

use std::time::Duration;

use pointsman_core::outcome::Status;
use pointsman_queue::{
    Clock as _, Ending, HISTORY_KEPT, HistoryFilter, HistoryPoint, Holds, NewCommand,
    RetentionSettings, Settlement, Timestamp,
};

use crate::engines::{Fixture, LEASE, command, done, error, name, on_both_engines};

on_both_engines![
    attempts_are_counted_by_minute_handler_and_ending,
    the_history_has_an_end,
    a_delivery_tells_when_its_last_attempt_began,
    a_command_tells_which_one_it_repeats,
];

const MINUTE: Duration = Duration::from_secs(60);

fn filter(fixture: &Fixture, step: Duration) -> HistoryFilter {
    let now = fixture.clock.now();
    HistoryFilter {
        handler: None,
        from: now.before(3600 * MINUTE),
        until: now.after(MINUTE),
        step,
    }
}

async fn history(fixture: &Fixture, step: Duration) -> Vec<HistoryPoint> {
    let filter = filter(fixture, step);
    fixture.store.history(filter).await.unwrap()
}

/// Of each point: the minute after `begin`, the handler, the ending and the counts.
fn short(points: &[HistoryPoint], begin: Timestamp) -> Vec<(u64, String, &'static str, u64, u64)> {
    let point = |point: &HistoryPoint| {
        let minute = point.at.since(begin).as_secs() / 60;
        let handler = point.handler.to_string();
        let (count, total) = (point.count, point.total_ms);
        (minute, handler, point.status.as_str(), count, total)
    };
    points.iter().map(point).collect()
}

async fn attempts_are_counted_by_minute_handler_and_ending(fixture: Fixture) {
    // The fixture's clock begins at the full minute.
    let begin = fixture.clock.now();
    for _ in 0..3 {
        fixture.add(command(&["a", "b"])).await;
    }
    let claimed = fixture.claim(9).await;
    fixture.clock.advance(Duration::from_millis(20));
    let why = error(Status::TimedOut, "late");
    let retry = Settlement::Retry {
        error: why.clone(),
        delay: 10 * MINUTE,
        holds: Holds::Delivery,
    };
    let settlements = [
        done(),
        done(),
        Settlement::Release,
        Settlement::Discard { error: why },
        retry,
    ];
    for (one, settlement) in claimed.iter().zip(settlements) {
        let lease = one.lease.clone();
        fixture.store.settle(lease, settlement).await.unwrap();
    }
    let points = history(&fixture, MINUTE).await;
    let a = |minute, status, count, total| (minute, "a".to_owned(), status, count, total);
    let b = |minute, status, count, total| (minute, "b".to_owned(), status, count, total);
    assert_eq!(
        short(&points, begin),
        [
            a(0, "succeeded", 1, 20),
            a(0, "timed-out", 1, 20),
            b(0, "succeeded", 1, 20),
            b(0, "timed-out", 1, 20),
        ]
    );
    assert_eq!(points[0].durations, [0, 1, 0, 0, 0, 0]);
    // The last one is lost with its host, a minute later.
    fixture.clock.advance(MINUTE.max(LEASE));
    let again = fixture.claim(9).await;
    assert_eq!(again.len(), 2);
    let took = 60_020;
    let lost = b(1, "host-lost", 1, took);
    let points = history(&fixture, MINUTE).await;
    assert_eq!(short(&points, begin).last(), Some(&lost));
    let of_two = history(&fixture, 2 * MINUTE).await;
    assert_eq!(of_two.len(), 5);
    let only_b = HistoryFilter {
        handler: Some(name("b")),
        ..filter(&fixture, MINUTE)
    };
    let only_b = fixture.store.history(only_b).await.unwrap();
    assert!(only_b.iter().all(|point| point.handler == name("b")));
    assert_eq!(only_b.len(), 3);
    let refused = filter(&fixture, Duration::from_secs(90));
    let refused = fixture.store.history(refused).await.unwrap_err();
    let expected = "step: use whole minutes, such as `1m` or `1h`";
    assert_eq!(refused.to_string(), expected);
}

async fn the_history_has_an_end(fixture: Fixture) {
    fixture.add(command(&["a"])).await;
    let lease = fixture.claim_one().await.lease;
    fixture.store.settle(lease, done()).await.unwrap();
    let all = RetentionSettings {
        age: Duration::ZERO,
        ..RetentionSettings::default()
    };
    assert_eq!(fixture.store.sweep(all.clone()).await.unwrap().commands, 1);
    assert_eq!(history(&fixture, MINUTE).await.len(), 1, "it is outlived");
    let kept = HistoryFilter {
        from: Timestamp::from_millis(0),
        ..filter(&fixture, MINUTE)
    };
    fixture.clock.advance(HISTORY_KEPT + MINUTE);
    fixture.store.sweep(all).await.unwrap();
    assert!(fixture.store.history(kept).await.unwrap().is_empty());
}

async fn a_delivery_tells_when_its_last_attempt_began(fixture: Fixture) {
    let id = fixture.add(command(&["a"])).await;
    let view = fixture.store.get(id).await.unwrap();
    assert_eq!(view.deliveries[0].started, None);
    for _ in 0..2 {
        fixture.clock.advance(Duration::from_secs(5));
        let lease = fixture.claim_one().await.lease;
        let began = fixture.clock.now();
        fixture.clock.advance(Duration::from_secs(1));
        let retry = Settlement::Retry {
            error: error(Status::Unavailable, "later"),
            delay: Duration::ZERO,
            holds: Holds::Delivery,
        };
        fixture.store.settle(lease, retry).await.unwrap();
        let view = fixture.store.get(id).await.unwrap();
        assert_eq!(view.deliveries[0].started, Some(began));
    }
    let last = fixture.store.get(id).await.unwrap();
    let last = last.deliveries[0].last_failure.clone().unwrap();
    assert_eq!(last.status, Ending::Ran(Status::Unavailable));
}

async fn a_command_tells_which_one_it_repeats(fixture: Fixture) {
    let first = fixture.add(command(&["a"])).await;
    let again = NewCommand {
        rerun_of: Some(first),
        ..command(&["a"])
    };
    let again = fixture.add(again).await;
    let view = fixture.store.glance(again).await.unwrap();
    assert_eq!(view.rerun_of, Some(first));
    assert_eq!(fixture.store.get(first).await.unwrap().rerun_of, None);
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(json["rerunOf"], first.to_string());
}
