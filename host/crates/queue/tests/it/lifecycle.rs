//! What a queue means, the same on both engines: cancellation, the dead letter, lists and retention.

use std::{sync::Arc, time::Duration};

use pointsman_core::outcome::Status;
use pointsman_queue::{
    AttemptLog, Changes, Clock, CommandFilter, CommandId, CommandView, DeadFilter, HOSTS_LOST_MAX,
    Holds, PAGE_MAX_BYTES, PAYLOAD_SHORT_MAX_BYTES, Page, Renewal, RetentionSettings, Settlement,
    State, Timestamp, wait_for,
};

use crate::engines::{Fixture, LEASE, NEVER, command, done, error, name, on_both_engines, state};

on_both_engines![
    a_cancelled_command_does_not_run,
    a_cancelled_run_ends_cancelled,
    the_dead_letter_tells_every_attempt_and_gives_back,
    the_dead_letter_is_given_up_by_filter,
    lists_page_and_filter,
    a_page_ends_where_it_is_large_and_leaves_out_what_is_long,
    retention_removes_what_is_finished_and_old,
    news_of_changes_reaches_a_waiter,
    news_of_lost_leases_reaches_a_waiter,
    news_of_the_dead_letter_reaches_a_waiter,
    a_waiter_is_woken_by_the_end_of_what_it_waits_for,
    depth_counts_by_handler_and_state,
    a_command_without_deliveries_is_completed,
    a_closed_store_answers_that_it_is_closed,
];

async fn a_cancelled_command_does_not_run(fixture: Fixture) {
    let id = fixture.add(command(&["a", "b"])).await;
    let cancellation = fixture.store.cancel(id).await.unwrap();
    assert_eq!((cancellation.cancelled, cancellation.interrupting), (2, 0));
    assert!(fixture.claim(9).await.is_empty());
    assert_eq!(state(&fixture, id).await, State::Cancelled);
    assert_eq!(fixture.store.cancel(id).await.unwrap().cancelled, 0);
    let unknown = fixture
        .store
        .cancel(CommandId::generate())
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), "unknown-command");
}

async fn a_cancelled_run_ends_cancelled(fixture: Fixture) {
    let mut news = fixture.store.signals().cancellations();
    let id = fixture.add(command(&["a", "b"])).await;
    let claimed = fixture.claim(9).await;
    assert_eq!(fixture.store.cancel(id).await.unwrap().interrupting, 2);
    assert_eq!(news.recv().await.unwrap(), id);
    let leases = claimed
        .iter()
        .map(|claimed| claimed.lease.clone())
        .collect();
    assert_eq!(
        fixture.store.renew(leases, LEASE).await.unwrap(),
        [Renewal::CancelRequested; 2]
    );
    let retry = Settlement::Retry {
        error: error(Status::Cancelled, "stop"),
        delay: Duration::ZERO,
        holds: Holds::Delivery,
    };
    assert_eq!(
        fixture
            .store
            .settle(claimed[0].lease.clone(), retry)
            .await
            .unwrap(),
        State::Cancelled
    );
    // Work that was done all the same counts.
    assert_eq!(
        fixture
            .store
            .settle(claimed[1].lease.clone(), done())
            .await
            .unwrap(),
        State::Completed
    );
    assert_eq!(state(&fixture, id).await, State::Cancelled);
}

/// Leaves a dead letter with two failed attempts.
async fn bury(fixture: &Fixture, handler: &str) -> CommandId {
    let id = fixture.add(command(&[handler])).await;
    let mut first = error(Status::Unavailable, "later");
    first.logs = vec![AttemptLog {
        level: "warn".to_owned(),
        message: "a \0 b".to_owned(),
    }];
    let retry = Settlement::Retry {
        error: first,
        delay: Duration::ZERO,
        holds: Holds::Delivery,
    };
    let lease = fixture.claim_one().await.lease;
    fixture.store.settle(lease, retry).await.unwrap();
    let lease = fixture.claim_one().await.lease;
    let discard = Settlement::Discard {
        error: error(Status::Rejected, "never"),
    };
    fixture.store.settle(lease, discard).await.unwrap();
    id
}

async fn the_dead_letter_tells_every_attempt_and_gives_back(fixture: Fixture) {
    let id = bury(&fixture, "greet").await;
    let dead = fixture
        .store
        .dead(DeadFilter::default(), Page::first(10))
        .await
        .unwrap();
    assert_eq!(dead.len(), 1);
    let last = dead[0].delivery.last_failure.as_ref().unwrap();
    assert_eq!(
        (last.attempt, last.status, last.message.as_str()),
        (2, Status::Rejected.into(), "never")
    );
    let delivery = dead[0].delivery.id.clone();
    let detail = fixture.store.inspect(delivery.clone()).await.unwrap();
    let told: Vec<_> = detail
        .failures
        .iter()
        .map(|f| (f.attempt, f.error.status, f.error.logs.len()))
        .collect();
    assert_eq!(
        told,
        [
            (1, Status::Unavailable.into(), 1),
            (2, Status::Rejected.into(), 0)
        ]
    );
    let one = DeadFilter {
        delivery: Some(delivery),
        ..DeadFilter::default()
    };
    assert_eq!(fixture.store.retry_dead(one.clone()).await.unwrap(), 1);
    let refused = fixture.store.retry_dead(one).await.unwrap_err();
    assert_eq!(refused.code(), "not-dead");
    let again = fixture.claim_one().await;
    assert_eq!((again.attempt, again.failures.total()), (3, 0));
    fixture.store.settle(again.lease, done()).await.unwrap();
    assert_eq!(state(&fixture, id).await, State::Completed);
}

async fn the_dead_letter_is_given_up_by_filter(fixture: Fixture) {
    let greet = bury(&fixture, "greet").await;
    let audit = bury(&fixture, "audit").await;
    let status = |status: Status| DeadFilter {
        status: Some(status.into()),
        ..DeadFilter::default()
    };
    assert_eq!(
        fixture
            .store
            .discard_dead(status(Status::Trapped))
            .await
            .unwrap(),
        0
    );
    let filter = DeadFilter {
        handler: Some(name("greet")),
        ..status(Status::Rejected)
    };
    assert_eq!(fixture.store.discard_dead(filter).await.unwrap(), 1);
    assert_eq!(state(&fixture, greet).await, State::Cancelled);
    assert_eq!(state(&fixture, audit).await, State::Discarded);
}

async fn lists_page_and_filter(fixture: Fixture) {
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(
            fixture
                .add(command(&[if number % 2 == 0 { "even" } else { "odd" }]))
                .await,
        );
    }
    ids.reverse();
    let all = || CommandFilter::default();
    let page = |after, limit| Page { after, limit };
    let first = fixture.store.list(all(), page(None, 2)).await.unwrap();
    let rest = fixture
        .store
        .list(all(), page(Some(first[1].id), 9))
        .await
        .unwrap();
    let seen: Vec<_> = first.iter().chain(&rest).map(|view| view.id).collect();
    assert_eq!(seen, ids);
    let odd = CommandFilter {
        handler: Some(name("odd")),
        state: Some(State::Available),
        ..all()
    };
    assert_eq!(
        fixture.store.list(odd, page(None, 9)).await.unwrap().len(),
        2
    );
    let dead = CommandFilter {
        state: Some(State::Discarded),
        ..all()
    };
    assert!(
        fixture
            .store
            .list(dead.clone(), page(None, 9))
            .await
            .unwrap()
            .is_empty()
    );
    fixture.store.cancel(ids[0]).await.unwrap();
    let cancelled = CommandFilter {
        state: Some(State::Cancelled),
        ..all()
    };
    assert_eq!(
        fixture
            .store
            .list(cancelled, page(None, 9))
            .await
            .unwrap()
            .len(),
        1
    );
    let later = CommandFilter {
        created_from: Some(fixture.clock.now().after(Duration::from_secs(1))),
        ..all()
    };
    assert!(
        fixture
            .store
            .list(later, page(None, 9))
            .await
            .unwrap()
            .is_empty()
    );
}

async fn a_page_ends_where_it_is_large_and_leaves_out_what_is_long(fixture: Fixture) {
    let short = PAYLOAD_SHORT_MAX_BYTES;
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    for bytes in std::iter::repeat_n(short, PAGE_MAX_BYTES / (3 * short) + 2).chain([short + 1]) {
        let mut command = command(&["greet", "audit"]);
        command.attributes = text(bytes);
        fixture.add(command).await;
        for claimed in fixture.claim(2).await {
            let output = Some(text(bytes));
            let settlement = match claimed.lease.delivery.handler.as_str() {
                "greet" => Settlement::Complete {
                    output,
                    follow_ups: Vec::new(),
                },
                _ => Settlement::Discard {
                    error: error(Status::Rejected, &"m".repeat(10 * short)),
                },
            };
            fixture
                .store
                .settle(claimed.lease, settlement)
                .await
                .unwrap();
        }
    }
    let page = Page::first(500);
    let commands = fixture
        .store
        .list(CommandFilter::default(), page)
        .await
        .unwrap();
    let weight: usize = commands.iter().map(|command| command.weight()).sum();
    assert!(page.goes_on(commands.len(), weight));
    assert!((PAGE_MAX_BYTES..PAGE_MAX_BYTES + 5 * short).contains(&weight));
    let (long, other) = (&commands[0], &commands[1]);
    let bytes = Some(short as u64 + 1);
    assert_eq!((&long.attributes, long.attributes_bytes), (&None, bytes));
    let delivery = &long.deliveries[1];
    assert_eq!((&delivery.output, delivery.output_bytes), (&None, bytes));
    assert_eq!(other.attributes.as_ref().unwrap().len(), short);
    assert_eq!(other.attributes_bytes, None);
    // One by its id is whole.
    let whole = fixture.store.get(long.id).await.unwrap();
    assert_eq!(whole.attributes.as_ref().unwrap().len(), short + 1);
    assert_eq!(
        whole.deliveries[1].output.as_ref().unwrap().len(),
        short + 1
    );
    let glance = fixture.store.glance(long.id).await.unwrap();
    assert!(glance.weight() < 3 * short);
    let dead = fixture
        .store
        .dead(DeadFilter::default(), Page::first(500))
        .await
        .unwrap();
    let message = &dead[0].delivery.last_failure.as_ref().unwrap().message;
    assert!(message.len() < short + 100, "{}", message.len());
}

async fn retention_removes_what_is_finished_and_old(fixture: Fixture) {
    let policy = RetentionSettings::default();
    let dead = bury(&fixture, "greet").await;
    let done_id = fixture.add(command(&["greet"])).await;
    let lease = fixture.claim_one().await.lease;
    fixture.store.settle(lease, done()).await.unwrap();
    let open = fixture.add(command(&["greet"])).await;
    assert_eq!(
        fixture.store.sweep(policy.clone()).await.unwrap().commands,
        0
    );
    fixture.clock.advance(policy.age + Duration::from_secs(1));
    assert_eq!(
        fixture.store.sweep(policy.clone()).await.unwrap().commands,
        1
    );
    assert!(fixture.store.get(done_id).await.is_err());
    fixture.clock.advance(policy.dead_age);
    assert_eq!(
        fixture.store.sweep(policy.clone()).await.unwrap().commands,
        1
    );
    assert!(fixture.store.get(dead).await.is_err());
    assert_eq!(state(&fixture, open).await, State::Available);
    // By size: what is finished goes, what is not stays.
    let lease = fixture.claim_one().await.lease;
    let second = fixture.add(command(&["greet"])).await;
    fixture.store.settle(lease, done()).await.unwrap();
    let tiny = RetentionSettings {
        bytes_max: 1,
        ..policy
    };
    assert_eq!(fixture.store.sweep(tiny).await.unwrap().commands, 1);
    assert_eq!(state(&fixture, second).await, State::Available);
}

/// Fails where no news of the command comes.
async fn heard(changes: &mut Changes, what: &str) {
    let news = tokio::time::timeout(Duration::from_secs(60), changes.next());
    news.await.unwrap_or_else(|_| panic!("no news of {what}"));
}

async fn news_of_changes_reaches_a_waiter(fixture: Fixture) {
    let (first, second) = (
        fixture.add(command(&["greet"])).await,
        fixture.add(command(&["greet"])).await,
    );
    let mut changes = fixture.store.signals().changes(first);
    let lease = fixture.claim_one().await.lease;
    heard(&mut changes, "a claim").await;
    fixture.store.settle(lease, done()).await.unwrap();
    heard(&mut changes, "a completion").await;

    let mut changes = fixture.store.signals().changes(second);
    let lease = fixture.claim_one().await.lease;
    heard(&mut changes, "a claim").await;
    let retry = Settlement::Retry {
        error: error(Status::Unavailable, "later"),
        delay: LEASE,
        holds: Holds::Delivery,
    };
    fixture.store.settle(lease, retry).await.unwrap();
    heard(&mut changes, "a failure").await;
    fixture.store.cancel(second).await.unwrap();
    heard(&mut changes, "a cancellation").await;
}

async fn news_of_lost_leases_reaches_a_waiter(fixture: Fixture) {
    let id = fixture.add(command(&["greet"])).await;
    let mut changes = fixture.store.signals().changes(id);
    for lost in 1..=HOSTS_LOST_MAX {
        fixture.claim_one().await;
        heard(&mut changes, "a claim").await;
        fixture.clock.advance(LEASE * 2);
        // Takes nothing, and ends the lease.
        assert!(fixture.claim(0).await.is_empty());
        heard(&mut changes, "a lost lease").await;
        let expected = if lost < HOSTS_LOST_MAX {
            State::Available
        } else {
            State::Discarded
        };
        assert_eq!(state(&fixture, id).await, expected);
    }
}

async fn news_of_the_dead_letter_reaches_a_waiter(fixture: Fixture) {
    let id = bury(&fixture, "greet").await;
    let mut changes = fixture.store.signals().changes(id);
    let mut work = fixture.store.signals().work();
    work.mark_unchanged();
    assert_eq!(
        fixture
            .store
            .retry_dead(DeadFilter::default())
            .await
            .unwrap(),
        1
    );
    heard(&mut changes, "a retry of a dead letter").await;
    assert!(work.has_changed().unwrap(), "it is work again");
    let lease = fixture.claim_one().await.lease;
    heard(&mut changes, "a claim").await;
    let again = Settlement::Discard {
        error: error(Status::Rejected, "again"),
    };
    fixture.store.settle(lease, again).await.unwrap();
    heard(&mut changes, "a dead letter").await;
    assert_eq!(
        fixture
            .store
            .discard_dead(DeadFilter::default())
            .await
            .unwrap(),
        1
    );
    heard(&mut changes, "a dead letter given up").await;
    assert_eq!(state(&fixture, id).await, State::Cancelled);
}

async fn a_waiter_is_woken_by_the_end_of_what_it_waits_for(fixture: Fixture) {
    let id = fixture.add(command(&["greet"])).await;
    let store = Arc::clone(&fixture.store);
    let waiter = tokio::spawn(async move {
        let done = |view: &CommandView| view.state().is_final();
        wait_for(&*store, id, NEVER, done).await.unwrap()
    });
    let lease = fixture.claim_one().await.lease;
    fixture.store.settle(lease, done()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), waiter).await;
    let view = ended.expect("the waiter heard nothing").unwrap();
    assert_eq!(view.state(), State::Completed);
}

async fn depth_counts_by_handler_and_state(fixture: Fixture) {
    bury(&fixture, "b").await;
    fixture.add(command(&["a", "b"])).await;
    let mut late = command(&["a"]);
    late.run_at = Some(fixture.clock.now().after(Duration::from_secs(60)));
    fixture.add(late).await;
    fixture.claim_one().await;
    for _ in 0..2 {
        let mut ordered = command(&["c"]);
        ordered.ordering_key = Some("k".to_owned());
        fixture.add(ordered).await;
    }
    let depth = fixture.store.depth().await.unwrap();
    let told: Vec<_> = depth
        .iter()
        .map(|d| (d.handler.as_str(), d.state, d.count))
        .collect();
    assert_eq!(
        told,
        [
            ("a", State::Running, 1),
            ("a", State::Scheduled, 1),
            ("b", State::Available, 1),
            ("b", State::Discarded, 1),
            ("c", State::Available, 2),
        ]
    );
    fixture.store.check().await.unwrap();
}

async fn a_command_without_deliveries_is_completed(fixture: Fixture) {
    let id = fixture.add(command(&[])).await;
    let view = fixture.store.get(id).await.unwrap();
    assert_eq!((view.state(), view.deliveries.len()), (State::Completed, 0));
    assert!(view.created > Timestamp::default());
}

async fn a_closed_store_answers_that_it_is_closed(fixture: Fixture) {
    let id = fixture.add(command(&["greet"])).await;
    fixture.store.close().await.unwrap();
    let stored = fixture.store.enqueue(vec![command(&["greet"])]).await;
    assert_eq!(stored.unwrap_err().code(), "queue-closed");
    let read = fixture.store.get(id).await;
    assert_eq!(read.unwrap_err().code(), "queue-closed");
    fixture.store.close().await.unwrap();
}
