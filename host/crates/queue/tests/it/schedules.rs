//! What the store knows of schedules, the same on both engines: each time comes up once.

use std::time::Duration;

use pointsman_core::name::RuleName;
use pointsman_queue::{
    Clock as _, CommandFilter, Firing, Page, ScheduleChange, ScheduleRow, Timestamp,
};

use crate::engines::{Fixture, command, on_both_engines};

on_both_engines![
    each_time_comes_up_once_however_many_hosts_ask,
    a_time_comes_up_by_the_clock_of_the_store,
    a_paused_schedule_goes_on_with_its_next_time,
    a_full_queue_leaves_a_schedule_where_it_is(2),
];

const HOUR: Duration = Duration::from_secs(3600);

fn nightly() -> RuleName {
    RuleName::parse("nightly").unwrap()
}

async fn row(fixture: &Fixture) -> ScheduleRow {
    let names = vec![nightly()];
    let mut found = fixture.store.schedules(names).await.unwrap();
    assert_eq!(found.now, fixture.clock.now());
    found.rows.remove(0)
}

/// One command for the time `until`.
fn firing(last: Timestamp, until: Timestamp) -> Firing {
    Firing {
        name: nightly(),
        last,
        until,
        commands: vec![command(&["a"])],
    }
}

async fn stored(fixture: &Fixture) -> usize {
    let page = Page::first(50);
    let commands = fixture.store.list(CommandFilter::default(), page).await;
    commands.unwrap().len()
}

async fn each_time_comes_up_once_however_many_hosts_ask(fixture: Fixture) {
    let begin = row(&fixture).await.last;
    assert_eq!(begin, fixture.clock.now(), "what is new begins now");
    fixture.clock.advance(HOUR);
    let hosts = (0..4).map(|_| fixture.store.fire(firing(begin, begin.after(HOUR))));
    let results = futures_util::future::join_all(hosts).await;
    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(results.iter().filter(|one| one.fired).count(), 1);
    assert_eq!(stored(&fixture).await, 1);
    let now = row(&fixture).await;
    assert_eq!(
        (now.last, now.fired),
        (begin.after(HOUR), Some(fixture.clock.now()))
    );
    let claimed = fixture.claim_one().await;
    assert_eq!(now.command, Some(claimed.lease.delivery.command));
    // Times that count for nothing are dealt with, too.
    fixture.clock.advance(HOUR);
    let none = Firing {
        commands: Vec::new(),
        ..firing(now.last, now.last.after(HOUR))
    };
    let result = fixture.store.fire(none).await.unwrap();
    assert!(result.fired);
    assert_eq!(result.row.command, now.command);
    assert_eq!(row(&fixture).await.last, begin.after(2 * HOUR));
    assert_eq!(stored(&fixture).await, 1);
}

async fn a_time_comes_up_by_the_clock_of_the_store(fixture: Fixture) {
    let begin = row(&fixture).await.last;
    // A host whose clock is ahead.
    let early = fixture.store.fire(firing(begin, begin.after(HOUR))).await;
    let early = early.unwrap();
    assert!(!early.fired);
    assert_eq!((early.now, early.row.last), (begin, begin));
    assert_eq!(stored(&fixture).await, 0);
    fixture.clock.advance(HOUR);
    let later = fixture.store.fire(firing(begin, begin.after(HOUR))).await;
    assert!(later.unwrap().fired);
}

async fn a_paused_schedule_goes_on_with_its_next_time(fixture: Fixture) {
    let begin = row(&fixture).await.last;
    let change = |change| fixture.store.change_schedule(nightly(), change);
    assert_eq!(change(ScheduleChange::Resume).await.unwrap().last, begin);
    let paused = change(ScheduleChange::Pause).await.unwrap();
    assert_eq!((paused.paused, paused.last), (Some(begin), begin));
    fixture.clock.advance(2 * HOUR);
    let again = change(ScheduleChange::Pause).await.unwrap();
    assert_eq!(again.paused, Some(begin), "it is paused since then");
    let held = fixture.store.fire(firing(begin, begin.after(HOUR))).await;
    assert!(!held.unwrap().fired);
    let resumed = change(ScheduleChange::Resume).await.unwrap();
    assert_eq!(
        (resumed.paused, resumed.last),
        (None, begin.after(2 * HOUR))
    );
    let stale = fixture.store.fire(firing(begin, begin.after(HOUR))).await;
    assert!(!stale.unwrap().fired, "what came up meanwhile is left out");
    assert_eq!(stored(&fixture).await, 0);
}

async fn a_full_queue_leaves_a_schedule_where_it_is(fixture: Fixture) {
    let begin = row(&fixture).await.last;
    fixture.add(command(&["a", "b"])).await;
    fixture.clock.advance(HOUR);
    let refused = fixture.store.fire(firing(begin, begin.after(HOUR))).await;
    assert_eq!(refused.unwrap_err().code(), "queue-full");
    assert_eq!(row(&fixture).await.last, begin);
}
