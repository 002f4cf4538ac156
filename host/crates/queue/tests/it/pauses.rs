//! Pauses, the same on both engines: what waits, what goes on, and who hears of it.

use std::time::Duration;

use pointsman_queue::{Clock as _, NewCommand, NewPause, Pause, RetentionSettings, State};

use crate::engines::{Fixture, command, done, name, on_both_engines, request, state};

on_both_engines![
    a_paused_handler_is_not_claimed_and_others_go_on,
    a_pause_of_all_holds_every_handler,
    a_pause_ends_by_itself_where_it_says_so,
    a_pause_tells_since_when_why_and_by_whom,
    a_paused_handler_holds_no_ordering_key_of_others,
    what_runs_goes_on_and_what_is_due_becomes_available,
    both_ends_of_a_pause_are_news_of_work,
    a_reason_has_bounds,
];

fn of(handler: &str) -> NewPause {
    NewPause {
        handler: Some(name(handler)),
        ..NewPause::default()
    }
}

async fn claimed(fixture: &Fixture) -> Vec<String> {
    let claimed = fixture.claim(9).await;
    let names = claimed
        .iter()
        .map(|one| one.lease.delivery.handler.to_string());
    names.collect()
}

async fn a_paused_handler_is_not_claimed_and_others_go_on(fixture: Fixture) {
    fixture.store.pause(of("a")).await.unwrap();
    let id = fixture.add(command(&["a", "b"])).await;
    assert_eq!(claimed(&fixture).await, ["b"]);
    assert_eq!(state(&fixture, id).await, State::Running);
    let ended = fixture.store.resume(Some(name("b"))).await.unwrap();
    assert!(ended.is_empty(), "it was not paused: {ended:?}");
    assert!(claimed(&fixture).await.is_empty());
    let ended = fixture.store.resume(Some(name("a"))).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(claimed(&fixture).await, ["a"]);
    assert!(fixture.store.pauses().await.unwrap().is_empty());
}

async fn a_pause_of_all_holds_every_handler(fixture: Fixture) {
    fixture.add(command(&["a", "b"])).await;
    fixture.store.pause(NewPause::default()).await.unwrap();
    fixture.store.pause(of("a")).await.unwrap();
    assert!(claimed(&fixture).await.is_empty());
    // The end of the one leaves the other.
    fixture.store.resume(Some(name("a"))).await.unwrap();
    assert!(claimed(&fixture).await.is_empty());
    fixture.store.pause(of("a")).await.unwrap();
    let ended = fixture.store.resume(None).await.unwrap();
    let handlers: Vec<_> = ended.into_iter().map(|pause| pause.handler).collect();
    assert_eq!(handlers, [None, Some(name("a"))]);
    assert_eq!(claimed(&fixture).await, ["a", "b"]);
}

async fn a_pause_ends_by_itself_where_it_says_so(fixture: Fixture) {
    let id = fixture.add(command(&["a"])).await;
    let minute = Duration::from_secs(60);
    let pause = NewPause {
        lasts: Some(minute),
        ..of("a")
    };
    fixture.store.pause(pause).await.unwrap();
    let claims = fixture.store.claim(request(9)).await.unwrap();
    assert!(claims.deliveries.is_empty());
    assert_eq!(claims.next_due, Some(minute));
    fixture.clock.advance(minute);
    assert!(fixture.store.pauses().await.unwrap().is_empty());
    assert!(fixture.store.resume(None).await.unwrap().is_empty());
    assert_eq!(fixture.claim_one().await.lease.delivery.command, id);
}

async fn a_pause_tells_since_when_why_and_by_whom(fixture: Fixture) {
    let begun = fixture.clock.now();
    let pause = NewPause {
        reason: Some("the bank is closed".to_owned()),
        by: Some("ada".to_owned()),
        ..of("a")
    };
    fixture.store.pause(pause).await.unwrap();
    fixture.clock.advance(Duration::from_secs(5));
    let again = NewPause {
        reason: Some("still".to_owned()),
        lasts: Some(Duration::from_secs(10)),
        ..of("a")
    };
    let expected = Pause {
        handler: Some(name("a")),
        since: begun,
        until: Some(begun.after(Duration::from_secs(15))),
        by: None,
        reason: Some("still".to_owned()),
    };
    assert_eq!(fixture.store.pause(again.clone()).await.unwrap(), expected);
    assert_eq!(fixture.store.pauses().await.unwrap(), [expected]);
    // One that was over begins anew, and a sweep removes it.
    fixture.clock.advance(Duration::from_secs(60));
    let anew = fixture.store.pause(again).await.unwrap();
    assert_eq!(anew.since, fixture.clock.now());
    fixture.clock.advance(Duration::from_secs(60));
    let policy = RetentionSettings::default();
    fixture.store.sweep(policy).await.unwrap();
    assert!(fixture.store.pauses().await.unwrap().is_empty());
}

async fn a_paused_handler_holds_no_ordering_key_of_others(fixture: Fixture) {
    let ordered = || NewCommand {
        ordering_key: Some("k".to_owned()),
        ..command(&["a", "b"])
    };
    fixture.store.pause(of("a")).await.unwrap();
    let first = fixture.add(ordered()).await;
    fixture.add(ordered()).await;
    for _ in 0..2 {
        let claimed = fixture.claim_one().await;
        assert_eq!(claimed.lease.delivery.handler, name("b"));
        fixture.store.settle(claimed.lease, done()).await.unwrap();
    }
    fixture.store.resume(None).await.unwrap();
    let claimed = fixture.claim_one().await;
    let expected = (first, &name("a"));
    let delivery = &claimed.lease.delivery;
    assert_eq!((delivery.command, &delivery.handler), expected);
}

async fn what_runs_goes_on_and_what_is_due_becomes_available(fixture: Fixture) {
    fixture.add(command(&["a"])).await;
    let running = fixture.claim_one().await;
    let late = NewCommand {
        run_at: Some(fixture.clock.now().after(Duration::from_secs(5))),
        ..command(&["a"])
    };
    let late = fixture.add(late).await;
    fixture.store.pause(NewPause::default()).await.unwrap();
    let settled = fixture.store.settle(running.lease, done()).await.unwrap();
    assert_eq!(settled, State::Completed);
    fixture.clock.advance(Duration::from_secs(5));
    assert!(claimed(&fixture).await.is_empty());
    assert_eq!(state(&fixture, late).await, State::Available);
    let cancelled = fixture.store.cancel(late).await.unwrap();
    assert_eq!(cancelled.cancelled, 1);
}

async fn both_ends_of_a_pause_are_news_of_work(fixture: Fixture) {
    let mut work = fixture.store.signals().work();
    work.mark_unchanged();
    fixture.store.pause(of("a")).await.unwrap();
    assert!(work.has_changed().unwrap(), "its end is not waited for");
    work.mark_unchanged();
    fixture.store.resume(None).await.unwrap();
    assert!(work.has_changed().unwrap(), "nobody is told");
}

async fn a_reason_has_bounds(fixture: Fixture) {
    for reason in [String::new(), "a\nb".to_owned(), "x".repeat(1001)] {
        let pause = NewPause {
            reason: Some(reason),
            ..of("a")
        };
        let refused = fixture.store.pause(pause).await.unwrap_err();
        let expected = "reason: use 1 to 1000 bytes without control characters";
        assert_eq!(refused.to_string(), expected);
    }
    assert!(fixture.store.pauses().await.unwrap().is_empty());
}
